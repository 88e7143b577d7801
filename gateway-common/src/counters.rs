//! What is counted, in fields with names.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Connections of a frontend or a backend (for UDP: flows). One value shared by all CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Connections {
    /// Begun since the id was taken, by packet or by socket.
    pub new: u64,
    /// Tracked now. Connections of sockets that were given their backend are not: nobody sees them end.
    pub active: u64,
}

/// Traffic of a frontend or a backend, both directions together. One value for each CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Traffic {
    /// Packets; a segment train that the kernel handles as one counts once.
    pub packets: u64,
    /// Bytes from the link-layer header on.
    pub bytes: u64,
}

/// A plain count, one value for each CPU: of a [`DropReason`](crate::DropReason) or an [`Event`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Counter {
    /// How often it happened.
    pub packets: u64,
}

/// What happens in the datapath beside drops and is worth a count: the index into `EVENTS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Event {
    /// A step of the schedule went to nobody: two CPUs created one flow at once, or the chosen backend already talked to
    /// the client's port.
    LostStep = 0,
    /// A new SYN met an entry that was closing or stale; the old flow made room.
    FlowReplaced = 1,
    /// A UDP flow lost its backend and was given another.
    Reselected = 2,
    /// A client's port was already in use towards the chosen backend; it was translated.
    PortTranslated = 3,
    /// An idle flow was collected.
    Collected = 4,
    /// An ICMP error about a tracked flow was translated.
    IcmpTranslated = 5,
    /// A new flow to a Pod elsewhere was given a source address and port of this node.
    SourceTranslated = 6,
    /// A sender was told by ICMP that its packet was too large or had crossed too many routers.
    IcmpSent = 7,
    /// A socket of this node was given a backend when it connected or sent its first datagram: no packet is rewritten.
    SocketSelected = 8,
    /// A socket's datagrams lost their backend and were given another.
    SocketMoved = 9,
    /// A TCP segment of no known flow was sent on to the node that answered for its VIP before.
    Relayed = 10,
}

impl Event {
    /// Every event, in the order of its number.
    pub const ALL: [Self; 11] = [
        Self::LostStep,
        Self::FlowReplaced,
        Self::Reselected,
        Self::PortTranslated,
        Self::Collected,
        Self::IcmpTranslated,
        Self::SourceTranslated,
        Self::IcmpSent,
        Self::SocketSelected,
        Self::SocketMoved,
        Self::Relayed,
    ];

    /// The name in metrics and in the CLI.
    pub const fn label(self) -> &'static str {
        match self {
            Self::LostStep => "lost_step",
            Self::FlowReplaced => "flow_replaced",
            Self::Reselected => "reselected",
            Self::PortTranslated => "port_translated",
            Self::Collected => "collected",
            Self::IcmpTranslated => "icmp_translated",
            Self::SourceTranslated => "source_translated",
            Self::IcmpSent => "icmp_sent",
            Self::SocketSelected => "socket_selected",
            Self::SocketMoved => "socket_moved",
            Self::Relayed => "relayed",
        }
    }
}
