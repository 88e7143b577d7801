//! What asks a segment for an address: ARP (RFC 826) and the neighbour solicitation of IPv6 (RFC 4861 section 4.3).
//!
//! ```text
//!  ARP  0                   2                   4         5         6
//!      +-------------------+-------------------+---------+---------+-------------------+
//!      |  hardware: 1      |  protocol: IPv4   |    6    |    4    |  operation        |
//!      +-------------------+-------------------+---------+---------+-------------------+
//!      |  sender: MAC and IPv4 address         |  target: MAC and IPv4 address         |
//!      +---------------------------------------+---------------------------------------+
//!  NS  |  ICMPv6 header of type 135            |  target: IPv6 address                 |
//!      +---------------------------------------+---------------------------------------+
//! ```

use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::IcmpHeader;

/// An ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C, align(2))]
pub struct ArpPacket {
    /// Hardware and protocol, and how long their addresses are.
    pub kind: [u8; 6],
    /// 1 for a request.
    pub operation: [u8; 2],
    /// MAC and IPv4 address of the sender.
    pub sender: [u8; 10],
    /// MAC address of the target, as far as it is known.
    pub target_mac: [u8; 6],
    /// IPv4 address of the target.
    pub target: [u8; 4],
}

impl ArpPacket {
    /// Whether it asks for an IPv4 address.
    #[inline(always)]
    pub const fn is_request(&self) -> bool {
        matches!((self.kind, self.operation), ([0, 1, 8, 0, 6, 4], [0, 1]))
    }
}

/// A neighbour solicitation without its options.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C, align(4))]
pub struct NeighbourSolicitation {
    /// The header of every ICMPv6 message.
    pub icmp: IcmpHeader,
    /// The address that is asked for.
    pub target: [u8; 16],
}
