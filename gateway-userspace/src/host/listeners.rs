//! Sockets that listen for the HTTP layer, and that nobody reaches by an address: the VIPs' guard alone hands them
//! connections, of whichever VIPs and ports, and each accepted socket has the VIP for its own address.
//!
//! Such a socket must be bound all the same. It is bound to an address that no host has and no router leads to, with a
//! port that the kernel picks; so nothing of the node is exposed, and what others listen on stays theirs to choose.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

use gateway_common::maps::Listener;
use nix::sys::socket::sockopt::{IpFreebind, Ipv6V6Only, ReuseAddr, ReusePort};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket};

/// The IPv4 dummy address (RFC 7600 section 4.8).
const NOBODY_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
/// An address of the discard-only prefix (RFC 6666).
const NOBODY_V6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 8);

/// Makes as many sockets of one family as there are threads that accept. They do not block, and the kernel spreads
/// connections over them by flow; it is enough to name one of them to the guard. Where the host does without the family,
/// the error says so.
///
/// The port is never one of another process's sockets: what an earlier agent still accepts stays its own.
pub fn open(family: Listener, count: usize) -> io::Result<Vec<TcpListener>> {
    let mut address = match family {
        Listener::V4 => SocketAddr::from((NOBODY_V4, 0)),
        Listener::V6 => SocketAddr::from((NOBODY_V6, 0)),
    };
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = open_at(address)?;
        address = socket.local_addr()?;
        sockets.push(socket);
    }
    Ok(sockets)
}

fn open_at(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?;
    // Accepted sockets inherit it. Without it they would keep others from listening on a VIP's port number, on addresses of
    // the node's own.
    setsockopt(&socket, ReuseAddr, &true)?;
    setsockopt(&socket, ReusePort, &true)?;
    // Of both families in spite of its name: the address need not be one of this host.
    setsockopt(&socket, IpFreebind, &true)?;
    if address.is_ipv6() {
        setsockopt(&socket, Ipv6V6Only, &true)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&socket, Backlog::MAXCONN)?;
    Ok(TcpListener::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_one_call_share_a_port_and_those_of_another_have_their_own() {
        let addresses = |sockets: &[TcpListener]| -> Vec<SocketAddr> {
            sockets.iter().map(|socket| socket.local_addr().expect("an address")).collect()
        };
        for family in Listener::ALL {
            let (first, second) = (open(family, 3).expect("sockets"), open(family, 1).expect("a socket"));

            let (first, second) = (addresses(&first), addresses(&second));
            assert!(first.iter().all(|address| *address == first[0] && address.port() != 0), "{first:?}");
            assert_ne!(first[0], second[0]);
        }
    }
}
