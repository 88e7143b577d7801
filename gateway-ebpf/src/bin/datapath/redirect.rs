//! Sends packets of redirected flows on from where they came in: to the next hop that the host's routes name, past its
//! input, its forwarding and its netfilter.
//!
//! What a router does is done here then: one hop less, the way's MTU, an error to the sender where it goes no further.

use aya_ebpf::bindings::{
    __sk_buff, BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LOOKUP_SKIP_NEIGH,
    bpf_fib_lookup as Way, bpf_redir_neigh,
};
use aya_ebpf::helpers::{bpf_fib_lookup, bpf_redirect_neigh, bpf_skb_change_head, bpf_skb_vlan_pop};
use gateway_common::{Address, DropReason, Protocol};
use gateway_ebpf::checksum::Difference;
use gateway_ebpf::complaint::Complaint;
use gateway_ebpf::headers::{EthernetHeader, Ipv4Header, Ipv6Header, TcpHeader};
use gateway_ebpf::packet::Packet;
use gateway_ebpf::parse::{Family, Headers, LinkHeader};
use gateway_ebpf::quoted::QuotedRewrite;
use gateway_ebpf::rewrite::Rewrite;

use crate::complain::complain;
use crate::host::AF_INET;
use crate::maps::way;
use crate::tc::{Writer, apply, dropped, ok, packet};

const AF_INET6: u32 = 10;
const WAY_BYTES: u32 = size_of::<Way>() as u32;
const NEXT_HOP_BYTES: u32 = size_of::<bpf_redir_neigh>() as u32;
/// A UDP header.
const UDP_BYTES: u32 = 8;

/// Gives a packet its new addresses and ports and sends it on. A function of its own, so that the flows which the host
/// routes pay nothing for it.
#[inline(never)]
pub fn redirect(skb: *mut __sk_buff, link: LinkHeader, rewrite: &Rewrite) -> i32 {
    let (headers, entry) = (rewrite.headers, rewrite.entry);
    let before = packet(skb);
    let Some(hops) = hops(&before, headers) else { return dropped(DropReason::Malformed) };
    if hops <= 1 {
        return complain(skb, headers, Complaint::HOP_LIMIT);
    }
    let Some(way) = way() else { return dropped(DropReason::NoRoute) };
    way.sport = u16::from_ne_bytes(entry.source_port.network());
    way.dport = u16::from_ne_bytes(entry.destination_port.network());
    name_ends(way, headers, &entry.source, &entry.destination);
    let protocol = headers.flow.protocol;
    match look_up(skb, way, protocol, largest_packet(skb, &before, headers)) {
        Ok(()) => {}
        Err(Obstacle::Mtu(mtu)) => return complain(skb, headers, Complaint::too_big(mtu)),
        Err(Obstacle::NoRoute) => return dropped(DropReason::NoRoute),
    }
    if apply(skb, rewrite).is_none() {
        return dropped(DropReason::RewriteFailed);
    }
    depart(skb, link, headers, way)
}

/// Sends a segment on as it is to another node of the segment. It bears one hop less, so two nodes that send to each other
/// come to an end. Nobody is told where it fails: to the client it is a packet that was lost.
#[inline(never)]
pub fn relay(skb: *mut __sk_buff, link: LinkHeader, headers: &Headers, node: &Address) -> i32 {
    let before = packet(skb);
    if hops(&before, headers).is_none_or(|hops| hops <= 1) {
        return dropped(DropReason::HopLimit);
    }
    let Some(way) = way() else { return dropped(DropReason::NoRoute) };
    let flow = &headers.flow;
    way.sport = u16::from_ne_bytes(flow.source_port.network());
    way.dport = u16::from_ne_bytes(flow.destination_port.network());
    name_ends(way, headers, &flow.source, node);
    match look_up(skb, way, flow.protocol, largest_packet(skb, &before, headers)) {
        Ok(()) => depart(skb, link, headers, way),
        Err(Obstacle::Mtu(_)) => dropped(DropReason::TooBig),
        Err(Obstacle::NoRoute) => dropped(DropReason::NoRoute),
    }
}

/// Sends on an ICMP error about a redirected flow that has been translated. Nobody is told where that fails.
#[inline(always)]
pub fn redirect_error(skb: *mut __sk_buff, link: LinkHeader, rewrite: &QuotedRewrite) -> i32 {
    let outer = rewrite.outer;
    if hops(&packet(skb), outer).is_none_or(|hops| hops <= 1) {
        return dropped(DropReason::HopLimit);
    }
    let Some(way) = way() else { return dropped(DropReason::NoRoute) };
    (way.sport, way.dport) = (0, 0);
    name_ends(way, outer, rewrite.source(), rewrite.destination());
    // SAFETY: the context the kernel handed to the program.
    let bytes = unsafe { (*skb).len }.saturating_sub(outer.network_offset() as u32);
    match look_up(skb, way, outer.flow.protocol, bytes) {
        Ok(()) => depart(skb, link, outer, way),
        Err(Obstacle::Mtu(_)) => dropped(DropReason::TooBig),
        Err(Obstacle::NoRoute) => dropped(DropReason::NoRoute),
    }
}

/// Why there is no way.
enum Obstacle {
    /// The host has no route, or does not forward.
    NoRoute,
    /// The way takes no larger packets than this.
    Mtu(u16),
}

/// How many more routers a packet may cross, this one included.
#[inline(always)]
fn hops(packet: &Packet, headers: &Headers) -> Option<u8> {
    let field = match headers.family {
        Family::V4 => Ipv4Header::TTL,
        Family::V6 => Ipv6Header::HOP_LIMIT,
    };
    // Two bytes, because of one the verifier does not follow the check.
    packet.read::<[u8; 2]>(headers.network_offset() + field).map(|[hops, _]| hops)
}

/// The length of the largest packet that becomes of this one: a train of segments is cut up by whoever sends it.
#[inline(always)]
fn largest_packet(skb: *mut __sk_buff, packet: &Packet, headers: &Headers) -> u32 {
    // SAFETY: the context the kernel handed to the program.
    let (bytes, segment) = unsafe { ((*skb).len, (*skb).gso_size) };
    let (network, transport) = (headers.network_offset() as u32, headers.transport_offset() as u32);
    if segment == 0 {
        return bytes.saturating_sub(network);
    }
    let header = match headers.flow.protocol {
        Protocol::TCP => packet
            .read::<TcpHeader>(headers.transport_offset())
            .map_or(size_of::<TcpHeader>() as u32, |tcp| u32::from(tcp.offset >> 4) * 4),
        _ => UDP_BYTES,
    };
    transport.saturating_sub(network) + header + segment
}

/// Tells the routes between whom the packet travels.
#[inline(always)]
fn name_ends(way: &mut Way, headers: &Headers, source: &Address, destination: &Address) {
    match headers.family {
        Family::V4 => {
            way.family = AF_INET as u8;
            way.__bindgen_anon_3.ipv4_src = u32::from_ne_bytes(source.v4_octets());
            way.__bindgen_anon_4.ipv4_dst = u32::from_ne_bytes(destination.v4_octets());
        }
        Family::V6 => {
            way.family = AF_INET6 as u8;
            way.__bindgen_anon_3.ipv6_src = source.words();
            way.__bindgen_anon_4.ipv6_dst = destination.words();
        }
    }
}

/// Asks the host's routes, as if the packet were to be forwarded from this device: policy rules, metrics and several next
/// hops count. Afterwards `way` names the next hop and its device.
#[inline(always)]
fn look_up(skb: *mut __sk_buff, way: &mut Way, protocol: Protocol, bytes: u32) -> Result<(), Obstacle> {
    way.l4_protocol = protocol.number();
    way.__bindgen_anon_1.tot_len = bytes.min(u32::from(u16::MAX)) as u16;
    // SAFETY: the context the kernel handed to the program.
    way.ifindex = unsafe { (*skb).ifindex };
    way.__bindgen_anon_2.flowinfo = 0;
    way.__bindgen_anon_5.tbid = 0;
    // SAFETY: the context, and a value of the size that is said. The neighbour is `bpf_redirect_neigh`'s business.
    let answer = unsafe { bpf_fib_lookup(skb.cast(), way, WAY_BYTES.cast_signed(), BPF_FIB_LOOKUP_SKIP_NEIGH) };
    if answer == i64::from(BPF_FIB_LKUP_RET_SUCCESS) {
        Ok(())
    } else if answer == i64::from(BPF_FIB_LKUP_RET_FRAG_NEEDED) {
        // SAFETY: any bytes are a number, and after this answer it is the MTU.
        Err(Obstacle::Mtu(unsafe { way.__bindgen_anon_1.mtu_result }))
    } else {
        Err(Obstacle::NoRoute)
    }
}

/// Takes a rewritten packet's last steps here: one hop less, a plain Ethernet header, off to the next hop.
#[inline(always)]
fn depart(skb: *mut __sk_buff, link: LinkHeader, headers: &Headers, way: &Way) -> i32 {
    if lower_hops(skb, headers).is_none() || make_ethernet(skb, link, headers).is_none() {
        return dropped(DropReason::RewriteFailed);
    }
    // SAFETY: all zeros are a valid value.
    let mut next: bpf_redir_neigh = unsafe { core::mem::zeroed() };
    // IPv4 may have a next hop of IPv6 (RFC 5549).
    if u32::from(way.family) == AF_INET {
        next.nh_family = AF_INET;
        // SAFETY: the kernel wrote an address of the family it says.
        next.__bindgen_anon_1.ipv4_nh = unsafe { way.__bindgen_anon_4.ipv4_dst };
    } else {
        next.nh_family = AF_INET6;
        // SAFETY: as above.
        next.__bindgen_anon_1.ipv6_nh = unsafe { way.__bindgen_anon_4.ipv6_dst };
    }
    // SAFETY: a value of the size that is said.
    unsafe { bpf_redirect_neigh(way.ifindex, &raw mut next, NEXT_HOP_BYTES.cast_signed(), 0) as i32 }
}

#[inline(always)]
fn lower_hops(skb: *mut __sk_buff, headers: &Headers) -> Option<()> {
    let network = headers.network_offset();
    let (before, writer) = (packet(skb), Writer::new(skb));
    match headers.family {
        Family::V4 => {
            let [hops, protocol] = before.read::<[u8; 2]>(network + Ipv4Header::TTL)?;
            let lowered = [hops.wrapping_sub(1), protocol];
            let checksum = before.read::<[u8; 2]>(network + Ipv4Header::CHECKSUM)?;
            let checksum = Difference::of_half([hops, protocol], lowered).apply_to(checksum);
            writer.write(network + Ipv4Header::TTL, lowered)?;
            writer.write(network + Ipv4Header::CHECKSUM, checksum)
        }
        Family::V6 => {
            // The next header stands before the hop limit.
            let at = network + Ipv6Header::HOP_LIMIT - 1;
            let [next, hops] = before.read::<[u8; 2]>(at)?;
            writer.write(at, [next, hops.wrapping_sub(1)])
        }
    }
}

/// `bpf_redirect_neigh` replaces an Ethernet header, and wants to find one: no VLAN tags, and not none at all.
#[inline(always)]
fn make_ethernet(skb: *mut __sk_buff, link: LinkHeader, headers: &Headers) -> Option<()> {
    const LENGTH: usize = size_of::<EthernetHeader>();
    match link {
        // SAFETY: the context the kernel handed to the program.
        LinkHeader::None => ok(unsafe { bpf_skb_change_head(skb, LENGTH as u32, 0) }),
        // SAFETY: as above.
        LinkHeader::Ethernet if headers.network_offset() != LENGTH || unsafe { (*skb).vlan_present } != 0 => {
            // An outer tag is in the metadata, where the one in the bytes goes when that is taken away.
            // SAFETY: as above.
            ok(unsafe { bpf_skb_vlan_pop(skb) }).and_then(|()| ok(unsafe { bpf_skb_vlan_pop(skb) }))
        }
        LinkHeader::Ethernet => Some(()),
    }
}
