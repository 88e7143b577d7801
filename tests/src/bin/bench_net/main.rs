//! What a load balancer costs on the path: plain routing, kube-proxy's nftables form and Beeline, side by side.
//!
//! All three to Pods of the node, and to those of another node behind it. Each has machines of its own. Rounds are
//! interleaved, so that whatever else the machine does meets all. Shares are of plain routing to the same Pods in the same
//! round. Needs root, and release binaries to mean anything.

mod kube_proxy;
mod measure;
mod paths;
mod report;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use beeline_tests::interrupt::Interrupt;
use beeline_tests::outcome::{Output, exit};
use clap::{Parser, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  cargo xtask bench net
  cargo xtask bench net --seconds 3 --rounds 9
  cargo xtask bench net --family ipv6 --output json";

/// Measure what the way through a VIP costs
#[derive(Parser)]
#[command(name = "net", bin_name = "cargo xtask bench net", after_help = EXAMPLES)]
struct Arguments {
    /// Time of each measurement
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Rounds; each measures everything once
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// The addresses that are used
    #[arg(long, value_enum, default_value_t)]
    family: Family,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// The addresses that are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Family {
    /// IPv4
    #[default]
    Ipv4,
    /// IPv6
    Ipv6,
}

fn main() -> ExitCode {
    exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "namespaces and eBPF need root: run it with sudo");
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its numbers mean little, use `cargo xtask bench net`");
    }
    let interrupt = Interrupt::install()?;
    let duration = Duration::from_secs(arguments.seconds);
    let samples = measure::all(&interrupt, arguments.family, arguments.rounds, duration);
    interrupt.check()?;
    let report = report::Report::new(arguments.family, arguments.seconds, &samples?);
    arguments.output.print(&report)
}
