//! Beeline's developer commands: `cargo xtask <command>`.
//!
//! One file a command. They work from a fresh clone and from any folder of it, say what they run, and stop at the first
//! thing that fails with a sentence about what to do.

mod bench;
mod build;
mod build_ebpf;
mod check;
mod cluster;
mod conformance;
mod demo;
mod fuzz;
mod go_module;
mod image;
mod inspect;
mod peers;
mod process;
mod remap;
mod setup;
mod test;
mod test_kind;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Beeline's developer commands", max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find or install what the build and the tests need
    Setup(setup::Args),
    /// Build the datapath for the kernel: target/ebpf/datapath.o and floor.o
    BuildEbpf(build_ebpf::Args),
    /// Build the datapath and the agent into one binary: target/debug/beeline or target/release/beeline
    Build(build::Args),
    /// Build the agent's container image, an OCI archive, without a container engine: target/beeline-image.tar
    Image(image::Args),
    /// Format, lints for host and kernel code, host tests, docs, tidiness: all that needs no root
    Check(check::Args),
    /// Run every test, or one kind of test
    Test(test::Args),
    /// Everything on this machine: namespaces, the real agent, real connections, the result as a table
    Demo(demo::Args),
    /// A real Kubernetes of several nodes on this machine, for development and tests
    Cluster(cluster::Args),
    /// The official conformance suite of Gateway API, on a cluster of its own
    Conformance(conformance::Args),
    /// Measure the datapath and the way through it
    Bench(bench::Args),
    /// Search for inputs that break what must hold for all of them
    Fuzz(fuzz::Args),
    /// Instructions, stack and verifier effort of each program, against the committed baseline
    Inspect(inspect::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Setup(args) => setup::run(&args),
        Command::BuildEbpf(args) => build_ebpf::run(&args),
        Command::Build(args) => build::run(&args),
        Command::Image(args) => image::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Cluster(args) => cluster::run(&args),
        Command::Conformance(args) => conformance::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Inspect(args) => inspect::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
