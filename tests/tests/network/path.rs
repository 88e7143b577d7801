//! Packets of every shape: with and without offload, too large for a hop, in fragments.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result};
use beeline_tests::client;
use beeline_tests::lab::Lab;
use beeline_tests::manifests::Service;
use beeline_tests::netns::Namespace;
use beeline_tests::process::run;
use beeline_tests::topology::{CLIENT, Dual, Plan, VIP, pod_addresses};
use nix::sys::socket::sockopt::{ReuseAddr, SendTimeout};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrIn, bind, connect, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};

const MEBIBYTE: usize = 1024 * 1024;

fn transfer_both_ways(lab: &Lab) -> Result<()> {
    VIP.sockets(9000).into_iter().try_for_each(|frontend| client::transfer(&lab.network.client, frontend, MEBIBYTE))
}

#[test]
fn a_mebibyte_passes_both_ways_with_offload_on_and_off() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let _agent = lab.start()?;

    for on in [true, false] {
        lab.network.offload(on)?;
        transfer_both_ways(&lab)?;
        for frontend in VIP.sockets(8001) {
            let answered = client::flows(&lab.network.client, frontend, 10)?;
            assert_eq!(answered.of("v1"), 10, "offload {on}: {answered:?}");
        }
    }
    Ok(())
}

#[test]
fn tagged_packets_are_served_on_the_device_that_carries_them() -> Result<()> {
    let lab = Lab::weighted(&[2, 1])?;
    let _agent = lab.start()?;
    let tagged = |address: Dual| {
        let Dual { v4, v6 } = address;
        format!(
            "link add link eth0 name eth0.7 type vlan id 7\naddr add {v4}/24 dev eth0.7\n\
             addr add {v6}/64 dev eth0.7 nodad\nlink set eth0.7 up\n"
        )
    };
    let client = Dual { v4: Ipv4Addr::new(172, 22, 0, 2), v6: Ipv6Addr::new(0xfd00, 0x22, 0, 0, 0, 0, 0, 2) };
    let node = Dual { v4: Ipv4Addr::new(172, 22, 0, 1), v6: Ipv6Addr::new(0xfd00, 0x22, 0, 0, 0, 0, 0, 1) };
    lab.network.node.ip(&tagged(node))?;
    let routes = format!("route replace 10.96.0.0/16 via {}\nroute replace fd00:96::/32 via {}\n", node.v4, node.v6);
    lab.network.client.ip(&(tagged(client) + &routes))?;

    for on in [true, false] {
        lab.network.offload(on)?;
        for frontend in VIP.sockets(8000) {
            let distribution = client::connections(&lab.network.client, frontend, 30)?;
            assert_eq!((distribution.of("v1"), distribution.of("v2")), (20, 10), "{distribution:?}");
            assert_eq!(distribution.clients, [client.like(frontend.ip())].into());
        }
        transfer_both_ways(&lab)?;
    }
    Ok(())
}

/// What the namespace has learned about the path to an address.
fn route(namespace: &Namespace, to: IpAddr) -> Result<String> {
    let mut ip = namespace.command("ip")?;
    ip.args(["route", "get", &to.to_string()]);
    run(&mut ip)
}

fn lab_with(plan: &Plan) -> Result<Lab> {
    let lab = Lab::build(plan)?;
    lab.folder.write("app.yaml", &Service::weighted(VIP, &[1]).to_yaml())?;
    Ok(lab)
}

#[test]
fn a_client_learns_that_the_way_to_the_pod_is_narrow() -> Result<()> {
    let lab = lab_with(&Plan { pod_mtu: Some(1400), ..Plan::pods(&["v1"]) })?;
    let agent = lab.start()?;

    transfer_both_ways(&lab)?;

    for vip in VIP.both() {
        let learned = route(&lab.network.client, vip)?;
        assert!(learned.contains("mtu 1400"), "{learned}");
    }
    assert!(agent.events("icmp_translated")? >= 2);
    Ok(())
}

#[test]
fn a_pod_learns_that_the_way_to_the_client_is_narrow() -> Result<()> {
    let lab = lab_with(&Plan { router_mtu: Some(1400), ..Plan::pods(&["v1"]) })?;
    let agent = lab.start()?;

    transfer_both_ways(&lab)?;

    for client in CLIENT.both() {
        let learned = route(&lab.network.pods[0], client)?;
        assert!(learned.contains("mtu 1400"), "{learned}");
    }
    assert!(agent.events("icmp_translated")? >= 2);
    Ok(())
}

/// Sends a datagram that takes several fragments.
fn send_in_fragments(to: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.send_to(&[0; 4000], to)?;
    Ok(())
}

#[test]
fn fragments_to_a_vip_are_dropped_by_name_and_to_others_pass() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let agent = lab.start()?;
    let pod = pod_addresses(1);

    for (frontend, pod) in VIP.sockets(8001).into_iter().zip(pod.sockets(7)) {
        let before = agent.drops("fragment")?;
        lab.network.client.enter(|| send_in_fragments(frontend))??;
        assert_eq!(agent.drops("fragment")? - before, 3, "{frontend}");

        let whole = "x".repeat(1900);
        assert_eq!(lab.network.client.enter(|| client::datagram(pod, &whole))??.pod, "v1");
    }
    Ok(())
}

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
