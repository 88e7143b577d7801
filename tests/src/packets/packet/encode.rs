//! From wishes to bytes: headers outside in, lengths and checksums last.

use std::net::IpAddr;

use super::{Content, Extension, Link, Packet};
use crate::packets::checksum;

impl Packet {
    /// Its bytes from the link-layer header on.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if !self.is_bare() {
            // To the loopback device, on which test runs receive: a frame to another host would pass.
            bytes.extend([0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0xbb]);
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
    pub(super) fn ip_bytes(&self) -> Vec<u8> {
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
                bytes.extend([self.hops, self.protocol(), 0, 0]);
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
                bytes.extend([next, self.hops]);
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
