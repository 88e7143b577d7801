//! A packet as a list of wishes, and its bytes with every length and checksum right.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use gateway_common::{Flow, Port, Protocol};

mod encode;

/// TCP flags (RFC 9293 section 3.1).
pub mod flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
}

/// An IPv6 extension header.
#[derive(Clone, Copy, Debug)]
pub enum Extension {
    /// Hop-by-hop options, eight bytes of padding.
    HopByHop,
    /// A routing header whose segments are all used up.
    Routing,
    /// Destination options, sixteen bytes of padding.
    DestinationOptions,
    /// Authentication, with twelve bytes of check value.
    Authentication,
    /// A fragment header; the offset is in eights of bytes.
    Fragment {
        /// Where in the whole packet this one belongs.
        offset: u16,
        /// Whether there is more.
        more: bool,
    },
}

#[derive(Clone, Copy, Debug)]
enum Link {
    Ethernet,
    Vlan(u16),
    None,
}

#[derive(Clone, Debug)]
enum Content {
    Tcp { source: u16, destination: u16, flags: u8 },
    Udp { source: u16, destination: u16, has_checksum: bool },
    Icmp { kind: u8, code: u8, rest: [u8; 4] },
    Other(u8),
}

/// A packet. Modifiers take it by value and give it back.
#[derive(Clone, Debug)]
pub struct Packet {
    link: Link,
    source: IpAddr,
    destination: IpAddr,
    options: Vec<u8>,
    extensions: Vec<Extension>,
    /// Fragment offset in eights of bytes, and whether there is more: of IPv4.
    fragment: Option<(u16, bool)>,
    content: Content,
    payload: Vec<u8>,
    hops: u8,
}

impl Packet {
    /// A TCP segment with ACK and nothing else.
    pub fn tcp(source: SocketAddr, destination: SocketAddr) -> Self {
        let content = Content::Tcp { source: source.port(), destination: destination.port(), flags: flags::ACK };
        Self::new(source.ip(), destination.ip(), content)
    }

    /// A TCP segment with SYN and nothing else.
    pub fn syn(source: SocketAddr, destination: SocketAddr) -> Self {
        Self::tcp(source, destination).flags(flags::SYN)
    }

    /// A UDP datagram.
    pub fn udp(source: SocketAddr, destination: SocketAddr) -> Self {
        let content = Content::Udp { source: source.port(), destination: destination.port(), has_checksum: true };
        Self::new(source.ip(), destination.ip(), content)
    }

    /// The first packet of a flow: SYN or a datagram.
    pub fn first(protocol: Protocol, source: SocketAddr, destination: SocketAddr) -> Self {
        if protocol == Protocol::TCP { Self::syn(source, destination) } else { Self::udp(source, destination) }
    }

    /// A later packet of a flow: ACK or a datagram.
    pub fn later(protocol: Protocol, source: SocketAddr, destination: SocketAddr) -> Self {
        if protocol == Protocol::TCP { Self::tcp(source, destination) } else { Self::udp(source, destination) }
    }

    /// A packet of a protocol of which nothing is known.
    pub fn other(source: IpAddr, destination: IpAddr, protocol: u8) -> Self {
        Self::new(source, destination, Content::Other(protocol)).payload(b"opaque")
    }

    /// An ICMP or ICMPv6 echo request.
    pub fn echo(source: IpAddr, destination: IpAddr) -> Self {
        let kind = if destination.is_ipv4() { 8 } else { 128 };
        Self::new(source, destination, Content::Icmp { kind, code: 0, rest: [0, 7, 0, 1] }).payload(b"echo")
    }

    /// "Fragmentation needed" or "packet too big", which quotes the first bytes of a packet, at most `quote_bytes`.
    pub fn too_big(source: IpAddr, destination: IpAddr, mtu: u16, quoted: &Self, quote_bytes: usize) -> Self {
        let (kind, code) = if destination.is_ipv4() { (3, 4) } else { (2, 0) };
        Self::error(source, destination, kind, code, u32::from(mtu).to_be_bytes(), quoted, quote_bytes)
    }

    /// "Time to live exceeded" or "hop limit exceeded", which quotes a whole packet.
    pub fn hop_limit(source: IpAddr, destination: IpAddr, quoted: &Self) -> Self {
        let kind = if destination.is_ipv4() { 11 } else { 3 };
        Self::error(source, destination, kind, 0, [0; 4], quoted, usize::MAX)
    }

    /// A neighbour solicitation.
    pub fn neighbour_solicitation(source: IpAddr, destination: IpAddr, target: Ipv6Addr) -> Self {
        let content = Content::Icmp { kind: 135, code: 0, rest: [0; 4] };
        Self::new(source, destination, content).payload(&target.octets())
    }

    /// "Port unreachable", which quotes a whole packet.
    pub fn unreachable(source: IpAddr, destination: IpAddr, quoted: &Self) -> Self {
        let (kind, code) = if destination.is_ipv4() { (3, 3) } else { (1, 4) };
        Self::error(source, destination, kind, code, [0; 4], quoted, usize::MAX)
    }

    fn error(
        source: IpAddr,
        destination: IpAddr,
        kind: u8,
        code: u8,
        rest: [u8; 4],
        quoted: &Self,
        quote_bytes: usize,
    ) -> Self {
        let mut quote = quoted.ip_bytes();
        quote.truncate(quote_bytes);
        Self::new(source, destination, Content::Icmp { kind, code, rest }).payload(&quote)
    }

    fn new(source: IpAddr, destination: IpAddr, content: Content) -> Self {
        Self {
            link: Link::Ethernet,
            source,
            destination,
            options: Vec::new(),
            extensions: Vec::new(),
            fragment: None,
            content,
            payload: Vec::new(),
            hops: 64,
        }
    }

    /// With other TCP flags.
    #[must_use]
    pub fn flags(mut self, new: u8) -> Self {
        if let Content::Tcp { flags, .. } = &mut self.content {
            *flags = new;
        }
        self
    }

    /// With a time to live or hop limit other than 64.
    #[must_use]
    pub fn hops(mut self, hops: u8) -> Self {
        self.hops = hops;
        self
    }

    /// With content behind the last header.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// With an 802.1Q tag.
    #[must_use]
    pub fn vlan(mut self, id: u16) -> Self {
        self.link = Link::Vlan(id);
        self
    }

    /// Without a link-layer header, as a tun device has it.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.link = Link::None;
        self
    }

    /// With IPv4 options: this many words of "no operation".
    #[must_use]
    pub fn options(mut self, words: usize) -> Self {
        self.options = vec![1; words * 4];
        self
    }

    /// With IPv6 extension headers.
    #[must_use]
    pub fn extensions(mut self, extensions: &[Extension]) -> Self {
        self.extensions = extensions.to_vec();
        self
    }

    /// As a fragment; the offset is in eights of bytes, and only the fragment at 0 has a transport header.
    #[must_use]
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        if self.source.is_ipv4() {
            self.fragment = Some((offset, more));
        } else {
            self.extensions.push(Extension::Fragment { offset, more });
        }
        self
    }

    /// UDP with 0 for a checksum: "none", which IPv4 allows.
    #[must_use]
    pub fn without_checksum(mut self) -> Self {
        if let Content::Udp { has_checksum, .. } = &mut self.content {
            *has_checksum = false;
        }
        self
    }

    /// The same packet from elsewhere to elsewhere. What has no ports takes the addresses alone.
    #[must_use]
    pub fn between(mut self, new_source: SocketAddr, new_destination: SocketAddr) -> Self {
        (self.source, self.destination) = (new_source.ip(), new_destination.ip());
        if let Content::Tcp { source, destination, .. } | Content::Udp { source, destination, .. } = &mut self.content {
            (*source, *destination) = (new_source.port(), new_destination.port());
        }
        self
    }

    /// The flow of packets of a protocol from one socket to another.
    pub fn flow(protocol: Protocol, source: SocketAddr, destination: SocketAddr) -> Flow {
        Flow {
            source: source.ip().into(),
            destination: destination.ip().into(),
            source_port: Port::new(source.port()),
            destination_port: Port::new(destination.port()),
            protocol,
            _reserved: [0; 3],
        }
    }

    /// Whether it begins with the IP header.
    pub fn is_bare(&self) -> bool {
        matches!(self.link, Link::None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::verify;
    use super::*;

    fn socket(text: &str) -> SocketAddr {
        text.parse().expect("a socket address")
    }

    #[test]
    fn everything_that_is_built_has_right_checksums() {
        let v4 = (socket("192.0.2.1:4000"), socket("203.0.113.1:80"));
        let v6 = (socket("[2001:db8::1]:4000"), socket("[2001:db8::2]:80"));
        let extensions = [Extension::HopByHop, Extension::Authentication, Extension::DestinationOptions];
        let mut packets = vec![
            Packet::syn(v4.0, v4.1).options(3),
            Packet::udp(v4.0, v4.1).without_checksum(),
            Packet::tcp(v6.0, v6.1).extensions(&extensions).payload(b"odd"),
        ];
        for (source, destination) in [v4, v6] {
            let udp = Packet::udp(source, destination).payload(b"datagram").vlan(7);
            packets.push(Packet::echo(source.ip(), destination.ip()));
            packets.push(Packet::too_big(source.ip(), destination.ip(), 1400, &udp, usize::MAX));
            packets.push(Packet::unreachable(source.ip(), destination.ip(), &udp));
            packets.push(udp);
        }

        for packet in packets {
            verify(&packet.bytes()).unwrap_or_else(|error| panic!("{packet:?}: {error:#}"));
        }
    }
}
