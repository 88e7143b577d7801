//! Clients inside the cluster reach a VIP by their sockets: Pods of every node, one of the VIP's own Pods included, and what
//! runs on a node beside them.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use beeline_tests::cluster::{Cluster, Node, Sandbox, Workload};
use beeline_tests::pod::{HTTP_PORT, UDP_PORT};
use beeline_tests::socket_client::{Home, Report, Way};
use serde_json::Value;

use crate::ground;

/// How many Pods there are: one on each node.
const PODS: u32 = 3;
/// Sockets of each client, which the Pods share evenly.
const SOCKETS: u64 = 12;

/// What a node has counted: sockets that were given a backend, and packets of the Service's frontends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    sockets: u64,
    packets: u64,
}

impl Counted {
    fn on(cluster: &Cluster, node: &Node, frontends: &[SocketAddr]) -> Result<Self> {
        let status: Value = serde_json::from_str(&cluster.beeline(node, &["status", "--output", "json"])?)?;
        let found = status["frontends"].as_array().context("no frontends")?;
        let is_ours = |found: &&Value| frontends.iter().any(|ours| found["address"] == ours.ip().to_string());
        Ok(Self {
            sockets: status["events"]["socket_selected"].as_u64().context("sockets are not counted")?,
            packets: found.iter().filter(is_ours).filter_map(|found| found["traffic"]["packets"].as_u64()).sum(),
        })
    }
}

/// Where a Service's frontend is for a way to reach it.
fn target(frontend: SocketAddr, way: Way) -> SocketAddr {
    SocketAddr::new(frontend.ip(), if way == Way::Tcp { HTTP_PORT } else { UDP_PORT })
}

/// Every Pod answered equally often, and the client took the VIP for its peer.
fn assert_even(who: &str, report: &Report, target: SocketAddr) {
    let even = report.by_pod.values().all(|count| *count == SOCKETS / u64::from(PODS));
    assert!(report.errors.is_empty() && report.by_pod.len() == PODS as usize && even, "{who} at {target}: {report:?}");
    assert!(report.peers.iter().all(|peer| *peer == target), "{who} at {target}: {report:?}");
}

#[test]
fn pods_and_nodes_reach_a_vip_by_weight_and_no_packet_is_rewritten() -> Result<()> {
    let cluster = ground()?;
    let sandbox = Sandbox::create(&cluster, "inside")?;
    let workload = Workload::new("web", PODS, 2);
    let frontends = workload.serve(&cluster, &sandbox)?;
    let pods = workload.pods(&sandbox)?;
    let count = SOCKETS.to_string();

    for node in cluster.nodes() {
        let pod = pods.iter().find(|pod| pod.node == node.name).with_context(|| format!("no Pod on {}", node.name))?;
        let host = cluster.host(&node.name)?;
        let before = Counted::on(&cluster, node, &frontends)?;
        for frontend in &frontends {
            for way in Way::ALL {
                let target = target(*frontend, way);
                let words =
                    ["exec", &pod.name, "--", "httpbin", "attempt", way.word(), &target.to_string(), "--count", &count];
                let report = serde_json::from_str(&sandbox.kubectl(&words)?)?;
                assert_even(&pod.name, &report, target);
                let report = Home { namespace: &host, cgroup: None }.attempt(way, target, SOCKETS as usize)?;
                assert_even(&node.name, &report, target);
            }
        }
        let after = Counted::on(&cluster, node, &frontends)?;
        // Two clients, both families, three ways.
        assert!(after.sockets >= before.sockets + 2 * 2 * 3 * SOCKETS, "{}: {before:?} {after:?}", node.name);
        assert_eq!(after.packets, before.packets, "packets were rewritten on {}", node.name);
    }
    Ok(())
}
