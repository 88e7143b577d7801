//! Medians, spreads and shares of the samples, as Markdown and as JSON.

use std::fmt;

use beeline_tests::spread::Spread;
use serde::Serialize;

use crate::Family;
use crate::measure::{LOADS, Samples};
use crate::paths::PATHS;

/// The result of a run.
#[derive(Serialize)]
pub struct Report {
    /// `ipv4` or `ipv6`.
    pub family: &'static str,
    /// Time of each measurement.
    pub seconds: u64,
    /// Measurements of each load on each path.
    pub rounds: usize,
    /// One for each load and path.
    pub rows: Vec<Row>,
}

/// One load on one path.
#[derive(Serialize)]
pub struct Row {
    /// The load.
    pub load: &'static str,
    /// The path.
    pub path: &'static str,
    /// The unit of median, least and most.
    pub unit: &'static str,
    /// The median of the rounds.
    pub median: f64,
    /// The lowest round.
    pub least: f64,
    /// The highest round.
    pub most: f64,
    /// The median of the rounds' shares of plain routing to the same Pods in the same round.
    pub share: f64,
    /// The lowest of these shares.
    pub share_least: f64,
    /// The highest of these shares.
    pub share_most: f64,
}

impl Report {
    /// Sums up.
    pub fn new(family: Family, seconds: u64, samples: &Samples) -> Self {
        let mut rows = Vec::new();
        for (load, by_path) in LOADS.iter().zip(samples) {
            for (path, rates) in PATHS.iter().zip(by_path) {
                let scaled = Spread::of(rates.iter().map(|rate| rate / load.scale));
                let shares = Spread::of(rates.iter().zip(&by_path[path.plain]).map(|(rate, plain)| rate / plain));
                rows.push(Row {
                    load: load.name,
                    path: path.name,
                    unit: load.unit,
                    median: scaled.median,
                    least: scaled.least,
                    most: scaled.most,
                    share: shares.median,
                    share_least: shares.least,
                    share_most: shares.most,
                });
            }
        }
        let family = match family {
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        };
        Self { family, seconds, rounds: samples[0][0].len(), rows }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, seconds, rounds, rows } = self;
        writeln!(f, "{family}, {rounds} interleaved rounds of {seconds} s, client, nodes and Pods on one CPU\n")?;
        writeln!(f, "| load | path | median | least | most | share of plain routing | least | most |")?;
        writeln!(f, "|---|---|--:|--:|--:|--:|--:|--:|")?;
        for Row { load, path, unit, median, least, most, share, share_least, share_most } in rows {
            let digits = if *median < 1000.0 { 2 } else { 0 };
            write!(f, "| {load} | {path} | {median:.digits$} {unit} | {least:.digits$} | {most:.digits$} ")?;
            writeln!(f, "| {share:.3} | {share_least:.3} | {share_most:.3} |")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_plain_routing_in_the_same_round() {
        let rates = [[100.0, 200.0], [50.0, 100.0], [100.0, 200.0], [10.0, 20.0], [5.0, 10.0], [1.0, 2.0]];
        let samples = vec![rates.map(Vec::from).to_vec(); LOADS.len()];

        let report = Report::new(Family::Ipv4, 1, &samples);

        assert!((report.rows[1].share - 0.5).abs() < f64::EPSILON);
        assert!((report.rows[2].share - 1.0).abs() < f64::EPSILON);
        assert!((report.rows[5].share - 0.1).abs() < f64::EPSILON, "of that to another node");
    }
}
