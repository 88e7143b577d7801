//! The loads: clients that others wrote, and what they say of their requests.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use beeline_tests::process::run;

use crate::beds::{Bed, HOST};

/// A load.
pub struct Load {
    /// Its name.
    pub name: &'static str,
    client: Client,
}

/// Who asks.
enum Client {
    /// wrk, over HTTP/1.1 with so many connections.
    Wrk { scheme: &'static str, connections: u32 },
    /// h2load, over HTTP/2 within TLS with so many connections and streams on each.
    H2load { connections: u32, streams: u32 },
}

/// All loads, in the order of the report.
const LOADS: [Load; 4] = [
    Load { name: "HTTP/1.1", client: Client::Wrk { scheme: "http", connections: 64 } },
    Load { name: "one connection of HTTP/1.1", client: Client::Wrk { scheme: "http", connections: 1 } },
    Load { name: "TLS, HTTP/1.1", client: Client::Wrk { scheme: "https", connections: 64 } },
    Load { name: "TLS, HTTP/2", client: Client::H2load { connections: 8, streams: 8 } },
];

/// The loads whose names begin so.
pub fn named(start: &str) -> Vec<Load> {
    LOADS.into_iter().filter(|load| load.name.starts_with(start)).collect()
}

/// What came of a load.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Requests in a second.
    pub rate: f64,
    /// What half of the requests took at most, in microseconds.
    pub p50_us: f64,
    /// What 99 of 100 requests took at most, in microseconds.
    pub p99_us: f64,
}

impl Load {
    /// Asks for so many seconds. Any request that fails makes this an error.
    pub fn run(&self, bed: &Bed, seconds: u64) -> Result<Outcome> {
        match self.client {
            Client::Wrk { scheme, connections } => wrk(bed, scheme, connections, seconds),
            Client::H2load { connections, streams } => h2load(bed, connections, streams, seconds),
        }
        .with_context(|| self.name.to_owned())
    }
}

fn wrk(bed: &Bed, scheme: &str, connections: u32, seconds: u64) -> Result<Outcome> {
    let address = bed.address(if scheme == "http" { 80 } else { 443 });
    let mut command = bed.client().command("wrk")?;
    command.args(["--threads", "1", "--latency", "--header", &format!("Host: {HOST}")]);
    command.args(["--connections", &connections.to_string(), "--duration", &format!("{seconds}s")]);
    read_wrk(&run(command.arg(format!("{scheme}://{address}/")))?)
}

fn read_wrk(text: &str) -> Result<Outcome> {
    let complaint = ["Socket errors:", "Non-2xx"].iter().find(|word| text.contains(**word));
    ensure!(complaint.is_none(), "not every request succeeded: {text}");
    let after = |word: &str| text.lines().find_map(|line| line.trim().strip_prefix(word)).map(str::trim);
    let outcome = || {
        let rate = after("Requests/sec:")?.parse().ok()?;
        Some(Outcome { rate, p50_us: microseconds(after("50%")?)?, p99_us: microseconds(after("99%")?)? })
    };
    outcome().with_context(|| format!("wrk does not say how it went: {text}"))
}

/// Reads `12.34ms` and the like.
fn microseconds(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    let (number, scale) = units.iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)))?;
    Some(number.parse::<f64>().ok()? * scale)
}

fn h2load(bed: &Bed, connections: u32, streams: u32, seconds: u64) -> Result<Outcome> {
    let times = bed.folder().join("times");
    let mut command: Command = bed.client().command("h2load")?;
    command.arg(format!("--connect-to={}", bed.address(443))).arg(format!("--log-file={}", times.display()));
    command.args([&format!("--clients={connections}"), &format!("--max-concurrent-streams={streams}")]);
    command.args([&format!("--duration={seconds}"), &format!("https://{HOST}/")]);
    let text = run(&mut command)?;
    let log = fs::read_to_string(&times).context("h2load wrote no times")?;
    fs::remove_file(&times).context("cannot remove h2load's times")?;
    ensure!(text.contains(" 0 failed, 0 errored, 0 timeout"), "not every request succeeded: {text}");
    read_times(&log, seconds)
}

/// Reads a line for each request: when it began, its status, and what it took in microseconds.
fn read_times(log: &str, seconds: u64) -> Result<Outcome> {
    let mut times = Vec::new();
    for line in log.lines() {
        let mut words = line.split('\t').skip(1);
        let (status, time) = (words.next().unwrap_or_default(), words.next().and_then(|time| time.parse::<f64>().ok()));
        ensure!(status == "200", "a request did not succeed: {line}");
        times.push(time.with_context(|| format!("h2load gives no time: {line}"))?);
    }
    ensure!(!times.is_empty(), "h2load gives no times");
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    let rate = f64::from(u32::try_from(times.len())?) / Duration::from_secs(seconds).as_secs_f64();
    Ok(Outcome { rate, p50_us: at(50), p99_us: at(99) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrks_figures_are_read_with_their_units() {
        let text = "  Latency Distribution\n     50%  780.00us\n     99%    1.20ms\n\nRequests/sec:  81234.50\n";

        let outcome = read_wrk(text).unwrap();

        assert!((outcome.rate - 81_234.5).abs() < 1e-9);
        assert!((outcome.p50_us - 780.0).abs() < 1e-9 && (outcome.p99_us - 1200.0).abs() < 1e-9);
        assert!(read_wrk(&[text, "  Non-2xx or 3xx responses: 7\n"].concat()).is_err());
    }

    #[test]
    fn a_request_that_failed_makes_the_times_worthless() {
        let outcome = read_times("1\t200\t30\n2\t200\t10\n3\t200\t20\n", 3).unwrap();

        assert!((outcome.rate - 1.0).abs() < 1e-9 && (outcome.p50_us - 20.0).abs() < 1e-9);
        assert!(read_times("1\t200\t30\n2\t-1\t10\n", 3).is_err());
    }
}
