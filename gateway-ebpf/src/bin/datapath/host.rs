//! What is asked of the host, and in its words: which of its sockets has a connection.

use aya_ebpf::bindings::{
    __sk_buff, BPF_F_CURRENT_NETNS, bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 as Tuple4,
    bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 as Tuple6,
};
use aya_ebpf::helpers::{bpf_sk_release, bpf_skc_lookup_tcp};
use gateway_common::{Flow, Port};

/// What the host calls the family of IPv4.
pub const AF_INET: u32 = 2;
/// The state of a socket that listens (`include/net/tcp_states.h`, `TCP_LISTEN`).
const LISTENS: u32 = 10;

/// Whether a socket of this host has the connection of a TCP segment. A function of its own: it is asked of a VIP that has
/// moved here alone.
///
/// What is found may also be the listener, since the host, when it knows no connection, asks the guard. It means nothing.
#[inline(never)]
pub fn has_socket(skb: *mut __sk_buff, flow: &Flow) -> bool {
    if flow.destination.is_v4_mapped() {
        let mut tuple = Tuple4 {
            saddr: u32::from_ne_bytes(flow.source.v4_octets()),
            daddr: u32::from_ne_bytes(flow.destination.v4_octets()),
            sport: network(flow.source_port),
            dport: network(flow.destination_port),
        };
        look_up(skb, (&raw mut tuple).cast(), size_of::<Tuple4>())
    } else {
        let mut tuple = Tuple6 {
            saddr: flow.source.words(),
            daddr: flow.destination.words(),
            sport: network(flow.source_port),
            dport: network(flow.destination_port),
        };
        look_up(skb, (&raw mut tuple).cast(), size_of::<Tuple6>())
    }
}

#[inline(always)]
const fn network(port: Port) -> u16 {
    u16::from_ne_bytes(port.network())
}

#[inline(always)]
fn look_up(skb: *mut __sk_buff, tuple: *mut bpf_sock_tuple, bytes: usize) -> bool {
    // SAFETY: the context the kernel handed to the program, and a tuple of as many bytes as is said, which tells its family.
    unsafe {
        let socket =
            bpf_skc_lookup_tcp(skb.cast(), tuple, bytes as u32, i64::from(BPF_F_CURRENT_NETNS).cast_unsigned(), 0);
        if socket.is_null() {
            return false;
        }
        let state = (&raw const (*socket).state).read_volatile();
        bpf_sk_release(socket.cast());
        state != LISTENS
    }
}
