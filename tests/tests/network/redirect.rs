//! Real traffic of redirected flows, without an agent: the programs hang on the node's devices, and the maps hold one
//! service whose Pod counts as one of another node.
//!
//! A firewall on the node lets nothing through that its netfilter could see, so whatever arrives went past it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Stdio;

use anyhow::{Context, Result};
use beeline_tests::client;
use beeline_tests::netns::Lifetime;
use beeline_tests::packets::{Datapath, Service};
use beeline_tests::process::run;
use beeline_tests::topology::{Dual, NODE, Plan, Topology, VIP, pod_addresses};
use gateway_common::{DropReason, Event, Protocol};

const MEBIBYTE: usize = 1024 * 1024;
/// The echo of the Pods over TCP, at the same port of the VIP.
const ECHO: u16 = 9000;
/// The echo of the Pods over UDP, and its port at the VIP.
const UDP: (u16, u16) = (7, 8001);
/// The node as the Pod knows it.
const SOURCE: Dual = Dual { v4: Ipv4Addr::new(10, 1, 0, 1), v6: Ipv6Addr::new(0xfd00, 0x10, 1, 0, 0, 0, 0, 1) };

/// Nothing but neighbour discovery and what keeps IPv6 alive gets into the node or through it.
const FIREWALL: &str = "table inet closed {
    chain input { type filter hook input priority 0; policy drop; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; }
    chain forward { type filter hook forward priority 0; policy drop; }
}";

/// A node whose one Pod counts as one of another node.
struct Bench {
    datapath: Datapath,
    network: Topology,
}

impl Bench {
    fn build(plan: &Plan) -> Result<Self> {
        let network = Topology::build(plan, Lifetime::Process)?;
        let mut nft = network.node.command("nft")?;
        nft.arg(FIREWALL).stdin(Stdio::null());
        run(&mut nft)?;
        let mut datapath = Datapath::load()?;
        for (vip, pod) in VIP.both().into_iter().zip(pod_addresses(1).both()) {
            for (protocol, port, target) in [(Protocol::TCP, ECHO, ECHO), (Protocol::UDP, UDP.1, UDP.0)] {
                let backend = SocketAddr::new(pod, target);
                datapath.serve(&Service::new(protocol, SocketAddr::new(vip, port), &[(1, backend)]))?;
                let id = datapath.add_backend(protocol, backend)?;
                datapath.move_elsewhere(id, SOURCE.like(pod))?;
            }
        }
        network.node.enter(|| ["eth0", "pod1"].iter().try_for_each(|device| datapath.attach(device)))??;
        Ok(Self { datapath, network })
    }

    fn transfer_both_ways(&self) -> Result<()> {
        VIP.sockets(ECHO).into_iter().try_for_each(|vip| client::transfer(&self.network.client, vip, MEBIBYTE))
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

#[test]
fn a_mebibyte_passes_both_ways_past_the_host_with_offload_on_and_off() -> Result<()> {
    let bench = Bench::build(&Plan::pods(&["far"]))?;

    for on in [true, false] {
        bench.network.offload(on)?;
        bench.transfer_both_ways()?;
        for vip in VIP.sockets(UDP.1) {
            let answer = bench.network.client.enter(|| client::datagram(vip, "who"))??;
            assert_eq!((answer.pod.as_str(), answer.client.ip()), ("far", SOURCE.like(vip.ip())), "offload {on}");
        }
    }
    for reason in DropReason::ALL {
        assert_eq!(bench.datapath.drops(reason)?, 0, "{}", reason.label());
    }
    Ok(())
}

#[test]
fn a_client_learns_that_the_way_to_a_pod_elsewhere_is_narrow() -> Result<()> {
    let bench = Bench::build(&Plan { pod_mtu: Some(1400), ..Plan::pods(&["far"]) })?;

    for on in [true, false] {
        bench.network.offload(on)?;
        bench.transfer_both_ways()?;
    }

    for learned in bench.learned(false, VIP)? {
        assert!(learned.contains("mtu 1400"), "{learned}");
    }
    assert!(bench.datapath.events(Event::IcmpSent)? >= 2);
    Ok(())
}

#[test]
fn a_pod_elsewhere_learns_that_the_way_to_the_client_is_narrow() -> Result<()> {
    let bench = Bench::build(&Plan { router_mtu: Some(1400), ..Plan::pods(&["far"]) })?;

    for on in [true, false] {
        bench.network.offload(on)?;
        bench.transfer_both_ways()?;
    }

    for learned in bench.learned(true, SOURCE)? {
        assert!(learned.contains("mtu 1400"), "{learned}");
    }
    assert!(bench.datapath.events(Event::IcmpTranslated)? >= 2);
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
