//! The raw calls behind [`Segments`](super::Segments): one packet socket for ARP, one raw socket for ICMPv6.
//!
//! The packet socket is for ARP alone, so the kernel runs nothing of ours for any other packet.

use std::io::{self, IoSliceMut};
use std::net::Ipv6Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libc::{c_int, c_void, in6_pktinfo, sockaddr, sockaddr_in6, sockaddr_ll, socklen_t};
use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg};

/// `ICMP6_FILTER` (include/uapi/linux/icmpv6.h): a set bit blocks a type.
const ICMP6_FILTER: c_int = 1;
const ADVERTISEMENT: usize = 136;
/// What neighbour discovery is sent with: no router lets it pass as it is, so who receives it with this is a neighbour
/// (RFC 4861 section 7.1).
const NEIGHBOURS_HOPS: c_int = 255;

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
    /// The device that it came by.
    pub device: u32,
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
    set(&socket, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS, &NEIGHBOURS_HOPS)?;
    set(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, &1_i32)?;
    set(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, &1_i32)?;
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
pub fn receive_arp(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<Received>> {
    let mut from = sockaddr_ll {
        sll_family: 0,
        sll_protocol: 0,
        sll_ifindex: 0,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let mut length = size::<sockaddr_ll>();
    let (data, to) = (buffer.as_mut_ptr().cast::<c_void>(), (&raw mut from).cast::<sockaddr>());
    // SAFETY: all pointers lead to values of the sizes that are named, which outlive the call.
    let received = unsafe { libc::recvfrom(socket.as_raw_fd(), data, buffer.len(), 0, to, &raw mut length) };
    let length = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    Ok(Some(Received { length, device: from.sll_ifindex.cast_unsigned() }))
}

/// Receives an ICMPv6 message; none if it may come from behind a router.
pub fn receive_icmp6(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<Received>> {
    let mut control = cmsg_space!(in6_pktinfo, c_int);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
    Ok(device_of_neighbour(message.cmsgs()?).map(|device| Received { length: message.bytes, device }))
}

/// The device that a message of a neighbour came by, by what the kernel says of it; none if it is no neighbour's.
fn device_of_neighbour(said: impl Iterator<Item = ControlMessageOwned>) -> Option<u32> {
    let (mut device, mut is_near) = (None, false);
    for message in said {
        match message {
            ControlMessageOwned::Ipv6PacketInfo(info) => device = Some(info.ipi6_ifindex),
            ControlMessageOwned::Ipv6HopLimit(hops) => is_near = hops == NEIGHBOURS_HOPS,
            _ => {}
        }
    }
    device.filter(|_| is_near)
}

const fn size<T>() -> socklen_t {
    size_of::<T>() as socklen_t
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_crossed_no_router_is_a_neighbours() {
        let info = || {
            let ipi6_addr = libc::in6_addr { s6_addr: Ipv6Addr::LOCALHOST.octets() };
            ControlMessageOwned::Ipv6PacketInfo(in6_pktinfo { ipi6_addr, ipi6_ifindex: 7 })
        };
        let hops = ControlMessageOwned::Ipv6HopLimit;

        assert_eq!(device_of_neighbour([info(), hops(255)].into_iter()), Some(7));
        for said in [vec![info(), hops(254)], vec![info()], vec![hops(255)], vec![]] {
            assert_eq!(device_of_neighbour(said.into_iter()), None);
        }
    }
}
