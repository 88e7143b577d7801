//! The beds, and the rounds in which every case is measured next to the floor.

use std::time::Duration;

use anyhow::{Context, Result};
use beeline_tests::interrupt::Interrupt;
use beeline_tests::netns::{Group, Lifetime, Namespace};
use beeline_tests::packets::Floor;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::bed::{Bed, Config, Family};
use crate::case::{Case, Pods};

/// One flow and service, many of each alone, and many of both; with many flows also one that is busy among them.
const CONFIGS: [Config; 5] = [
    Config { flows: 1, busy_flows: 1, services: 1 },
    Config { flows: 100_000, busy_flows: 1, services: 1 },
    Config { flows: 100_000, busy_flows: 100_000, services: 1 },
    Config { flows: 1, busy_flows: 1, services: 10_000 },
    Config { flows: 100_000, busy_flows: 100_000, services: 10_000 },
];

/// One case in one bed: the time of a run, by round.
pub struct Sample {
    /// What happens to the packet.
    pub case: Case,
    /// Where the Pods are.
    pub pods: Pods,
    /// Its IP version.
    pub family: Family,
    /// What the tables hold.
    pub config: Config,
    /// The datapath's program, floor included.
    pub gross: Vec<Duration>,
    /// The empty program over the same packet, right before.
    pub floor: Vec<Duration>,
}

/// Measures everything.
pub fn all(interrupt: &Interrupt, rounds: u32, quick: bool) -> Result<Vec<Sample>> {
    let group = Group::create(Lifetime::Process)?;
    let node = node(&group)?;
    node.enter(|| {
        pin()?;
        let mut floor = Floor::load()?;
        let mut samples = Vec::new();
        let configs = if quick { &CONFIGS[..1] } else { &CONFIGS[..] };
        for pods in Pods::ALL {
            for &config in configs {
                for family in [Family::IPv4, Family::IPv6] {
                    samples.append(&mut in_bed(interrupt, rounds, &mut floor, (config, family, pods))?);
                }
            }
        }
        Ok(samples)
    })?
}

/// Measures the cases of one bed.
fn in_bed(
    interrupt: &Interrupt,
    rounds: u32,
    floor: &mut Floor,
    (config, family, pods): (Config, Family, Pods),
) -> Result<Vec<Sample>> {
    let Config { flows, busy_flows, services } = config;
    eprintln!("Pods {}, {family:?}, {flows} flows ({busy_flows} busy), {services} services", pods.name());
    let mut bed = Bed::build(config, family, pods)?;
    let new = |&case| Sample { case, pods, family, config, gross: Vec::new(), floor: Vec::new() };
    let mut samples: Vec<_> = pods.cases().iter().map(new).collect();
    // The round before the first warms everything up.
    for round in 0..=rounds {
        for sample in &mut samples {
            interrupt.check()?;
            let below = bed.measure_floor(floor, sample.case)?;
            let gross = bed.measure(sample.case).with_context(|| format!("{pods:?}, {family:?}, {config:?}"))?;
            if round > 0 {
                sample.floor.push(below);
                sample.gross.push(gross);
            }
        }
    }
    Ok(samples)
}

/// A node whose routes lead everywhere: what is sent on from ingress asks them for each packet.
fn node(group: &Group) -> Result<Namespace> {
    let node = Namespace::create(group, "node")?;
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        node.sysctl(key, "1")?;
    }
    node.ip("link add eth0 type veth peer name wire
        link set wire up
        link set eth0 up
        addr add 172.31.0.1/24 dev eth0
        addr add fd00:31::1/64 dev eth0
        route add default via 172.31.0.2
        route add default via fd00:31::2")?;
    Ok(node)
}

/// Keeps this process on one CPU, so that no run finds cold caches.
fn pin() -> Result<()> {
    let cpus = std::thread::available_parallelism().context("cannot count the CPUs")?.get();
    let mut set = CpuSet::new();
    set.set(cpus - 1)?;
    sched_setaffinity(Pid::from_raw(0), &set).context("cannot stay on one CPU")
}
