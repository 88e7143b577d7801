//! The HTTP layer: takes the connections of the frontends that the model gives it, and carries requests to Pods.
//!
//! `server` accepts, `connection` finds out what a connection is and serves it, `forward` carries one request. `tap` judges
//! the bytes before they are parsed, `framing` the request afterwards, `router` says which rule it meets, `filters` what
//! happens to it, `pick` which backend it goes to; `endpoint` keeps the connections there. All read one [`Snapshot`], which
//! [`Live`] replaces as a whole when the model changes: no connection and no listening socket is touched by that. It knows
//! neither Kubernetes nor the datapath.

mod access_log;
mod activity;
mod body;
mod client_hello;
mod connection;
mod counters;
mod endpoint;
pub mod explain;
pub mod filters;
mod forward;
mod forwarded;
pub mod framing;
pub mod health;
mod mirror;
mod options;
mod passthrough;
mod pick;
mod prefixed;
mod proxy_header;
mod reject;
mod retry;
pub mod router;
mod server;
mod session;
mod silence;
mod snapshot;
pub mod tap;
#[cfg(test)]
mod tests;
mod tls;
mod token;
mod upgrade;

pub use self::access_log::{AccessLog, Target as LogTarget};
pub use self::activity::{Activity, FrontendActivity, ListenerActivity};
pub use self::counters::{Counts, RequestCounts, WAIT_CLASSES_MS};
pub use self::options::Options;
pub use self::reject::Reason;
pub use self::server::{Observer, Server};
pub use self::snapshot::{Live, Problem, Snapshot};
