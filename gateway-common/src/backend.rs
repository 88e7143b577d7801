//! A Pod's IP and port, as the datapath knows it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Address, Port, Protocol};

/// What `BACKENDS` holds for a backend id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Backend {
    /// The Pod's address; [`Address::UNSPECIFIED`] if the id is free.
    pub address: Address,
    /// Fingerprint of the Pod's UID, so that a Pod that inherits an address is another backend; 0 without a Pod.
    pub pod: u64,
    /// Counts up once when the backend is gone. Flows remember it; a flow with an older one is stale.
    pub generation: u32,
    /// The Pod's port.
    pub port: Port,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// 1 while the id is taken, 0 when it is free.
    pub taken: u8,
}
