//! Client ports that are used again: towards the VIP and then towards the Pod itself.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result};
use beeline_tests::lab::Lab;
use beeline_tests::topology::{VIP, pod_addresses};
use nix::sys::socket::sockopt::{ReuseAddr, SendTimeout};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrIn, bind, connect, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// Opens a connection from a port, asks who answers and closes it.
fn ask_from(source: u16, target: SocketAddrV4) -> Result<String> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), SockProtocol::Tcp)?;
    setsockopt(&socket, ReuseAddr, &true)?;
    setsockopt(&socket, SendTimeout, &TimeVal::seconds(3))?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, source)))?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(target))?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response)
}

#[test]
fn a_port_that_talked_to_the_vip_can_talk_to_the_pod_itself() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let _agent = lab.start()?;

    for target in [SocketAddrV4::new(VIP.v4, 8000), SocketAddrV4::new(pod_addresses(1).v4, 80)] {
        let response = lab.network.client.enter(|| ask_from(12_345, target))?;
        assert!(response.with_context(|| format!("{target} does not answer"))?.contains("\"pod\":\"v1\""));
    }
    Ok(())
}
