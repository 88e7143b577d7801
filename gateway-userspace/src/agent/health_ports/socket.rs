//! A listening socket for one address family alone, so that each family's port can be had or not by itself.

use std::io;
use std::net::{self, SocketAddr};
use std::os::fd::AsRawFd;

use libc::{EADDRNOTAVAIL, EAFNOSUPPORT};
use nix::sys::socket::sockopt::{Ipv6V6Only, ReuseAddr};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen as start, setsockopt, socket,
};
use tokio::net::TcpListener;

/// Listens on an address.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(family, SockType::Stream, flags, None)?;
    // What remains of connections to an earlier agent shall not keep this one from listening.
    setsockopt(&socket, ReuseAddr, &true)?;
    if address.is_ipv6() {
        setsockopt(&socket, Ipv6V6Only, &true)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    start(&socket, Backlog::MAXCONN)?;
    TcpListener::from_std(net::TcpListener::from(socket))
}

/// Whether the host does without IPv6, or IPv4.
pub fn is_family_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(EAFNOSUPPORT | EADDRNOTAVAIL))
}
