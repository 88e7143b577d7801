//! What clients reach: a VIP, a port and a protocol.

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Address, Flow, Port, Protocol, Settings};

/// A frontend's identity: the key of `FRONTENDS`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FrontendKey {
    /// The VIP.
    pub address: Address,
    /// The port clients connect to.
    pub port: Port,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Always zero: it is part of the key.
    pub _reserved: u8,
}

impl FrontendKey {
    /// The key for these three.
    #[inline(always)]
    pub const fn new(address: Address, port: Port, protocol: Protocol) -> Self {
        Self { address, port, protocol, _reserved: 0 }
    }

    /// The frontend that a flow of a client reaches.
    #[inline(always)]
    pub const fn of(flow: &Flow) -> Self {
        Self::new(flow.destination, flow.destination_port, flow.protocol)
    }
}

impl fmt::Display for FrontendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = core::net::SocketAddr::new(self.address.to_ip(), self.port.get());
        write!(f, "{} {socket}", self.protocol)
    }
}

impl fmt::Debug for FrontendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What `FRONTENDS` holds for a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Frontend {
    /// The frontend's id: the index of its service and counters.
    pub id: u32,
    /// See [`Frontend::is_steered`].
    pub flags: u32,
}

impl Frontend {
    const STEERED: u32 = 1;

    /// One whose connections are given backends by the datapath.
    pub const fn balanced(id: u32) -> Self {
        Self { id, flags: 0 }
    }

    /// One whose TCP connections a listener of this host takes: see [`Frontend::is_steered`].
    pub const fn steered(id: u32) -> Self {
        Self { id, flags: Self::STEERED }
    }

    /// Whether the guard hands its TCP connections to a socket of `LISTENERS`, instead of the datapath giving them backends.
    #[inline(always)]
    pub const fn is_steered(&self) -> bool {
        self.flags & Self::STEERED != 0
    }
}

/// What `VIPS` holds for an address: the set of addresses that expose nothing but their frontends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Vip {
    /// How many frontends the address has; 0 while it only waits for old flows to end.
    pub frontends: u32,
    /// Whether this node answers who asks the segment for the address (ARP, NDP), for as long as
    /// [`Settings::answers_until_ns`](crate::Settings::answers_until_ns) says: 1 if so, 0 if such a request is dropped
    /// here because another node answers or the network routes.
    pub answers: u32,
    /// The node that answered before, while connections of then may run on there:
    /// [`Address::UNSPECIFIED`] if there is none. Whoever answers sends TCP segments of no known flow on to it.
    pub relay: Address,
}

impl Vip {
    /// Whether a request for the address is answered here, now.
    #[inline(always)]
    pub const fn is_answered(&self, now_ns: u64, settings: &Settings) -> bool {
        self.answers != 0 && now_ns < settings.answers_until_ns
    }

    /// The node that may know the flow of a TCP segment which no flow is known of here.
    #[inline(always)]
    pub const fn relay(&self) -> Option<Address> {
        if self.answers != 0 && self.relay.difference(&Address::UNSPECIFIED) != 0 { Some(self.relay) } else { None }
    }
}
