//! Applies verdicts at the TC hooks.
//!
//! Checksums are changed by the kernel's helpers, which alone know whether a packet's checksum is complete,
//! partial or still to be computed by the device; addresses and ports are written directly.

use aya_ebpf::bindings::{__sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, TC_ACT_SHOT};
use aya_ebpf::helpers::{bpf_l4_csum_replace, bpf_skb_pull_data, bpf_skb_store_bytes};
use gateway_common::{Address, DropReason, Event, Protocol};
use gateway_ebpf::checksum::Difference;
use gateway_ebpf::headers::{IcmpHeader, Ipv4Header, Ipv6Header, checksum_offset};
use gateway_ebpf::packet::Packet;
use gateway_ebpf::parse::{Family, Headers, LinkHeader};
use gateway_ebpf::quoted::QuotedRewrite;
use gateway_ebpf::rewrite::Rewrite;
use gateway_ebpf::tables::Tables;
use gateway_ebpf::verdict::{Shortage, Verdict};
use gateway_ebpf::{egress, icmp, ingress};

use crate::maps::{MAPS, Maps, Scratch, count_drop, scratch};
use crate::redirect::{redirect, redirect_error, relay};

/// The next program of the chain decides (`include/uapi/linux/bpf.h`, `TCX_NEXT`); never `TC_ACT_OK`, which would
/// end the chain.
const TCX_NEXT: i32 = -1;
/// The frame is another host's (`include/uapi/linux/if_packet.h`): the device is promiscuous, or the segment was flooded.
const PACKET_OTHERHOST: u32 = 3;
/// How much of a packet is made linear when a header lies beyond what can be read: as far as headers may reach.
const MAX_HEADERS_BYTES: u32 = 512;
/// "The address that changes is IPv6": right for complete checksums (kernel 6.16, and backports). Older kernels
/// refuse the flag.
const BPF_F_IPV6: u64 = 1 << 7;

/// Which way a packet goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Received.
    Ingress,
    /// About to be sent.
    Egress,
}

/// Decides about a packet and applies the verdict. If a header lies beyond what can be read, once more with more
/// of the packet made linear.
#[inline(always)]
pub fn run(skb: *mut __sk_buff, link: LinkHeader, hook: Hook) -> i32 {
    // SAFETY: the context the kernel handed to the program.
    if hook == Hook::Ingress && link == LinkHeader::Ethernet && unsafe { (*skb).pkt_type } == PACKET_OTHERHOST {
        // The host will not take it, so no flow may begin.
        return TCX_NEXT;
    }
    let Some(scratch) = scratch() else { return TCX_NEXT };
    let mut pulled = false;
    loop {
        match decide_and_apply(skb, link, hook, scratch) {
            Ok(action) => return action,
            Err(shortage) if pulled || !pull(skb) => return short(shortage),
            Err(_) => pulled = true,
        }
    }
}

/// What becomes of a packet that ends before its headers do.
#[inline(always)]
fn short(shortage: Shortage) -> i32 {
    match shortage {
        Shortage::Unknown => TCX_NEXT,
        Shortage::Ours => dropped(DropReason::Malformed),
    }
}

#[inline(always)]
fn decide_and_apply(skb: *mut __sk_buff, link: LinkHeader, hook: Hook, scratch: &mut Scratch) -> Result<i32, Shortage> {
    let packet = packet(skb);
    let maps = Maps { skb };
    let verdict = match hook {
        Hook::Ingress => ingress(&packet, link, &mut scratch.headers, &maps),
        Hook::Egress => egress(&packet, link, &mut scratch.headers, &maps),
    };
    match verdict {
        Verdict::Pass => Ok(TCX_NEXT),
        Verdict::Forward(rewrite) => Ok(done(apply(skb, &rewrite))),
        Verdict::Redirect(rewrite) => match hook {
            Hook::Ingress => Ok(redirect(skb, link, &rewrite)),
            // No such flow is looked for there.
            Hook::Egress => Ok(TCX_NEXT),
        },
        Verdict::Relay(headers, node) => match hook {
            Hook::Ingress => Ok(relay(skb, link, headers, &node)),
            Hook::Egress => Ok(TCX_NEXT),
        },
        Verdict::Icmp => Ok(icmp_message(skb, link, hook)),
        Verdict::Refuse(reason) => {
            count_drop(reason);
            Ok(TCX_NEXT)
        }
        Verdict::Drop(reason) => Ok(dropped(reason)),
        Verdict::Truncated(shortage) => Err(shortage),
    }
}

#[inline(always)]
pub fn packet<'a>(skb: *mut __sk_buff) -> Packet<'a> {
    // SAFETY: the context the kernel handed to the program; both ends are read here, after any helper call.
    unsafe { Packet::from_raw((*skb).data as usize, (*skb).data_end as usize) }
}

#[inline(always)]
fn pull(skb: *mut __sk_buff) -> bool {
    // SAFETY: the context the kernel handed to the program.
    let (len, linear) = unsafe { ((*skb).len, ((*skb).data_end).wrapping_sub((*skb).data)) };
    let wanted = len.min(MAX_HEADERS_BYTES);
    // SAFETY: as above; pointers into the packet are read anew afterwards.
    wanted > linear && unsafe { bpf_skb_pull_data(skb, wanted) } == 0
}

#[inline(always)]
pub fn dropped(reason: DropReason) -> i32 {
    count_drop(reason);
    TC_ACT_SHOT
}

#[inline(always)]
fn done(applied: Option<()>) -> i32 {
    match applied {
        Some(()) => TCX_NEXT,
        None => dropped(DropReason::RewriteFailed),
    }
}

/// Gives a packet its new addresses and ports.
#[inline(always)]
pub fn apply(skb: *mut __sk_buff, rewrite: &Rewrite) -> Option<()> {
    let Headers { family, flow, .. } = rewrite.headers;
    let checksum = rewrite.headers.transport_offset() + checksum_offset(flow.protocol);
    let mangled = if flow.protocol == Protocol::UDP { u64::from(BPF_F_MARK_MANGLED_0) } else { 0 };
    let addresses = rewrite.addresses();
    replace_pseudo_header(skb, checksum, addresses, *family, mangled)?;
    let (old_ports, new_ports) = (rewrite.old_ports(), rewrite.new_ports());
    if old_ports != new_ports {
        let flags = mangled | size_of::<u32>() as u64;
        replace_checksum(skb, checksum, old_ports, new_ports, flags)?;
    }
    write_headers(skb, rewrite, addresses)
}

#[inline(always)]
fn write_headers(skb: *mut __sk_buff, rewrite: &Rewrite, addresses: Difference) -> Option<()> {
    let writer = Writer::new(skb);
    let network = rewrite.headers.network_offset();
    let (source, destination) = (&rewrite.entry.source, &rewrite.entry.destination);
    match rewrite.headers.family {
        Family::V4 => {
            let old = packet(skb).read::<[u8; 2]>(network + Ipv4Header::CHECKSUM)?;
            writer.write(network + Ipv4Header::CHECKSUM, addresses.apply_to(old))?;
            writer.write(network + Ipv4Header::SOURCE, u32::from_ne_bytes(source.v4_octets()))?;
            writer.write(network + Ipv4Header::DESTINATION, u32::from_ne_bytes(destination.v4_octets()))?;
        }
        Family::V6 => {
            writer.write(network + Ipv6Header::SOURCE, source.words())?;
            writer.write(network + Ipv6Header::DESTINATION, destination.words())?;
        }
    }
    writer.write(rewrite.headers.transport_offset(), rewrite.new_ports())
}

/// Changes a checksum that covers a pseudo-header for new addresses.
#[inline(always)]
fn replace_pseudo_header(skb: *mut __sk_buff, at: usize, change: Difference, family: Family, flags: u64) -> Option<()> {
    let flags = flags | u64::from(BPF_F_PSEUDO_HDR);
    match family {
        Family::V4 => replace_checksum(skb, at, 0, change.get(), flags),
        Family::V6 => replace_checksum(skb, at, 0, change.get(), flags | BPF_F_IPV6)
            .or_else(|| replace_checksum(skb, at, 0, change.get(), flags)),
    }
}

/// Changes a checksum at `at`: for a word, or with `from` 0 for a difference. Pointers into the packet are void after it.
#[inline(always)]
fn replace_checksum(skb: *mut __sk_buff, at: usize, from: u32, to: u32, flags: u64) -> Option<()> {
    // SAFETY: the context the kernel handed to the program.
    ok(unsafe { bpf_l4_csum_replace(skb, at as u32, u64::from(from), u64::from(to), flags) })
}

#[inline(always)]
pub const fn ok(result: i64) -> Option<()> {
    if result == 0 { Some(()) } else { None }
}

/// Writes into a packet's linear part.
pub struct Writer {
    start: usize,
    end: usize,
}

impl Writer {
    #[inline(always)]
    pub fn new(skb: *mut __sk_buff) -> Self {
        // SAFETY: the context the kernel handed to the program; both ends are read here, after any helper call.
        unsafe { Self { start: (*skb).data as usize, end: (*skb).data_end as usize } }
    }

    #[inline(always)]
    pub fn write<T: Copy>(&self, offset: usize, value: T) -> Option<()> {
        let field = self.start + offset;
        if field + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: field..field + size_of::<T>() lies within the packet, as was just checked. The address may not
        // be aligned, which BPF's stores do not mind on any machine whose verifier accepts them.
        unsafe { (field as *mut T).write(value) };
        Some(())
    }
}

/// Translates an ICMP error about a flow of ours; any other message passes. A function of its own, because it is
/// rare and wants stack.
#[inline(never)]
fn icmp_message(skb: *mut __sk_buff, link: LinkHeader, hook: Hook) -> i32 {
    let Some(scratch) = scratch() else { return TCX_NEXT };
    pull(skb);
    let Some(rewrite) = icmp(&packet(skb), link, &mut scratch.headers, &mut scratch.quote, &MAPS) else {
        return TCX_NEXT;
    };
    MAPS.count_event(Event::IcmpTranslated);
    let action = done(apply_quoted(skb, &rewrite));
    if action == TCX_NEXT && rewrite.is_redirected && hook == Hook::Ingress {
        return redirect_error(skb, link, &rewrite);
    }
    action
}

#[inline(always)]
fn apply_quoted(skb: *mut __sk_buff, rewrite: &QuotedRewrite) -> Option<()> {
    let (outer, quoted) = (rewrite.outer, rewrite.quoted);
    let before = packet(skb);
    let (header, transport) = (rewrite.header_checksum(&before), rewrite.transport_checksum(&before));
    let payload = rewrite.payload(header, transport);
    let checksum = outer.transport_offset() + IcmpHeader::CHECKSUM;
    replace_checksum(skb, checksum, 0, payload.get(), 0)?;
    for change in [header, transport] {
        if change.offset != 0 {
            store(skb, change.offset, &change.new)?;
        }
    }
    // Computed only now: what is not needed at once shares the stack.
    let outer_addresses = rewrite.outer_addresses();
    match outer.family {
        Family::V4 => {
            let at = outer.network_offset() + Ipv4Header::CHECKSUM;
            let old = packet(skb).read::<[u8; 2]>(at)?;
            store(skb, at, &outer_addresses.apply_to(old))?;
        }
        Family::V6 => replace_pseudo_header(skb, checksum, outer_addresses, outer.family, 0)?,
    }
    store_addresses(skb, outer, rewrite.source(), rewrite.destination())?;
    store_addresses(skb, quoted, &rewrite.flow.source, &rewrite.flow.destination)?;
    store(skb, quoted.transport_offset(), &rewrite.ports())
}

#[inline(always)]
fn store_addresses(skb: *mut __sk_buff, headers: &Headers, source: &Address, destination: &Address) -> Option<()> {
    match headers.family {
        Family::V4 => {
            store(skb, headers.network_offset() + Ipv4Header::SOURCE, &source.v4_octets())?;
            store(skb, headers.network_offset() + Ipv4Header::DESTINATION, &destination.v4_octets())
        }
        Family::V6 => {
            store(skb, headers.network_offset() + Ipv6Header::SOURCE, source)?;
            store(skb, headers.network_offset() + Ipv6Header::DESTINATION, destination)
        }
    }
}

/// Writes anywhere into a packet, linear or not.
#[inline(always)]
fn store<T>(skb: *mut __sk_buff, offset: usize, value: &T) -> Option<()> {
    let from = core::ptr::from_ref(value).cast();
    // SAFETY: the context the kernel handed to the program, and the bytes of a live value.
    ok(unsafe { bpf_skb_store_bytes(skb, offset as u32, from, size_of::<T>() as u32, 0) })
}
