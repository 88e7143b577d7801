//! The HTTP layer: what becomes of connections and requests at the frontends that it takes.
//!
//! Its desired state is `model::http`; it knows neither Kubernetes nor the datapath.

pub mod filters;
pub mod path;
pub mod router;
