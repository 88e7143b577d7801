//! IPv4, RFC 791 section 3.1.
//!
//! ```text
//!  0               1               2               3
//! +-------+-------+---------------+-------------------------------+
//! |version|  IHL  |    service    |         total length          |
//! +-------+-------+---------------+-----+-------------------------+
//! |        identification         |flags|    fragment offset      |
//! +---------------+---------------+-----+-------------------------+
//! |      TTL      |   protocol    |        header checksum        |
//! +---------------+---------------+-------------------------------+
//! |                        source address                         |
//! +---------------------------------------------------------------+
//! |                     destination address                       |
//! +---------------------------------------------------------------+
//! ```

use zerocopy::{FromBytes, Immutable, KnownLayout};

/// An IPv4 header without its options.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C, align(4))]
pub struct Ipv4Header {
    /// Version in the high, header length in words in the low four bits.
    pub version_length: u8,
    /// Type of service.
    pub service: u8,
    /// Length of header and payload.
    pub total_length: [u8; 2],
    /// Identification of a fragmented packet.
    pub identification: [u8; 2],
    /// Three flags and the fragment offset in eights of bytes.
    pub fragment: [u8; 2],
    /// Time to live.
    pub ttl: u8,
    /// What follows.
    pub protocol: u8,
    /// Checksum of the header alone.
    pub checksum: [u8; 2],
    /// Source address.
    pub source: [u8; 4],
    /// Destination address.
    pub destination: [u8; 4],
}

impl Ipv4Header {
    /// Where the time to live stands.
    pub const TTL: usize = 8;
    /// Where the checksum stands.
    pub const CHECKSUM: usize = 10;
    /// Where the source address stands.
    pub const SOURCE: usize = 12;
    /// Where the destination address stands.
    pub const DESTINATION: usize = 16;
    /// Length without options.
    pub const LENGTH: usize = 20;
    const MORE_FRAGMENTS_AND_OFFSET: u16 = 0x3fff;

    /// The length of the header with its options in bytes: 0 to 60, valid from 20.
    #[inline(always)]
    pub const fn length(&self) -> usize {
        (self.version_length & 0x0f) as usize * 4
    }

    /// Whether this is one of several fragments.
    #[inline(always)]
    pub const fn is_fragment(&self) -> bool {
        u16::from_be_bytes(self.fragment) & Self::MORE_FRAGMENTS_AND_OFFSET != 0
    }

    /// Whether the transport header is in here: in the whole packet or in its first fragment.
    #[inline(always)]
    pub const fn has_transport(&self) -> bool {
        u16::from_be_bytes(self.fragment) & 0x1fff == 0
    }
}
