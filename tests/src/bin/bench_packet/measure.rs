//! The beds, and the rounds in which every case is measured next to the floor.

use std::time::Duration;

use anyhow::{Context, Result};
use beeline_tests::interrupt::Interrupt;
use beeline_tests::packets::Floor;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::bed::{Bed, Case, Config, Family};

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
    pin()?;
    let mut floor = Floor::load()?;
    let mut samples = Vec::new();
    let configs = if quick { &CONFIGS[..1] } else { &CONFIGS[..] };
    for &config in configs {
        for family in [Family::IPv4, Family::IPv6] {
            eprintln!("{family:?}, {} flows ({} busy), {} services", config.flows, config.busy_flows, config.services);
            let mut bed = Bed::build(config, family)?;
            let new = |case| Sample { case, family, config, gross: Vec::new(), floor: Vec::new() };
            let mut of_bed: Vec<_> = Case::ALL.into_iter().map(new).collect();
            // The round before the first warms everything up.
            for round in 0..=rounds {
                for sample in &mut of_bed {
                    interrupt.check()?;
                    let (_, packet) = bed.packet(sample.case)?;
                    let below = floor.time(&packet, bed.repeat(sample.case))?;
                    let gross = bed.measure(sample.case).with_context(|| format!("{family:?}, {config:?}"))?;
                    if round > 0 {
                        sample.floor.push(below);
                        sample.gross.push(gross);
                    }
                }
            }
            samples.append(&mut of_bed);
        }
    }
    Ok(samples)
}

/// Keeps this process on one CPU, so that no run finds cold caches.
fn pin() -> Result<()> {
    let cpus = std::thread::available_parallelism().context("cannot count the CPUs")?.get();
    let mut set = CpuSet::new();
    set.set(cpus - 1)?;
    sched_setaffinity(Pid::from_raw(0), &set).context("cannot stay on one CPU")
}
