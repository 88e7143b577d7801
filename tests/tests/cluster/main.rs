//! Beeline in a real Kubernetes of three nodes, installed as users install it and running with its own rights.
//!
//! `cargo xtask test cluster` brings the cluster up, with the images on its nodes. All tests share it, each in a namespace
//! of its own.

mod access;
mod faults;
mod install;
mod pods;
mod samples;
mod two_clusters;

use std::sync::OnceLock;

use anyhow::{Result, anyhow};
use beeline_tests::cluster::Cluster;

/// The cluster, with everything in it that an installation brings. Tencent's annotations are adopted, for the samples that
/// bear them.
fn installed() -> Result<&'static Cluster> {
    static INSTALLED: OnceLock<Result<Cluster, String>> = OnceLock::new();
    let install = || {
        let cluster = Cluster::from_environment()?;
        cluster.install("deploy/tencent")?;
        cluster.apply_address_pool()?;
        Ok(cluster)
    };
    let installed = INSTALLED.get_or_init(|| install().map_err(|error: anyhow::Error| format!("{error:#}")));
    installed.as_ref().map_err(|error| anyhow!("{error}"))
}

/// The same, once every node has an agent that is ready.
fn ground() -> Result<&'static Cluster> {
    static READY: OnceLock<Result<(), String>> = OnceLock::new();
    let cluster = installed()?;
    let ready = READY.get_or_init(|| cluster.wait_for_agents().map_err(|error| format!("{error:#}")));
    ready.clone().map_err(|error| anyhow!("{error}"))?;
    Ok(cluster)
}
