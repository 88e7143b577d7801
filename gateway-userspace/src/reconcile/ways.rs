//! How packets get from this node to a Pod elsewhere, as whoever asks for a plan says it, in the end the host: reconcile
//! itself knows no routes.

use std::sync::Arc;

use gateway_common::Address;

/// The way to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is an address of this very node.
    Local,
    /// There is a route.
    By {
        /// The address of this node that packets bear as their source.
        source: Address,
        /// The devices that they, and replies to them, may take, by index.
        devices: Arc<[u32]>,
    },
    /// Nothing leads there.
    None,
    /// There is a route, but no address of this node that replies could come to.
    NoSource,
}

/// Whoever knows the ways.
pub trait Ways {
    /// Counts up whenever an answer may be another one than before.
    fn version(&mut self) -> u64;

    /// The way to an address.
    fn way(&mut self, to: &Address) -> Way;
}

/// How many backends elsewhere cannot be reached, and one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// How many.
    pub backends: usize,
    /// The first of them.
    pub example: Address,
    /// Whether there is a route to the example, but no address to reply to.
    pub lacks_source: bool,
}
