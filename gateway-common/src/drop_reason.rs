//! Why traffic to a VIP does not reach a backend: one list for the datapath, the metrics and the CLI.

/// Why a packet was refused or dropped: the index into `DROPS`.
///
/// *Refused* packets go up to the host, whose stack answers RST or port unreachable because the VIP's guard
/// lets no socket have them. *Dropped* packets end in the datapath without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DropReason {
    /// Refused: the VIP has no frontend on this port.
    NoFrontend = 0,
    /// Refused: the frontend, or the share the connection fell to, has no backend that is ready.
    NoBackend = 1,
    /// Refused: a TCP segment that is no SYN and belongs to no flow we know.
    NoFlow = 2,
    /// Refused: the backend of a TCP flow, or of a connected socket that sends a datagram, is gone.
    BackendGone = 3,
    /// Refused: the conntrack table is full.
    ConntrackFull = 4,
    /// Refused: no free source port towards the chosen backend.
    NoSourcePort = 5,
    /// Dropped: a fragment to a VIP, or of a tracked flow's reply.
    Fragment = 6,
    /// Dropped: a protocol that is not balanced, at a VIP.
    Protocol = 7,
    /// Dropped: headers to a VIP that end too early or contradict themselves.
    Malformed = 8,
    /// Dropped: a reply from a backend that is gone.
    StaleReply = 9,
    /// Dropped: the kernel would not let the packet be changed.
    RewriteFailed = 10,
    /// Refused by the guard: a local delivery to a VIP that the datapath did not take to a backend.
    Guarded = 11,
    /// Dropped: a new flow of a client that is in none of the ranges which the frontend lets in. A socket is told so.
    SourceDenied = 12,
    /// Dropped: the host has no route to the chosen Pod of another node, or back to the client.
    NoRoute = 13,
    /// Dropped: a packet to or from a Pod elsewhere that has crossed too many routers. Its sender is told by ICMP.
    HopLimit = 14,
    /// Dropped: a packet to or from a Pod elsewhere that is larger than the way allows. Its sender is told by ICMP.
    TooBig = 15,
    /// Dropped: somebody asked the segment for a VIP (ARP, NDP) that another node answers for, or nobody.
    NotAnnounced = 16,
}

impl DropReason {
    /// Every reason, in the order of its number.
    pub const ALL: [Self; 17] = [
        Self::NoFrontend,
        Self::NoBackend,
        Self::NoFlow,
        Self::BackendGone,
        Self::ConntrackFull,
        Self::NoSourcePort,
        Self::Fragment,
        Self::Protocol,
        Self::Malformed,
        Self::StaleReply,
        Self::RewriteFailed,
        Self::Guarded,
        Self::SourceDenied,
        Self::NoRoute,
        Self::HopLimit,
        Self::TooBig,
        Self::NotAnnounced,
    ];

    /// The name in metrics and in the CLI.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoFrontend => "no_frontend",
            Self::NoBackend => "no_backend",
            Self::NoFlow => "no_flow",
            Self::BackendGone => "backend_gone",
            Self::ConntrackFull => "conntrack_full",
            Self::NoSourcePort => "no_source_port",
            Self::Fragment => "fragment",
            Self::Protocol => "protocol",
            Self::Malformed => "malformed",
            Self::StaleReply => "stale_reply",
            Self::RewriteFailed => "rewrite_failed",
            Self::Guarded => "guarded",
            Self::SourceDenied => "source_denied",
            Self::NoRoute => "no_route",
            Self::HopLimit => "hop_limit",
            Self::TooBig => "too_big",
            Self::NotAnnounced => "not_announced",
        }
    }

    /// What it means, for people.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NoFrontend => "refused: the VIP has no frontend on this port",
            Self::NoBackend => "refused: no backend is ready for the connection",
            Self::NoFlow => "refused: a TCP segment without SYN of no known flow",
            Self::BackendGone => "refused: the backend of the TCP flow or of the connected socket is gone",
            Self::ConntrackFull => "refused: the conntrack table is full",
            Self::NoSourcePort => "refused: no free source port towards the backend",
            Self::Fragment => "dropped: a fragment to a VIP or of a tracked reply",
            Self::Protocol => "dropped: a protocol that is not balanced, at a VIP",
            Self::Malformed => "dropped: broken headers to a VIP",
            Self::StaleReply => "dropped: a reply from a backend that is gone",
            Self::RewriteFailed => "dropped: the kernel refused to change the packet",
            Self::Guarded => "refused by the guard: a local delivery to a VIP",
            Self::SourceDenied => "dropped: the frontend does not let the client's address in",
            Self::NoRoute => "dropped: the host has no route to the backend or back to the client",
            Self::HopLimit => "dropped: too many routers on the way to or from a backend elsewhere",
            Self::TooBig => "dropped: too large for the way to or from a backend elsewhere",
            Self::NotAnnounced => "dropped: a request on the segment for a VIP that this node does not answer for",
        }
    }
}
