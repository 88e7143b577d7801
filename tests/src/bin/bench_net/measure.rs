//! The five loads, and the rounds in which every load meets every path.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use beeline_tests::interrupt::Interrupt;
use beeline_tests::load;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::Family;
use crate::paths::{Beds, PATHS};

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
        run: |target, _, duration| load::upload(target, duration),
    },
    Load {
        name: "TCP stream from the Pod",
        unit: "Gbit/s",
        scale: 1.25e8,
        run: |target, _, duration| load::download(target, duration),
    },
    Load {
        name: "request, response",
        unit: "1/s",
        scale: 1.0,
        run: |target, _, duration| load::exchange(target, duration),
    },
    Load {
        name: "connect, request, close",
        unit: "1/s",
        scale: 1.0,
        run: |target, _, duration| load::connect_exchange_close(target, duration),
    },
    Load { name: "UDP packets", unit: "1/s", scale: 1.0, run: load::datagrams },
];

/// Rates by load, path and round.
pub type Samples = Vec<Vec<Vec<f64>>>;

/// Builds the paths and measures everything.
pub fn all(interrupt: &Interrupt, family: Family, rounds: u32, duration: Duration) -> Result<Samples> {
    pin()?;
    let beds = Beds::build(family)?;
    let _agents = beds.start_agents()?;

    let paths = beds.paths();
    let mut samples = vec![vec![Vec::new(); PATHS.len()]; LOADS.len()];
    for round in 0..rounds as usize {
        eprintln!("round {} of {rounds}", round + 1);
        for (load, samples) in LOADS.iter().zip(&mut samples) {
            for turn in 0..paths.len() {
                interrupt.check()?;
                // Each path goes first in its turn.
                let index = (turn + round) % paths.len();
                let path = &paths[index];
                let received = || path.received();
                let rate = path.client.enter(|| (load.run)(path.target, &received, duration))?;
                samples[index].push(rate.with_context(|| format!("{}: {}", PATHS[index].name, load.name))?);
            }
        }
    }
    Ok(samples)
}

/// Keeps this process and what it starts on one CPU: then a rate is the inverse of the work on the whole path, and
/// does not hang on where the scheduler puts whom.
fn pin() -> Result<()> {
    let cpus = std::thread::available_parallelism().context("cannot count the CPUs")?.get();
    let mut set = CpuSet::new();
    set.set(cpus - 1)?;
    sched_setaffinity(Pid::from_raw(0), &set).context("cannot stay on one CPU")
}
