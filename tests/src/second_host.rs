//! Another host with Pods beside the node: some that the node reaches by a route, some behind a VXLAN device.
//!
//! ```text
//!  client eth0 ---- eth0 node eth1 ---- eth0 host pods ---- eth0 the other Pods
//!                        node tunnel0 == tunnel0 host
//! ```
//!
//! All of the host's Pods hang on one veth. Which network a Pod is of decides by which way the node gets there.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use crate::netns::Namespace;
use crate::process::Background;
use crate::topology::{Dual, Hanging, Topology, addresses_in, forward, routes, up, wait_until_ready};

/// The node's device towards the host.
pub const FABRIC: &str = "eth1";
/// The node's device into the tunnel.
pub const TUNNEL: &str = "tunnel0";
/// The node on the network of nodes: what Pods behind a route see.
pub const NODE_ON_FABRIC: Dual =
    Dual { v4: Ipv4Addr::new(172, 22, 0, 1), v6: Ipv6Addr::new(0xfd00, 0x22, 0, 0, 0, 0, 0, 1) };
/// The host on the network of nodes.
pub(crate) const HOST_ON_FABRIC: Dual =
    Dual { v4: Ipv4Addr::new(172, 22, 0, 2), v6: Ipv6Addr::new(0xfd00, 0x22, 0, 0, 0, 0, 0, 2) };
/// The node in the tunnel: what Pods behind it see.
pub const NODE_IN_TUNNEL: Dual =
    Dual { v4: Ipv4Addr::new(172, 23, 0, 1), v6: Ipv6Addr::new(0xfd00, 0x23, 0, 0, 0, 0, 0, 1) };
/// The host in the tunnel.
const HOST_IN_TUNNEL: Dual =
    Dual { v4: Ipv4Addr::new(172, 23, 0, 2), v6: Ipv6Addr::new(0xfd00, 0x23, 0, 0, 0, 0, 0, 2) };

/// How the node gets to a network of Pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// By a route over the network of nodes.
    Routed,
    /// Through the tunnel.
    Tunnelled,
}

impl Network {
    const fn number(self) -> u8 {
        match self {
            Self::Routed => 2,
            Self::Tunnelled => 3,
        }
    }

    /// The addresses of the `number`th Pod of this network, counted from 1.
    pub fn pod(self, number: u8) -> Dual {
        addresses_in(self.number(), number)
    }

    /// The network in both families.
    pub fn prefixes(self) -> [String; 2] {
        let number = self.number();
        [format!("10.{number}.0.0/16"), format!("fd00:10:{number}::/48")]
    }
}

/// The host and its Pods. Dropping it takes them down.
pub struct SecondHost {
    // Dropped in this order: the server, then the namespaces.
    _server: Background,
    /// Where the Pods are.
    pub pods: Namespace,
    /// The host itself.
    pub host: Namespace,
}

impl SecondHost {
    /// Connects a host to the node, with these Pods on it; no device on the way takes larger packets than `mtu`.
    pub fn join(network: &Topology, members: &[(&str, Dual)], mtu: u32) -> Result<Self> {
        Self::join_with(network, members, mtu, &[])
    }

    /// The same, with further arguments for the Pods' server.
    pub fn join_with(network: &Topology, members: &[(&str, Dual)], mtu: u32, arguments: &[String]) -> Result<Self> {
        let (group, node) = (&network.group, &network.node);
        let host = Namespace::create(group, "host")?;
        forward(&host)?;
        let name = host.name();
        node.ip(&format!(
            "link add {FABRIC} mtu {mtu} type veth peer name eth0 netns {name}\n{}{}",
            up(FABRIC, NODE_ON_FABRIC),
            tunnel(FABRIC, NODE_ON_FABRIC, HOST_ON_FABRIC, NODE_IN_TUNNEL)
        ))?;
        host.ip(&format!(
            "link set eth0 mtu {mtu}\n{}{}",
            up("eth0", HOST_ON_FABRIC),
            tunnel("eth0", HOST_ON_FABRIC, NODE_ON_FABRIC, HOST_IN_TUNNEL)
        ))?;
        for (pods, by) in [(Network::Routed, HOST_ON_FABRIC), (Network::Tunnelled, HOST_IN_TUNNEL)] {
            node.ip(&routes(&pods.prefixes().each_ref().map(String::as_str), by))?;
        }
        let members: Vec<_> = members.iter().map(|(name, addresses)| ((*name).to_owned(), *addresses)).collect();
        let hanging = Hanging { device: "pods", members: &members, mtu: None, arguments };
        let (pods, mut server) = hanging.start(group, &host)?;
        wait_until_ready(&mut server)?;
        Ok(Self { _server: server, pods, host })
    }

    /// Leads the node's packets to a network of Pods over the network of nodes from now on.
    pub fn route_over_fabric(node: &Namespace, pods: Network) -> Result<()> {
        let prefixes = pods.prefixes();
        let batch = routes(&prefixes.each_ref().map(String::as_str), HOST_ON_FABRIC);
        node.ip(&batch.replace("route add", "route replace"))
    }

    /// Takes the node's routes to a network of Pods away.
    pub fn unroute(node: &Namespace, pods: Network) -> Result<()> {
        node.ip(&pods.prefixes().map(|prefix| format!("route del {prefix}\n")).concat())
    }
}

/// A VXLAN device between two ends, by the number and the port that CNIs use.
fn tunnel(over: &str, local: Dual, remote: Dual, inside: Dual) -> String {
    format!(
        "link add {TUNNEL} type vxlan id 1 dstport 8472 local {} remote {} dev {over}\n{}",
        local.v4,
        remote.v4,
        up(TUNNEL, inside)
    )
}
