//! A small network of namespaces: client, node and Pods, over IPv4 and IPv6.
//!
//! ```text
//!  client eth0 ---- [router] ---- eth0 node pod1 ---- eth0 Pods v1
//!                                           pod2 ---- eth0 Pods v2 ...
//! ```
//!
//! Pods hang on the node as the CNI plug-in `ptp` does it: a veth each, an address route each. The client reaches
//! the VIPs through the node. Several Pods may share a namespace; each has addresses of its own all the same.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::binaries;
use crate::netns::{Group, Lifetime, Namespace};
use crate::offload;
use crate::pod;
use crate::process::{Background, Log};

/// How long a Pod's server may take to listen.
const POD_LIMIT: Duration = Duration::from_secs(10);

/// An address of each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dual {
    /// IPv4.
    pub v4: Ipv4Addr,
    /// IPv6.
    pub v6: Ipv6Addr,
}

impl Dual {
    /// Both addresses, IPv4 first.
    pub fn both(self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }

    /// Both addresses with a port, IPv4 first.
    pub fn sockets(self, port: u16) -> [SocketAddr; 2] {
        self.both().map(|ip| SocketAddr::new(ip, port))
    }

    /// The address of the same family as another.
    pub fn like(self, other: IpAddr) -> IpAddr {
        if other.is_ipv4() { self.v4.into() } else { self.v6.into() }
    }
}

/// A VIP that the client reaches through the node.
pub const VIP: Dual = Dual { v4: Ipv4Addr::new(10, 96, 100, 1), v6: Ipv6Addr::new(0xfd00, 0x96, 0x100, 0, 0, 0, 0, 1) };
/// A VIP on the segment of client and node, for which the node answers its neighbours.
pub const ON_LINK_VIP: Dual =
    Dual { v4: Ipv4Addr::new(172, 20, 0, 100), v6: Ipv6Addr::new(0xfd00, 0x20, 0, 0, 0, 0, 0, 0x100) };
/// The client.
pub const CLIENT: Dual = Dual { v4: Ipv4Addr::new(172, 20, 0, 2), v6: Ipv6Addr::new(0xfd00, 0x20, 0, 0, 0, 0, 0, 2) };
/// The node on its uplink.
pub const NODE: Dual = Dual { v4: Ipv4Addr::new(172, 20, 0, 1), v6: Ipv6Addr::new(0xfd00, 0x20, 0, 0, 0, 0, 0, 1) };
/// The node on its uplink, if there is a router in between.
const NODE_BEHIND_ROUTER: Dual =
    Dual { v4: Ipv4Addr::new(172, 21, 0, 1), v6: Ipv6Addr::new(0xfd00, 0x21, 0, 0, 0, 0, 0, 1) };
/// What the client and the node send through a router.
const ROUTER_NODE_SIDE: Dual =
    Dual { v4: Ipv4Addr::new(172, 21, 0, 2), v6: Ipv6Addr::new(0xfd00, 0x21, 0, 0, 0, 0, 0, 2) };
/// The node as its Pods know it.
pub(crate) const POD_GATEWAY: Dual =
    Dual { v4: Ipv4Addr::new(10, 1, 0, 1), v6: Ipv6Addr::new(0xfd00, 0x10, 1, 0, 0, 0, 0, 1) };
/// Where VIPs and Pods are, for the client's routes.
const BEYOND_THE_NODE: [&str; 4] = ["10.96.0.0/16", "10.1.0.0/16", "fd00:96::/32", "fd00:10::/32"];

/// The addresses of the `number`th Pod, counted from 1: `10.1.0.11`, `fd00:10:1::11` and so on.
pub fn pod_addresses(number: u8) -> Dual {
    addresses_in(1, number)
}

/// The same in another network of Pods: `10.2.0.11`, `fd00:10:2::11` in the second.
pub(crate) fn addresses_in(network: u8, number: u8) -> Dual {
    // Written in decimal digits in both families, so that people see they belong together.
    let last = number + 10;
    let digits = u16::from(last / 100) * 0x100 + u16::from(last / 10 % 10) * 0x10 + u16::from(last % 10);
    Dual {
        v4: Ipv4Addr::new(10, network, 0, last),
        v6: Ipv6Addr::new(0xfd00, 0x10, network.into(), 0, 0, 0, 0, digits),
    }
}

/// What to build.
pub struct Plan {
    /// The Pods by name; each inner list shares a namespace.
    pub pods: Vec<Vec<String>>,
    /// The largest packet that the node forwards to the Pods, if that is less than the devices take.
    pub pod_mtu: Option<u32>,
    /// Puts a router between client and node which forwards no larger packets than these to the client.
    pub router_mtu: Option<u32>,
    /// Further arguments for the Pods' servers.
    pub pod_arguments: Vec<String>,
}

impl Plan {
    /// Pods in namespaces of their own.
    pub fn pods(names: &[&str]) -> Self {
        Self {
            pods: names.iter().map(|name| vec![(*name).to_owned()]).collect(),
            pod_mtu: None,
            router_mtu: None,
            pod_arguments: Vec::new(),
        }
    }

    /// Pods that share one namespace.
    pub fn crowd(names: Vec<String>) -> Self {
        Self { pods: vec![names], ..Self::pods(&[]) }
    }
}

/// The network. Dropping it takes it down.
pub struct Topology {
    // Dropped in this order: servers, their namespaces, the group's folder.
    servers: Vec<Background>,
    /// Where connections come from.
    pub client: Namespace,
    /// Where the agent runs.
    pub node: Namespace,
    /// Where the Pods are, a namespace for each inner list of the plan.
    pub pods: Vec<Namespace>,
    /// Between client and node, if the plan says so.
    pub router: Option<Namespace>,
    /// The node's address on its uplink.
    pub node_address: Dual,
    /// The name and the folder of all this.
    pub group: Group,
}

impl Topology {
    /// Builds the network and starts the Pods' servers; all of them listen when it returns.
    pub fn build(plan: &Plan, lifetime: Lifetime) -> Result<Self> {
        let group = Group::create(lifetime)?;
        let client = Namespace::create(&group, "client")?;
        let node = Namespace::create(&group, "node")?;
        forward(&node)?;
        let (router, node_address) = if let Some(mtu) = plan.router_mtu {
            (Some(connect_by_router(&group, &client, &node, mtu)?), NODE_BEHIND_ROUTER)
        } else {
            connect(&client, &node)?;
            (None, NODE)
        };
        let mut topology = Self { servers: Vec::new(), client, node, pods: Vec::new(), router, node_address, group };
        let mut next = 1;
        for (index, names) in plan.pods.iter().enumerate() {
            let members: Vec<_> =
                names.iter().zip(next..).map(|(name, number)| (name.clone(), pod_addresses(number))).collect();
            next += names.len() as u8;
            topology.add_pods(index + 1, &members, plan)?;
        }
        topology.servers.iter_mut().try_for_each(wait_until_ready)?;
        Ok(topology)
    }

    /// Turns the offloads of every device on or off.
    pub fn offload(&self, on: bool) -> Result<()> {
        offload::set(&self.client, "eth0", on)?;
        offload::set(&self.node, "eth0", on)?;
        for (index, pod) in self.pods.iter().enumerate() {
            offload::set(pod, "eth0", on)?;
            offload::set(&self.node, &format!("pod{}", index + 1), on)?;
        }
        Ok(())
    }

    /// Connects client and node again after the node's uplink was deleted.
    pub fn connect_again(&self) -> Result<()> {
        connect(&self.client, &self.node)
    }

    fn add_pods(&mut self, index: usize, members: &[(String, Dual)], plan: &Plan) -> Result<()> {
        let hanging =
            Hanging { device: &format!("pod{index}"), members, mtu: plan.pod_mtu, arguments: &plan.pod_arguments };
        let (namespace, server) = hanging.start(&self.group, &self.node)?;
        self.servers.push(server);
        self.pods.push(namespace);
        Ok(())
    }
}

/// Pods that hang on a host, in one namespace.
pub(crate) struct Hanging<'a> {
    /// The host's end of the veth; the namespace and the log are called after it.
    pub device: &'a str,
    /// The Pods' names and addresses.
    pub members: &'a [(String, Dual)],
    /// The largest packet that the host forwards to them, if that is less than the device takes.
    pub mtu: Option<u32>,
    /// Further arguments of their server.
    pub arguments: &'a [String],
}

impl Hanging<'_> {
    /// Makes their namespace and starts their server.
    pub fn start(&self, group: &Group, host: &Namespace) -> Result<(Namespace, Background)> {
        let Self { device, members, mtu, arguments } = self;
        let namespace = Namespace::create(group, device)?;
        let Dual { v4: gateway_v4, v6: gateway_v6 } = POD_GATEWAY;
        let mut on_host = format!(
            "link add {device} type veth peer name eth0 netns {name}\n\
             addr add {gateway_v4}/32 dev {device}\naddr add {gateway_v6}/128 dev {device} nodad\n\
             link set {device} up\n",
            name = namespace.name(),
        );
        let mtu = locked(*mtu);
        let mut in_pod = String::from("link set eth0 up\n");
        for (_, Dual { v4, v6 }) in *members {
            writeln!(in_pod, "addr add {v4}/32 dev eth0\naddr add {v6}/128 dev eth0 nodad")?;
            writeln!(on_host, "route add {v4}/32 dev {device} scope link{mtu}\nroute add {v6}/128 dev {device}{mtu}")?;
        }
        write!(
            in_pod,
            "route add {gateway_v4}/32 dev eth0 scope link\nroute add {gateway_v6}/128 dev eth0\n\
             route add default via {gateway_v4}\nroute add default via {gateway_v6}\n"
        )?;
        host.ip(&on_host)?;
        namespace.ip(&in_pod)?;
        let mut command = namespace.command(binaries::test_pod()?)?;
        for (name, Dual { v4, v6 }) in *members {
            command.arg("--pod").arg(format!("{name}={v4},{v6}"));
        }
        command.args(*arguments);
        let log = Log::at(group.folder().join(format!("{device}.log")));
        let server = Background::start("a Pod's server", command, log, group.lifetime())?;
        Ok((namespace, server))
    }
}

/// Waits until the Pods of a server listen.
pub(crate) fn wait_until_ready(server: &mut Background) -> Result<()> {
    let is_ready = |lines: &[String]| lines.iter().any(|line| line == pod::READY).then_some(());
    server.wait_for_log("a Pod's server listens", POD_LIMIT, is_ready)
}

pub(crate) fn forward(namespace: &Namespace) -> Result<()> {
    namespace.sysctl("net/ipv4/ip_forward", "1").context("cannot let the node forward")?;
    namespace.sysctl("net/ipv6/conf/all/forwarding", "1").context("cannot let the node forward")
}

fn connect(client: &Namespace, node: &Namespace) -> Result<()> {
    node.ip(&format!("link add eth0 type veth peer name eth0 netns {}\n{}", client.name(), up("eth0", NODE)))?;
    client.ip(&format!("{}{}", up("eth0", CLIENT), routes(&BEYOND_THE_NODE, NODE)))
}

fn connect_by_router(group: &Group, client: &Namespace, node: &Namespace, mtu: u32) -> Result<Namespace> {
    let router = Namespace::create(group, "router")?;
    forward(&router)?;
    // The router's client side takes the node's usual address, so the client's routes are the same.
    router.ip(&format!(
        "link add eth0 type veth peer name eth0 netns {}\nlink add eth1 type veth peer name eth0 netns {}\n\
         {}{}{}",
        client.name(),
        node.name(),
        up("eth0", NODE),
        up("eth1", ROUTER_NODE_SIDE),
        routes(&BEYOND_THE_NODE, NODE_BEHIND_ROUTER),
    ))?;
    let mtu = locked(Some(mtu));
    router.ip(&format!(
        "route add {}/32 dev eth0 scope link{mtu}\nroute add {}/128 dev eth0{mtu}\n",
        CLIENT.v4, CLIENT.v6
    ))?;
    client.ip(&format!("{}{}", up("eth0", CLIENT), routes(&BEYOND_THE_NODE, NODE)))?;
    node.ip(&format!("{}{}", up("eth0", NODE_BEHIND_ROUTER), routes(&["default", "::/0"], ROUTER_NODE_SIDE)))?;
    Ok(router)
}

/// What a route says so that no larger packet is forwarded by it, though the device would take it.
fn locked(mtu: Option<u32>) -> String {
    mtu.map(|mtu| format!(" mtu lock {mtu}")).unwrap_or_default()
}

pub(crate) fn up(device: &str, Dual { v4, v6 }: Dual) -> String {
    format!("addr add {v4}/24 dev {device}\naddr add {v6}/64 dev {device} nodad\nlink set {device} up\n")
}

pub(crate) fn routes(destinations: &[&str], by: Dual) -> String {
    let route = |destination: &&str| {
        let gateway = if destination.contains(':') { IpAddr::V6(by.v6) } else { IpAddr::V4(by.v4) };
        format!("route add {destination} via {gateway}\n")
    };
    destinations.iter().map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_addresses_of_a_pod_end_in_the_same_digits() {
        assert_eq!(pod_addresses(1).v4.to_string(), "10.1.0.11");
        assert_eq!(pod_addresses(1).v6.to_string(), "fd00:10:1::11");
        assert_eq!(pod_addresses(12).v6.to_string(), "fd00:10:1::22");
    }
}
