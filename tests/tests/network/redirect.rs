//! Real traffic of redirected flows, without an agent: the programs hang on the node's devices, and the maps hold one
//! service whose Pod counts as one of another node.
//!
//! A firewall on the node lets nothing through that its netfilter could see, so whatever arrives went past it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use beeline_tests::netns::{Lifetime, Namespace};
use beeline_tests::packets::{Datapath, Link, Service};
use beeline_tests::pod::READY;
use beeline_tests::process::{Background, Log, run};
use beeline_tests::topology::{Dual, NODE, Plan, Topology, VIP, pod_addresses};
use beeline_tests::tun::Wire;
use beeline_tests::{binaries, client};
use gateway_common::{DropReason, Event, Protocol};

const MEBIBYTE: usize = 1024 * 1024;
/// The echo of the Pods over TCP, at the same port of the VIP.
const ECHO: u16 = 9000;
/// The echo of the Pods over UDP, and its port at the VIP.
const UDP: (u16, u16) = (7, 8001);
/// The node as the Pod knows it, on their link and at the ends of a tunnel.
const SOURCE: Dual = Dual { v4: Ipv4Addr::new(10, 1, 0, 1), v6: Ipv6Addr::new(0xfd00, 0x10, 1, 0, 0, 0, 0, 1) };
const TUNNEL_SOURCE: Dual = Dual { v4: Ipv4Addr::new(10, 2, 0, 1), v6: Ipv6Addr::new(0xfd00, 0x10, 2, 0, 0, 0, 0, 1) };
/// The Pod at its end of the tunnel.
const TUNNEL_POD: Dual = Dual { v4: Ipv4Addr::new(10, 2, 0, 11), v6: Ipv6Addr::new(0xfd00, 0x10, 2, 0, 0, 0, 0, 0x11) };

/// The client and the node on a wire without link-layer headers.
const WIRE_CLIENT: Dual = Dual { v4: Ipv4Addr::new(172, 22, 0, 2), v6: Ipv6Addr::new(0xfd00, 0x22, 0, 0, 0, 0, 0, 2) };
const WIRE_NODE: Dual = Dual { v4: Ipv4Addr::new(172, 22, 0, 1), v6: Ipv6Addr::new(0xfd00, 0x22, 0, 0, 0, 0, 0, 1) };
/// Nothing but neighbour discovery and a tunnel's own packets gets into the node, and nothing through it.
const FIREWALL: &str = "table inet closed {
    chain input { type filter hook input priority 0; policy drop; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; udp dport 4789 accept; }
    chain forward { type filter hook forward priority 0; policy drop; }
}";

/// A node whose one Pod counts as one of another node.
struct Bench {
    datapath: Datapath,
    network: Topology,
}

impl Bench {
    /// Serves the Pod on its link with the node, and hangs the programs on both devices.
    fn build(plan: &Plan) -> Result<Self> {
        let mut bench = Self::serve(plan, pod_addresses(1), Some(SOURCE))?;
        bench.attach(&["eth0", "pod1"], Link::Ethernet)?;
        Ok(bench)
    }

    /// Serves a Pod by its addresses; without a source it counts as one of this node.
    fn serve(plan: &Plan, pod: Dual, source: Option<Dual>) -> Result<Self> {
        let network = Topology::build(plan, Lifetime::Process)?;
        let mut nft = network.node.command("nft")?;
        nft.arg(FIREWALL).stdin(Stdio::null());
        run(&mut nft)?;
        let mut datapath = Datapath::load()?;
        for (vip, pod) in VIP.both().into_iter().zip(pod.both()) {
            for (protocol, port, target) in [(Protocol::TCP, ECHO, ECHO), (Protocol::UDP, UDP.1, UDP.0)] {
                let backend = SocketAddr::new(pod, target);
                datapath.serve(&Service::new(protocol, SocketAddr::new(vip, port), &[(1, backend)]))?;
                let id = datapath.add_backend(protocol, backend)?;
                if let Some(source) = source {
                    datapath.move_elsewhere(id, source.like(pod))?;
                }
            }
        }
        Ok(Self { datapath, network })
    }

    fn attach(&mut self, devices: &[&str], link: Link) -> Result<()> {
        let Self { datapath, network } = self;
        network.node.enter(|| devices.iter().try_for_each(|device| datapath.attach(device, link)))?
    }

    fn transfer_both_ways(&self) -> Result<()> {
        VIP.sockets(ECHO).into_iter().try_for_each(|vip| client::transfer(&self.network.client, vip, MEBIBYTE))
    }

    /// Nothing was dropped or refused, whatever the reason.
    fn assert_nothing_lost(&self) -> Result<()> {
        for reason in DropReason::ALL {
            assert_eq!(self.datapath.drops(reason)?, 0, "{}", reason.label());
        }
        Ok(())
    }

    /// What a namespace has learned about the path to an address.
    fn learned(&self, by_pod: bool, about: Dual) -> Result<Vec<String>> {
        let namespace = if by_pod { &self.network.pods[0] } else { &self.network.client };
        about
            .both()
            .into_iter()
            .map(|to| {
                let mut ip = namespace.command("ip")?;
                ip.args(["route", "get", &to.to_string()]);
                run(&mut ip)
            })
            .collect()
    }
}

/// Asks over UDP who answers, and whom that one sees.
fn ask(from: &Namespace, pod: &str, seen: Dual) -> Result<()> {
    for vip in VIP.sockets(UDP.1) {
        let answer = from.enter(|| client::datagram(vip, "who"))??;
        assert_eq!((answer.pod.as_str(), answer.client.ip()), (pod, seen.like(vip.ip())));
    }
    Ok(())
}

#[test]
fn a_mebibyte_passes_both_ways_past_the_host_with_offload_on_and_off() -> Result<()> {
    let bench = Bench::build(&Plan::pods(&["far"]))?;

    for on in [true, false] {
        bench.network.offload(on)?;
        bench.transfer_both_ways()?;
        ask(&bench.network.client, "far", SOURCE)?;
    }
    bench.assert_nothing_lost()
}

#[test]
fn a_pod_at_the_other_end_of_a_tunnel_is_reached() -> Result<()> {
    let mut bench = Bench::serve(&Plan::pods(&["near"]), TUNNEL_POD, Some(TUNNEL_SOURCE))?;
    let (outer, pod) = (pod_addresses(1), &bench.network.pods[0]);
    for (namespace, device, local, remote, inner) in [
        (&bench.network.node, "pod1", SOURCE.v4, outer.v4, TUNNEL_SOURCE),
        (pod, "eth0", outer.v4, SOURCE.v4, TUNNEL_POD),
    ] {
        namespace.ip(&format!(
            "link add tunnel type vxlan id 7 dstport 4789 local {local} remote {remote} dev {device}
            link set tunnel up
            addr add {}/24 dev tunnel
            addr add {}/64 dev tunnel nodad",
            inner.v4, inner.v6
        ))?;
    }
    let mut command = pod.command(binaries::test_pod()?)?;
    command.arg("--pod").arg(format!("far={},{}", TUNNEL_POD.v4, TUNNEL_POD.v6));
    let log = Log::at(bench.network.group.folder().join("far.log"));
    let mut server = Background::start("the Pod's server", command, log, Lifetime::Process)?;
    let is_ready = |lines: &[String]| lines.iter().any(|line| line == READY).then_some(());
    server.wait_for_log("the Pod's server listens", Duration::from_secs(10), is_ready)?;
    bench.attach(&["eth0", "pod1", "tunnel"], Link::Ethernet)?;

    for on in [true, false] {
        bench.network.offload(on)?;
        bench.transfer_both_ways()?;
        ask(&bench.network.client, "far", TUNNEL_SOURCE)?;
    }
    bench.assert_nothing_lost()
}

#[test]
fn a_client_on_a_wire_without_link_layer_headers_is_served_and_told_of_narrow_ways() -> Result<()> {
    let mut bench = Bench::build(&Plan { pod_mtu: Some(1400), ..Plan::pods(&["far"]) })?;
    let _wire = Wire::between(&bench.network.client, &bench.network.node, "wire0")?;
    for (namespace, own) in [(&bench.network.client, WIRE_CLIENT), (&bench.network.node, WIRE_NODE)] {
        namespace.ip(&format!(
            "link set wire0 up\naddr add {}/24 dev wire0\naddr add {}/64 dev wire0 nodad",
            own.v4, own.v6
        ))?;
    }
    for vip in VIP.both() {
        bench.network.client.ip(&format!("route replace {vip} via {}", WIRE_NODE.like(vip)))?;
    }
    bench.attach(&["wire0"], Link::Bare)?;

    bench.transfer_both_ways()?;

    ask(&bench.network.client, "far", SOURCE)?;
    for learned in bench.learned(false, VIP)? {
        assert!(learned.contains("mtu 1400"), "{learned}");
    }
    Ok(())
}

#[test]
fn a_pod_reaches_itself_through_the_vip() -> Result<()> {
    let mut bench = Bench::serve(&Plan::pods(&["self"]), pod_addresses(1), None)?;
    bench.attach(&["pod1"], Link::Ethernet)?;
    let pod = &bench.network.pods[0];

    for on in [true, false] {
        bench.network.offload(on)?;
        VIP.sockets(ECHO).into_iter().try_for_each(|vip| client::transfer(pod, vip, MEBIBYTE))?;
        ask(pod, "self", VIP)?;
    }
    bench.assert_nothing_lost()
}

#[test]
fn a_client_learns_that_the_way_to_a_pod_elsewhere_is_narrow() -> Result<()> {
    for on in [true, false] {
        let bench = Bench::build(&Plan { pod_mtu: Some(1400), ..Plan::pods(&["far"]) })?;
        bench.network.offload(on)?;

        bench.transfer_both_ways()?;

        for learned in bench.learned(false, VIP)? {
            assert!(learned.contains("mtu 1400"), "offload {on}: {learned}");
        }
        assert!(bench.datapath.events(Event::IcmpSent)? >= 2);
    }
    Ok(())
}

#[test]
fn a_pod_elsewhere_learns_that_the_way_to_the_client_is_narrow() -> Result<()> {
    for on in [true, false] {
        let bench = Bench::build(&Plan { router_mtu: Some(1400), ..Plan::pods(&["far"]) })?;
        bench.network.offload(on)?;

        bench.transfer_both_ways()?;

        for learned in bench.learned(true, SOURCE)? {
            assert!(learned.contains("mtu 1400"), "offload {on}: {learned}");
        }
        assert!(bench.datapath.events(Event::IcmpTranslated)? >= 2);
    }
    Ok(())
}

#[test]
fn a_client_whose_packets_have_no_hops_left_is_told_at_once() -> Result<()> {
    let bench = Bench::build(&Plan::pods(&["far"]))?;

    for vip in VIP.sockets(ECHO) {
        let by = |hops: u8| format!("route replace {} via {} hoplimit {hops}", vip.ip(), NODE.like(vip.ip()));
        bench.network.client.ip(&by(1))?;
        let refused = bench.network.client.enter(|| client::connect(vip))?.err().context("it was let through")?;
        assert_eq!(refused.raw_os_error(), Some(libc::EHOSTUNREACH), "{vip}: {refused}");

        bench.network.client.ip(&by(2))?;
        bench.network.client.enter(|| client::connect(vip))??;
    }
    Ok(())
}
