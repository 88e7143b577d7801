//! A cluster for the time of one command: with this repository's images, gone when the command ends.
//!
//! However that ends: a failure and Ctrl-C take it down, too, and what a killed command left goes when the next one of its
//! kind begins.

use std::{
    path::{Path, PathBuf},
    process::{Command, id},
};

use anyhow::Result;
use nix::{sys::signal::kill, unistd::Pid};

use super::{
    Interrupt, Named, Up,
    control::Kubectl,
    down, explain, import_everywhere, load_own, machine, make, network,
    plan::{Channel, Cluster},
    programs::Programs,
};

/// How long it shall stay.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    Value,
    Kept,
}

/// What it is made of.
#[derive(Clone, Copy)]
pub struct Shape {
    pub nodes: u8,
    pub kube_proxy: bool,
    pub gateway_channel: Channel,
}

impl Shape {
    /// So many nodes, and nothing else that need not be.
    pub fn of(nodes: u8) -> Self {
        Self { nodes, kube_proxy: false, gateway_channel: Channel::Standard }
    }
}

/// A cluster that is up. Dropping it takes it down, unless it is to be kept.
pub struct Temporary {
    cluster: Cluster,
    lifetime: Lifetime,
}

impl Temporary {
    /// Brings nodes up. What is not kept is named `PREFIX-PROCESS`, so that what outlived its process is known.
    pub fn up(prefix: &str, shape: Shape, lifetime: Lifetime, interrupt: &Interrupt) -> Result<Self> {
        remove_stale(prefix);
        let name = match lifetime {
            Lifetime::Value => format!("{prefix}-{}", id()),
            Lifetime::Kept => prefix.to_owned(),
        };
        let Shape { nodes, kube_proxy, gateway_channel } = shape;
        let args = Up { named: Named { name }, nodes, kube_proxy, gateway_channel, keep: false };
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

    /// Brings an archive of an image to every node.
    pub fn import(&self, archive: &Path) -> Result<()> {
        import_everywhere(&self.cluster, archive)
    }

    /// What it is called and which addresses it has.
    pub fn plan(&self) -> &Cluster {
        &self.cluster
    }

    /// Requests to its API server.
    pub fn kubectl(&self) -> Result<Kubectl> {
        Ok(Kubectl::new(&Programs::kubectl()?, &self.cluster))
    }

    /// A program on the host outside of it.
    pub fn outside(&self, program: &Path) -> Command {
        network::inside(&self.cluster.client(), program)
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
