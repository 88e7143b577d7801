//! The raw calls behind [`Segments`](super::Segments): one packet socket for ARP, one raw socket for ICMPv6.
//!
//! The packet socket is for ARP alone, so the kernel runs nothing of ours for any other packet.

use std::io;
use std::net::Ipv6Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libc::{c_int, c_void, sockaddr, sockaddr_in6, sockaddr_ll, socklen_t};

/// `ICMP6_FILTER` (include/uapi/linux/icmpv6.h): a set bit blocks a type.
const ICMP6_FILTER: c_int = 1;
const ADVERTISEMENT: usize = 136;

/// Where something is sent.
#[derive(Clone, Copy, Debug)]
pub enum Destination {
    /// A frame that bears its Ethernet header, by this device.
    Segment {
        /// Its index.
        device: u32,
    },
    /// An ICMPv6 message to a group on the segment of this device.
    Group {
        /// The group.
        group: Ipv6Addr,
        /// The device's index.
        device: u32,
    },
}

/// What was received.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// How much of the buffer it took.
    pub length: usize,
    /// The device that it came by, if the kernel says so.
    pub device: Option<u32>,
}

/// A socket for the ARP frames of all devices.
pub fn arp() -> io::Result<OwnedFd> {
    let protocol = (libc::ETH_P_ARP as u16).to_be();
    open(libc::AF_PACKET, protocol.into())
}

/// A socket for ICMPv6, which receives neighbour advertisements alone.
pub fn icmp6() -> io::Result<OwnedFd> {
    let socket = open(libc::AF_INET6, libc::IPPROTO_ICMPV6)?;
    let mut filter = [u32::MAX; 8];
    filter[ADVERTISEMENT / 32] &= !(1 << (ADVERTISEMENT % 32));
    set(&socket, libc::IPPROTO_ICMPV6, ICMP6_FILTER, &filter)?;
    // Who receives neighbour discovery with any other hop limit drops it (RFC 4861 section 7.1).
    set(&socket, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS, &255_i32)?;
    set(&socket, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_LOOP, &0_i32)?;
    Ok(socket)
}

fn open(domain: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the call takes numbers only.
    let descriptor = unsafe { libc::socket(domain, kind, protocol) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn set<T>(socket: &OwnedFd, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    let pointer = (&raw const *value).cast::<c_void>();
    // SAFETY: the pointer leads to a value of the size that is named, which outlives the call.
    let outcome = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, pointer, size::<T>()) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends a frame or a message whole.
pub fn send(socket: &OwnedFd, bytes: &[u8], to: Destination) -> io::Result<()> {
    match to {
        Destination::Segment { device } => {
            let to = sockaddr_ll {
                sll_family: libc::AF_PACKET as u16,
                sll_protocol: (libc::ETH_P_ARP as u16).to_be(),
                sll_ifindex: device.cast_signed(),
                sll_hatype: 0,
                sll_pkttype: 0,
                sll_halen: 6,
                sll_addr: [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
            };
            send_to(socket, bytes, &to)
        }
        Destination::Group { group, device } => {
            let to = sockaddr_in6 {
                sin6_family: libc::AF_INET6 as u16,
                sin6_port: 0,
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: group.octets() },
                sin6_scope_id: device,
            };
            send_to(socket, bytes, &to)
        }
    }
}

fn send_to<T>(socket: &OwnedFd, bytes: &[u8], to: &T) -> io::Result<()> {
    let (data, to) = (bytes.as_ptr().cast::<c_void>(), (&raw const *to).cast::<sockaddr>());
    // SAFETY: both pointers lead to values of the sizes that are named, which outlive the call.
    let sent = unsafe { libc::sendto(socket.as_raw_fd(), data, bytes.len(), 0, to, size::<T>()) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Receives an ARP frame.
pub fn receive_arp(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut from = sockaddr_ll {
        sll_family: 0,
        sll_protocol: 0,
        sll_ifindex: 0,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = receive_from(socket, buffer, &mut from)?;
    Ok(Received { length, device: Some(from.sll_ifindex.cast_unsigned()) })
}

/// Receives an ICMPv6 message.
pub fn receive_icmp6(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut from = sockaddr_in6 {
        sin6_family: 0,
        sin6_port: 0,
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
        sin6_scope_id: 0,
    };
    let length = receive_from(socket, buffer, &mut from)?;
    // Only addresses that mean something else on each link come with the link.
    Ok(Received { length, device: Some(from.sin6_scope_id).filter(|device| *device != 0) })
}

fn receive_from<T>(socket: &OwnedFd, buffer: &mut [u8], from: &mut T) -> io::Result<usize> {
    let mut length = size::<T>();
    let (data, from) = (buffer.as_mut_ptr().cast::<c_void>(), (&raw mut *from).cast::<sockaddr>());
    // SAFETY: all pointers lead to values of the sizes that are named, which outlive the call.
    let received = unsafe { libc::recvfrom(socket.as_raw_fd(), data, buffer.len(), 0, from, &raw mut length) };
    usize::try_from(received).map_err(|_| io::Error::last_os_error())
}

const fn size<T>() -> socklen_t {
    size_of::<T>() as socklen_t
}
