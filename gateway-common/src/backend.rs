//! A Pod's IP and port, as the datapath knows it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Address, Port, Protocol};

/// What `BACKENDS` holds for a backend id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Backend {
    /// The Pod's address; [`Address::UNSPECIFIED`] if the id is free.
    pub address: Address,
    /// This node's address that packets to a Pod elsewhere bear as their source, as the host's routes have it;
    /// [`Address::UNSPECIFIED`] for a Pod of this node, and while there is no route.
    pub source: Address,
    /// Fingerprint of the Pod's UID, so that a Pod that inherits an address is another backend; 0 without a Pod.
    pub pod: u64,
    /// Counts up once when the backend is gone. Flows remember it; a flow with an older one is stale.
    pub generation: u32,
    /// The Pod's port.
    pub port: Port,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// See [`Backend::place`].
    pub place: u8,
}

impl Backend {
    /// Where the Pod runs; nothing if the id is free.
    #[inline(always)]
    pub const fn place(&self) -> Option<Place> {
        match self.place {
            1 => Some(Place::Here),
            2 => Some(Place::Elsewhere),
            _ => None,
        }
    }
}

/// Where a Pod runs, which decides how packets get there and back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Place {
    /// On this node, or behind it without another way back: the host routes, and the Pod sees the client's address.
    #[default]
    Here = 1,
    /// On another node or in another cluster: the Pod sees an address of this node, so that its replies come back here.
    Elsewhere = 2,
}
