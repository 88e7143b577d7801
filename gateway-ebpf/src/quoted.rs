//! ICMP errors about a tracked flow: they quote a packet that the receiver never saw in that form.
//!
//! Only "fragmentation needed" and "packet too big" so far, because a path MTU that nobody learns of stalls
//! connections. The outer header and the quoted one are translated, and all checksums with them (RFC 5508
//! section 4.2 for IPv4; the same for IPv6).

use gateway_common::{Address, Flow};

use crate::checksum::Difference;
use crate::headers::{IcmpHeader, Ipv4Header, checksum_offset};
use crate::packet::Packet;
use crate::parse::{Family, Headers, Located};
use crate::rewrite::{address_difference, ports_word};
use crate::tables::Tables;

/// What an ICMP error quotes. Kept like [`Headers`], and for the same reasons.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Quote {
    /// The quoted headers as they are.
    pub headers: Headers,
    /// The quoted flow to be.
    pub flow: Flow,
}

impl Quote {
    /// Nothing read yet.
    #[inline(always)]
    pub const fn new() -> Self {
        let headers = Headers::new();
        Self { headers, flow: headers.flow }
    }
}

impl Default for Quote {
    fn default() -> Self {
        Self::new()
    }
}

/// The changes to an ICMP error: from the flow that its quoted packet has to the one its receiver knows.
#[derive(Clone, Copy, Debug)]
pub struct QuotedRewrite<'a> {
    /// The outer headers as they are.
    pub outer: &'a Headers,
    /// The quoted headers as they are.
    pub quoted: &'a Headers,
    /// The quoted flow to be.
    pub flow: &'a Flow,
    /// Whether the flow's packets are sent on from here, and so is this message.
    pub is_redirected: bool,
    /// What the quoted addresses do to checksums over them.
    addresses: Difference,
}

/// A checksum within a packet that changes.
///
/// Not wrapped in an `Option`: LLVM may move what a `None` leaves undefined, and the verifier refuses that.
#[derive(Clone, Copy, Debug)]
pub struct ChecksumChange {
    /// Where it stands; 0 if there is none to change.
    pub offset: usize,
    /// What it is.
    pub old: [u8; 2],
    /// What it shall be.
    pub new: [u8; 2],
}

/// The plan for an ICMP message whose headers are `outer`, or nothing if it is no such error or about no flow of ours.
#[inline(always)]
pub fn plan<'a, T: Tables>(
    packet: &Packet,
    outer: &'a Headers,
    quote: &'a mut Quote,
    tables: &T,
) -> Option<QuotedRewrite<'a>> {
    let icmp = packet.read::<IcmpHeader>(outer.transport_offset())?;
    let translated = match outer.family {
        Family::V4 => icmp.is_fragmentation_needed(),
        Family::V6 => icmp.is_packet_too_big(),
    };
    if !translated {
        return None;
    }
    let quoted = &mut quote.headers;
    let located = quoted.locate_by_version(packet, outer.transport_offset() + IcmpHeader::LENGTH);
    if located != Located::Ip || quoted.family != outer.family || !quoted.read_quoted(packet) {
        return None;
    }
    let quoted = quoted.settle();
    let entry = tables.conntrack(&quoted.flow.reversed())?;
    if !tables.is_current(entry.backend, entry.generation) {
        return None;
    }
    let is_redirected = entry.is_redirected();
    quote.flow = entry.twin(quoted.flow.protocol);
    let (quoted, flow) = (&quote.headers, &quote.flow);
    let addresses = flow_difference(quoted.family, &quoted.flow, &flow.source, &flow.destination);
    Some(QuotedRewrite { outer, quoted, flow, is_redirected, addresses })
}

impl QuotedRewrite<'_> {
    /// Source address to be of the outer header: an end of the flow is translated, a router stays itself. Of a flow that is
    /// redirected the receiver knows only the address that it sends to; it may not even have a way to the router.
    #[inline(always)]
    pub fn source(&self) -> &Address {
        let source = &self.outer.flow.source;
        if self.is_redirected || *source == self.quoted.flow.destination { &self.flow.destination } else { source }
    }

    /// Destination address to be of the outer header: the end of the flow that sent what is quoted.
    #[inline(always)]
    pub fn destination(&self) -> &Address {
        let destination = &self.outer.flow.destination;
        if *destination == self.quoted.flow.source { &self.flow.source } else { destination }
    }

    /// What the outer addresses do to checksums over them.
    #[inline(always)]
    pub fn outer_addresses(&self) -> Difference {
        flow_difference(self.outer.family, &self.outer.flow, self.source(), self.destination())
    }

    /// Ports to be of the quoted header, as one word.
    #[inline(always)]
    pub const fn ports(&self) -> u32 {
        ports_word(self.flow.source_port, self.flow.destination_port)
    }

    #[inline(always)]
    const fn port_change(&self) -> Difference {
        Difference::of(ports_word(self.quoted.flow.source_port, self.quoted.flow.destination_port), self.ports())
    }

    /// The change of the quoted IPv4 header's checksum.
    #[inline(always)]
    pub fn header_checksum(&self, packet: &Packet) -> ChecksumChange {
        match self.quoted.family {
            Family::V4 => {
                ChecksumChange::at(packet, self.quoted.network_offset() + Ipv4Header::CHECKSUM, self.addresses)
            }
            Family::V6 => ChecksumChange::NONE,
        }
    }

    /// The change of the quoted transport header's checksum; none if it was not quoted or is not used.
    #[inline(always)]
    pub fn transport_checksum(&self, packet: &Packet) -> ChecksumChange {
        let offset = self.quoted.transport_offset() + checksum_offset(self.flow.protocol);
        let change = ChecksumChange::at(packet, offset, self.addresses.plus(self.port_change()));
        if change.old == [0, 0] { ChecksumChange::NONE } else { change }
    }

    /// What all changes to the quoted headers do to the ICMP checksum.
    #[inline(always)]
    pub fn payload(&self, header: ChecksumChange, transport: ChecksumChange) -> Difference {
        self.addresses
            .plus(self.port_change())
            .plus(Difference::of_half(header.old, header.new))
            .plus(Difference::of_half(transport.old, transport.new))
    }
}

/// What new addresses of a flow do to checksums over them.
#[inline(always)]
fn flow_difference(family: Family, flow: &Flow, source: &Address, destination: &Address) -> Difference {
    address_difference(family, &flow.source, source).plus(address_difference(family, &flow.destination, destination))
}

impl ChecksumChange {
    const NONE: Self = Self { offset: 0, old: [0; 2], new: [0; 2] };

    #[inline(always)]
    fn at(packet: &Packet, offset: usize, difference: Difference) -> Self {
        match packet.read::<[u8; 2]>(offset) {
            Some(old) => Self { offset, old, new: difference.apply_to(old) },
            None => Self::NONE,
        }
    }
}
