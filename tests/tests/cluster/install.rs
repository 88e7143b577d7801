//! What `kubectl apply -k` installs, in each of its variants, is what an API server takes.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use beeline_tests::cluster::SYSTEM;
use beeline_tests::{binaries, client};

use crate::{ground, installed};

/// Where a kubelet listens.
const KUBELET: u16 = 10250;

#[test]
fn every_variant_is_taken_by_the_api_server() -> Result<()> {
    let cluster = installed()?;
    for variant in ["deploy", "deploy/privileged", "deploy/tencent"] {
        let folder = binaries::workspace().join(variant).display().to_string();
        let answer = cluster.kubectl().ask(&["apply", "--kustomize", &folder, "--dry-run=server"])?;

        assert!(answer.contains("daemonset.apps/beeline"), "{variant}: {answer}");
        assert!(answer.contains("customresourcedefinition.apiextensions.k8s.io/upstreams.beeline.dev"), "{answer}");
    }
    Ok(())
}

#[test]
fn every_node_has_an_agent_that_is_ready() -> Result<()> {
    let cluster = ground()?;

    let set = cluster.kubectl().json(&["--namespace", SYSTEM, "get", "daemonset", "beeline"])?;

    assert_eq!(set["status"]["numberReady"], cluster.nodes().len());
    for node in cluster.nodes() {
        let checked = cluster.beeline(node, &["check"])?;
        assert!(!checked.lines().any(|line| line.starts_with("fail")), "{}: {checked}", node.name);
    }
    Ok(())
}

#[test]
fn a_cluster_tells_its_nodes_and_the_host_outside_reaches_them() -> Result<()> {
    let cluster = installed()?;

    assert_eq!(cluster.nodes().len(), 3);
    for node in cluster.nodes() {
        for address in &node.addresses {
            let kubelet = SocketAddr::new(*address, KUBELET);
            cluster.client().enter(|| client::connect(kubelet).map(drop))?.with_context(|| node.name.clone())?;
        }
    }
    Ok(())
}
