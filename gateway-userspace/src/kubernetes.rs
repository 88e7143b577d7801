//! The Kubernetes API: objects come from it, and their status goes back. The only part that imports kube.
//!
//! Everything here runs on a thread of its own, so that reading a large list never holds up the agent. What was read
//! arrives as [`Change`]s, each object admitted by the same code as one of a manifest.

mod allowance;
mod backoff;
pub mod change;
pub mod connect;
mod decode;
mod definitions;
mod discovery;
mod duty;
mod election;
mod events;
mod exchange;
pub mod facts;
#[cfg(test)]
mod fake_server;
mod gates;
mod infrastructure;
mod known;
mod kubeconfig;
mod lease;
mod links;
mod node_lease;
pub mod peers;
mod referred;
mod requests;
mod resource;
pub mod seen;
pub mod source;
pub mod status;
#[cfg(test)]
mod testing;
mod watch;

pub use change::Change;
pub use connect::Settings;
pub use facts::Facts;
pub use known::{News, ServiceNews};
pub use peers::{GONE_AFTER, Heard, Peer, Peers, Stance};
pub use seen::Seen;
pub use source::KubernetesSource;
pub use status::{Settings as StatusSettings, Status};
