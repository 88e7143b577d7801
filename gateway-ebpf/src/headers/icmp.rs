//! ICMP (RFC 792) and ICMPv6 (RFC 4443): the eight bytes before what an error quotes.

use zerocopy::{FromBytes, Immutable, KnownLayout};

/// An ICMP header; both versions begin alike.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C, align(4))]
pub struct IcmpHeader {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Checksum; ICMPv6's covers a pseudo-header too.
    pub checksum: [u8; 2],
    /// Depends on the type: here the next hop's MTU.
    pub rest: [u8; 4],
}

impl IcmpHeader {
    /// Where the checksum stands.
    pub const CHECKSUM: usize = 2;
    /// Where the quoted packet begins.
    pub const LENGTH: usize = 8;

    /// ICMP "fragmentation needed and DF set" (RFC 1191 section 4).
    #[inline(always)]
    pub const fn is_fragmentation_needed(&self) -> bool {
        self.kind == 3 && self.code == 4
    }

    /// ICMPv6 neighbour solicitation (RFC 4861 section 4.3).
    #[inline(always)]
    pub const fn is_neighbour_solicitation(&self) -> bool {
        self.kind == 135 && self.code == 0
    }

    /// ICMPv6 "packet too big" (RFC 4443 section 3.2).
    #[inline(always)]
    pub const fn is_packet_too_big(&self) -> bool {
        self.kind == 2
    }
}
