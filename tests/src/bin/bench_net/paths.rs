//! The ways to Pods of the node and of another node: routed, by kube-proxy's rules, by Beeline. Each has machines of its own.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use beeline_tests::agent::Agent;
use beeline_tests::load;
use beeline_tests::manifests::{Folder, Pod, Port, Service};
use beeline_tests::netns::{Lifetime, Namespace};
use beeline_tests::second_host::{NODE_ON_FABRIC, Network, SecondHost};
use beeline_tests::topology::{CLIENT, Dual, NODE, Plan, Topology, VIP, pod_addresses};

use crate::Family;
use crate::kube_proxy::{self, Policy};

const LOAD_PORT: u16 = 9001;
const PODS: [&str; 3] = ["v1", "v2", "v3"];
const MTU: u32 = 1500;

/// How a path is called.
pub struct Named {
    /// The name.
    pub name: &'static str,
    /// The path without a VIP that it is compared with: a place in [`PATHS`].
    pub plain: usize,
}

/// The paths, in the order of the report: as many to Pods of the node as to those of another node.
pub const PATHS: [Named; 6] = [
    Named { name: "plain routing", plain: 0 },
    Named { name: "kube-proxy nftables", plain: 0 },
    Named { name: "Beeline", plain: 0 },
    Named { name: "another node: plain routing", plain: 3 },
    Named { name: "another node: kube-proxy nftables", plain: 3 },
    Named { name: "another node: Beeline", plain: 3 },
];

/// A client, a node and Pods, on the node or on another.
struct Bed {
    // Dropped in this order: the other node hangs on the first.
    second: Option<SecondHost>,
    network: Topology,
}

impl Bed {
    fn build(is_far: bool) -> Result<Self> {
        let arguments = vec!["--load-port".to_owned(), LOAD_PORT.to_string()];
        let names: &[&str] = if is_far { &[] } else { &PODS };
        let plan = Plan { pod_arguments: arguments.clone(), ..Plan::pods(names) };
        let network = Topology::build(&plan, Lifetime::Process)?;
        // Every closed connection keeps its port for a minute; there must be enough of them for the next round.
        network.client.sysctl("net/ipv4/ip_local_port_range", "1024 65535")?;
        network.client.sysctl("net/ipv4/tcp_tw_reuse", "1")?;
        let second = if is_far { Some(join_second(&network, &arguments)?) } else { None };
        Ok(Self { second, network })
    }

    /// The addresses of its Pods.
    fn pods(&self) -> [Dual; PODS.len()] {
        [1, 2, 3].map(|number| if self.second.is_some() { Network::Routed.pod(number) } else { pod_addresses(number) })
    }

    /// Where datagrams are counted: in each Pod, but Pods of another node have one server together.
    fn counters(&self, family: Family) -> Vec<(&Namespace, SocketAddr)> {
        let servers = self.pods().map(|pod| choose(family, pod, LOAD_PORT));
        match &self.second {
            Some(second) => vec![(&second.pods, servers[0])],
            None => self.network.pods.iter().zip(servers).collect(),
        }
    }

    fn path(&self, family: Family, target: SocketAddr) -> Path<'_> {
        Path { client: &self.network.client, target, counters: self.counters(family) }
    }

    fn program_kube_proxy(&self, family: Family) -> Result<()> {
        let policy = if self.second.is_some() { Policy::Cluster } else { Policy::Local };
        let pods: Vec<IpAddr> = self.pods().map(|pod| choose(family, pod, LOAD_PORT).ip()).into();
        kube_proxy::program(&self.network.node, choose(family, VIP, LOAD_PORT), &pods, policy)
    }

    fn start_agent(&self) -> Result<Agent<'_>> {
        let folder = Folder::create(self.network.group.folder().join("manifests"))?;
        folder.write("load.yaml", &self.manifests())?;
        let agent = Agent::new(&self.network.group, &self.network.node, folder.path())?;
        let mut agent = agent.with_arguments(&["--node-name", "node"]);
        agent.start()?;
        Ok(agent)
    }

    /// The Service over the Pods' load servers, all of one weight.
    fn manifests(&self) -> String {
        let port = |name, protocol| Port { name, port: LOAD_PORT, target: LOAD_PORT, protocol };
        let ports = vec![port("tcp", "TCP"), port("udp", "UDP")];
        let on = if self.second.is_some() { "host" } else { "node" };
        let pods = PODS.iter().zip(self.pods()).map(|(name, addresses)| Pod::on(on, name, addresses, 1)).collect();
        Service { ports, pods, ..Service::weighted(VIP, &[]) }.to_yaml()
    }
}

/// Joins another node with the Pods. Its Pods and the client have routes to each other by the first, as by a router.
fn join_second(network: &Topology, arguments: &[String]) -> Result<SecondHost> {
    let members: Vec<_> = PODS.iter().zip(1..).map(|(name, number)| (*name, Network::Routed.pod(number))).collect();
    let second = SecondHost::join_with(network, &members, MTU, arguments)?;
    for prefix in Network::Routed.prefixes() {
        let by: IpAddr = if prefix.contains(':') { NODE.v6.into() } else { NODE.v4.into() };
        network.client.ip(&format!("route add {prefix} via {by}"))?;
    }
    for client in CLIENT.both() {
        second.host.ip(&format!("route add {client} via {}", NODE_ON_FABRIC.like(client)))?;
    }
    Ok(second)
}

/// All paths' machines, in the order of [`PATHS`].
pub struct Beds {
    family: Family,
    beds: Vec<Bed>,
}

impl Beds {
    /// Builds them.
    pub fn build(family: Family) -> Result<Self> {
        let beds = PATHS.iter().map(|path| Bed::build(path.plain != 0)).collect::<Result<Vec<_>>>()?;
        for bed in beds.iter().skip(1).step_by(3) {
            bed.program_kube_proxy(family)?;
        }
        Ok(Self { family, beds })
    }

    /// Starts the agents, which serve as long as they live.
    pub fn start_agents(&self) -> Result<Vec<Agent<'_>>> {
        self.beds.iter().skip(2).step_by(3).map(Bed::start_agent).collect()
    }

    /// Where connections go: to a Pod itself, or to the VIP.
    pub fn paths(&self) -> Vec<Path<'_>> {
        let targets = self.beds.iter().enumerate().map(
            |(index, bed)| {
                if PATHS[index].plain == index { bed.pods()[0] } else { VIP }
            },
        );
        let path = |(bed, to)| Bed::path(bed, self.family, choose(self.family, to, LOAD_PORT));
        self.beds.iter().zip(targets).map(path).collect()
    }
}

/// One of them.
pub struct Path<'a> {
    /// Where connections come from.
    pub client: &'a Namespace,
    /// Where they go.
    pub target: SocketAddr,
    counters: Vec<(&'a Namespace, SocketAddr)>,
}

impl Path<'_> {
    /// Datagrams that its Pods have received so far, all together.
    pub fn received(&self) -> Result<u64> {
        let ask = |(pod, server): &(&Namespace, SocketAddr)| {
            pod.enter(|| load::received(*server))?.with_context(|| format!("the Pod at {server}"))
        };
        self.counters.iter().map(ask).sum()
    }
}

fn choose(family: Family, address: Dual, port: u16) -> SocketAddr {
    let [v4, v6] = address.sockets(port);
    match family {
        Family::Ipv4 => v4,
        Family::Ipv6 => v6,
    }
}
