//! What a cluster is called and which addresses it has.
//!
//! Everything follows from a name, an index and a number of nodes, so two clusters never share a namespace, a subnet or
//! a file, and what was made can be found again by its name alone. Nothing here touches the machine.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where the state of all clusters lies.
pub const STATE: &str = "/run/beeline-cluster";

/// How many clusters can run side by side.
pub const MAX_CLUSTERS: u8 = 16;

/// How many nodes a cluster can have.
pub const MAX_NODES: u8 = 9;

/// Which of Gateway API's sets of CRDs a cluster has.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    Standard,
    Experimental,
}

impl Channel {
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Experimental => "experimental",
        }
    }
}

/// One cluster, as it is written to its state folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cluster {
    pub name: String,
    /// Decides the subnets; no two running clusters share one.
    pub index: u8,
    pub nodes: u8,
    pub kube_proxy: bool,
    pub gateway_channel: Channel,
}

/// One node of a cluster; counted from 1.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    pub cluster: &'a Cluster,
    pub number: u8,
}

/// A subnet or an address of both families.
pub struct Dual {
    pub v4: String,
    pub v6: String,
}

impl Dual {
    /// As kubelet and API server take it.
    pub fn joined(&self) -> String {
        format!("{},{}", self.v4, self.v6)
    }
}

/// Whether a name can be part of file, namespace and cgroup names.
pub fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=20).contains(&name.len()) && name.chars().all(plain) && !name.starts_with('-') && !name.ends_with('-')
}

/// Where a cluster's state lies.
pub fn state(name: &str) -> PathBuf {
    PathBuf::from(STATE).join(name)
}

/// The cgroup that holds everything of a cluster, relative to the root of each hierarchy.
pub fn cgroup(name: &str) -> String {
    format!("beeline-{name}")
}

/// Whether a network namespace is one of this cluster's, and not of another whose name only begins alike.
pub fn owns_namespace(name: &str, namespace: &str) -> bool {
    let Some(part) = namespace.strip_prefix(&format!("beeline-{name}-")) else { return false };
    let number = |text: &str| text.len() == 1 && text.chars().all(|c| c.is_ascii_digit());
    part == "router" || part == "client" || part.strip_prefix("node").is_some_and(number)
}

impl Cluster {
    pub fn state(&self) -> PathBuf {
        state(&self.name)
    }

    /// The admin's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.pki().join("admin.kubeconfig")
    }

    pub fn pki(&self) -> PathBuf {
        self.state().join("pki")
    }

    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        (1..=self.nodes).map(|number| Node { cluster: self, number })
    }

    /// The namespace with the bridge, the control plane and the way out to the machine.
    pub fn router(&self) -> String {
        format!("beeline-{}-router", self.name)
    }

    /// The host outside the cluster.
    pub fn client(&self) -> String {
        format!("beeline-{}-client", self.name)
    }

    /// The machine's own interface to this cluster.
    pub fn host_link(&self) -> String {
        format!("beeline-c{}", self.index)
    }

    /// All addresses of the cluster.
    pub fn supernet(&self) -> Dual {
        Dual { v4: format!("10.{}.0.0/16", self.octet()), v6: format!("fd00:bee:{}::/48", self.index) }
    }

    /// An address on the bridge, without its length.
    pub fn on_bridge(&self, host: u8) -> Dual {
        Dual { v4: format!("10.{}.0.{host}", self.octet()), v6: format!("fd00:bee:{}::{host}", self.index) }
    }

    /// The router's address: default gateway of all, and where the API server listens.
    pub fn gateway(&self) -> Dual {
        self.on_bridge(1)
    }

    pub fn services(&self) -> Dual {
        Dual { v4: format!("10.{}.128.0/20", self.octet()), v6: format!("fd00:bee:{}:f000::/112", self.index) }
    }

    /// The `ClusterIP` of the `kubernetes` Service: the first of the Service addresses.
    pub fn kubernetes_address(&self) -> String {
        format!("10.{}.128.1", self.octet())
    }

    /// The `ClusterIP` that Pods are told to ask for names.
    pub fn dns_address(&self) -> String {
        format!("10.{}.128.10", self.octet())
    }

    /// Addresses for load balancers: the client host and the machine route them over all nodes.
    pub fn vips(&self) -> Dual {
        Dual { v4: format!("10.{}.240.0/24", self.octet()), v6: format!("fd00:bee:{}:f100::/112", self.index) }
    }

    /// The API server as it is reached from the machine, from nodes and from other clusters.
    pub fn server(&self) -> String {
        format!("https://{}:6443", self.gateway().v4)
    }

    fn octet(&self) -> u8 {
        100 + self.index
    }
}

impl Node<'_> {
    pub fn name(self) -> String {
        format!("node{}", self.number)
    }

    /// The node's network namespace.
    pub fn namespace(self) -> String {
        format!("beeline-{}-node{}", self.cluster.name, self.number)
    }

    pub fn address(self) -> Dual {
        self.cluster.on_bridge(10 + self.number)
    }

    pub fn pods(self) -> Dual {
        let number = 16 + self.number;
        Dual {
            v4: format!("10.{}.{number}.0/24", self.cluster.octet()),
            v6: format!("fd00:bee:{}:{number}::/64", self.cluster.index),
        }
    }

    /// The folder with the node's own /run, /var/lib and /var/log.
    pub fn state(self) -> PathBuf {
        self.cluster.state().join(self.name())
    }

    /// The node's containerd, as it is reached from outside the node.
    pub fn containerd_socket(self) -> PathBuf {
        self.state().join("run/containerd/containerd.sock")
    }

    /// The cgroup of the node's Pods.
    pub fn pod_cgroup(self) -> String {
        format!("/{}/{}", cgroup(&self.cluster.name), self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_owns_no_namespace_of_another_whose_name_begins_alike() {
        assert!(owns_namespace("dev", "beeline-dev-node3"));
        assert!(owns_namespace("dev", "beeline-dev-router"));
        assert!(!owns_namespace("dev", "beeline-dev-2-node3"));
        assert!(!owns_namespace("dev", "beeline-dev-2-router"));
        assert!(!owns_namespace("dev", "beeline-dev"));
    }

    #[test]
    fn only_short_plain_words_are_names() {
        for name in ["dev", "a", "east-1"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-a", "a-", "A", "a/b", "a.b", "a-name-that-is-far-too-long"] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn two_clusters_share_no_subnet() {
        let cluster = |index| Cluster {
            name: "dev".to_owned(),
            index,
            nodes: 3,
            kube_proxy: false,
            gateway_channel: Channel::Standard,
        };

        let (first, second) = (cluster(0).supernet(), cluster(MAX_CLUSTERS - 1).supernet());

        assert_eq!(first.joined(), "10.100.0.0/16,fd00:bee:0::/48");
        assert_eq!(second.joined(), "10.115.0.0/16,fd00:bee:15::/48");
    }
}
