//! The programs, as the kernel and the agent know them: `gateway_common::maps::programs` has their names.

#![expect(clippy::needless_pass_by_value, reason = "the program macros hand contexts over by value")]

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{__sk_buff, bpf_sk_lookup, sk_action};
use aya_ebpf::macros::{classifier, sk_lookup};
use aya_ebpf::programs::{SkLookupContext, TcContext};
use gateway_common::{Address, DropReason};
use gateway_ebpf::collect::collect as collect_flow;
use gateway_ebpf::is_guarded;
use gateway_ebpf::parse::LinkHeader;

use crate::maps::{Maps, count_drop, next_candidate};
use crate::tc::{Hook, run};

/// Received by a device with Ethernet headers.
#[classifier]
pub fn ingress_ether(context: TcContext) -> i32 {
    run(skb(&context), LinkHeader::Ethernet, Hook::Ingress)
}

/// About to be sent by a device with Ethernet headers.
#[classifier]
pub fn egress_ether(context: TcContext) -> i32 {
    run(skb(&context), LinkHeader::Ethernet, Hook::Egress)
}

/// Received by a device without link-layer header.
#[classifier]
pub fn ingress_ip(context: TcContext) -> i32 {
    run(skb(&context), LinkHeader::None, Hook::Ingress)
}

/// About to be sent by a device without link-layer header.
#[classifier]
pub fn egress_ip(context: TcContext) -> i32 {
    run(skb(&context), LinkHeader::None, Hook::Egress)
}

/// The VIP's guard: no socket of this host gets what is addressed to a VIP.
#[sk_lookup]
pub fn guard(context: SkLookupContext) -> u32 {
    if is_guarded(&local_address(context.lookup), &Maps { packet_bytes: 0 }) {
        count_drop(DropReason::Guarded);
        sk_action::SK_DROP
    } else {
        sk_action::SK_PASS
    }
}

/// Collects one idle flow a run; the agent asks for as many runs as there are candidates.
#[classifier]
pub fn collect(_context: TcContext) -> i32 {
    match next_candidate() {
        Some((candidate, settings)) => collect_flow(&candidate, settings, &Maps { packet_bytes: 0 }).into(),
        None => 0,
    }
}

#[inline(always)]
fn skb(context: &TcContext) -> *mut __sk_buff {
    context.as_ptr().cast()
}

#[inline(always)]
fn local_address(lookup: *const bpf_sk_lookup) -> Address {
    const AF_INET: u32 = 2;
    // SAFETY: the context the kernel handed to the program.
    let lookup = unsafe { &*lookup };
    if lookup.family == AF_INET {
        return Address::from_v4(lookup.local_ip4.to_ne_bytes());
    }
    let mut octets = [0; 16];
    for (word, octets) in lookup.local_ip6.iter().zip(octets.chunks_exact_mut(4)) {
        octets.copy_from_slice(&word.to_ne_bytes());
    }
    Address::from_v6(octets)
}
