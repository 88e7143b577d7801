//! A VIP exposes nothing but its frontends, whoever asks, and the programs of others keep seeing everything.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::programs::links::LinkOrder;
use aya::programs::tc::TcAttachOptions;
use aya::programs::{SchedClassifier, TcAttachType};
use beeline_tests::lab::Lab;
use beeline_tests::netns::Namespace;
use beeline_tests::topology::VIP;
use beeline_tests::{binaries, client};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

/// Asserts that a TCP connection gets an RST.
#[track_caller]
fn assert_refused(from: &Namespace, target: SocketAddr) {
    let outcome = from.enter(|| client::connect(target).map(|_| ()).map_err(|error| error.kind())).expect("entered");
    assert_eq!(outcome, Err(ErrorKind::ConnectionRefused), "{} to {target}", from.name());
}

/// Asserts that a datagram gets an ICMP error.
#[track_caller]
fn assert_unreachable(from: &Namespace, target: SocketAddr) {
    let ask = || client::datagram(target, "anybody").map(|answer| answer.pod).map_err(|error| error.kind());
    assert_eq!(from.enter(ask).expect("entered"), Err(ErrorKind::ConnectionRefused), "{} to {target}", from.name());
}

#[test]
fn a_port_without_a_frontend_is_refused_and_counted() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let agent = lab.start()?;

    for target in VIP.sockets(4444) {
        assert_refused(&lab.network.client, target);
        assert_unreachable(&lab.network.client, target);
    }

    assert!(agent.drops("no_frontend")? >= 4);
    Ok(())
}

#[test]
fn a_frontend_without_pods_refuses_tcp_and_udp() -> Result<()> {
    let lab = Lab::weighted(&[])?;
    let agent = lab.start()?;

    for (tcp, udp) in VIP.sockets(8000).into_iter().zip(VIP.sockets(8001)) {
        assert_refused(&lab.network.client, tcp);
        assert_unreachable(&lab.network.client, udp);
    }

    assert!(agent.drops("no_backend")? >= 4);
    Ok(())
}

/// Serves one greeting a connection, and datagrams, on every address of the node, until the process ends.
fn serve_on_every_address(node: &Namespace, port: u16) -> Result<()> {
    let bind = || -> Result<_> {
        let listeners = [TcpListener::bind(("0.0.0.0", port))?, TcpListener::bind(("::", port + 1))?];
        Ok((listeners, UdpSocket::bind(("::", port + 2))?))
    };
    let (listeners, datagrams) = node.enter(bind)??;
    for listener in listeners {
        thread::spawn(move || listener.incoming().flatten().try_for_each(|mut stream| stream.write_all(b"hello")));
    }
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, client)) = datagrams.recv_from(&mut buffer) {
            let _unreachable = datagrams.send_to(b"node 1.1.1.1:1 anybody", client);
        }
    });
    Ok(())
}

fn greeting(mut stream: TcpStream) -> std::io::Result<String> {
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn a_host_service_is_reachable_at_the_node_and_not_through_the_vip() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let _agent = lab.start()?;
    serve_on_every_address(&lab.network.node, 7000)?;

    for from in [&lab.network.client, &lab.network.pods[0], &lab.network.node] {
        for port in [7000, 7001] {
            for target in VIP.sockets(port) {
                assert_refused(from, target);
            }
        }
        for target in VIP.sockets(7002) {
            assert_unreachable(from, target);
        }
    }
    let [v4, _] = lab.network.node_address.sockets(7000);
    let [also_v4, v6] = lab.network.node_address.sockets(7001);
    for target in [v4, also_v4, v6] {
        let said = lab.network.client.enter(|| client::connect(target).and_then(greeting))?;
        assert_eq!(said.with_context(|| format!("{target} does not answer"))?, "hello");
    }
    for target in lab.network.node_address.sockets(7002) {
        assert_eq!(lab.network.client.enter(|| client::datagram(target, "anybody"))??.pod, "node");
    }
    Ok(())
}

/// Packets that a device has received and sent, as the kernel counts them.
fn packets(namespace: &Namespace) -> Result<(u64, u64)> {
    let text = namespace.enter(|| std::fs::read_to_string("/proc/thread-self/net/dev"))??;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:")).context("there is no eth0")?;
    let numbers = line.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    Ok((numbers[1], numbers[9]))
}

#[test]
fn a_program_after_ours_sees_every_packet() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let _agent = lab.start()?;
    let node = &lab.network.node;
    let _counting = aya::sys::enable_stats(aya::sys::Stats::RunTime)?;
    for (direction, is_ingress) in [(TcAttachType::Ingress, true), (TcAttachType::Egress, false)] {
        let mut object = aya::Ebpf::load_file(binaries::floor_object()?)?;
        let program: &mut SchedClassifier = object.program_mut("floor").context("no program `floor`")?.try_into()?;
        program.load()?;
        node.enter(|| program.attach_with_options("eth0", direction, TcAttachOptions::TcxOrder(LinkOrder::last())))??;

        let (seen, (received, sent)) = (program.info()?.run_count(), packets(node)?);
        let distribution = client::connections(&lab.network.client, VIP.sockets(8000)[0], 50)?;
        let ((received_after, sent_after), seen_after) = (packets(node)?, program.info()?.run_count());

        assert_eq!(distribution.of("v1"), 50, "{distribution:?}");
        let passed = if is_ingress { received_after - received } else { sent_after - sent };
        assert!(passed >= 150 && seen_after - seen >= passed, "{} of {passed} packets seen", seen_after - seen);
    }
    Ok(())
}

/// Sends an echo request to an address and waits for the reply. The kernel fills in identifier and checksum.
fn ping(target: IpAddr) -> Result<()> {
    let (family, protocol, request, reply) = match target {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, 8, 0),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, 128, 129),
    };
    let socket = UdpSocket::from(socket(family, SockType::Datagram, SockFlag::empty(), protocol)?);
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.send_to(&[request, 0, 0, 0, 0, 0, 0, 1], (target, 0))?;
    let mut answer = [0; 64];
    socket.recv(&mut answer)?;
    ensure!(answer[0] == reply, "ICMP type {} from {target}", answer[0]);
    Ok(())
}

#[test]
fn a_vip_answers_echo_requests() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let _agent = lab.start()?;
    lab.network.client.sysctl("net/ipv4/ping_group_range", "0 0")?;

    for target in VIP.both() {
        lab.network.client.enter(|| ping(target))?.with_context(|| format!("{target} does not answer"))?;
    }
    Ok(())
}
