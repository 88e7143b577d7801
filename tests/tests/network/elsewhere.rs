//! Pods of another host: reached by a route or through a tunnel, with this node's address as the client's.

use std::time::Duration;

use anyhow::Result;
use beeline_tests::agent::Agent;
use beeline_tests::client::{self, Distribution};
use beeline_tests::lab::Lab;
use beeline_tests::long_lived::LongLived;
use beeline_tests::manifests::{Pod, Service};
use beeline_tests::second_host::{FABRIC, NODE_IN_TUNNEL, NODE_ON_FABRIC, Network, SecondHost, TUNNEL};
use beeline_tests::topology::{CLIENT, Dual, Plan, VIP, pod_addresses};
use beeline_tests::wait;
use serde_json::Value;

const MEBIBYTE: usize = 1024 * 1024;
/// How long a change of routes or manifests may take to be followed.
const LIMIT: Duration = Duration::from_secs(8);
const HTTP: u16 = 8000;
const UDP: u16 = 8001;
const ECHO: u16 = 9000;

/// A node with the Pod `v1` and another host with `v2`, routed, and `v3`, behind a tunnel.
pub struct TwoHosts {
    pub lab: Lab,
    _second: SecondHost,
}

impl TwoHosts {
    pub fn build(weights: [u32; 3], mtu: u32) -> Result<Self> {
        let lab = Lab::build(&Plan::pods(&["v1"]))?;
        let others = [("v2", Network::Routed.pod(2)), ("v3", Network::Tunnelled.pod(3))];
        let second = SecondHost::join(&lab.network, &others, mtu)?;
        lab.folder.write("app.yaml", &service(weights).to_yaml())?;
        Ok(Self { lab, _second: second })
    }

    pub fn start(&self) -> Result<Agent<'_>> {
        let mut agent = self.lab.agent()?.with_arguments(&["--node-name", "node"]);
        agent.start()?;
        Ok(agent)
    }
}

fn service([local, routed, tunnelled]: [u32; 3]) -> Service {
    let pods = vec![
        Pod::on("node", "v1", pod_addresses(1), local),
        Pod::on("host", "v2", Network::Routed.pod(2), routed),
        Pod::on("host", "v3", Network::Tunnelled.pod(3), tunnelled),
    ];
    Service { pods, ..Service::weighted(VIP, &[]) }
}

#[track_caller]
pub fn assert_shares(distribution: &Distribution, shares: [u64; 3]) {
    assert_eq!(["v1", "v2", "v3"].map(|pod| distribution.of(pod)), shares, "{distribution:?}");
    assert_eq!((distribution.refused, distribution.failures.as_slice()), (0, [].as_slice()));
}

/// The one client that a Pod saw must be this one.
#[track_caller]
pub fn assert_sees(distribution: &Distribution, pod: &str, client: Dual) {
    let seen = &distribution.clients_of[pod];
    let expected = seen.first().map(|ip| client.like(*ip));
    assert_eq!(seen.iter().copied().collect::<Vec<_>>(), expected.into_iter().collect::<Vec<_>>(), "{pod}");
}

/// Every backend that `beeline status` shows, by its Pod's name.
fn backend(status: &Value, pod: &str) -> Option<Value> {
    let frontends = status["frontends"].as_array()?.iter();
    let groups = frontends.flat_map(|frontend| frontend["groups"].as_array().into_iter().flatten());
    let mut backends = groups.flat_map(|group| group["backends"].as_array().into_iter().flatten());
    backends.find(|backend| backend["name"] == format!("shop/{pod}")).cloned()
}

#[test]
fn pods_of_both_hosts_get_their_exact_share_and_only_those_elsewhere_see_the_node() -> Result<()> {
    let hosts = TwoHosts::build([5, 3, 1], 1500)?;
    let agent = hosts.start()?;
    let from = &hosts.lab.network.client;

    for (tcp, udp) in VIP.sockets(HTTP).into_iter().zip(VIP.sockets(UDP)) {
        for distribution in [client::connections(from, tcp, 900)?, client::flows(from, udp, 900)?] {
            assert_shares(&distribution, [500, 300, 100]);
            assert_sees(&distribution, "v1", CLIENT);
            assert_sees(&distribution, "v2", NODE_ON_FABRIC);
            assert_sees(&distribution, "v3", NODE_IN_TUNNEL);
        }
    }

    let status = agent.status()?;
    assert_eq!(backend(&status, "v1").expect("v1")["place"], "here");
    assert_eq!(backend(&status, "v2").expect("v2")["place"], "elsewhere");
    assert!(agent.dump()?.contains(&format!("shop/v3 elsewhere via {}", NODE_IN_TUNNEL.v4)));
    let links = status["links"].as_array().expect("links").iter().filter_map(|link| link["name"].as_str());
    let links: Vec<_> = links.collect();
    assert!([FABRIC, TUNNEL].iter().all(|device| links.contains(&&*format!("{device}-ingress"))), "{links:?}");
    assert_eq!(agent.problems()?, [""; 0]);
    Ok(())
}

#[test]
fn a_mebibyte_passes_both_ways_over_a_narrow_network_of_pods() -> Result<()> {
    let hosts = TwoHosts::build([0, 1, 1], 1400)?;
    let _agent = hosts.start()?;

    // One connection to each of the two Pods, in both families.
    for frontend in VIP.sockets(ECHO) {
        for _ in 0..2 {
            client::transfer(&hosts.lab.network.client, frontend, MEBIBYTE)?;
        }
    }
    Ok(())
}

#[test]
fn with_the_local_policy_only_pods_of_the_node_serve_and_without_one_it_refuses() -> Result<()> {
    let hosts = TwoHosts::build([5, 3, 1], 1500)?;
    let local = |service: Service| service.to_yaml().replacen("spec:\n", "spec:\n  externalTrafficPolicy: Local\n", 1);
    hosts.lab.folder.write("app.yaml", &local(service([5, 3, 1])))?;
    let agent = hosts.start()?;
    let from = &hosts.lab.network.client;
    for frontend in VIP.sockets(HTTP) {
        let distribution = client::connections(from, frontend, 50)?;
        assert_shares(&distribution, [50, 0, 0]);
        assert_sees(&distribution, "v1", CLIENT);
    }

    let mut remote_alone = service([5, 3, 1]);
    remote_alone.pods.remove(0);
    hosts.lab.folder.write("app.yaml", &local(remote_alone))?;
    agent.wait_for_dump("nobody serves", |dump| dump.contains("no backends: refused"))?;

    let before = agent.drops("no_backend")?;
    assert_eq!(client::connections(from, VIP.sockets(HTTP)[0], 5)?.refused, 5);
    assert_eq!(agent.drops("no_backend")? - before, 5);
    Ok(())
}

#[test]
fn a_route_that_changes_is_followed_and_flows_keep_the_address_they_have() -> Result<()> {
    let hosts = TwoHosts::build([0, 0, 1], 1500)?;
    let agent = hosts.start()?;
    let (from, node) = (&hosts.lab.network.client, &hosts.lab.network.node);
    for frontend in VIP.sockets(HTTP) {
        assert_sees(&client::connections(from, frontend, 5)?, "v3", NODE_IN_TUNNEL);
    }
    let established = LongLived::open(from, VIP.sockets(ECHO)[0], 4)?;
    established.wait_for_progress()?;

    SecondHost::route_over_fabric(node, Network::Tunnelled)?;
    for source in NODE_ON_FABRIC.both() {
        let text = format!("shop/v3 elsewhere via {source}");
        agent.wait_for_dump("the other route is followed", |dump| dump.contains(&text))?;
    }

    for frontend in VIP.sockets(HTTP) {
        let distribution = client::connections(from, frontend, 20)?;
        assert_shares(&distribution, [0, 0, 20]);
        assert_sees(&distribution, "v3", NODE_ON_FABRIC);
    }
    established.wait_for_progress()?;
    assert_eq!(established.finish()?.broken, [""; 0]);
    Ok(())
}

#[test]
fn pods_without_a_route_are_named_until_there_is_one() -> Result<()> {
    let hosts = TwoHosts::build([0, 1, 0], 1500)?;
    let node = &hosts.lab.network.node;
    let agent = hosts.start()?;

    SecondHost::unroute(node, Network::Routed)?;
    let is_named = |problems: &[String]| problems.iter().any(|line| line.starts_with("no route to 10.2.0.12 and "));
    agent.wait_for_problems("the Pods without route are named", is_named)?;
    assert!(agent.dump()?.contains("shop/v2 elsewhere, no route"));

    SecondHost::route_over_fabric(node, Network::Routed)?;
    agent.wait_for_problems("the route is there again", <[String]>::is_empty)?;
    let distribution = client::connections(&hosts.lab.network.client, VIP.sockets(HTTP)[0], 10)?;
    assert_shares(&distribution, [0, 10, 0]);
    Ok(())
}

#[test]
fn a_restart_with_pods_elsewhere_writes_nothing_and_breaks_nothing() -> Result<()> {
    let hosts = TwoHosts::build([1, 1, 1], 1500)?;
    let mut agent = hosts.start()?;
    let established = LongLived::open(&hosts.lab.network.client, VIP.sockets(ECHO)[0], 6)?;
    established.wait_for_progress()?;

    agent.kill()?;
    established.wait_for_progress()?;
    agent.start()?;

    assert_eq!(agent.writes()?, 0);
    established.wait_for_progress()?;
    assert_eq!(established.finish()?.broken, [""; 0]);
    Ok(())
}

#[test]
fn the_ports_are_reserved_beside_those_of_others_and_given_back_by_unload() -> Result<()> {
    let hosts = TwoHosts::build([1, 1, 1], 1500)?;
    let node = &hosts.lab.network.node;
    let reserve = |ports: &str| node.sysctl("net/ipv4/ip_local_reserved_ports", &format!("{ports}\n"));
    let reserved = || -> Result<String> {
        // Read at once: the kernel gives no second piece of it.
        let output = node.command("cat")?.arg("/proc/sys/net/ipv4/ip_local_reserved_ports").output()?;
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    for before in ["8080,9000-9001,12000", ""] {
        reserve(before)?;
        let mut agent = hosts.start()?;
        let expected = [before.trim_end_matches(",12000"), "10000-29999"].join(",");
        assert_eq!(reserved()?, expected.trim_start_matches(','));
        agent.stop()?;
        // Meanwhile somebody else has ports reserved, too.
        reserve(&format!("{},40000", reserved()?))?;

        let mut agent = agent.with_arguments(&["--source-ports", "20000-25000"]);
        agent.start()?;
        assert_eq!(reserved()?, [before, "20000-25000,40000"].join(",").trim_start_matches(','));

        agent.stop()?;
        agent.unload()?;
        assert_eq!(reserved()?, [before, "40000"].join(",").trim_start_matches(','));
    }
    Ok(())
}

#[test]
fn connections_go_on_while_the_weights_move_from_here_to_elsewhere() -> Result<()> {
    let hosts = TwoHosts::build([1, 0, 0], 1500)?;
    let _agent = hosts.start()?;
    let from = &hosts.lab.network.client;
    let local = LongLived::open(from, VIP.sockets(ECHO)[0], 3)?;

    hosts.lab.folder.write("app.yaml", &service([0, 1, 0]).to_yaml())?;
    let moved = || (client::connections(from, VIP.sockets(HTTP)[0], 2).ok()?.of("v2") == 2).then_some(());
    wait::until("new connections go to the other host", LIMIT, moved)?;
    let remote = LongLived::open(from, VIP.sockets(ECHO)[1], 3)?;
    hosts.lab.folder.write("app.yaml", &service([1, 0, 0]).to_yaml())?;
    let back = || (client::connections(from, VIP.sockets(HTTP)[0], 2).ok()?.of("v1") == 2).then_some(());
    wait::until("new connections come back", LIMIT, back)?;

    for connections in [local, remote] {
        connections.wait_for_progress()?;
        assert_eq!(connections.finish()?.broken, [""; 0]);
    }
    Ok(())
}
