//! The programs, as the kernel and the agent know them: `gateway_common::maps::programs` has their names.

#![expect(clippy::needless_pass_by_value, reason = "the program macros hand contexts over by value")]

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{__sk_buff, bpf_sk_lookup, sk_action};
use aya_ebpf::macros::{classifier, sk_lookup};
use aya_ebpf::programs::{SkLookupContext, TcContext};
use gateway_common::{Address, DropReason, FrontendKey, Port, Protocol};
use gateway_ebpf::collect::collect as collect_flow;
use gateway_ebpf::delivery::{Delivery, deliver};
use gateway_ebpf::parse::LinkHeader;

use crate::host::AF_INET;
use crate::maps::{MAPS, count_drop, next_candidate, steer};
use crate::socket::address;
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

/// The VIP's guard: no socket of this host gets what is addressed to a VIP, but for the listeners of steered frontends.
#[sk_lookup]
pub fn guard(context: SkLookupContext) -> u32 {
    match deliver(&destination(context.lookup), &MAPS) {
        Delivery::Pass => return sk_action::SK_PASS,
        Delivery::Steer if steer(&context) => return sk_action::SK_PASS,
        Delivery::Steer | Delivery::Refuse => {}
    }
    count_drop(DropReason::Guarded);
    sk_action::SK_DROP
}

/// Collects one idle flow a run; the agent asks for as many runs as there are candidates.
#[classifier]
pub fn collect(_context: TcContext) -> i32 {
    match next_candidate() {
        Some((candidate, settings)) => collect_flow(&candidate, settings, &MAPS).into(),
        None => 0,
    }
}

#[inline(always)]
fn skb(context: &TcContext) -> *mut __sk_buff {
    context.as_ptr().cast()
}

/// Where a delivery goes to.
#[inline(always)]
fn destination(lookup: *const bpf_sk_lookup) -> FrontendKey {
    // SAFETY: the context the kernel handed to the program. It is read word by word, as the verifier wants it.
    unsafe {
        // Both are read before one is chosen: the verifier wants no pointer that could be either's.
        let v4 = (&raw const (*lookup).local_ip4).read_volatile();
        let v6 = address((&raw const (*lookup).local_ip6).cast());
        let is_v4 = (&raw const (*lookup).family).read_volatile() == AF_INET;
        let address = if is_v4 { Address::from_v4(v4.to_ne_bytes()) } else { v6 };
        let protocol = Protocol::new((&raw const (*lookup).protocol).read_volatile() as u8);
        // Of the context's ports this one is in the host's order.
        FrontendKey::new(address, Port::new((&raw const (*lookup).local_port).read_volatile() as u16), protocol)
    }
}
