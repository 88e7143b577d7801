//! The Kubernetes API: objects come from it, and their status goes back. The only part that imports kube.
//!
//! Everything here runs on a thread of its own, so that reading a large list never holds up the agent. What was read
//! arrives as [`Change`]s, each object admitted by the same code as one of a manifest.

pub mod change;
mod election;
mod events;
pub mod facts;
#[cfg(test)]
mod fake_server;
mod gates;
mod lease;
mod node_lease;
mod resources;
pub mod seen;
pub mod status;

pub use change::Change;
pub use facts::Facts;
pub use seen::Seen;
