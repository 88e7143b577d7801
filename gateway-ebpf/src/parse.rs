//! From bytes to addresses, and only then to a flow: whether a packet can be ours is asked in between, because
//! most traffic is not.

use gateway_common::{Address, Flow, Port, Protocol};

use crate::headers::{
    EtherType, EthernetHeader, FragmentHeader, Ipv4Header, Ipv6Extension, Ipv6Header, Ports, TcpFlags, TcpHeader,
    TransportStart, VlanTag,
};
use crate::packet::Packet;

/// What a device's packets begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkHeader {
    /// Ethernet, with at most one VLAN tag in the bytes; another may be in the packet's metadata.
    Ethernet,
    /// Nothing: the IP header comes first (tun, WireGuard).
    None,
}

/// The IP version, which decides how headers are read and checksums are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What is read of a packet's headers: filled step by step, so that no more is read than is asked.
///
/// The kernel shell keeps it in a map, for two reasons. A program's stack is short. And whatever is read back from
/// a map, the verifier takes for any value: the many ways to read headers become one before the rest of the
/// program, which is then verified once instead of for each of them. [`Headers::settle`] marks those places.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Headers {
    /// The flow as it stands on the wire. Addresses after [`Headers::locate`], the rest after [`Headers::read_transport`].
    pub flow: Flow,
    network_offset: u16,
    transport_offset: u16,
    /// The IP version.
    pub family: Family,
    /// What the IP packet carries: the protocol of the payload, or of the next extension header.
    next: u8,
    fragment: Fragment,
    _reserved: u8,
}

/// Whether a packet is one of several fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Fragment {
    No,
    First,
    Later,
}

/// What was found where an IP header was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Located {
    /// It.
    Ip,
    /// An ARP packet: [`Headers::network_offset`] says where.
    Arp,
    /// Another protocol.
    NotIp,
    /// The packet's linear part ends too early.
    Truncated,
}

/// What an IP packet carries, as far as the datapath cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A TCP segment.
    Tcp(TcpFlags),
    /// A UDP datagram.
    Udp,
    /// An ICMP or ICMPv6 message.
    Icmp,
    /// The first of several fragments of TCP or UDP: the only one with ports.
    FirstFragment,
    /// Another fragment.
    Fragment,
    /// A protocol that is not balanced.
    Other,
    /// The headers contradict themselves.
    Malformed,
    /// The packet's linear part ends too early.
    Truncated,
}

/// Extension headers that are followed; hosts and routers rarely send more than two.
const MAX_EXTENSIONS: usize = 4;
/// No header that is looked at begins beyond; the verifier wants to see a bound.
const MAX_OFFSET: u16 = 0x1fff;

impl Headers {
    /// Nothing read yet.
    #[inline(always)]
    pub const fn new() -> Self {
        Self {
            flow: Flow {
                source: Address::UNSPECIFIED,
                destination: Address::UNSPECIFIED,
                source_port: Port::new(0),
                destination_port: Port::new(0),
                protocol: Protocol::new(0),
                _reserved: [0; 3],
            },
            family: Family::V4,
            network_offset: 0,
            transport_offset: 0,
            next: 0,
            fragment: Fragment::No,
            _reserved: 0,
        }
    }

    /// Where the IP header begins.
    #[inline(always)]
    pub const fn network_offset(&self) -> usize {
        (self.network_offset & MAX_OFFSET) as usize
    }

    /// Where what the IP header carries begins.
    #[inline(always)]
    pub const fn transport_offset(&self) -> usize {
        (self.transport_offset & MAX_OFFSET) as usize
    }

    /// Makes the compiler forget what it knows of the headers, so that they are read from memory again.
    #[inline(always)]
    pub fn settle(&mut self) -> &mut Self {
        core::hint::black_box(self)
    }

    /// Finds the IP header behind the link-layer header.
    #[inline(always)]
    pub fn locate(&mut self, packet: &Packet, link: LinkHeader) -> Located {
        if link == LinkHeader::None {
            return self.locate_by_version(packet, 0);
        }
        let Some(ethernet) = packet.read::<EthernetHeader>(0) else { return Located::Truncated };
        let mut ether_type = u16::from_be_bytes(ethernet.ether_type);
        let mut offset = size_of::<EthernetHeader>();
        if ether_type == EtherType::VLAN || ether_type == EtherType::SERVICE_VLAN {
            let Some(tag) = packet.read::<VlanTag>(offset) else { return Located::Truncated };
            ether_type = u16::from_be_bytes(tag.ether_type);
            offset += size_of::<VlanTag>();
        }
        match ether_type {
            EtherType::IPV4 => self.read_ipv4(packet, offset),
            EtherType::IPV6 => self.read_ipv6(packet, offset),
            EtherType::ARP => {
                self.network_offset = offset as u16;
                Located::Arp
            }
            _ => Located::NotIp,
        }
    }

    /// Finds an IP header whose version nobody has told: on a device without link-layer header, or quoted by ICMP.
    #[inline(always)]
    pub fn locate_by_version(&mut self, packet: &Packet, offset: usize) -> Located {
        // Two bytes, because of one the verifier does not follow the check.
        match packet.read::<[u8; 2]>(offset).map(|[byte, _]| byte >> 4) {
            Some(4) => self.read_ipv4(packet, offset),
            Some(6) => self.read_ipv6(packet, offset),
            Some(_) => Located::NotIp,
            None => Located::Truncated,
        }
    }

    #[inline(always)]
    fn read_ipv4(&mut self, packet: &Packet, offset: usize) -> Located {
        let Some(header) = packet.read::<Ipv4Header>(offset) else { return Located::Truncated };
        self.flow.source = Address::from_v4(header.source);
        self.flow.destination = Address::from_v4(header.destination);
        self.family = Family::V4;
        self.network_offset = offset as u16;
        self.transport_offset = (offset + header.length()) as u16;
        self.next = header.protocol;
        self.fragment = fragment(header.is_fragment(), header.has_transport());
        Located::Ip
    }

    #[inline(always)]
    fn read_ipv6(&mut self, packet: &Packet, offset: usize) -> Located {
        let Some(header) = packet.read::<Ipv6Header>(offset) else { return Located::Truncated };
        self.flow.source = Address::from_v6(header.source);
        self.flow.destination = Address::from_v6(header.destination);
        self.family = Family::V6;
        self.network_offset = offset as u16;
        self.transport_offset = (offset + Ipv6Header::LENGTH) as u16;
        self.next = header.next_header;
        self.fragment = Fragment::No;
        Located::Ip
    }

    /// Whether an IPv6 header claims an IPv4 address, v4-mapped. On the wire such a packet is forged (RFC 4942 section 2.2),
    /// and here it would be taken for one of IPv4.
    #[inline(always)]
    pub fn claims_ipv4(&self) -> bool {
        self.family == Family::V6 && (self.flow.source.is_v4_mapped() || self.flow.destination.is_v4_mapped())
    }

    /// Whether the packet may carry an ICMP message, told without reading further.
    #[inline(always)]
    pub const fn may_be_icmp(&self) -> bool {
        self.next == self.icmp().number()
    }

    #[inline(always)]
    const fn icmp(&self) -> Protocol {
        match self.family {
            Family::V4 => Protocol::ICMP,
            Family::V6 => Protocol::ICMPV6,
        }
    }

    /// Reads on to the transport header and completes the flow.
    #[inline(always)]
    pub fn read_transport(&mut self, packet: &Packet) -> Transport {
        if let Some(early) = self.find_transport(packet) {
            return early;
        }
        self.settle();
        if self.fragment != Fragment::No {
            let has_ports = self.fragment == Fragment::First && self.read_ports(packet);
            return if has_ports { Transport::FirstFragment } else { Transport::Fragment };
        }
        let protocol = self.flow.protocol;
        match protocol {
            Protocol::TCP => match packet.read::<TcpHeader>(self.transport_offset()) {
                Some(header) => {
                    self.set_ports(header.ports);
                    Transport::Tcp(TcpFlags::new(header.flags))
                }
                None => Transport::Truncated,
            },
            Protocol::UDP if self.read_ports(packet) => Transport::Udp,
            Protocol::UDP => Transport::Truncated,
            _ if protocol == self.icmp() => Transport::Icmp,
            _ => Transport::Other,
        }
    }

    /// Completes the flow of a packet that an ICMP error quotes: no more than eight bytes of the transport header
    /// need be there. Quoted extension headers are not followed; our flows' packets hardly ever have any.
    #[inline(always)]
    pub fn read_quoted(&mut self, packet: &Packet) -> bool {
        self.flow.protocol = Protocol::new(self.next);
        self.has_whole_header() && self.fragment != Fragment::Later && self.read_ports(packet)
    }

    /// Skips to the transport header, or says why there is none.
    #[inline(always)]
    fn find_transport(&mut self, packet: &Packet) -> Option<Transport> {
        let found = match self.family {
            Family::V4 => (!self.has_whole_header()).then_some(Transport::Malformed),
            Family::V6 => self.skip_extensions(packet).is_none().then_some(Transport::Truncated),
        };
        self.flow.protocol = Protocol::new(self.next);
        found
    }

    #[inline(always)]
    const fn has_whole_header(&self) -> bool {
        self.transport_offset as usize >= self.network_offset as usize + Ipv4Header::LENGTH
    }

    #[inline(always)]
    fn skip_extensions(&mut self, packet: &Packet) -> Option<()> {
        for _ in 0..MAX_EXTENSIONS {
            self.settle();
            let unit_bytes = match self.next {
                Ipv6Extension::HOP_BY_HOP | Ipv6Extension::ROUTING | Ipv6Extension::DESTINATION_OPTIONS => 8,
                Ipv6Extension::AUTHENTICATION => 4,
                Ipv6Extension::FRAGMENT => 0,
                _ => return Some(()),
            };
            let header = packet.read::<FragmentHeader>(self.transport_offset())?;
            if unit_bytes == 0 {
                self.fragment = fragment(header.is_fragment(), header.has_transport());
            }
            self.next = header.next_header;
            self.transport_offset += size_of::<FragmentHeader>() as u16 + u16::from(header.length) * unit_bytes;
            if self.fragment == Fragment::Later {
                return Some(());
            }
            if self.transport_offset > MAX_OFFSET {
                return None;
            }
        }
        Some(())
    }

    /// Reads the ports of a TCP or UDP header of which no more than eight bytes need be there.
    #[inline(always)]
    fn read_ports(&mut self, packet: &Packet) -> bool {
        if !matches!(self.flow.protocol, Protocol::TCP | Protocol::UDP) {
            return false;
        }
        let Some(start) = packet.read::<TransportStart>(self.transport_offset()) else { return false };
        self.set_ports(start.ports);
        true
    }

    #[inline(always)]
    const fn set_ports(&mut self, ports: Ports) {
        self.flow.source_port = Port::from_network(ports.source);
        self.flow.destination_port = Port::from_network(ports.destination);
    }
}

impl Default for Headers {
    fn default() -> Self {
        Self::new()
    }
}

#[inline(always)]
const fn fragment(is_fragment: bool, has_transport: bool) -> Fragment {
    match (is_fragment, has_transport) {
        (false, _) => Fragment::No,
        (true, true) => Fragment::First,
        (true, false) => Fragment::Later,
    }
}
