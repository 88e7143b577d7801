//! What is printed: for each load and proxy the medians over the rounds, and Beeline's rate as a ratio.

use std::fmt;

use beeline_tests::spread::Spread;
use serde::Serialize;

use crate::load::Load;
use crate::measure::{Sample, Samples};
use crate::proxies::Proxy;

/// The result.
#[derive(Serialize)]
pub struct Report {
    seconds: u64,
    rounds: usize,
    rows: Vec<Row>,
}

/// One load at one proxy.
#[derive(Serialize)]
pub struct Row {
    /// The load.
    pub load: &'static str,
    /// The proxy.
    pub proxy: &'static str,
    /// Requests in a second: the median of the rounds.
    pub rate: f64,
    /// The lowest round.
    pub rate_least: f64,
    /// The highest round.
    pub rate_most: f64,
    /// What half of the requests took at most, in microseconds: the median of the rounds.
    pub p50_us: f64,
    /// What 99 of 100 requests took at most, in microseconds: the median of the rounds.
    pub p99_us: f64,
    /// The part of its core's time that the proxy used: the median of the rounds. Clearly below 1 the proxy was not what held
    /// the load up.
    pub busy: f64,
    /// The median of the rounds' ratios of Beeline's rate to this one's.
    pub beeline_ratio: f64,
    /// The lowest of these ratios.
    pub beeline_ratio_least: f64,
    /// The highest of these ratios.
    pub beeline_ratio_most: f64,
}

impl Report {
    /// Sums up.
    pub fn new(seconds: u64, loads: &[Load], samples: &Samples) -> Self {
        let mut rows = Vec::new();
        for (load, by_proxy) in loads.iter().zip(samples) {
            for (proxy, rounds) in Proxy::ALL.iter().zip(by_proxy) {
                rows.push(Row::new(load.name, proxy.name(), rounds, &by_proxy[0]));
            }
        }
        Self { seconds, rounds: samples[0][0].len(), rows }
    }
}

impl Row {
    fn new(load: &'static str, proxy: &'static str, rounds: &[Sample], beeline: &[Sample]) -> Self {
        let spread = |of: fn(&Sample) -> f64| Spread::of(rounds.iter().map(of));
        let rate = spread(|sample| sample.outcome.rate);
        let ratios = rounds.iter().zip(beeline).map(|(other, beeline)| beeline.outcome.rate / other.outcome.rate);
        let ratio = Spread::of(ratios);
        Self {
            load,
            proxy,
            rate: rate.median,
            rate_least: rate.least,
            rate_most: rate.most,
            p50_us: spread(|sample| sample.outcome.p50_us).median,
            p99_us: spread(|sample| sample.outcome.p99_us).median,
            busy: spread(|sample| sample.busy).median,
            beeline_ratio: ratio.median,
            beeline_ratio_least: ratio.least,
            beeline_ratio_most: ratio.most,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, rounds, rows } = self;
        writeln!(f, "{rounds} interleaved rounds of {seconds} s; 1 KiB, keep-alive; each proxy alone on one core\n")?;
        writeln!(
            f,
            "| load | proxy | requests/s | least | most | p50 µs | p99 µs | of its core | Beeline to it | least | most |"
        )?;
        writeln!(f, "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        for row in rows {
            write!(f, "| {} | {} | {:.0} ", row.load, row.proxy, row.rate)?;
            write!(f, "| {:.0} | {:.0} | {:.0} | {:.0} ", row.rate_least, row.rate_most, row.p50_us, row.p99_us)?;
            write!(f, "| {:.0} % | {:.2} ", row.busy * 100.0, row.beeline_ratio)?;
            writeln!(f, "| {:.2} | {:.2} |", row.beeline_ratio_least, row.beeline_ratio_most)?;
        }
        Ok(())
    }
}
