//! Packets of every shape: with and without offload, too large for a hop, in fragments.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use anyhow::Result;
use beeline_tests::client;
use beeline_tests::lab::Lab;
use beeline_tests::manifests::Service;
use beeline_tests::netns::Namespace;
use beeline_tests::process::run;
use beeline_tests::topology::{CLIENT, Plan, VIP, pod_addresses};

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
