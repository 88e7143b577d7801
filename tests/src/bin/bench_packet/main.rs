//! What the datapath costs for each packet: the real programs by `BPF_PROG_TEST_RUN`, net of a program that does nothing.
//!
//! The kernel runs a program many times over one packet and measures the whole; a run finds the packet as the run before
//! left it. So the tables are laid out (`bed`) to make each run a full one. Nothing here judges a time. Needs root.

mod bed;
mod case;
mod chain;
mod full;
mod measure;
mod report;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use beeline_tests::interrupt::Interrupt;
use beeline_tests::outcome::{Output, exit};
use clap::Parser;

const EXAMPLES: &str = "\
Examples:
  cargo xtask bench packet
  cargo xtask bench packet --rounds 21
  cargo xtask bench packet --quick --output json";

/// Measure what a packet costs
#[derive(Parser)]
#[command(name = "packet", bin_name = "cargo xtask bench packet", after_help = EXAMPLES)]
struct Arguments {
    /// Rounds; each measures everything once
    #[arg(long, value_name = "N", default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Measure with one flow and one service only
    #[arg(long)]
    quick: bool,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

fn main() -> ExitCode {
    exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "eBPF needs root: run it with sudo");
    let interrupt = Interrupt::install()?;
    let samples = measure::all(&interrupt, arguments.rounds, arguments.quick)?;
    let report = report::Report::new(arguments.rounds, &samples);
    arguments.output.print(&report)
}
