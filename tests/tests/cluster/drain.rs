//! A node is emptied as administrators do it, by `kubectl drain`, under load through the nodes that stay, and is used again.
//!
//! Only the test's own Pods are moved: others that run on the node meanwhile are not its business.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use beeline_tests::cluster::{Cluster, Node, Sandbox, Workload};
use beeline_tests::traffic::LONGEST_LIFE;

use crate::ground_alone;
use crate::lifecycle::{finish, traffic};

/// How many Pods there are: three on each node.
const PODS: u32 = 9;
/// How long a Pod serves on when it ends, in seconds: well over the time that a connection lives.
const DRAIN: u32 = LONGEST_LIFE.as_secs() as u32 + 4;

/// A node that takes no new Pods, until this is dropped.
struct Drained<'a> {
    cluster: &'a Cluster,
    node: &'a Node,
}

impl<'a> Drained<'a> {
    /// Moves the workload's Pods away and waits until they are gone.
    fn new(cluster: &'a Cluster, node: &'a Node, workload: &Workload) -> Result<Self> {
        let drained = Self { cluster, node };
        let selector = format!("--pod-selector=app={}", workload.name);
        let words = ["drain", &node.name, "--ignore-daemonsets", "--delete-emptydir-data", &selector, "--timeout=60s"];
        cluster.kubectl().ask(&words)?;
        Ok(drained)
    }

    /// Lets it take Pods again.
    fn end(self) -> Result<()> {
        self.cluster.kubectl().ask(&["uncordon", &self.node.name]).map(drop)
    }
}

impl Drop for Drained<'_> {
    fn drop(&mut self) {
        // Whoever ended it before has said so if that failed.
        let _uncordoned = self.cluster.kubectl().ask(&["uncordon", &self.node.name]);
    }
}

/// Frontends that the client reaches by some nodes only, until this is dropped.
struct Routed<'a> {
    cluster: &'a Cluster,
    frontends: Vec<SocketAddr>,
}

impl<'a> Routed<'a> {
    fn by(cluster: &'a Cluster, frontends: &[SocketAddr], nodes: &[Node]) -> Result<Self> {
        for frontend in frontends {
            cluster.route_by(frontend.ip(), nodes)?;
        }
        Ok(Self { cluster, frontends: frontends.to_vec() })
    }
}

impl Drop for Routed<'_> {
    fn drop(&mut self) {
        for frontend in &self.frontends {
            // Its address is not given out again before the test's namespace is gone.
            let _unrouted = self.cluster.unroute(frontend.ip());
        }
    }
}

/// How many of the workload's Pods are on a node.
fn pods_on(node: &Node, workload: &Workload, sandbox: &Sandbox) -> Result<usize> {
    Ok(workload.pods(sandbox)?.iter().filter(|pod| pod.node == node.name).count())
}

#[test]
fn a_node_is_drained_under_load_and_used_again_and_nobody_notices() -> Result<()> {
    let cluster = ground_alone()?;
    let sandbox = Sandbox::create(&cluster, "drained")?;
    let workload = Workload::new("drained", PODS, DRAIN);
    let frontends = workload.serve(&cluster, &sandbox)?;
    let (leaving, staying) = cluster.nodes().split_last().context("the cluster has no nodes")?;
    assert_eq!(pods_on(leaving, &workload, &sandbox)?, 3);
    // It ends after the load, since a host whose routes change chooses a node anew for connections that are open.
    let _routed = Routed::by(&cluster, &frontends, staying)?;
    let traffic = traffic(&cluster, &frontends)?;

    let drained = Drained::new(&cluster, leaving, &workload)?;

    sandbox.wait_for_deployments()?;
    assert_eq!(pods_on(leaving, &workload, &sandbox)?, 0);
    workload.wait_until_programmed(&cluster, &sandbox, &frontends)?;
    drained.end()?;
    workload.replace_pods(&sandbox)?;
    assert_eq!(pods_on(leaving, &workload, &sandbox)?, 3);
    workload.wait_until_programmed(&cluster, &sandbox, &frontends)?;
    finish(traffic, &sandbox)
}
