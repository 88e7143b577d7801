//! The cluster's network: one bridge in a namespace of its own, and on it each node, a client and the machine itself.
//!
//! The bridge lies in the router's namespace and not in the machine's, so no firewall of the machine meets the
//! cluster's packets and nothing but one link is left to remove. Pod subnets are plain routes. Clusters that run side by
//! side are joined router to router.

use std::{ffi::OsStr, fs, path::Path, process::Command};

use anyhow::Result;

use super::plan::{Cluster, Dual, Node};
use crate::process;

/// Where `ip netns` keeps its names.
const NAMESPACES: &str = "/run/netns";

/// Makes all namespaces, links, addresses and routes of a cluster and joins it to those of `others` that have a network.
pub fn make(cluster: &Cluster, others: &[Cluster]) -> Result<()> {
    let router = cluster.router();
    add_namespace(&router)?;
    ip(&format!("-n {router} link add nodes type bridge"))?;
    address(Some(&router), "nodes", &cluster.gateway())?;
    for node in cluster.nodes() {
        let namespace = node.namespace();
        add_namespace(&namespace)?;
        plug_in(cluster, &namespace, &node.name(), &node.address())?;
    }
    add_namespace(&cluster.client())?;
    plug_in(cluster, &cluster.client(), "client", &cluster.on_bridge(200))?;

    for node in cluster.nodes() {
        let (pods, via) = (node.pods(), node.address());
        let neighbours = cluster.nodes().filter(|other| other.number != node.number).map(Node::namespace);
        for namespace in neighbours.chain([router.clone()]) {
            ip(&format!("-n {namespace} route add {} via {}", pods.v4, via.v4))?;
            ip(&format!("-n {namespace} -6 route add {} via {}", pods.v6, via.v6))?;
        }
    }
    for namespace in [&router, &cluster.client()] {
        route_vips(cluster, namespace)?;
    }
    join_machine(cluster)?;
    let present = namespaces();
    others.iter().filter(|other| present.contains(&other.router())).try_for_each(|other| join(cluster, other))
}

/// Takes the `kubernetes` Service's address to the API server, on a node without kube-proxy.
pub fn reach_api_server(node: Node<'_>) -> Result<()> {
    let (service, server) = (node.cluster.kubernetes_address(), node.cluster.gateway().v4);
    let rule = format!("ip daddr {service} tcp dport 443 dnat ip to {server}:6443");
    let table = format!(
        "table inet beeline-cluster {{\n\
         chain prerouting {{ type nat hook prerouting priority dstnat; {rule}; }}\n\
         chain output {{ type nat hook output priority -100; {rule}; }}\n}}"
    );
    process::output(inside(&node.namespace(), "nft").arg(&table)).map(drop)
}

/// A program that runs in a network namespace, with the machine's mounts in sight.
pub fn inside(namespace: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={NAMESPACES}/{namespace}")).arg(program);
    command
}

/// Names of all network namespaces.
pub fn namespaces() -> Vec<String> {
    let entries = fs::read_dir(NAMESPACES).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Removes a network namespace, and with it every link in it and their other ends.
pub fn remove(namespace: &str) -> Result<()> {
    ip(&format!("netns delete {namespace}"))
}

/// Removes the machine's own link to a cluster, if it is still there.
pub fn leave(cluster: &Cluster) -> Result<()> {
    let link = cluster.host_link();
    if Path::new("/sys/class/net").join(&link).exists() { ip(&format!("link delete {link}")) } else { Ok(()) }
}

/// Addresses are used at once, nodes and router forward, and the client spreads its flows over the nodes.
fn add_namespace(namespace: &str) -> Result<()> {
    ip(&format!("netns add {namespace}"))?;
    let settings = [
        "-qw",
        "net.ipv4.ip_forward=1",
        "net.ipv6.conf.all.forwarding=1",
        "net.ipv6.conf.default.accept_dad=0",
        "net.ipv4.fib_multipath_hash_policy=1",
        "net.ipv6.fib_multipath_hash_policy=1",
    ];
    process::output(inside(namespace, "sysctl").args(settings))?;
    ip(&format!("-n {namespace} link set lo up"))
}

/// Links a namespace to the bridge, with its address and the way out.
fn plug_in(cluster: &Cluster, namespace: &str, port: &str, own: &Dual) -> Result<()> {
    let router = cluster.router();
    ip(&format!("link add eth0 netns {namespace} type veth peer name {port} netns {router}"))?;
    ip(&format!("-n {router} link set {port} master nodes up"))?;
    address(Some(namespace), "eth0", own)?;
    let gateway = cluster.gateway();
    ip(&format!("-n {namespace} route add default via {}", gateway.v4))?;
    ip(&format!("-n {namespace} -6 route add default via {}", gateway.v6))
}

/// Gives the machine an address on the bridge and routes to everything of the cluster.
fn join_machine(cluster: &Cluster) -> Result<()> {
    let (link, router) = (cluster.host_link(), cluster.router());
    ip(&format!("link add {link} type veth peer name machine netns {router}"))?;
    ip(&format!("-n {router} link set machine master nodes up"))?;
    address(None, &link, &cluster.on_bridge(254))?;
    let (all, gateway) = (cluster.supernet(), cluster.gateway());
    ip(&format!("route add {} via {} dev {link}", all.v4, gateway.v4))?;
    ip(&format!("-6 route add {} via {} dev {link}", all.v6, gateway.v6))
}

/// Routes for the VIP pool over all nodes.
fn route_vips(cluster: &Cluster, namespace: &str) -> Result<()> {
    let vips = cluster.vips();
    let hops = |hop: fn(Dual) -> String| {
        cluster.nodes().map(|node| format!("nexthop via {}", hop(node.address()))).collect::<Vec<_>>().join(" ")
    };
    ip(&format!("-n {namespace} route add {} {}", vips.v4, hops(|address| address.v4)))?;
    ip(&format!("-n {namespace} -6 route add {} {}", vips.v6, hops(|address| address.v6)))
}

/// Links two clusters' routers and routes each cluster's addresses through that link.
fn join(cluster: &Cluster, other: &Cluster) -> Result<()> {
    // A /31 of the link-local range for each pair of indexes, the same from both sides' view.
    let pair = u16::from(cluster.index.min(other.index)) * 16 + u16::from(cluster.index.max(other.index));
    let side = |me: &Cluster, peer: &Cluster| {
        let number = pair * 2 + u16::from(me.index > peer.index);
        (format!("169.254.{}.{}", number / 256, number % 256), format!("fe80::{number:x}"))
    };
    let link = |peer: &Cluster| format!("to-{}", peer.index);
    let ends = [(cluster, other), (other, cluster)];
    ip(&format!(
        "link add {} netns {} type veth peer name {} netns {}",
        link(other),
        cluster.router(),
        link(cluster),
        other.router()
    ))?;
    for (me, peer) in ends {
        let (router, link, own) = (me.router(), link(peer), side(me, peer));
        ip(&format!("-n {router} address add {}/31 dev {link}", own.0))?;
        ip(&format!("-n {router} address add {}/64 dev {link} nodad", own.1))?;
        ip(&format!("-n {router} link set {link} up"))?;
    }
    for (me, peer) in ends {
        let (router, link, via, all) = (me.router(), link(peer), side(peer, me), peer.supernet());
        ip(&format!("-n {router} route add {} via {} dev {link}", all.v4, via.0))?;
        ip(&format!("-n {router} -6 route add {} via {} dev {link}", all.v6, via.1))?;
    }
    Ok(())
}

/// Sets both addresses of an interface on the bridge's subnets and brings it up.
fn address(namespace: Option<&str>, link: &str, own: &Dual) -> Result<()> {
    let place = namespace.map(|name| format!("-n {name} ")).unwrap_or_default();
    ip(&format!("{place}address add {}/24 dev {link}", own.v4))?;
    ip(&format!("{place}address add {}/64 dev {link} nodad", own.v6))?;
    ip(&format!("{place}link set {link} up"))
}

/// Runs `ip` with arguments that are separated by spaces.
fn ip(arguments: &str) -> Result<()> {
    process::output(Command::new("ip").args(arguments.split_whitespace())).map(drop)
}
