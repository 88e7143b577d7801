//! A packet as a list of wishes, and its bytes with every length and checksum right.

use std::net::{IpAddr, SocketAddr};

use gateway_common::{Flow, Port, Protocol};

use super::checksum;

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

    /// Its bytes from the link-layer header on.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if !self.is_bare() {
            bytes.extend([0x02, 0, 0, 0, 0, 0xaa, 0x02, 0, 0, 0, 0, 0xbb]);
        }
        if let Link::Vlan(id) = self.link {
            bytes.extend([0x81, 0x00]);
            bytes.extend(id.to_be_bytes());
        }
        if !self.is_bare() {
            bytes.extend(if self.source.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] });
        }
        bytes.extend(self.ip_bytes());
        bytes
    }

    /// Its bytes from the IP header on.
    fn ip_bytes(&self) -> Vec<u8> {
        let mut content = self.content_bytes();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let length = 20 + self.options.len();
                let (offset, more) = self.fragment.unwrap_or_default();
                let dont_fragment = if self.fragment.is_none() { 0x4000 } else { 0 };
                let fragment = offset | u16::from(more) << 13 | dont_fragment;
                let mut bytes = vec![0x40 | (length / 4) as u8, 0];
                bytes.extend(((length + content.len()) as u16).to_be_bytes());
                bytes.extend([0x12, 0x34]);
                bytes.extend(fragment.to_be_bytes());
                bytes.extend([64, self.protocol(), 0, 0]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                bytes.extend(&self.options);
                let checksum = checksum::of(&bytes);
                bytes[10..12].copy_from_slice(&checksum);
                bytes.append(&mut content);
                bytes
            }
            (source, destination) => {
                let mut next = self.protocol();
                for extension in self.extensions.iter().rev() {
                    let header;
                    (next, header) = (extension.number(), extension.bytes(next));
                    content.splice(0..0, header);
                }
                let mut bytes = vec![0x60, 0x0a, 0xbc, 0xde];
                bytes.extend((content.len() as u16).to_be_bytes());
                bytes.extend([next, 64]);
                for address in [source, destination] {
                    bytes.extend(Self::v6_octets(address));
                }
                bytes.append(&mut content);
                bytes
            }
        }
    }

    fn v6_octets(address: IpAddr) -> [u8; 16] {
        match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        }
    }

    fn protocol(&self) -> u8 {
        match self.content {
            Content::Tcp { .. } => 6,
            Content::Udp { .. } => 17,
            Content::Icmp { .. } if self.source.is_ipv4() => 1,
            Content::Icmp { .. } => 58,
            Content::Other(protocol) => protocol,
        }
    }

    /// Where this fragment begins in the whole packet.
    fn fragment_offset(&self) -> u16 {
        let of_extension = self.extensions.iter().find_map(|extension| match extension {
            Extension::Fragment { offset, .. } => Some(*offset),
            _ => None,
        });
        self.fragment.map(|(offset, _)| offset).or(of_extension).unwrap_or(0)
    }

    fn content_bytes(&self) -> Vec<u8> {
        if self.fragment_offset() != 0 {
            return self.payload.clone();
        }
        let mut bytes = Vec::new();
        let checksum_at = match self.content {
            Content::Tcp { source, destination, flags } => {
                bytes.extend(source.to_be_bytes());
                bytes.extend(destination.to_be_bytes());
                bytes.extend([0x01, 0x02, 0x03, 0x04, 0x0a, 0x0b, 0x0c, 0x0d]);
                bytes.extend([0x50, flags, 0x20, 0x00, 0, 0, 0, 0]);
                Some(16)
            }
            Content::Udp { source, destination, has_checksum } => {
                bytes.extend(source.to_be_bytes());
                bytes.extend(destination.to_be_bytes());
                bytes.extend(((8 + self.payload.len()) as u16).to_be_bytes());
                bytes.extend([0, 0]);
                has_checksum.then_some(6)
            }
            Content::Icmp { kind, code, rest } => {
                bytes.extend([kind, code, 0, 0]);
                bytes.extend(rest);
                Some(2)
            }
            Content::Other(_) => None,
        };
        bytes.extend(&self.payload);
        if let Some(at) = checksum_at {
            let checksum = self.checksum(&bytes);
            bytes[at..at + 2].copy_from_slice(&checksum);
        }
        bytes
    }

    fn checksum(&self, bytes: &[u8]) -> [u8; 2] {
        if matches!(self.content, Content::Icmp { .. }) && self.source.is_ipv4() {
            return checksum::of(bytes);
        }
        match checksum::with_pseudo_header(self.source, self.destination, self.protocol(), bytes) {
            // 0 would mean "none" (RFC 768).
            [0, 0] if matches!(self.content, Content::Udp { .. }) => [0xff, 0xff],
            checksum => checksum,
        }
    }
}

impl Extension {
    const fn number(self) -> u8 {
        match self {
            Self::HopByHop => 0,
            Self::Routing => 43,
            Self::Fragment { .. } => 44,
            Self::Authentication => 51,
            Self::DestinationOptions => 60,
        }
    }

    fn bytes(self, next: u8) -> Vec<u8> {
        match self {
            Self::HopByHop => vec![next, 0, 1, 4, 0, 0, 0, 0],
            Self::Routing => vec![next, 0, 253, 0, 0, 0, 0, 0],
            Self::DestinationOptions => vec![next, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            Self::Authentication => {
                let mut bytes = vec![next, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
                bytes.extend([0xab; 12]);
                bytes
            }
            Self::Fragment { offset, more } => {
                let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
                vec![next, 0, high, low, 0, 0, 0, 9]
            }
        }
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
