//! Medians and spreads of the samples, net of the floor, as Markdown and as JSON.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::bed::{Config, Family};
use crate::case::Pods;
use crate::measure::Sample;

const METHOD: &str = "BPF_PROG_TEST_RUN of the real programs with maps of their default sizes, on one CPU. A measurement \
is the kernel's mean over many runs in whole nanoseconds. It comes right after one of the empty \
program over the same packet, whose time is subtracted. Known flows: a ring of entries, each rewriting addresses and \
ports to the tuple of the next, 200,000 runs; the shortest ring has two flows. With many busy flows each run meets \
another entry. New connections: a chain of 6,000 frontends of one service (or of all 10,000 services) whose next backend \
is the next frontend; both entries are created in every run and removed after the measurement. Pods elsewhere: the \
host's routes are asked in every run, and its packet loses a hop, so the measurement is put together from stretches of 250 \
runs. The counters are checked after each.";

/// The result of a run.
#[derive(Serialize)]
pub struct Report {
    /// How it was measured.
    pub method: &'static str,
    /// Measurements of each case.
    pub rounds: u32,
    /// The kernel's release.
    pub kernel: String,
    /// The processor.
    pub processor: String,
    /// One for each case and bed.
    pub rows: Vec<Row>,
}

/// One case in one bed. Times in nanoseconds.
#[derive(Serialize)]
pub struct Row {
    /// What happens to the packet.
    pub case: &'static str,
    /// Where the Pods are.
    pub pods: Pods,
    /// Its IP version.
    pub family: Family,
    /// What the tables hold.
    #[serde(flatten)]
    pub config: Config,
    /// The median of the rounds, net of the floor.
    pub net_ns: f64,
    /// The lowest round.
    pub least_ns: f64,
    /// The highest round.
    pub most_ns: f64,
    /// The median of the floor.
    pub floor_ns: f64,
}

impl Report {
    /// Sums up.
    pub fn new(rounds: u32, samples: &[Sample]) -> Self {
        let row = |sample: &Sample| {
            let net = sorted(sample.gross.iter().zip(&sample.floor).map(|(gross, floor)| ns(gross) - ns(floor)));
            Row {
                case: sample.case.name(),
                pods: sample.pods,
                family: sample.family,
                config: sample.config,
                net_ns: median(&net),
                least_ns: net[0],
                most_ns: net[net.len() - 1],
                floor_ns: median(&sorted(sample.floor.iter().map(ns))),
            }
        };
        Self {
            method: METHOD,
            rounds,
            kernel: kernel(),
            processor: processor().unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            rows: samples.iter().map(row).collect(),
        }
    }
}

/// What the kernel measures is far below a second.
fn ns(time: &Duration) -> f64 {
    time.subsec_nanos().into()
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The median of sorted values.
fn median(values: &[f64]) -> f64 {
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

fn kernel() -> String {
    nix::sys::utsname::uname()
        .map_or_else(|_| "unknown".to_owned(), |name| name.release().to_string_lossy().into_owned())
}

fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, rounds, kernel, processor, rows } = self;
        writeln!(
            f,
            "{processor}, kernel {kernel}, {rounds} interleaved rounds. Nanoseconds a packet, net of the floor.\n"
        )?;
        writeln!(f, "| packet | Pods | IP | flows (busy) | services | median | least | most | floor |")?;
        writeln!(f, "|---|---|---|--:|--:|--:|--:|--:|--:|")?;
        for Row { case, pods, family, config, net_ns, least_ns, most_ns, floor_ns } in rows {
            let Config { flows, busy_flows, services } = config;
            write!(f, "| {case} | {} | {family:?} | {flows} ({busy_flows}) | {services} ", pods.name())?;
            writeln!(f, "| {net_ns:.0} | {least_ns:.0} | {most_ns:.0} | {floor_ns:.0} |")?;
        }
        writeln!(f, "\n{method}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Case;

    #[test]
    fn the_floor_of_the_same_round_is_subtracted() {
        let config = Config { flows: 1, busy_flows: 1, services: 1 };
        let times = |ns: [u64; 3]| ns.map(Duration::from_nanos).to_vec();
        let (gross, floor) = (times([110, 220, 130]), times([10, 100, 10]));
        let sample = Sample { case: Case::Reply, pods: Pods::Elsewhere, family: Family::IPv4, config, gross, floor };

        let report = Report::new(3, &[sample]).to_string();

        assert!(report.contains("| reply | elsewhere | IPv4 | 1 (1) | 1 | 120 | 100 | 120 | 10 |"), "{report}");
    }
}
