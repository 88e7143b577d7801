//! The programs of a cgroup: they answer sockets that connect, send, or ask who their peer is.
//!
//! They run in the task that makes the system call and may be interrupted by a packet, so they keep to the stack.
//! Addresses that a socket of IPv6 writes in their v4-mapped form are those of IPv4 here without further ado.

#![expect(clippy::needless_pass_by_value, reason = "the program macros hand contexts over by value")]

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{__sk_buff, bpf_sock, bpf_sock_addr};
use aya_ebpf::helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_sk_fullsock, bpf_skb_load_bytes};
use aya_ebpf::macros::{cgroup_skb, cgroup_sock_addr};
use aya_ebpf::programs::{SkBuffContext, SockAddrContext};
use gateway_common::{Address, DropReason, Port, Protocol};
use gateway_ebpf::headers::{Ipv4Header, Ipv6Header};
use gateway_ebpf::parse::Family;
use gateway_ebpf::socket::{self, Choice, Endpoint, Socket};

use crate::host::AF_INET;
use crate::maps::{MAPS, count_socket_refusal, node_namespace};

/// What a program of a cgroup returns to let a call go on.
const ALLOW: i32 = 1;
/// What it returns to let it fail: with "operation not permitted", unless it names another error.
const DENY: i32 = 0;
/// "Connection refused", as it is told to the kernel.
const ECONNREFUSED: i32 = -111;
/// The state of a socket of UDP that is connected (`include/net/tcp_states.h`, `TCP_ESTABLISHED`).
const CONNECTED: u32 = 1;

/// A socket connects to an IPv4 address.
#[cgroup_sock_addr(connect4)]
pub fn connect4(context: SockAddrContext) -> i32 {
    connect(&Call { context: context.sock_addr, family: Family::V4 })
}

/// The same where processes of others are seen too: for sockets of the node's own network namespace.
#[cgroup_sock_addr(connect4)]
pub fn host_connect4(context: SockAddrContext) -> i32 {
    let call = Call { context: context.sock_addr, family: Family::V4 };
    if call.is_of_node() { connect(&call) } else { ALLOW }
}

/// A socket connects to an IPv6 address.
#[cgroup_sock_addr(connect6)]
pub fn connect6(context: SockAddrContext) -> i32 {
    connect(&Call { context: context.sock_addr, family: Family::V6 })
}

/// The same where processes of others are seen too: for sockets of the node's own network namespace.
#[cgroup_sock_addr(connect6)]
pub fn host_connect6(context: SockAddrContext) -> i32 {
    let call = Call { context: context.sock_addr, family: Family::V6 };
    if call.is_of_node() { connect(&call) } else { ALLOW }
}

/// A socket sends a datagram to an IPv4 address.
#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(context: SockAddrContext) -> i32 {
    send(&Call { context: context.sock_addr, family: Family::V4 })
}

/// The same where processes of others are seen too: for sockets of the node's own network namespace.
#[cgroup_sock_addr(sendmsg4)]
pub fn host_sendmsg4(context: SockAddrContext) -> i32 {
    let call = Call { context: context.sock_addr, family: Family::V4 };
    if call.is_of_node() { send(&call) } else { ALLOW }
}

/// A socket sends a datagram to an IPv6 address.
#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(context: SockAddrContext) -> i32 {
    send(&Call { context: context.sock_addr, family: Family::V6 })
}

/// The same where processes of others are seen too: for sockets of the node's own network namespace.
#[cgroup_sock_addr(sendmsg6)]
pub fn host_sendmsg6(context: SockAddrContext) -> i32 {
    let call = Call { context: context.sock_addr, family: Family::V6 };
    if call.is_of_node() { send(&call) } else { ALLOW }
}

/// A socket is told which IPv4 address sent a datagram.
#[cgroup_sock_addr(recvmsg4)]
pub fn recvmsg4(context: SockAddrContext) -> i32 {
    name_peer(&Call { context: context.sock_addr, family: Family::V4 })
}

/// A socket is told which IPv6 address sent a datagram.
#[cgroup_sock_addr(recvmsg6)]
pub fn recvmsg6(context: SockAddrContext) -> i32 {
    name_peer(&Call { context: context.sock_addr, family: Family::V6 })
}

/// A socket is told which IPv4 address it is connected to.
#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(context: SockAddrContext) -> i32 {
    name_peer(&Call { context: context.sock_addr, family: Family::V4 })
}

/// A socket is told which IPv6 address it is connected to.
#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(context: SockAddrContext) -> i32 {
    name_peer(&Call { context: context.sock_addr, family: Family::V6 })
}

/// A packet of a socket is about to be sent: refused if it is a datagram to a backend that is gone, so that its sender
/// learns of it and connects anew. Nothing else is called when a connected socket sends.
#[cgroup_skb(egress)]
pub fn stale_datagram(context: SkBuffContext) -> i32 {
    let skb: *mut __sk_buff = context.as_ptr().cast();
    // SAFETY: the context the kernel handed to the program.
    let is_stale = |peer: &Endpoint| socket::is_stale(unsafe { bpf_get_socket_cookie(skb.cast()) }, peer, &MAPS);
    match connected_peer(skb) {
        // A connected socket may name another address with a datagram: that one is not refused.
        Some(peer) if is_stale(&peer) && destination(skb) == Some(peer.address) => {
            count_socket_refusal(DropReason::BackendGone);
            DENY
        }
        _ => ALLOW,
    }
}

#[inline(always)]
fn connect(call: &Call) -> i32 {
    match call.protocol() {
        Some(protocol) => call.apply(&socket::connect(&call.peer(), protocol, call, &MAPS)),
        None => ALLOW,
    }
}

#[inline(always)]
fn send(call: &Call) -> i32 {
    match call.protocol() {
        Some(Protocol::UDP) => call.apply(&socket::send(&call.peer(), call, &MAPS)),
        _ => ALLOW,
    }
}

#[inline(always)]
fn name_peer(call: &Call) -> i32 {
    if let Some(vip) = call.protocol().and_then(|_| socket::known_as(&call.peer(), call, &MAPS)) {
        call.set_peer(&vip);
    }
    ALLOW
}

/// A system call on a socket that names an address or is told one.
struct Call {
    context: *mut bpf_sock_addr,
    family: Family,
}

impl Call {
    /// Whether the socket is one of the node's own network namespace.
    #[inline(always)]
    fn is_of_node(&self) -> bool {
        node_namespace() == Some(self.namespace())
    }

    /// The protocol, if it is one that is balanced.
    #[inline(always)]
    fn protocol(&self) -> Option<Protocol> {
        const TCP: u32 = Protocol::TCP.number() as u32;
        const UDP: u32 = Protocol::UDP.number() as u32;
        // SAFETY: the context the kernel handed to the program.
        match unsafe { (*self.context).protocol } {
            TCP => Some(Protocol::TCP),
            UDP => Some(Protocol::UDP),
            _ => None,
        }
    }

    /// The address that is named.
    #[inline(always)]
    fn peer(&self) -> Endpoint {
        let context = self.context;
        // SAFETY: the context the kernel handed to the program. It is read word by word, as the verifier wants it.
        let (address, port) = unsafe {
            let address = match self.family {
                Family::V4 => Address::from_v4((&raw const (*context).user_ip4).read_volatile().to_ne_bytes()),
                Family::V6 => address((&raw const (*context).user_ip6).cast()),
            };
            (address, (&raw const (*context).user_port).read_volatile())
        };
        Endpoint { address, port: network_port(port) }
    }

    /// Names another address in its place.
    #[inline(always)]
    fn set_peer(&self, peer: &Endpoint) {
        let context = self.context;
        let words = peer.address.words();
        // SAFETY: as above; the fields may be written.
        unsafe {
            match self.family {
                Family::V4 => (&raw mut (*context).user_ip4).write_volatile(words[3]),
                Family::V6 => {
                    let field: *mut u32 = (&raw mut (*context).user_ip6).cast();
                    field.write_volatile(words[0]);
                    field.add(1).write_volatile(words[1]);
                    field.add(2).write_volatile(words[2]);
                    field.add(3).write_volatile(words[3]);
                }
            }
            let port = u16::from_ne_bytes(peer.port.network());
            (&raw mut (*context).user_port).write_volatile(u32::from(port));
        }
    }

    /// Lets the call go on with the peer that was chosen, or fail.
    #[inline(always)]
    fn apply(&self, choice: &Choice) -> i32 {
        match choice {
            Choice::Leave => ALLOW,
            Choice::Peer(peer) => {
                self.set_peer(peer);
                ALLOW
            }
            Choice::Refuse(reason) => {
                count_socket_refusal(*reason);
                if *reason == DropReason::NoBackend {
                    set_error(ECONNREFUSED);
                }
                DENY
            }
        }
    }
}

impl Socket for Call {
    #[inline(always)]
    fn cookie(&self) -> u64 {
        // SAFETY: the context the kernel handed to the program.
        unsafe { bpf_get_socket_cookie(self.context.cast()) }
    }

    #[inline(always)]
    fn namespace(&self) -> u64 {
        // SAFETY: the context the kernel handed to the program.
        unsafe { bpf_get_netns_cookie(self.context.cast()) }
    }

    #[inline(always)]
    fn bound_to(&self) -> Option<Address> {
        // SAFETY: the context the kernel handed to the program; the socket is null or one whose fields can be read.
        let bound = unsafe {
            let socket: *const bpf_sock = (*self.context).__bindgen_anon_1.sk;
            if socket.is_null() {
                return None;
            }
            match self.family {
                Family::V4 => Address::from_v4((&raw const (*socket).src_ip4).read_volatile().to_ne_bytes()),
                Family::V6 => address((&raw const (*socket).src_ip6).cast()),
            }
        };
        let is_any = bound == Address::UNSPECIFIED || bound == Address::from_v4([0; 4]);
        (!is_any).then_some(bound)
    }
}

/// The peer of the connected socket of UDP that sends a packet, if it is one.
#[inline(always)]
fn connected_peer(skb: *mut __sk_buff) -> Option<Endpoint> {
    // SAFETY: the context the kernel handed to the program; the socket is checked before it is read.
    unsafe {
        let socket = (*skb).__bindgen_anon_2.sk;
        if socket.is_null() {
            return None;
        }
        let socket: *const bpf_sock = bpf_sk_fullsock(socket);
        if socket.is_null() || (*socket).protocol != u32::from(Protocol::UDP.number()) || (*socket).state != CONNECTED {
            return None;
        }
        // Both are read before one is chosen: the verifier wants no pointer that could be either's.
        let v4 = (&raw const (*socket).dst_ip4).read_volatile();
        let v6 = address((&raw const (*socket).dst_ip6).cast());
        let address = if (*socket).family == AF_INET { Address::from_v4(v4.to_ne_bytes()) } else { v6 };
        let port = (&raw const (*socket).dst_port).read_volatile();
        Some(Endpoint { address, port: network_port(u32::from(port)) })
    }
}

/// Where a packet goes to.
#[inline(always)]
fn destination(skb: *mut __sk_buff) -> Option<Address> {
    const ETHERTYPE_IPV4: u32 = 0x0800_u16.to_be() as u32;
    let mut octets = [0u8; 16];
    // SAFETY: the context the kernel handed to the program.
    let is_ipv4 = unsafe { (*skb).protocol } == ETHERTYPE_IPV4;
    let (at, length) = if is_ipv4 { (Ipv4Header::DESTINATION, 4) } else { (Ipv6Header::DESTINATION, 16) };
    // SAFETY: as above; `octets` has room for `length` bytes. A program of a cgroup finds the IP header first.
    let result = unsafe { bpf_skb_load_bytes(skb.cast(), at as u32, octets.as_mut_ptr().cast(), length) };
    if result != 0 {
        return None;
    }
    let [a, b, c, d, ..] = octets;
    Some(if is_ipv4 { Address::from_v4([a, b, c, d]) } else { Address::from_v6(octets) })
}

/// An address of four words of a context.
///
/// # Safety
///
/// All four must be readable.
#[inline(always)]
pub unsafe fn address(words: *const u32) -> Address {
    // SAFETY: readable as the caller promises.
    let words = unsafe {
        [
            words.read_volatile(),
            words.add(1).read_volatile(),
            words.add(2).read_volatile(),
            words.add(3).read_volatile(),
        ]
    };
    Address::from_v6(zerocopy::transmute!(words))
}

/// The port in a word that holds it in network order.
#[inline(always)]
const fn network_port(word: u32) -> Port {
    Port::from_network((word as u16).to_ne_bytes())
}

/// Makes the call fail with this error.
#[inline(always)]
fn set_error(error: i32) {
    // SAFETY: helper 187 is `bpf_set_retval` (include/uapi/linux/bpf.h). Every helper returns 64 bits; the binding that
    // says 32 makes LLVM's BPF back end abort here.
    let set_retval = unsafe { core::mem::transmute::<usize, extern "C" fn(i64) -> i64>(187) };
    set_retval(i64::from(error));
}
