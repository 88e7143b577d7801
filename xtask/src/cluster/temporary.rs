//! A cluster for the time of one command: with this repository's images, gone when the command ends.
//!
//! However that ends: a failure and Ctrl-C take it down, too, and what a killed command left goes when the next one of its
//! kind begins.

use std::{path::PathBuf, process::id};

use anyhow::Result;
use nix::{sys::signal::kill, unistd::Pid};

use super::{
    Interrupt, Named, Up, down, explain, load_own, machine, make,
    plan::{Channel, Cluster},
    programs::Programs,
};

/// How long it shall stay.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    Value,
    Kept,
}

/// A cluster that is up. Dropping it takes it down, unless it is to be kept.
pub struct Temporary {
    cluster: Cluster,
    lifetime: Lifetime,
}

impl Temporary {
    /// Brings nodes up. What is not kept is named `PREFIX-PROCESS`, so that what outlived its process is known.
    pub fn up(prefix: &str, nodes: u8, kube_proxy: bool, lifetime: Lifetime, interrupt: &Interrupt) -> Result<Self> {
        remove_stale(prefix);
        let name = match lifetime {
            Lifetime::Value => format!("{prefix}-{}", id()),
            Lifetime::Kept => prefix.to_owned(),
        };
        let args = Up { named: Named { name }, nodes, kube_proxy, gateway_channel: Channel::Standard, keep: false };
        Ok(Self { cluster: make(&args, interrupt)?, lifetime })
    }

    /// Says how it is used, and how it ends, if it is kept.
    pub fn explain(&self) {
        explain(&self.cluster);
    }

    /// Builds the images of this repository and brings them to every node.
    pub fn load(&self) -> Result<()> {
        load_own(&self.cluster)
    }

    /// What programs are told about the cluster, by their environment.
    pub fn environment(&self) -> Result<Vec<(&'static str, PathBuf)>> {
        Ok(vec![
            ("KUBECONFIG", self.cluster.kubeconfig()),
            ("BEELINE_KUBECTL", Programs::kubectl()?),
            ("BEELINE_CLUSTER_CLIENT", self.cluster.client().into()),
            ("BEELINE_CLUSTER_VIPS", self.cluster.vips().joined().into()),
        ])
    }

    /// What tests are told about a second cluster, beside what they are told about the first.
    pub fn second_environment(&self) -> [(&'static str, PathBuf); 4] {
        [
            ("BEELINE_SECOND_KUBECONFIG", self.cluster.kubeconfig()),
            ("BEELINE_SECOND_CLIENT", self.cluster.client().into()),
            ("BEELINE_SECOND_VIPS", self.cluster.vips().joined().into()),
            ("BEELINE_SECOND_STATE", self.cluster.state()),
        ]
    }

    /// Takes it down and says what stayed, if anything did.
    pub fn down(mut self) -> Result<()> {
        self.lifetime = Lifetime::Kept;
        down::run(&self.cluster.name).map(drop)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let name = &self.cluster.name;
        if self.lifetime == Lifetime::Value
            && let Err(error) = down::run(name)
        {
            eprintln!(
                "cluster `{name}` could not all be removed: {error:#}; try `cargo xtask cluster down --name {name}`"
            );
        }
    }
}

/// Takes down what commands left that did not end by themselves.
fn remove_stale(prefix: &str) {
    for cluster in machine::clusters() {
        let process = cluster.name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-')?.parse().ok());
        if process.is_some_and(|process| kill(Pid::from_raw(process), None).is_err())
            && let Err(error) = down::run(&cluster.name)
        {
            eprintln!("cluster `{}`, of a command that is gone, could not all be removed: {error:#}", cluster.name);
        }
    }
}
