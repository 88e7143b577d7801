//! A real Kubernetes, as a user sees it: by `kubectl`, and from a host outside of it whose routes lead to the nodes.
//!
//! `cargo xtask` brings the cluster up and says by the environment where it is. Nothing here makes or ends nodes.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::binaries;
use crate::client::{self, Distribution};
use crate::netns::Namespace;

mod agent;
mod agent_pod;
mod kubectl;
mod link;
mod sandbox;
mod second;
mod share;
mod trap;
mod workload;

pub use agent::{AGENT, SYSTEM};
pub use agent_pod::{AgentPod, Stopped};
pub use kubectl::Kubectl;
pub use link::Link;
pub use sandbox::{Pod, Sandbox};
pub use second::{Outage, Second};
pub use share::{Share, Shares};
pub use trap::Trap;
pub use workload::Workload;

/// What the addresses of the examples' pool begin with, of each family.
const EXAMPLE_VIPS: [&str; 2] = ["10.100.240", "fd00:bee:0:f100::"];

/// A cluster that runs.
pub struct Cluster {
    kubectl: Kubectl,
    client: Namespace,
    vips: Vec<String>,
    nodes: Vec<Node>,
}

/// A node of the cluster.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its addresses, by which other hosts reach it.
    pub addresses: Vec<IpAddr>,
}

impl Cluster {
    /// The cluster that the environment names.
    pub fn from_environment() -> Result<Self> {
        Self::named_by("KUBECONFIG", "BEELINE_CLUSTER_CLIENT", "BEELINE_CLUSTER_VIPS")
    }

    /// The cluster that these variables name: its kubeconfig, the host outside of it, and its subnets of VIPs.
    fn named_by(kubeconfig: &str, client: &str, vips: &str) -> Result<Self> {
        let kubectl = Kubectl::new(variable("BEELINE_KUBECTL")?.into(), variable(kubeconfig)?.into());
        let client = variable(client)?.to_string_lossy().into_owned();
        let vips = variable(vips)?.to_string_lossy().split(',').map(str::to_owned).collect();
        let nodes = kubectl.json(&["get", "nodes"])?;
        let nodes = list(&nodes["items"]).map(Node::read).collect::<Option<Vec<_>>>();
        let nodes = nodes.context("the API server does not say which nodes there are")?;
        Ok(Self { kubectl, client: Namespace::existing(&client)?, vips, nodes })
    }

    /// Requests to its API server.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The host outside of the cluster.
    pub fn client(&self) -> &Namespace {
        &self.client
    }

    /// A host of the cluster's network: a node by its name, or `router`.
    pub fn host(&self, name: &str) -> Result<Namespace> {
        let client = self.client.name();
        let prefix = client.strip_suffix("client").with_context(|| format!("{client} is no client's namespace"))?;
        Namespace::existing(&format!("{prefix}{name}"))
    }

    /// Gives the cluster the address pool of the examples, with the addresses that this cluster's hosts route to it.
    pub fn apply_address_pool(&self) -> Result<()> {
        let example = Path::new(&folder("examples/httpbin")?).join("address-pool.yaml");
        let mut pool = fs::read_to_string(&example).with_context(|| format!("cannot read {}", example.display()))?;
        for (written, own) in EXAMPLE_VIPS.iter().zip(&self.vips) {
            let (prefix, _) = own.split_once('/').with_context(|| format!("`{own}` is not a subnet"))?;
            // 10.1.2.0 and fd00:: as the beginning of an address.
            pool = pool.replace(written, prefix.strip_suffix(".0").unwrap_or(prefix));
        }
        self.kubectl.apply(&["--filename", "-"], &pool)
    }

    /// Opens connections from the host outside to an address that it reaches by this node and no other.
    pub fn connections_by(&self, node: &Node, target: SocketAddr, count: usize) -> Result<Distribution> {
        self.route(target.ip(), node)?;
        client::connections(&self.client, target, count)
    }

    /// The same for UDP flows.
    pub fn flows_by(&self, node: &Node, target: SocketAddr, count: usize) -> Result<Distribution> {
        self.route(target.ip(), node)?;
        client::flows(&self.client, target, count)
    }

    /// Makes the host outside reach an address by one node only.
    pub fn route(&self, vip: IpAddr, node: &Node) -> Result<()> {
        let gateway = node.address_like(vip)?;
        let length = if vip.is_ipv4() { 32 } else { 128 };
        self.client.ip(&format!("route replace {vip}/{length} via {gateway}\n"))
    }

    /// Makes the host outside spread its connections to an address over these nodes only.
    pub fn route_by(&self, vip: IpAddr, nodes: &[Node]) -> Result<()> {
        let hop = |node: &Node| Ok(format!(" nexthop via {}", node.address_like(vip)?));
        let hops = nodes.iter().map(hop).collect::<Result<String>>()?;
        let length = if vip.is_ipv4() { 32 } else { 128 };
        self.client.ip(&format!("route replace {vip}/{length}{hops}\n"))
    }

    /// Lets the host outside spread its connections to an address over the nodes again.
    pub fn unroute(&self, vip: IpAddr) -> Result<()> {
        let length = if vip.is_ipv4() { 32 } else { 128 };
        self.client.ip(&format!("route delete {vip}/{length}\n"))
    }
}

impl Node {
    fn read(node: &Value) -> Option<Self> {
        let addresses = list(&node["status"]["addresses"])
            .filter(|address| address["type"] == "InternalIP")
            .map(|address| address["address"].as_str()?.parse().ok());
        Some(Self { name: node["metadata"]["name"].as_str()?.to_owned(), addresses: addresses.collect::<Option<_>>()? })
    }

    /// Its address of the same family as another.
    pub fn address_like(&self, other: IpAddr) -> Result<IpAddr> {
        let address = self.addresses.iter().find(|address| address.is_ipv4() == other.is_ipv4());
        address.copied().with_context(|| format!("{} has no address of the family of {other}", self.name))
    }
}

/// The items of a list in an answer; none if there is none.
fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn variable(name: &str) -> Result<OsString> {
    let Some(value) = env::var_os(name) else { bail!("{name} is not set: run `cargo xtask test cluster`") };
    Ok(value)
}

/// A folder of this repository, as `kubectl` takes it.
fn folder(path: &str) -> Result<String> {
    let folder = binaries::workspace().join(path);
    ensure!(folder.is_dir(), "there is no folder {}", folder.display());
    Ok(folder.display().to_string())
}
