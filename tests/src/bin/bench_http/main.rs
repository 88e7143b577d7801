//! What a request through the HTTP layer costs: Beeline, nginx and `HAProxy`, each alone on one core, side by side.
//!
//! Each has machines of its own, with the same backend and the same clients, which share the other core. Rounds are
//! interleaved, so that whatever else the machine does meets all. Needs root, and release binaries to mean anything.

mod beds;
mod cpu;
mod load;
mod measure;
mod proxies;
mod report;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use beeline_tests::interrupt::Interrupt;
use beeline_tests::outcome::{Output, exit};
use clap::Parser;

const EXAMPLES: &str = "\
Examples:
  cargo xtask bench http
  cargo xtask bench http --seconds 3 --rounds 9
  cargo xtask bench http --load 'HTTP/1.1' --rounds 3
  cargo xtask bench http --output json";

/// Measure what a request through the HTTP layer costs
#[derive(Parser)]
#[command(name = "http", bin_name = "cargo xtask bench http", after_help = EXAMPLES)]
struct Arguments {
    /// Time of each measurement
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Rounds; each measures everything once
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Measure only loads whose name begins so
    #[arg(long, value_name = "NAME", default_value = "")]
    load: String,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

fn main() -> ExitCode {
    exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "namespaces and eBPF need root: run it with sudo");
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its numbers mean little, use `cargo xtask bench http`");
    }
    let loads = load::named(&arguments.load);
    ensure!(!loads.is_empty(), "no load's name begins with `{}`: leave --load out to see all", arguments.load);
    let interrupt = Interrupt::install()?;
    let samples = measure::all(&interrupt, &loads, arguments.rounds, arguments.seconds);
    interrupt.check()?;
    arguments.output.print(&report::Report::new(arguments.seconds, &loads, &samples?))
}
