//! Who serves what: the VIPs of a Service through each node, and its cluster's own address from Pods and nodes.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use beeline_tests::cluster::{Cluster, Sandbox, Workload};
use beeline_tests::pod::{HTTP_PORT, UDP_PORT};
use beeline_tests::process::run;
use beeline_tests::socket_client::{Home, Report, Way};
use gateway_common::Protocol;

use crate::ground;

/// How many Pods there are: one on each node.
const PODS: u32 = 3;
/// Connections through each node, and sockets of each client.
const CONNECTIONS: u64 = 60;

/// The addresses that only kube-proxy serves.
fn cluster_addresses(sandbox: &Sandbox, service: &str) -> Result<Vec<IpAddr>> {
    let service = sandbox.get(&format!("service/{service}"))?;
    let addresses = service["spec"]["clusterIPs"].as_array().context("the Service has no addresses")?;
    let addresses = addresses.iter().map(|address| address.as_str()?.parse().ok()).collect::<Option<Vec<_>>>();
    addresses.filter(|addresses| addresses.len() == 2).context("the Service has no address of each family")
}

/// Whatever shares there are, everybody was answered. (kube-proxy draws at random.)
fn ensure_answered(who: &str, target: SocketAddr, report: &Report) -> Result<()> {
    let answered: u64 = report.by_pod.values().sum();
    ensure!(report.errors.is_empty() && answered == CONNECTIONS, "{who} at {target}: {report:?}");
    Ok(())
}

/// Every node has kube-proxy's rules for the Service, and none of them names a VIP of it.
fn ensure_left_alone(cluster: &Cluster, own: &[IpAddr], vips: &[IpAddr]) -> Result<()> {
    for node in cluster.nodes() {
        let mut command = cluster.host(&node.name)?.command("nft")?;
        let rules = run(command.args(["list", "ruleset"]))?;
        let names = |address: &IpAddr| rules.split(|c: char| c.is_whitespace()).any(|word| word == address.to_string());
        ensure!(own.iter().all(names), "kube-proxy does not serve {own:?} on {}:\n{rules}", node.name);
        ensure!(!vips.iter().any(names), "kube-proxy serves {vips:?} on {}:\n{rules}", node.name);
    }
    Ok(())
}

#[test]
fn a_vip_is_beelines_on_each_node_and_the_clusters_own_address_stays_kube_proxys() -> Result<()> {
    let cluster = ground()?;
    let sandbox = Sandbox::create(&cluster, "beside")?;
    let workload = Workload::new("web", PODS, 2);
    let frontends = workload.serve(&cluster, &sandbox)?;
    let pods = workload.pods(&sandbox)?;
    let own = cluster_addresses(&sandbox, workload.name)?;
    let vips: Vec<_> = frontends.iter().map(SocketAddr::ip).collect();
    ensure_left_alone(&cluster, &own, &vips)?;

    for node in cluster.nodes() {
        for frontend in &frontends {
            let shares = cluster.shares(node, Protocol::TCP, *frontend, &pods, HTTP_PORT, CONNECTIONS)?;
            assert!(shares.is_exact(), "{shares:?}");
            let flows = cluster.flows_by(node, SocketAddr::new(frontend.ip(), UDP_PORT), CONNECTIONS as usize)?;
            let even = pods.iter().all(|pod| flows.of(&pod.name) == CONNECTIONS / u64::from(PODS));
            assert!(even && flows.failures.is_empty(), "{flows:?}");
        }
        let (host, count) = (cluster.host(&node.name)?, CONNECTIONS.to_string());
        let pod = pods.iter().find(|pod| pod.node == node.name).with_context(|| format!("no Pod on {}", node.name))?;
        for address in &own {
            let target = SocketAddr::new(*address, HTTP_PORT);
            let words = ["exec", &pod.name, "--", "httpbin", "attempt", Way::Tcp.word(), &target.to_string()];
            let words = [words.as_slice(), &["--count", &count]].concat();
            ensure_answered(&pod.name, target, &serde_json::from_str(&sandbox.kubectl(&words)?)?)?;
            let home = Home { namespace: &host, cgroup: None };
            ensure_answered(&node.name, target, &home.attempt(Way::Tcp, target, CONNECTIONS as usize)?)?;
        }
    }
    Ok(())
}

#[test]
fn nothing_is_in_the_way_on_any_node() -> Result<()> {
    let cluster = ground()?;
    for node in cluster.nodes() {
        let checked = cluster.beeline(node, &["check"])?;
        let is_bad = |line: &str| line.starts_with("fail") || (line.starts_with("warn") && line.contains("kube-proxy"));

        assert!(!checked.lines().any(is_bad), "{}:\n{checked}", node.name);
    }
    Ok(())
}
