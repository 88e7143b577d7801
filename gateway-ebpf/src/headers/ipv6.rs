//! IPv6, RFC 8200 section 3, and its extension headers, section 4.
//!
//! ```text
//!  0               1               2               3
//! +-------+---------------+---------------------------------------+
//! |version| traffic class |              flow label               |
//! +-------+---------------+-------+---------------+---------------+
//! |        payload length         |  next header  |   hop limit   |
//! +-------------------------------+---------------+---------------+
//! |                    source address (16 bytes)                  |
//! +---------------------------------------------------------------+
//! |                 destination address (16 bytes)                |
//! +---------------------------------------------------------------+
//! ```

use zerocopy::{FromBytes, Immutable, KnownLayout};

/// An IPv6 header.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C, align(4))]
pub struct Ipv6Header {
    /// Version, traffic class and flow label.
    pub version_class_label: [u8; 4],
    /// Length of what follows.
    pub payload_length: [u8; 2],
    /// Which header follows.
    pub next_header: u8,
    /// Hops left.
    pub hop_limit: u8,
    /// Source address.
    pub source: [u8; 16],
    /// Destination address.
    pub destination: [u8; 16],
}

impl Ipv6Header {
    /// Where the hop limit stands.
    pub const HOP_LIMIT: usize = 7;
    /// Where the source address stands.
    pub const SOURCE: usize = 8;
    /// Where the destination address stands.
    pub const DESTINATION: usize = 24;
    /// The header's length.
    pub const LENGTH: usize = 40;
}

/// The numbers of the extension headers that are skipped.
pub struct Ipv6Extension;

impl Ipv6Extension {
    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// Routing.
    pub const ROUTING: u8 = 43;
    /// Fragment: [`FragmentHeader`].
    pub const FRAGMENT: u8 = 44;
    /// Authentication (RFC 4302); its length counts words, the others' eights of bytes.
    pub const AUTHENTICATION: u8 = 51;
    /// Destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// The fragment header, RFC 8200 section 4.5; every other extension header is at least as long and begins alike,
/// with the length of what exceeds eight bytes in the second.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C, align(4))]
pub struct FragmentHeader {
    /// Which header follows.
    pub next_header: u8,
    /// Zero in a fragment header; in others the length beyond eight bytes, in units that depend on the header.
    pub length: u8,
    /// Fragment offset in eights of bytes, two reserved bits, "more fragments".
    pub offset_more: [u8; 2],
    /// Identification of a fragmented packet.
    pub identification: [u8; 4],
}

impl FragmentHeader {
    /// Whether this is one of several fragments; an "atomic" fragment (RFC 6946) is a whole packet.
    #[inline(always)]
    pub const fn is_fragment(&self) -> bool {
        u16::from_be_bytes(self.offset_more) & 0xfff9 != 0
    }

    /// Whether the transport header is in here: in the whole packet or in its first fragment.
    #[inline(always)]
    pub const fn has_transport(&self) -> bool {
        u16::from_be_bytes(self.offset_more) & 0xfff8 == 0
    }
}
