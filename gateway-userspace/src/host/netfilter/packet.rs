//! A packet of which only some bytes are known: from a client, to a Pod, whichever the client and its port.

use std::net::IpAddr;

/// A byte, if it is known.
pub type Byte = Option<u8>;

const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
/// Of the transport header only the ports are looked at.
const PORTS: usize = 4;

/// A device, by name and index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
}

/// What connection tracking says of a packet, as a bit of netfilter's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The first of a connection.
    New = 8,
    /// One that follows.
    Established = 2,
}

/// A packet on its way from one device to another.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Its network header.
    pub(super) network: Vec<Byte>,
    /// Its ports.
    pub(super) transport: Vec<Byte>,
    /// TCP or UDP, by number.
    pub(super) protocol: u8,
    /// The device it came by.
    pub(super) input: Link,
    /// The device it leaves by, once that is known.
    pub(super) output: Option<Link>,
    /// What connection tracking says of it.
    pub(super) state: State,
}

impl Packet {
    /// The first packet of a connection from anywhere to an address and port.
    pub fn to(target: IpAddr, port: u16, protocol: u8, input: Link, output: Option<Link>) -> Self {
        let mut packet = Self::blank(target, protocol, input, output, State::New);
        packet.write_address(target, 1);
        packet.write_port(port, 1);
        packet
    }

    /// A later packet the other way.
    pub fn reply(from: IpAddr, port: u16, protocol: u8, input: Link, output: Link) -> Self {
        let mut packet = Self::blank(from, protocol, input, Some(output), State::Established);
        packet.write_address(from, 0);
        packet.write_port(port, 0);
        packet
    }

    /// The same to another address of its family.
    #[must_use]
    pub fn with_target(&self, target: IpAddr) -> Self {
        let mut packet = self.clone();
        packet.write_address(target, 1);
        packet
    }

    /// The same to whatever address and port.
    #[must_use]
    pub fn with_unknown_target(&self) -> Self {
        let mut packet = self.clone();
        let begin = if self.is_v4() { 16 } else { 24 };
        packet.network[begin..].fill(None);
        packet.transport.fill(None);
        packet
    }

    /// Whether it is one of IPv4.
    pub const fn is_v4(&self) -> bool {
        self.network.len() == V4_HEADER
    }

    fn blank(like: IpAddr, protocol: u8, input: Link, output: Option<Link>, state: State) -> Self {
        let (length, protocol_at, first) = if like.is_ipv4() { (V4_HEADER, 9, 0x45) } else { (V6_HEADER, 6, 0x60) };
        let mut network = vec![None; length];
        network[0] = Some(first);
        network[protocol_at] = Some(protocol);
        if like.is_ipv4() {
            // No fragment.
            network[6..8].fill(Some(0));
        }
        Self { network, transport: vec![None; PORTS], protocol, input, output, state }
    }

    /// `which`: 0 for the source, 1 for the destination.
    fn write_address(&mut self, address: IpAddr, which: usize) {
        let (first, octets) = match address {
            IpAddr::V4(ip) => (12, ip.octets().to_vec()),
            IpAddr::V6(ip) => (8, ip.octets().to_vec()),
        };
        let begin = first + which * octets.len();
        for (byte, octet) in self.network[begin..].iter_mut().zip(octets) {
            *byte = Some(octet);
        }
    }

    fn write_port(&mut self, port: u16, which: usize) {
        for (byte, octet) in self.transport[which * 2..].iter_mut().zip(port.to_be_bytes()) {
            *byte = Some(octet);
        }
    }
}
