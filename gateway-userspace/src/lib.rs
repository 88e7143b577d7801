//! Beeline's agent. Objects go `source → translate → model → reconcile → dataplane`; no arrow runs back.
//!
//! Only `dataplane` imports aya; `model` and `reconcile` know neither Kubernetes nor the kernel and are pure;
//! only `agent` knows everyone.

pub mod agent;
pub mod cli;
pub mod config;
pub mod dataplane;
pub mod host;
pub mod http;
pub mod kubernetes;
pub mod model;
pub mod reconcile;
pub mod schedule;
pub mod source;
pub mod state;
pub mod translate;
