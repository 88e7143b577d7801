//! Pods of every node, reached from outside by every node, over both protocols and families.

use std::net::SocketAddr;

use anyhow::Result;
use beeline_tests::client;
use beeline_tests::cluster::{Cluster, Pod, Sandbox, Workload};
use beeline_tests::pod::{ECHO_PORT, HTTP_PORT, UDP_PORT};
use gateway_common::Protocol;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::TcpMaxSeg;

use crate::ground;

/// How many Pods there are: two on each node.
const PODS: u32 = 6;
/// Connections, and flows of UDP, that each Pod is due.
const EACH: u64 = 10;
const MEBIBYTE: usize = 1 << 20;

/// Every Pod gets what it is due by a node, of TCP and of UDP; its own Pods see the client, others an address of the node.
fn assert_exact_by_each_node<'a>(
    cluster: &Cluster,
    frontends: &[SocketAddr],
    pods_for: impl Fn(&str) -> Vec<&'a Pod>,
) -> Result<()> {
    for node in cluster.nodes() {
        let pods: Vec<Pod> = pods_for(&node.name).into_iter().cloned().collect();
        for frontend in frontends {
            for (protocol, port) in [(Protocol::TCP, HTTP_PORT), (Protocol::UDP, UDP_PORT)] {
                let target = SocketAddr::new(frontend.ip(), port);
                let count = EACH * pods.len() as u64;
                let shares = cluster.shares(node, protocol, target, &pods, port, count)?;
                assert!(shares.is_exact(), "{protocol} by {}: {shares:?}", node.name);
            }
        }
    }
    Ok(())
}

#[test]
fn by_every_node_pods_of_all_nodes_get_their_share_of_connections_and_datagrams() -> Result<()> {
    let cluster = ground()?;
    let sandbox = Sandbox::create(&cluster, "elsewhere")?;
    let workload = Workload::new("web", PODS, 2);
    let frontends = workload.serve(&cluster, &sandbox)?;
    let pods = workload.pods(&sandbox)?;

    assert_exact_by_each_node(&cluster, &frontends, |_| pods.iter().collect())
}

#[test]
fn with_the_local_policy_every_pod_sees_the_client() -> Result<()> {
    let cluster = ground()?;
    let sandbox = Sandbox::create(&cluster, "local")?;
    let workload = Workload::new("web", PODS, 2).local();
    let frontends = workload.start(&sandbox)?;
    let pods = workload.pods(&sandbox)?;

    assert_exact_by_each_node(&cluster, &frontends, |node| pods.iter().filter(|pod| pod.node == node).collect())
}

#[test]
fn a_mebibyte_passes_both_ways_by_every_node_over_pods_with_an_mtu_of_1400() -> Result<()> {
    let cluster = ground()?;
    let sandbox = Sandbox::create(&cluster, "mebibyte")?;
    let workload = Workload::new("web", 3, 2);
    let frontends = workload.serve(&cluster, &sandbox)?;

    for node in cluster.nodes() {
        for frontend in &frontends {
            let echo = SocketAddr::new(frontend.ip(), ECHO_PORT);
            cluster.route(echo.ip(), node)?;
            let stream = cluster.client().enter(|| client::connect(echo))??;
            // The headers of IP and TCP are not in it, nor are TCP's options.
            let segment = getsockopt(&stream, TcpMaxSeg)?;
            assert!((1300..=1360).contains(&segment), "by {}: segments have {segment} bytes", node.name);
            // One connection to each Pod.
            for _ in 0..3 {
                client::transfer(cluster.client(), echo, MEBIBYTE)?;
            }
        }
    }
    Ok(())
}
