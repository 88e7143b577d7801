//! How soon the maps follow the API server, and how an agent starts with a large cluster.
//!
//! A real etcd and API server with Services that nobody else touches, and the agent as one node. Needs root, the programs
//! that `cargo xtask bench churn` names, and release binaries to mean anything.

mod bed;
mod changes;
mod cold_start;
mod maps;
mod memory;
mod report;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use beeline_tests::interrupt::Interrupt;
use beeline_tests::outcome::{Output, exit};
use clap::Parser;

use bed::{Bed, Size};
use changes::Pace;
use report::Report;

const EXAMPLES: &str = "\
Examples:
  cargo xtask bench churn
  cargo xtask bench churn --changes 200 --services 100 --scale-services 1000
  cargo xtask bench churn --pods --output json";

/// Changes that are under way at once in the second pass.
const IN_FLIGHT: usize = 8;
/// After the cold start, changes follow each other like this for a minute, as in a busy cluster.
const BUSY: Duration = Duration::from_mins(1);
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// Measure how soon the maps follow the API server
#[derive(Parser)]
#[command(name = "churn", bin_name = "cargo xtask bench churn", after_help = EXAMPLES)]
struct Arguments {
    /// Changes of one pass, each of one `EndpointSlice`
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    changes: u32,
    /// Services that are there while changes are measured
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(8..=12_000))]
    services: u32,
    /// Endpoints of each Service
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..=100))]
    backends: u32,
    /// Services that are there at the cold start
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(8..=12_000))]
    scale_services: u32,
    /// Make a Pod for each endpoint, too, which takes some minutes
    #[arg(long)]
    pods: bool,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

fn main() -> ExitCode {
    exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "namespaces and eBPF need root: run it with sudo");
    ensure!(
        arguments.scale_services >= arguments.services,
        "--scale-services {} is less than --services {}: the cold start has those and more",
        arguments.scale_services,
        arguments.services
    );
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its numbers mean little, use `cargo xtask bench churn`");
    }
    let interrupt = Interrupt::install()?;
    let outcome = measure(arguments, &interrupt);
    interrupt.check()?;
    let report = outcome?;
    arguments.output.print(&report)
}

fn measure(arguments: &Arguments, interrupt: &Interrupt) -> Result<Report> {
    let start = Instant::now();
    let say = |what: &str| eprintln!("{:6.1} s  {what}", start.elapsed().as_secs_f64());
    let Arguments { changes, services, scale_services, .. } = *arguments;
    let size = Size { backends: arguments.backends, pods: arguments.pods };

    let network = bed::network()?;
    let bed = Bed::new(&network, size, interrupt)?;
    say("the API server is ready");
    bed.create(0..services)?;
    say(&format!("{services} Services are there"));
    let mut agent = bed.agent()?;
    agent.launch()?;
    let programmed = maps::wait_until_programmed(agent.bpffs(), services, interrupt)?;
    say("the agent has programmed them");
    let one = changes::pass(&bed, &programmed, changes, Pace::OneByOne)?;
    say(&format!("{changes} changes one by one"));
    let many = changes::pass(&bed, &programmed, changes, Pace::InFlight(IN_FLIGHT))?;
    say(&format!("{changes} changes, {IN_FLIGHT} at once"));
    agent.stop()?;
    agent.unload()?;

    bed.create(services..scale_services)?;
    say(&format!("{scale_services} Services are there"));
    let (cold_start, process) = cold_start::measure(&bed, &mut agent, scale_services)?;
    say("the agent has programmed them");
    let after = memory::of(process)?;
    let programmed = maps::wait_until_programmed(agent.bpffs(), scale_services, interrupt)?;
    let rounds = u32::try_from(BUSY.as_millis() / BUSY_PAUSE.as_millis())?;
    let busy = changes::pass(&bed, &programmed, rounds, Pace::Every(BUSY_PAUSE))?;
    say("a minute of changes");
    let later = memory::of(process)?;
    Ok(Report::new(arguments, &[one, many, busy], cold_start, [after, later]))
}
