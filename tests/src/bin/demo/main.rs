//! The whole of Beeline on this machine: namespaces as client, node and Pods, the real agent, real connections.
//!
//! Progress goes to standard error, the result to standard output. It fails if a share is not exact or a connection
//! broke, and leaves nothing behind, also when it is interrupted. Needs root.

mod cluster;
mod maps;
mod report;
mod requests;
mod story;

use std::fmt::Display;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use beeline_tests::interrupt::Interrupt;
use beeline_tests::netns::{self, Lifetime};
use beeline_tests::outcome::{exit, print_json};
use clap::{Parser, ValueEnum};
use serde::Serialize;

const EXAMPLES: &str = "\
Examples:
  cargo xtask demo
  cargo xtask demo --output json | jq '.traffic, .requests'
  cargo xtask demo --keep       leave it up to look around
  cargo xtask demo --clean      take away what was kept
  cargo xtask demo --cluster    on a real Kubernetes of three nodes";

/// Show connections and requests that arrive at Pods by their weights
#[derive(Parser)]
#[command(name = "demo", bin_name = "cargo xtask demo", after_help = EXAMPLES)]
struct Arguments {
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    /// Leave namespaces, agent and datapath up, and say how to look around
    #[arg(long)]
    keep: bool,
    /// Only remove what an earlier `--keep` or a crash left
    #[arg(long, conflicts_with_all = ["keep", "output"])]
    clean: bool,
    /// In the cluster that the environment names
    #[arg(long, conflicts_with_all = ["keep", "clean"])]
    cluster: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    #[default]
    Text,
    Json,
}

fn main() -> ExitCode {
    exit(run(&Arguments::parse()))
}

impl Output {
    fn print(self, report: &(impl Display + Serialize)) -> Result<()> {
        match self {
            Self::Text => print!("{report}"),
            Self::Json => print_json(report)?,
        }
        Ok(())
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "namespaces and eBPF need root: run it with sudo");
    if arguments.clean {
        let removed = netns::remove_everything();
        for name in &removed {
            eprintln!("removed {name}");
        }
        eprintln!("{}", if removed.is_empty() { "there is nothing to remove" } else { "clean" });
        return Ok(());
    }
    let interrupt = Interrupt::install()?;
    if arguments.cluster {
        return in_cluster(&interrupt, arguments.output);
    }
    let lifetime = if arguments.keep { Lifetime::Kept } else { Lifetime::Process };
    let told = story::tell(&interrupt, lifetime);
    if interrupt.requested() && arguments.keep {
        netns::remove_everything();
    }
    interrupt.check()?;
    let report = told?;
    arguments.output.print(&report)?;
    ensure!(report.is_exact(), "the Pods did not get exactly their shares");
    ensure!(report.long_lived.broken.is_empty(), "connections broke: {}", report.long_lived.broken.join(", "));
    ensure!(report.long_lived.writes_after_restart == 0, "the restart wrote to the maps though nothing had changed");
    Ok(())
}

fn in_cluster(interrupt: &Interrupt, output: Output) -> Result<()> {
    let told = cluster::tell(interrupt);
    interrupt.check()?;
    let report = told?;
    output.print(&report)?;
    ensure!(report.is_exact(), "the Pods did not get exactly their shares");
    Ok(())
}
