//! What the datapath decided about a packet. Data, not deeds: the hook applies it.

use gateway_common::{Address, DropReason};

use crate::parse::Headers;
use crate::rewrite::Rewrite;

/// What shall happen to a packet.
#[must_use]
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'a> {
    /// Not ours: the next program and the host take it as it is.
    Pass,
    /// Ours: change it so, and let it go on.
    Forward(Rewrite<'a>),
    /// Ours: change it so, and send it on from here, past the host.
    Redirect(Rewrite<'a>),
    /// Ours, but of no flow that is known here: send it on to this node, which may know it.
    Relay(&'a Headers, Address),
    /// An ICMP message that may be about one of our flows: ask [`crate::icmp`].
    Icmp,
    /// Count the reason and let the packet go up: the host's stack answers RST or port unreachable.
    Refuse(DropReason),
    /// Count the reason and end the packet here.
    Drop(DropReason),
    /// A header lies beyond what can be read directly: make more of the packet linear and ask again.
    Truncated(Shortage),
}

/// What a truncated packet is if there is no more of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// It was not known to be ours: let it pass.
    Unknown,
    /// It is addressed like one of ours: drop it as malformed if the VIP is one.
    Ours,
}
