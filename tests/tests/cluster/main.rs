//! Beeline in a real Kubernetes of three nodes, installed as users install it and running with its own rights.
//!
//! `cargo xtask test cluster` brings the cluster up, with the images on its nodes. All tests share it, each in a namespace
//! of its own.

mod access;
mod announce;
mod drain;
mod elsewhere;
mod faults;
mod gates;
mod infrastructure;
mod inside;
mod install;
mod leader;
mod lifecycle;
mod pods;
mod requests;
mod samples;
mod traffic;
mod two_clusters;

use std::ops::Deref;
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use anyhow::{Result, anyhow};
use beeline_tests::cluster::Cluster;

/// The cluster, with everything in it that an installation brings.
fn installed() -> Result<&'static Cluster> {
    static INSTALLED: OnceLock<Result<Cluster, String>> = OnceLock::new();
    let install = || {
        let cluster = Cluster::from_environment()?;
        cluster.install("tests/cluster/install")?;
        cluster.apply_address_pool()?;
        Ok(cluster)
    };
    let installed = INSTALLED.get_or_init(|| install().map_err(|error: anyhow::Error| format!("{error:#}")));
    installed.as_ref().map_err(|error| anyhow!("{error}"))
}

/// The cluster with an agent on every node, ready and left alone for as long as this is held.
struct Ground {
    cluster: &'static Cluster,
    _turn: Turn,
}

/// Tests that only use the agents run side by side; those that replace, stop or kill them, or measure, run alone.
enum Turn {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

/// Who may touch the agents. A test that failed leaves no more behind than [`Ground::take`] waits for.
static AGENTS: RwLock<()> = RwLock::new(());

impl Ground {
    fn take(turn: Turn) -> Result<Self> {
        let cluster = installed()?;
        cluster.wait_for_agents()?;
        Ok(Self { cluster, _turn: turn })
    }
}

impl Deref for Ground {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.cluster
    }
}

/// For a test that uses the agents.
fn ground() -> Result<Ground> {
    Ground::take(Turn::Shared { _guard: AGENTS.read().unwrap_or_else(PoisonError::into_inner) })
}

/// For a test that does something to the agents, or that no change of another may disturb.
fn ground_alone() -> Result<Ground> {
    Ground::take(Turn::Alone { _guard: AGENTS.write().unwrap_or_else(PoisonError::into_inner) })
}
