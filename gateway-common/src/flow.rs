//! The 5-tuple of a packet as it stands on the wire.

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Address, Port, Protocol};

/// A flow's 5-tuple: the key of `CONNTRACK`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Flow {
    /// Who sent the packet.
    pub source: Address,
    /// Whom it is for.
    pub destination: Address,
    /// The sender's port.
    pub source_port: Port,
    /// The receiver's port.
    pub destination_port: Port,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Always zero: it is part of the key.
    pub _reserved: [u8; 3],
}

impl Flow {
    /// The flow of the packets that answer this one.
    #[inline(always)]
    pub const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
            _reserved: [0; 3],
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = core::net::SocketAddr::new(self.source.to_ip(), self.source_port.get());
        let destination = core::net::SocketAddr::new(self.destination.to_ip(), self.destination_port.get());
        write!(f, "{} {source} -> {destination}", self.protocol)
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
