//! The three paths, the five loads, and the rounds in which every load meets every path.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use beeline_tests::agent::Agent;
use beeline_tests::interrupt::Interrupt;
use beeline_tests::load::client;
use beeline_tests::manifests::{Folder, Port, Service};
use beeline_tests::netns::Lifetime;
use beeline_tests::topology::{Dual, Plan, Topology, VIP, pod_addresses};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::{Family, kube_proxy};

const LOAD_PORT: u16 = 9001;
const PODS: [&str; 3] = ["v1", "v2", "v3"];

/// Keeps the path to a target busy for a time and gives a rate; it can ask how many datagrams the Pods received.
type Run = fn(SocketAddr, &dyn Fn() -> Result<u64>, Duration) -> Result<f64>;

/// What is measured.
pub struct Load {
    /// Its name.
    pub name: &'static str,
    /// What the rate counts, after division by the scale.
    pub unit: &'static str,
    /// What the rate is divided by for people.
    pub scale: f64,
    run: Run,
}

/// All loads, in the order of the report.
pub const LOADS: [Load; 5] = [
    Load {
        name: "TCP stream to the Pod",
        unit: "Gbit/s",
        scale: 1.25e8,
        run: |target, _, duration| client::upload(target, duration),
    },
    Load {
        name: "TCP stream from the Pod",
        unit: "Gbit/s",
        scale: 1.25e8,
        run: |target, _, duration| client::download(target, duration),
    },
    Load {
        name: "request, response",
        unit: "1/s",
        scale: 1.0,
        run: |target, _, duration| client::exchange(target, duration),
    },
    Load {
        name: "connect, request, close",
        unit: "1/s",
        scale: 1.0,
        run: |target, _, duration| client::connect_exchange_close(target, duration),
    },
    Load { name: "UDP packets", unit: "1/s", scale: 1.0, run: client::datagrams },
];

/// The paths, in the order of the report.
pub const PATHS: [&str; 3] = ["plain routing", "kube-proxy nftables", "Beeline"];

/// Rates by load, path and round.
pub type Samples = Vec<Vec<Vec<f64>>>;

/// Builds the paths and measures everything.
pub fn all(interrupt: &Interrupt, family: Family, rounds: u32, duration: Duration) -> Result<Samples> {
    pin()?;
    let build = || {
        let arguments = vec!["--load-port".to_owned(), LOAD_PORT.to_string()];
        let network = Topology::build(&Plan { pod_arguments: arguments, ..Plan::pods(&PODS) }, Lifetime::Process)?;
        // Every closed connection keeps its port for a minute; there must be enough of them for the next round.
        network.client.sysctl("net/ipv4/ip_local_port_range", "1024 65535")?;
        network.client.sysctl("net/ipv4/tcp_tw_reuse", "1")?;
        anyhow::Ok(network)
    };
    let (plain, nftables, beeline) = (build()?, build()?, build()?);
    let pods: Vec<_> = (1..).zip(PODS).map(|(number, _)| choose(family, pod_addresses(number), LOAD_PORT)).collect();
    let frontend = choose(family, VIP, LOAD_PORT);
    let addresses: Vec<_> = pods.iter().map(SocketAddr::ip).collect();
    kube_proxy::program(&nftables.node, frontend, &addresses)?;
    let folder = Folder::create(beeline.group.folder().join("manifests"))?;
    folder.write("load.yaml", &manifests())?;
    let mut agent = Agent::new(&beeline.group, &beeline.node, folder.path())?;
    agent.start()?;

    let paths = [(&plain, pods[0]), (&nftables, frontend), (&beeline, frontend)];
    let mut samples = vec![vec![Vec::new(); PATHS.len()]; LOADS.len()];
    for round in 0..rounds as usize {
        eprintln!("round {} of {rounds}", round + 1);
        for (load, samples) in LOADS.iter().zip(&mut samples) {
            for turn in 0..paths.len() {
                interrupt.check()?;
                // Each path goes first in every third round.
                let path = (turn + round) % paths.len();
                let (network, target) = paths[path];
                let received = || received(network, &pods);
                let rate = network.client.enter(|| (load.run)(target, &received, duration))?;
                samples[path].push(rate.with_context(|| format!("{}: {}", PATHS[path], load.name))?);
            }
        }
    }
    Ok(samples)
}

/// Datagrams that the Pods of a network have received so far, all together.
fn received(network: &Topology, servers: &[SocketAddr]) -> Result<u64> {
    network.pods.iter().zip(servers).map(|(pod, server)| pod.enter(|| client::received(*server))?).sum()
}

fn choose(family: Family, address: Dual, port: u16) -> SocketAddr {
    let [v4, v6] = address.sockets(port);
    match family {
        Family::Ipv4 => v4,
        Family::Ipv6 => v6,
    }
}

/// The Service over the Pods' load servers, all of one weight.
fn manifests() -> String {
    let port = |name, protocol| Port { name, port: LOAD_PORT, target: LOAD_PORT, protocol };
    let ports = vec![port("tcp", "TCP"), port("udp", "UDP")];
    Service { ports, ..Service::weighted(VIP, &[1; PODS.len()]) }.to_yaml()
}

/// Keeps this process and what it starts on one CPU: then a rate is the inverse of the work on the whole path, and
/// does not hang on where the scheduler puts whom.
fn pin() -> Result<()> {
    let cpus = std::thread::available_parallelism().context("cannot count the CPUs")?.get();
    let mut set = CpuSet::new();
    set.set(cpus - 1)?;
    sched_setaffinity(Pid::from_raw(0), &set).context("cannot stay on one CPU")
}
