//! What runs in the Pods of tests, examples and benchmarks: servers that say who answers, and the client beside them.
//!
//! It knows nothing of the agent, so that the image of such a Pod is small, and soon built.

pub mod answers;
pub mod attempts;
pub mod load;
pub mod pod;
