//! Clients inside whom no cgroup has: their packets are met at the devices that they are behind.
//!
//! A guest is a namespace behind a device that is called like one of a virtual machine. No agent here gives backends to
//! sockets.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::Result;
use beeline_tests::agent::Agent;
use beeline_tests::client;
use beeline_tests::lab::Lab;
use beeline_tests::manifests::Service;
use beeline_tests::netns::Namespace;
use beeline_tests::second_host::{NODE_IN_TUNNEL, NODE_ON_FABRIC};
use beeline_tests::topology::{Dual, Plan, VIP, pod_addresses};
use beeline_tests::wait;

use crate::elsewhere::{TwoHosts, assert_sees, assert_shares};

const GUEST: Dual = Dual { v4: Ipv4Addr::new(10, 9, 0, 2), v6: Ipv6Addr::new(0xfd00, 0x10, 9, 0, 0, 0, 0, 2) };
const GATEWAY: Dual = Dual { v4: Ipv4Addr::new(10, 9, 0, 1), v6: Ipv6Addr::new(0xfd00, 0x10, 9, 0, 0, 0, 0, 1) };
const MEBIBYTE: usize = 1024 * 1024;
/// How long a device that came or went may take to be followed.
const LIMIT: Duration = Duration::from_secs(15);
const HTTP: u16 = 8000;
const UDP: u16 = 8001;
const ECHO: u16 = 9000;

/// Makes a guest behind a device of the node that has no address yet, and leads its packets to the gateway.
fn guest(lab: &Lab, device: &str) -> Result<Namespace> {
    let guest = Namespace::create(&lab.network.group, "guest")?;
    lab.network.node.ip(&format!("link add {device} type veth peer name eth0 netns {}\n", guest.name()))?;
    guest.ip(&format!(
        "link set eth0 up
        addr add {}/32 dev eth0
        addr add {}/128 dev eth0 nodad
        {}
        route add default via {}
        route add default via {}\n",
        GUEST.v4,
        GUEST.v6,
        routes_to(GATEWAY, "eth0"),
        GATEWAY.v4,
        GATEWAY.v6
    ))?;
    Ok(guest)
}

/// Makes a device of the node the gateway of the guest behind it.
fn lead_to_guest(node: &Namespace, device: &str) -> Result<()> {
    node.ip(&format!(
        "addr add {}/32 dev {device}
        addr add {}/128 dev {device} nodad
        link set {device} up
        {}\n",
        GATEWAY.v4,
        GATEWAY.v6,
        routes_to(GUEST, device)
    ))
}

fn routes_to(Dual { v4, v6 }: Dual, device: &str) -> String {
    format!("route add {v4}/32 dev {device} scope link\nroute add {v6}/128 dev {device}\n")
}

fn links(agent: &Agent) -> Result<Vec<String>> {
    let status = agent.status()?;
    let links = status["links"].as_array().map_or(&[][..], Vec::as_slice).iter();
    Ok(links.filter_map(|link| link["name"].as_str()).map(str::to_owned).collect())
}

/// Waits until the programs sit at a device, or do not any more.
fn wait_for_link(agent: &Agent, link: &str, there: bool) -> Result<()> {
    let is_so = || links(agent).ok().filter(|links| links.iter().any(|name| name == link) == there);
    wait::until(&format!("{link} is there: {there}"), LIMIT, is_so).map(drop)
}

#[test]
fn a_guest_reaches_pods_here_and_elsewhere_by_weight_and_hears_from_the_vip() -> Result<()> {
    let hosts = TwoHosts::build([5, 3, 1], 1400)?;
    let guest = guest(&hosts.lab, "tap0")?;
    lead_to_guest(&hosts.lab.network.node, "tap0")?;
    let agent = hosts.start()?;

    for (tcp, udp) in VIP.sockets(HTTP).into_iter().zip(VIP.sockets(UDP)) {
        for distribution in [client::connections(&guest, tcp, 180)?, client::flows(&guest, udp, 180)?] {
            assert_shares(&distribution, [100, 60, 20]);
            assert_sees(&distribution, "v1", GUEST);
            assert_sees(&distribution, "v2", NODE_ON_FABRIC);
            assert_sees(&distribution, "v3", NODE_IN_TUNNEL);
        }
    }
    for frontend in VIP.sockets(ECHO) {
        for _ in 0..9 {
            client::transfer(&guest, frontend, MEBIBYTE)?;
        }
    }
    assert_eq!((agent.events("socket_selected")?, agent.problems()?), (0, vec![]));
    Ok(())
}

#[test]
fn a_guest_that_comes_later_is_met_and_with_none_it_is_refused() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let mut agent = lab.start()?;
    let guest = guest(&lab, "vnet7")?;
    lead_to_guest(&lab.network.node, "vnet7")?;
    wait_for_link(&agent, "vnet7-ingress", true)?;
    for frontend in VIP.sockets(HTTP) {
        assert_eq!(client::connections(&guest, frontend, 5)?.of("v1"), 5);
    }

    agent.stop()?;
    let mut agent = agent.with_arguments(&["--client-interface", "none"]);
    agent.start()?;

    wait_for_link(&agent, "vnet7-ingress", false)?;
    let before = agent.drops("guarded")?;
    for frontend in VIP.sockets(HTTP) {
        assert_eq!(client::connections(&guest, frontend, 5)?.refused, 5);
    }
    assert_eq!(agent.drops("guarded")? - before, 10);
    Ok(())
}

#[test]
fn a_pod_whose_packets_are_met_reaches_others_and_itself() -> Result<()> {
    let lab = Lab::weighted(&[2, 1])?;
    let mut agent = lab.agent()?.with_arguments(&["--client-interface", "pod*"]);
    agent.start()?;

    for (pod, own, name, other) in [(0, 1, "v1", "v2"), (1, 2, "v2", "v1")] {
        let (from, own) = (&lab.network.pods[pod], pod_addresses(own));
        for (tcp, udp) in VIP.sockets(HTTP).into_iter().zip(VIP.sockets(UDP)) {
            for distribution in [client::connections(from, tcp, 90)?, client::flows(from, udp, 90)?] {
                assert_eq!(["v1", "v2"].map(|pod| distribution.of(pod)), [60, 30], "{distribution:?}");
                assert_sees(&distribution, other, own);
                let itself = &distribution.clients_of[name];
                assert!(!itself.contains(&own.like(tcp.ip())), "it would answer itself: {itself:?}");
            }
        }
        for frontend in VIP.sockets(ECHO) {
            for _ in 0..3 {
                client::transfer(from, frontend, MEBIBYTE)?;
            }
        }
    }
    // Clients from outside are served as ever, and Pods talk to each other as ever.
    for frontend in VIP.sockets(HTTP) {
        assert_eq!(client::connections(&lab.network.client, frontend, 6)?.answered(), 6);
        let direct = std::net::SocketAddr::new(pod_addresses(2).like(frontend.ip()), 80);
        assert_eq!(client::connections(&lab.network.pods[0], direct, 6)?.of("v2"), 6);
    }
    Ok(())
}

#[test]
fn a_guest_at_a_bridge_is_served_by_a_pod_that_answers_it_past_the_host() -> Result<()> {
    let lab = Lab::build(&Plan::pods(&["v1", "v2"]))?;
    lab.folder.write("app.yaml", &Service::weighted(VIP, &[2, 1]).to_yaml())?;
    let (node, near) = (&lab.network.node, &lab.network.pods[0]);
    let guest = guest(&lab, "vnet0")?;
    let pod = pod_addresses(1);
    node.ip(&format!(
        "link add br0 type bridge mcast_snooping 0
        link set pod1 master br0
        link set vnet0 master br0
        link set vnet0 up
        route del {}/32 dev pod1
        route del {}/128 dev pod1
        addr flush dev pod1
        addr add 10.1.0.1/32 dev br0
        addr add fd00:10:1::1/128 dev br0 nodad\n",
        pod.v4, pod.v6
    ))?;
    lead_to_guest(node, "br0")?;
    node.ip(&routes_to(pod, "br0"))?;
    guest.ip(&routes_to(pod, "eth0"))?;
    near.ip(&format!("neigh flush dev eth0\n{}", routes_to(GUEST, "eth0")))?;
    let agent = lab.start()?;

    for (tcp, udp) in VIP.sockets(HTTP).into_iter().zip(VIP.sockets(UDP)) {
        for distribution in [client::connections(&guest, tcp, 90)?, client::flows(&guest, udp, 90)?] {
            assert_eq!(["v1", "v2"].map(|pod| distribution.of(pod)), [60, 30], "{distribution:?}");
            assert_sees(&distribution, "v1", GUEST);
            assert_sees(&distribution, "v2", GUEST);
        }
    }
    let links = links(&agent)?;
    let is_there = |link: &str| links.iter().any(|name| name == link);
    assert_eq!(
        ["br0-ingress", "br0-egress", "vnet0-egress", "vnet0-ingress", "pod1-egress"].map(is_there),
        [true, true, true, false, false],
        "{links:?}"
    );
    Ok(())
}
