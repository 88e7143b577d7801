//! Addresses, ports and protocols as they lie in map keys and values.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An IPv6 address, or an IPv4 address in its v4-mapped form (`::ffff:a.b.c.d`, RFC 4291 section 2.5.5.2).
///
/// Network byte order. Aligned to four bytes, so that the datapath copies and hashes it in words.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4))]
pub struct Address {
    octets: [u8; 16],
}

impl Address {
    /// `::`, which stands for "none" in a free backend entry.
    pub const UNSPECIFIED: Self = Self { octets: [0; 16] };

    /// The v4-mapped form of four octets in network order.
    #[inline(always)]
    pub const fn from_v4(octets: [u8; 4]) -> Self {
        let [a, b, c, d] = octets;
        Self { octets: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] }
    }

    /// Sixteen octets in network order.
    #[inline(always)]
    pub const fn from_v6(octets: [u8; 16]) -> Self {
        Self { octets }
    }

    /// The sixteen octets in network order.
    #[inline(always)]
    pub const fn octets(&self) -> &[u8; 16] {
        &self.octets
    }

    /// The last four octets: the IPv4 address of a v4-mapped one.
    #[inline(always)]
    pub const fn v4_octets(&self) -> [u8; 4] {
        let [.., a, b, c, d] = self.octets;
        [a, b, c, d]
    }

    /// The bits in which two addresses differ, all words together; 0 if they are the same.
    #[inline(always)]
    pub const fn difference(&self, other: &Self) -> u32 {
        let (these, those) = (self.words(), other.words());
        (these[0] ^ those[0]) | (these[1] ^ those[1]) | (these[2] ^ those[2]) | (these[3] ^ those[3])
    }

    /// Whether it is the v4-mapped form of an IPv4 address.
    #[inline(always)]
    pub const fn is_v4_mapped(&self) -> bool {
        let [first, second, third, _] = self.words();
        first | second | (third ^ u32::from_ne_bytes([0, 0, 0xff, 0xff])) == 0
    }

    /// The address as four words, each holding its octets as they lie in memory.
    #[inline(always)]
    pub const fn words(&self) -> [u32; 4] {
        let o = &self.octets;
        [
            u32::from_ne_bytes([o[0], o[1], o[2], o[3]]),
            u32::from_ne_bytes([o[4], o[5], o[6], o[7]]),
            u32::from_ne_bytes([o[8], o[9], o[10], o[11]]),
            u32::from_ne_bytes([o[12], o[13], o[14], o[15]]),
        ]
    }

    /// The address in the form people and sockets use.
    pub const fn to_ip(&self) -> IpAddr {
        let address = Ipv6Addr::from_octets(self.octets);
        match address.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6(address),
        }
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => v6.into(),
        }
    }
}

impl From<Ipv4Addr> for Address {
    fn from(ip: Ipv4Addr) -> Self {
        Self::from_v4(ip.octets())
    }
}

impl From<Ipv6Addr> for Address {
    fn from(ip: Ipv6Addr) -> Self {
        Self::from_v6(ip.octets())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_ip().fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_ip().fmt(f)
    }
}

/// A TCP or UDP port. Network byte order inside, host order through [`Port::get`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(2))]
pub struct Port {
    network: [u8; 2],
}

impl Port {
    /// From a number in host order.
    #[inline(always)]
    pub const fn new(port: u16) -> Self {
        Self { network: port.to_be_bytes() }
    }

    /// From the two octets of a header.
    #[inline(always)]
    pub const fn from_network(network: [u8; 2]) -> Self {
        Self { network }
    }

    /// The number in host order.
    #[inline(always)]
    pub const fn get(self) -> u16 {
        u16::from_be_bytes(self.network)
    }

    /// The two octets as they stand in a header.
    #[inline(always)]
    pub const fn network(self) -> [u8; 2] {
        self.network
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// An IP protocol number (IANA "Assigned Internet Protocol Numbers").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Protocol {
    number: u8,
}

impl Protocol {
    /// ICMP for IPv4.
    pub const ICMP: Self = Self::new(1);
    /// TCP.
    pub const TCP: Self = Self::new(6);
    /// UDP.
    pub const UDP: Self = Self::new(17);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Self::new(58);

    /// From the number in an IP header.
    #[inline(always)]
    pub const fn new(number: u8) -> Self {
        Self { number }
    }

    /// The number in an IP header.
    #[inline(always)]
    pub const fn number(self) -> u8 {
        self.number
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TCP => f.write_str("TCP"),
            Self::UDP => f.write_str("UDP"),
            Self::ICMP => f.write_str("ICMP"),
            Self::ICMPV6 => f.write_str("ICMPv6"),
            Self { number } => write!(f, "protocol {number}"),
        }
    }
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
