//! What is known of a frontend's clients: which ranges are let in, and which backend a client was given last.

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Address;

/// A client as one frontend sees it: the key of `AFFINITY`, and what is looked up in `SOURCES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Client {
    /// The frontend's id.
    pub frontend: u32,
    /// The client's address.
    pub address: Address,
}

impl Client {
    /// A client that is known by its network namespace: a Pod, or the node itself. A socket that connects has no address
    /// yet, and which one it will have depends on the backend. No packet comes from the address that stands for it.
    #[inline(always)]
    pub const fn of_namespace(frontend: u32, cookie: u64) -> Self {
        const MULTICAST: u128 = 0xffff << 112;
        Self { frontend, address: Address::from_v6((MULTICAST | cookie as u128).to_be_bytes()) }
    }
}

/// What `AFFINITY` holds for a client: the backend that its last new connection was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Affinity {
    /// When its last new connection began: nanoseconds of the monotonic clock, coarse.
    pub last_seen_ns: u64,
    /// The backend's id.
    pub backend: u32,
    /// The backend's generation then; another one there now means the backend is gone.
    pub generation: u32,
}

/// A range of clients that a frontend lets in: the key of `SOURCES`, which finds the longest range that a client is in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SourceRange {
    /// How many bits of what follows count, those of the frontend's id included.
    pub prefix_bits: u32,
    /// The frontend, and the range's first address.
    pub first: Client,
}

impl SourceRange {
    /// Bits of a frontend's id, which all count always.
    const FRONTEND_BITS: u32 = u32::BITS;
    /// Bits of an address before those of a v4-mapped one.
    const V4_MAPPED_BITS: u32 = 96;
    /// The prefix of one client alone.
    pub const CLIENT_BITS: u32 = Self::FRONTEND_BITS + 128;

    /// The range of a frontend that begins at `first` and whose addresses have `bits` bits in common, counted as
    /// people do: 0 to 32 of IPv4, 0 to 128 of IPv6.
    pub const fn new(frontend: u32, first: Address, bits: u8) -> Self {
        let before = if first.is_v4_mapped() { Self::V4_MAPPED_BITS } else { 0 };
        let prefix_bits = Self::FRONTEND_BITS + before + bits as u32;
        Self { prefix_bits, first: Client { frontend, address: first } }
    }

    /// The bits its addresses have in common, counted as people do.
    pub const fn bits(&self) -> u32 {
        let before = if self.first.address.is_v4_mapped() { Self::V4_MAPPED_BITS } else { 0 };
        self.prefix_bits.saturating_sub(Self::FRONTEND_BITS + before)
    }
}

impl fmt::Display for SourceRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first.address, self.bits())
    }
}

impl fmt::Debug for SourceRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} of frontend {}", self.first.frontend)
    }
}

/// What `SOURCES` holds for a range: nothing but that it is there, for which the kernel wants a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Admitted {
    /// Always zero.
    pub _reserved: u32,
}

impl Admitted {
    /// The only value.
    pub const YES: Self = Self { _reserved: 0 };
}
