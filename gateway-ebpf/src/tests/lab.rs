//! Packets as bytes with true checksums, and a node that receives and sends them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use gateway_common::{Address, DropReason, Flow, Port, Protocol, Settings};

use super::memory::Memory;
use crate::checksum::{Difference, full};
use crate::headers::{Ipv4Header, Ipv6Header, checksum_offset};
use crate::parse::{Family, Headers, LinkHeader};
use crate::quoted::Quote;
use crate::verdict::{Shortage, Verdict};
use crate::{collect, egress, icmp, ingress, packet};

pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const ETHERNET: usize = 14;
const VIP_PORT: u16 = 8000;

pub fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn of(family: Family, v4: &str, v6: &str) -> Address {
    match family {
        Family::V4 => address(v4),
        Family::V6 => address(v6),
    }
}

pub fn client(family: Family) -> Address {
    of(family, "198.51.100.7", "2001:db8:c::7")
}

pub fn vip(family: Family) -> Address {
    of(family, "203.0.113.1", "2001:db8:f::1")
}

pub fn router(family: Family) -> Address {
    of(family, "198.51.100.254", "2001:db8:c::fe")
}

/// The node, as Pods elsewhere see it.
pub fn node(family: Family) -> Address {
    of(family, "192.0.2.9", "2001:db8:9::9")
}

pub fn pod(family: Family, index: usize) -> Address {
    of(family, &format!("10.1.0.{}", 10 + index), &format!("fd00:10:1::{:x}", 16 + index))
}

/// A frame with Ethernet header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    bytes: Vec<u8>,
    flow: Flow,
}

impl Packet {
    pub fn tcp(source: Address, source_port: u16, destination: Address, destination_port: u16, flags: &str) -> Self {
        let mut header = [0u8; 20];
        header[12] = 5 << 4;
        header[13] = flags
            .chars()
            .map(|flag| match flag {
                'F' => 1,
                'S' => 2,
                'R' => 4,
                _ => 16,
            })
            .sum();
        Self::with_ports(Protocol::TCP, (source, source_port), (destination, destination_port), &header)
    }

    pub fn udp(source: Address, source_port: u16, destination: Address, destination_port: u16) -> Self {
        Self::with_ports(
            Protocol::UDP,
            (source, source_port),
            (destination, destination_port),
            &[0, 0, 0, 0, 0, 8, 0, 0],
        )
    }

    pub fn other(source: Address, destination: Address) -> Self {
        Self::build(flow(Protocol::new(132), (source, 0), (destination, 0)), &[0; 24])
    }

    pub fn fragment(source: Address, destination: Address) -> Self {
        let mut packet = Self::udp(source, 1, destination, VIP_PORT);
        packet.bytes[ETHERNET + 6] = 0x20;
        packet
    }

    /// An ICMP error of a path that is too small, which quotes the first eight bytes after the IP header.
    pub fn too_big(source: Address, destination: Address, quoted: &Flow) -> Self {
        let quoted = Self::with_ports(
            quoted.protocol,
            (quoted.source, quoted.source_port.get()),
            (quoted.destination, quoted.destination_port.get()),
            &[0; 8],
        );
        let (protocol, start) = match quoted.family() {
            Family::V4 => (Protocol::ICMP, [3, 4, 0, 0, 0, 0, 5, 0x78]),
            Family::V6 => (Protocol::ICMPV6, [2, 0, 0, 0, 0, 0, 5, 0x78]),
        };
        let body: Vec<u8> = start.iter().chain(&quoted.bytes[ETHERNET..]).copied().collect();
        Self::build(flow(protocol, (source, 0), (destination, 0)), &body)
    }

    fn with_ports(protocol: Protocol, source: (Address, u16), destination: (Address, u16), header: &[u8]) -> Self {
        let mut header = header.to_vec();
        header[0..2].copy_from_slice(&source.1.to_be_bytes());
        header[2..4].copy_from_slice(&destination.1.to_be_bytes());
        Self::build(flow(protocol, source, destination), &header)
    }

    fn build(flow: Flow, body: &[u8]) -> Self {
        let mut bytes = vec![2u8; ETHERNET];
        match flow.source.to_ip() {
            IpAddr::V4(_) => {
                bytes[12..].copy_from_slice(&[0x08, 0x00]);
                bytes.extend([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, flow.protocol.number(), 0, 0]);
                bytes.extend(flow.source.v4_octets());
                bytes.extend(flow.destination.v4_octets());
            }
            IpAddr::V6(_) => {
                bytes[12..].copy_from_slice(&[0x86, 0xdd]);
                bytes.extend([0x60, 0, 0, 0, 0, 0, flow.protocol.number(), 64]);
                bytes.extend(flow.source.octets());
                bytes.extend(flow.destination.octets());
            }
        }
        bytes.extend(body);
        let mut packet = Self { bytes, flow };
        packet.seal();
        packet
    }

    /// The same with this payload.
    pub fn carrying(mut self, payload: &[u8]) -> Self {
        self.bytes.extend(payload);
        self.seal();
        self
    }

    /// What the other side would answer with the same payload and flags.
    pub fn answer(&self) -> Self {
        let body = self.bytes[self.transport()..].to_vec();
        let flow = self.flow.reversed();
        let ports = (flow.source_port.get(), flow.destination_port.get());
        Self::with_ports(flow.protocol, (flow.source, ports.0), (flow.destination, ports.1), &body)
    }

    /// The same addresses, v4-mapped, in an IPv6 header.
    pub fn in_ipv6(&self) -> Self {
        let mut bytes = self.bytes[..ETHERNET - 2].to_vec();
        bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, self.flow.protocol.number(), 64]);
        bytes.extend(self.flow.source.octets());
        bytes.extend(self.flow.destination.octets());
        bytes.extend(&self.bytes[self.transport()..]);
        let mut packet = Self { bytes, flow: self.flow };
        packet.seal();
        packet
    }

    /// The same behind IPv6 destination options, each of this many times eight bytes beyond the first eight.
    pub fn behind_extensions(&self, count: usize, units: u8) -> Self {
        const DESTINATION_OPTIONS: u8 = 60;
        let mut bytes = self.bytes[..self.transport()].to_vec();
        bytes[ETHERNET + 6] = DESTINATION_OPTIONS;
        for left in (0..count).rev() {
            let next = if left == 0 { self.flow.protocol.number() } else { DESTINATION_OPTIONS };
            bytes.extend([next, units]);
            bytes.resize(bytes.len() + 6 + usize::from(units) * 8, 0);
        }
        bytes.extend(&self.bytes[self.transport()..]);
        Self { bytes, flow: self.flow }
    }

    pub fn truncated(&self, length: usize) -> Self {
        Self { bytes: self.bytes[..length].to_vec(), flow: self.flow }
    }

    /// Any frame.
    pub fn raw(bytes: Vec<u8>) -> Self {
        Self { bytes, flow: flow(Protocol::new(0), (Address::UNSPECIFIED, 0), (Address::UNSPECIFIED, 0)) }
    }

    /// An ICMPv6 message.
    pub fn icmp_v6(source: Address, destination: Address, message: &[u8]) -> Self {
        Self::build(flow(Protocol::ICMPV6, (source, 0), (destination, 0)), message)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn flow(&self) -> Flow {
        self.flow
    }

    fn family(&self) -> Family {
        if self.bytes[12] == 0x08 { Family::V4 } else { Family::V6 }
    }

    fn transport(&self) -> usize {
        ETHERNET
            + match self.family() {
                Family::V4 => Ipv4Header::LENGTH,
                Family::V6 => Ipv6Header::LENGTH,
            }
    }

    fn seal(&mut self) {
        if self.family() == Family::V4 {
            let at = ETHERNET + Ipv4Header::CHECKSUM;
            self.bytes[at..at + 2].fill(0);
            let sum = full(&self.bytes[ETHERNET..self.transport()], 0);
            self.bytes[at..at + 2].copy_from_slice(&sum);
        }
        let at = self.transport() + checksum_offset(self.flow.protocol);
        if matches!(self.flow.protocol, Protocol::TCP | Protocol::UDP) && self.bytes.len() >= at + 2 {
            self.bytes[at..at + 2].fill(0);
            let sum = self.transport_checksum();
            self.bytes[at..at + 2].copy_from_slice(&sum);
        }
    }

    /// The checksum of pseudo-header and transport; zero if the one that is there is right.
    fn transport_checksum(&self) -> [u8; 2] {
        let body = &self.bytes[self.transport()..];
        let addresses = match self.family() {
            Family::V4 => &self.bytes[ETHERNET + 12..ETHERNET + 20],
            Family::V6 => &self.bytes[ETHERNET + 8..ETHERNET + 40],
        };
        let pseudo: Vec<u8> = addresses
            .iter()
            .copied()
            .chain((body.len() as u32).to_be_bytes())
            .chain([0, self.flow.protocol.number()])
            .collect();
        let pseudo = u64::from(!u16::from_ne_bytes(full(&pseudo, 0)));
        full(body, pseudo)
    }

    pub fn checksums_are_valid(&self) -> bool {
        let header = self.family() == Family::V6 || full(&self.bytes[ETHERNET..self.transport()], 0) == [0, 0];
        header && self.transport_checksum() == [0, 0]
    }
}

fn flow(protocol: Protocol, source: (Address, u16), destination: (Address, u16)) -> Flow {
    Flow {
        source: source.0,
        destination: destination.0,
        source_port: Port::new(source.1),
        destination_port: Port::new(destination.1),
        protocol,
        _reserved: [0; 3],
    }
}

/// What became of a packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    Passed,
    Icmp,
    Forwarded(Packet),
    Redirected(Packet),
    /// As it was, to this node.
    Relayed(Address),
    Refused(DropReason),
    Dropped(DropReason),
    Truncated(Shortage),
}

impl Seen {
    /// Which Pod a packet was forwarded to.
    pub fn backend(&self, family: Family) -> usize {
        let (Self::Forwarded(packet) | Self::Redirected(packet)) = self else { panic!("not taken on but {self:?}") };
        (0..8).find(|index| pod(family, *index) == packet.flow.destination).expect("a Pod")
    }
}

pub fn tally(backends: &[usize]) -> Vec<usize> {
    let mut tally = vec![0; backends.iter().max().map_or(0, |max| max + 1)];
    for backend in backends {
        tally[*backend] += 1;
    }
    tally
}

/// A node with one service.
pub struct Lab {
    pub tables: Memory,
    refused: RefCell<BTreeMap<u32, usize>>,
    family: Family,
}

impl Lab {
    pub fn with_backends(family: Family, weights: &[u32]) -> Self {
        Self::with_groups(family, &[(1, weights)])
    }

    pub fn with_groups(family: Family, groups: &[(u32, &[u32])]) -> Self {
        let count = groups.iter().map(|(_, weights)| weights.len()).sum();
        let pods: Vec<Address> = (0..count).map(|index| pod(family, index)).collect();
        Self { tables: Memory::new(vip(family), VIP_PORT, &pods, groups), refused: RefCell::default(), family }
    }

    pub fn receive(&self, sent: &Packet) -> Seen {
        let mut headers = Headers::new();
        let verdict = ingress(&packet::Packet::new(&sent.bytes), LinkHeader::Ethernet, &mut headers, &self.tables);
        self.apply(sent, &verdict)
    }

    pub fn send(&self, sent: &Packet) -> Seen {
        let mut headers = Headers::new();
        let verdict = egress(&packet::Packet::new(&sent.bytes), LinkHeader::Ethernet, &mut headers, &self.tables);
        self.apply(sent, &verdict)
    }

    /// Applies a rewrite to bytes, with the arithmetic of RFC 1624.
    fn apply(&self, sent: &Packet, verdict: &Verdict) -> Seen {
        let rewrite = match verdict {
            Verdict::Forward(rewrite) | Verdict::Redirect(rewrite) => rewrite,
            Verdict::Pass => return Seen::Passed,
            Verdict::Relay(_, node) => return Seen::Relayed(*node),
            Verdict::Icmp => return Seen::Icmp,
            Verdict::Refuse(reason) => {
                *self.refused.borrow_mut().entry(*reason as u32).or_default() += 1;
                return Seen::Refused(*reason);
            }
            Verdict::Drop(reason) => return Seen::Dropped(*reason),
            Verdict::Truncated(shortage) => return Seen::Truncated(*shortage),
        };
        let mut bytes = sent.bytes.clone();
        let mut change = |at: usize, difference: Difference| {
            let new = difference.apply_to([bytes[at], bytes[at + 1]]);
            bytes[at..at + 2].copy_from_slice(&new);
        };
        let (network, transport) = (rewrite.headers.network_offset(), rewrite.headers.transport_offset());
        let ports = Difference::of(rewrite.old_ports(), rewrite.new_ports());
        change(transport + checksum_offset(sent.flow.protocol), rewrite.addresses().plus(ports));
        if sent.family() == Family::V4 {
            change(network + Ipv4Header::CHECKSUM, rewrite.addresses());
        }
        let (source, destination) = (&rewrite.entry.source, &rewrite.entry.destination);
        match sent.family() {
            Family::V4 => {
                bytes[network + 12..network + 16].copy_from_slice(&source.v4_octets());
                bytes[network + 16..network + 20].copy_from_slice(&destination.v4_octets());
            }
            Family::V6 => {
                bytes[network + 8..network + 24].copy_from_slice(source.octets());
                bytes[network + 24..network + 40].copy_from_slice(destination.octets());
            }
        }
        bytes[transport..transport + 4].copy_from_slice(&rewrite.new_ports().to_ne_bytes());
        let flow = rewrite.entry.twin(sent.flow.protocol).reversed();
        let packet = Packet { bytes, flow };
        if matches!(verdict, Verdict::Redirect(_)) { Seen::Redirected(packet) } else { Seen::Forwarded(packet) }
    }

    /// What an ICMP error says after translation: to whom, and about which flow.
    pub fn icmp(&self, sent: &Packet) -> Option<(Address, Flow)> {
        self.icmp_from(sent).map(|(_, to, about)| (to, about))
    }

    /// The same, and first whom it comes from.
    pub fn icmp_from(&self, sent: &Packet) -> Option<(Address, Address, Flow)> {
        let (mut outer, mut quote) = (Headers::new(), Quote::new());
        let bytes = packet::Packet::new(&sent.bytes);
        let rewrite = icmp(&bytes, LinkHeader::Ethernet, &mut outer, &mut quote, &self.tables)?;
        Some((*rewrite.source(), *rewrite.destination(), *rewrite.flow))
    }

    /// Runs every entry point over these bytes.
    pub fn look_at(&self, bytes: &[u8], link: LinkHeader) {
        let (mut outer, mut quote) = (Headers::new(), Quote::new());
        let packet = packet::Packet::new(bytes);
        let _ = ingress(&packet, link, &mut outer, &self.tables);
        let _ = egress(&packet, link, &mut outer, &self.tables);
        let _ = icmp(&packet, link, &mut outer, &mut quote, &self.tables);
    }

    /// A whole handshake.
    pub fn connect(&self, family: Family, port: u16) {
        let to_vip = |flags| Packet::tcp(client(family), port, vip(family), VIP_PORT, flags);
        let backend = self.receive(&to_vip("S")).backend(family);
        let _ = self.send(&Packet::tcp(pod(family, backend), 80, client(family), port, "SA"));
        let _ = self.receive(&to_vip("A"));
    }

    /// One connection from each of these ports; how many each backend got.
    pub fn connect_many(&self, ports: Range<u16>) -> Vec<usize> {
        let seen = ports
            .map(|port| self.receive(&Packet::tcp(client(self.family), 1000 + port, vip(self.family), VIP_PORT, "S")));
        let landed: Vec<usize> =
            seen.filter(|seen| matches!(seen, Seen::Forwarded(_))).map(|seen| seen.backend(self.family)).collect();
        tally(&landed)
    }

    pub fn refused(&self, reason: DropReason) -> usize {
        self.refused.borrow().get(&(reason as u32)).copied().unwrap_or(0)
    }

    pub fn collect(&self, flow: &Flow) -> bool {
        collect::collect(flow, &Settings::default(), &self.tables)
    }
}
