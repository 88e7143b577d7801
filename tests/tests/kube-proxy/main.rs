//! Beeline beside kube-proxy (nftables) in a real Kubernetes of three nodes: VIPs are Beeline's, everything else stays
//! kube-proxy's.
//!
//! `cargo xtask test kube-proxy` brings the cluster up, with the images on its nodes. What the samples and clients inside
//! must show is what they show in a cluster without kube-proxy.

mod beside;
#[path = "../cluster/inside.rs"]
mod inside;
#[path = "../cluster/samples.rs"]
mod samples;

use std::ops::Deref;
use std::sync::OnceLock;

use anyhow::{Result, anyhow};
use beeline_tests::cluster::Cluster;

/// The cluster with an agent on every node. All tests share it, each in a namespace of its own.
struct Ground(&'static Cluster);

impl Deref for Ground {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.0
    }
}

/// For a test that uses the agents.
fn ground() -> Result<Ground> {
    static INSTALLED: OnceLock<Result<Cluster, String>> = OnceLock::new();
    let install = || {
        let cluster = Cluster::from_environment()?;
        cluster.install("tests/cluster/install")?;
        cluster.apply_address_pool()?;
        cluster.wait_for_agents()?;
        Ok(cluster)
    };
    let installed = INSTALLED.get_or_init(|| install().map_err(|error: anyhow::Error| format!("{error:#}")));
    installed.as_ref().map(Ground).map_err(|error| anyhow!("{error}"))
}
