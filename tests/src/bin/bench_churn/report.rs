//! Percentiles of the changes, times of the cold start and memory, as Markdown and as JSON.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::Arguments;
use crate::changes::{Pace, Pass, Sample};
use crate::cold_start::ColdStart;
use crate::memory::Memory;

/// The result of a run.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Endpoints of each Service.
    pub backends: u32,
    /// Whether each endpoint had a Pod.
    pub pods: bool,
    /// Two for each pass of changes: from the request, from the answer.
    pub changes: Vec<Row>,
    /// The cold start.
    pub cold_start: ColdStart,
    /// The agent's memory after the cold start.
    pub memory_after_start: Memory,
    /// The agent's memory after a minute of changes.
    pub memory_after_changes: Memory,
}

/// Times of a pass by one clock, in milliseconds.
#[derive(Serialize)]
pub struct Row {
    /// How many Services there were.
    pub services: usize,
    /// How changes followed each other.
    pub pace: String,
    /// How many changes there were.
    pub changes: usize,
    /// When the clock was started.
    pub from: &'static str,
    /// The median.
    pub p50: f64,
    /// Nine of ten took no longer.
    pub p90: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Report {
    /// Sums up.
    pub fn new(arguments: &Arguments, passes: &[Pass], cold_start: ColdStart, memory: [Memory; 2]) -> Self {
        let [memory_after_start, memory_after_changes] = memory;
        Self {
            backends: arguments.backends,
            pods: arguments.pods,
            changes: passes.iter().flat_map(rows).collect(),
            cold_start,
            memory_after_start,
            memory_after_changes,
        }
    }
}

fn rows(pass: &Pass) -> [Row; 2] {
    let pace = match pass.pace {
        Pace::OneByOne => "one by one".to_owned(),
        Pace::InFlight(count) => format!("{count} at once"),
        Pace::Every(time) => format!("every {} ms", time.as_millis()),
    };
    let row = |from, clock: fn(&Sample) -> Duration| {
        let mut times: Vec<f64> = pass.samples.iter().map(|sample| clock(sample).as_secs_f64() * 1000.0).collect();
        times.sort_by(f64::total_cmp);
        Row {
            services: pass.services,
            pace: pace.clone(),
            changes: times.len(),
            from,
            p50: percentile(&times, 50),
            p90: percentile(&times, 90),
            p99: percentile(&times, 99),
            max: percentile(&times, 100),
        }
    };
    [row("request", |sample| sample.from_request), row("answer", |sample| sample.from_answer)]
}

/// The least value that so many of a hundred do not exceed; 0 if there is none.
fn percentile(sorted: &[f64], hundredths: usize) -> f64 {
    let rank = (sorted.len() * hundredths).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pods = if self.pods { ", each with a Pod" } else { "" };
        writeln!(f, "From a change of an EndpointSlice to the maps; {} endpoints a Service{pods}\n", self.backends)?;
        writeln!(f, "| Services | changes | clock starts at the | p50 | p90 | p99 | max |")?;
        writeln!(f, "|--:|---|---|--:|--:|--:|--:|")?;
        for Row { services, pace, changes, from, p50, p90, p99, max } in &self.changes {
            write!(f, "| {services} | {changes} {pace} | {from} ")?;
            writeln!(f, "| {p50:.2} ms | {p90:.2} ms | {p99:.2} ms | {max:.2} ms |")?;
        }
        let ColdStart { services, received, programmed, reconciled, addresses } = self.cold_start;
        writeln!(f, "\nCold start with {services} Services, from the start of the process\n")?;
        writeln!(f, "| what | when | after the lists |\n|---|--:|--:|")?;
        let steps = [
            ("every list received", received),
            ("every frontend in the maps", programmed),
            ("maps and host reconciled", reconciled),
            ("every VIP on the node", addresses),
        ];
        for (what, when) in steps {
            writeln!(f, "| {what} | {when:.2} s | {:.2} s |", when - received)?;
        }
        writeln!(f, "\nThe agent's memory\n\n| when | RSS | PSS | peak RSS |\n|---|--:|--:|--:|")?;
        for (when, memory) in [
            ("after the cold start", self.memory_after_start),
            ("after a minute of changes", self.memory_after_changes),
        ] {
            let Memory { resident_kib, peak_kib, proportional_kib } = memory;
            writeln!(
                f,
                "| {when} | {} MiB | {} MiB | {} MiB |",
                resident_kib / 1024,
                proportional_kib / 1024,
                peak_kib / 1024
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let times: Vec<f64> = (1..=200).map(f64::from).collect();

        assert!((percentile(&times, 50) - 100.0).abs() < f64::EPSILON);
        assert!((percentile(&times, 99) - 198.0).abs() < f64::EPSILON);
        assert!((percentile(&times, 100) - 200.0).abs() < f64::EPSILON);
        assert!((percentile(&[3.0], 50) - 3.0).abs() < f64::EPSILON);
        assert!(percentile(&[], 50).abs() < f64::EPSILON);
    }
}
