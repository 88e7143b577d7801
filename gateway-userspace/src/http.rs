//! The HTTP layer: what becomes of connections and requests at the frontends that it takes.
//!
//! `tap` judges the bytes of a connection before they are parsed, `framing` the request afterwards. Its desired state is
//! `model::http`; it knows neither Kubernetes nor the datapath.

pub mod filters;
pub mod framing;
pub mod path;
pub mod router;
pub mod tap;
mod token;
