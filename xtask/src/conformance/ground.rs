//! The ground that the suite stands on: Beeline as users install it, with addresses to give.
//!
//! The host outside of the cluster has routes to the pool over all nodes, so no node answers for the addresses there.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::{cluster::Temporary, workspace};

/// How long the agents may take until each is ready.
const READY: &str = "--timeout=120s";

/// Addresses that the suite is told about.
pub struct Addresses {
    /// One that a Gateway may ask for: the pool's last, which is given out to nobody who does not.
    pub usable: String,
    /// One of no pool.
    pub unusable: String,
}

/// Installs Beeline and its pool and waits until it is ready on every node.
pub fn prepare(cluster: &Temporary, folder: &Path) -> Result<Addresses> {
    let kubectl = cluster.kubectl()?;
    let deploy = workspace::root().join("deploy").display().to_string();
    kubectl.ask(&["apply", "--kustomize", &deploy])?;
    kubectl.ask(&["wait", "--for=condition=Established", READY, "crd/addresspools.beeline.dev"])?;

    let vips = cluster.plan().vips();
    let (v4, v6) = (prefix(&vips.v4, ".0")?, prefix(&vips.v6, "::")?);
    let pool = folder.join("address-pool.yaml");
    fs::write(&pool, manifest(v4, v6)).with_context(|| format!("cannot write {}", pool.display()))?;
    kubectl.ask(&["apply", "--filename", &pool.display().to_string()])?;
    let rollout = ["rollout", "status", "daemonset/beeline", "--namespace=beeline-system", READY];
    kubectl.ask(&rollout).with_context(|| {
        let logs = kubectl.ask(&["logs", "--namespace=beeline-system", "daemonset/beeline", "--tail=20"]);
        format!("the agents are not ready; one wrote last:\n{}", logs.unwrap_or_default())
    })?;
    Ok(Addresses { usable: format!("{v4}.128"), unusable: format!("{v4}.200") })
}

/// What the addresses of a subnet begin with, which is written with `zero` at the end.
fn prefix<'a>(subnet: &'a str, zero: &str) -> Result<&'a str> {
    let network = subnet.split_once('/').map(|(network, _)| network);
    network.and_then(|network| network.strip_suffix(zero)).with_context(|| format!("`{subnet}` is not a subnet"))
}

/// 128 addresses of each family.
fn manifest(v4: &str, v6: &str) -> String {
    format!(
        "apiVersion: beeline.dev/v1alpha1\n\
         kind: AddressPool\n\
         metadata: {{name: conformance}}\n\
         spec:\n  \
           announce: None\n  \
           addresses:\n  \
           - {v4}.1-{v4}.128\n  \
           - {v6}::1-{v6}::80\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_has_128_addresses_of_each_family() {
        let (v4, v6) = (prefix("10.100.240.0/24", ".0").unwrap(), prefix("fd00:bee:0:f100::/112", "::").unwrap());

        let pool = manifest(v4, v6);

        assert!(pool.contains("- 10.100.240.1-10.100.240.128\n"), "{pool}");
        assert!(pool.contains("- fd00:bee:0:f100::1-fd00:bee:0:f100::80\n"), "{pool}");
        assert!(prefix("10.100.240.0", ".0").is_err());
    }
}
