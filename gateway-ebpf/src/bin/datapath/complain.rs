//! Turns a packet into the ICMP error that tells its sender about it, and sends that back the way the packet came.

use core::ptr::null_mut;

use aya_ebpf::bindings::bpf_adj_room_mode::BPF_ADJ_ROOM_MAC;
use aya_ebpf::bindings::{__sk_buff, BPF_F_RECOMPUTE_CSUM, TC_ACT_SHOT};
use aya_ebpf::helpers::{
    bpf_csum_diff, bpf_redirect, bpf_skb_adjust_room, bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_store_bytes,
};
use gateway_common::Event;
use gateway_ebpf::checksum::Difference;
use gateway_ebpf::complaint::{Complaint, IcmpError, QUOTE_BYTES, V4_BYTES, V6_BYTES};
use gateway_ebpf::headers::{EthernetHeader, checksum_offset};
use gateway_ebpf::parse::{Family, Headers};
use gateway_ebpf::tables::Tables;

use crate::maps::{MAPS, count_drop, icmp_error};
use crate::tc::{ok, packet};

/// A checksum. It stands behind the ports, so what reaches to its end names the flow.
const CHECKSUM_BYTES: usize = 2;
const MAC_BYTES: usize = 6;

/// Ends a packet for a reason that its sender is told.
#[inline(never)]
pub fn complain(skb: *mut __sk_buff, headers: &Headers, complaint: Complaint) -> i32 {
    count_drop(complaint.reason());
    if answer(skb, headers, complaint).is_none() {
        return TC_ACT_SHOT;
    }
    MAPS.count_event(Event::IcmpSent);
    // SAFETY: the context the kernel handed to the program.
    unsafe { bpf_redirect((*skb).ifindex, 0) as i32 }
}

/// Replaces the packet by the error.
#[inline(always)]
fn answer(skb: *mut __sk_buff, headers: &Headers, complaint: Complaint) -> Option<()> {
    let (network, transport) = (headers.network_offset(), headers.transport_offset());
    // SAFETY: the context the kernel handed to the program.
    let bytes = (unsafe { (*skb).len } as usize).saturating_sub(network).min(QUOTE_BYTES);
    let checksum = transport + checksum_offset(headers.flow.protocol);
    if transport < network || checksum + CHECKSUM_BYTES > network + bytes {
        return None;
    }
    let error = icmp_error()?;
    load(skb, network, error, bytes)?;
    // The kernel does not let a packet end before a checksum that it still has to complete, which nobody tells otherwise.
    // Where it does, what is cut off is written anew below.
    if cut(skb, checksum + 1).is_none() {
        let sum = sum(error, transport - network)?;
        error.settle_checksum(checksum - network, sum)?;
    }
    // This also ends a train of segments, which could not be given room.
    cut(skb, network + bytes)?;
    let sum = sum(error, 0)?;
    error.write_headers(complaint, headers.family, &headers.flow, bytes as u16, sum);
    let header_bytes = match headers.family {
        Family::V4 => V4_BYTES,
        Family::V6 => V6_BYTES,
    };
    make_room(skb, header_bytes)?;
    match headers.family {
        Family::V4 => store(skb, network, &error.headers, V4_BYTES as u32)?,
        Family::V6 => store(skb, network, &error.headers, V6_BYTES as u32)?,
    }
    store(skb, network + header_bytes, &error.quotation, bounded(bytes)?)?;
    turn_round(skb, network)
}

/// Copies the packet's beginning, with zeros behind its end.
#[inline(always)]
fn load(skb: *mut __sk_buff, offset: usize, error: &mut IcmpError, bytes: usize) -> Option<()> {
    error.quotation = [0; _];
    let (to, bytes) = (error.quotation.as_mut_ptr().cast(), bounded(bytes)?);
    // SAFETY: the context the kernel handed to the program, and memory of at least so many bytes.
    ok(unsafe { bpf_skb_load_bytes(skb.cast(), offset as u32, to, bytes) })
}

/// The sum of all words that are quoted, from one byte on.
#[inline(always)]
fn sum(error: &mut IcmpError, from: usize) -> Option<Difference> {
    if from >= QUOTE_BYTES {
        return None;
    }
    let words = error.quotation.get_mut(from / size_of::<u32>()..)?;
    // SAFETY: the bytes of a live value, of which the second half is zeros and may be counted or not.
    let sum = unsafe { bpf_csum_diff(null_mut(), 0, words.as_mut_ptr(), QUOTE_BYTES as u32, 0) };
    u32::try_from(sum).ok().map(Difference::from_sum)
}

/// Writes the first bytes of a value, of which it must have so many.
#[inline(always)]
fn store<T>(skb: *mut __sk_buff, offset: usize, from: &T, bytes: u32) -> Option<()> {
    let from = core::ptr::from_ref(from).cast();
    // SAFETY: the context the kernel handed to the program, and the bytes of a live value; the verifier counts them.
    ok(unsafe { bpf_skb_store_bytes(skb, offset as u32, from, bytes, u64::from(BPF_F_RECOMPUTE_CSUM)) })
}

/// A length that the verifier sees the bounds of.
#[inline(always)]
fn bounded(bytes: usize) -> Option<u32> {
    let bytes = core::hint::black_box(bytes as u32);
    (bytes != 0 && bytes <= QUOTE_BYTES as u32).then_some(bytes)
}

/// Ends the packet at `length`.
#[inline(always)]
fn cut(skb: *mut __sk_buff, length: usize) -> Option<()> {
    // SAFETY: the context the kernel handed to the program.
    ok(unsafe { bpf_skb_change_tail(skb, length as u32, 0) })
}

/// Makes room between the link-layer header and the IP header.
#[inline(always)]
fn make_room(skb: *mut __sk_buff, bytes: usize) -> Option<()> {
    // SAFETY: the context the kernel handed to the program.
    ok(unsafe { bpf_skb_adjust_room(skb, (bytes as u32).cast_signed(), BPF_ADJ_ROOM_MAC, 0) })
}

/// Addresses the frame to whoever it came from, if there is a link-layer header.
#[inline(always)]
fn turn_round(skb: *mut __sk_buff, network: usize) -> Option<()> {
    if network < size_of::<EthernetHeader>() {
        return Some(());
    }
    let [destination, source] = packet(skb).read::<[[u8; MAC_BYTES]; 2]>(0)?;
    store(skb, 0, &[source, destination], 2 * MAC_BYTES as u32)
}
