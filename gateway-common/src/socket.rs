//! What is remembered of a socket that was given a backend instead of the VIP it asked for.
//!
//! The socket's packets bear the backend's address from the first one on, so nothing here is needed to move them. It is
//! needed to call the backend by the VIP's name where the socket's owner looks, and to keep a socket's datagrams together.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Address, Direction, Port};

/// One of the two sides from which a socket's peer is looked at: the key of `SOCKETS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SocketKey {
    /// The kernel's number for the socket, never given twice.
    pub cookie: u64,
    /// The VIP (forward) or the backend's address (reverse).
    pub address: Address,
    /// The port there.
    pub port: Port,
    /// A [`Direction`]: *forward* finds the backend of a VIP, *reverse* the VIP of a backend.
    pub direction: u8,
    /// Always zero: it is part of the key.
    pub _reserved: [u8; 5],
}

impl SocketKey {
    /// The key for a peer of a socket.
    #[inline(always)]
    pub const fn new(cookie: u64, address: Address, port: Port, direction: Direction) -> Self {
        Self { cookie, address, port, direction: direction as u8, _reserved: [0; 5] }
    }
}

/// What `SOCKETS` holds for a peer of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SocketEntry {
    /// When the socket last sent a datagram to the VIP or was connected: nanoseconds of the monotonic clock, coarse.
    pub last_seen_ns: u64,
    /// What the key's address stands for: the backend's address (forward) or the VIP (reverse).
    pub address: Address,
    /// The port there.
    pub port: Port,
    /// Always zero.
    pub _reserved: [u8; 2],
    /// The backend's id.
    pub backend: u32,
    /// The backend's generation when it was selected; another one there now means the backend is gone.
    pub generation: u32,
    /// Id of the frontend that the socket came by.
    pub frontend: u32,
}
