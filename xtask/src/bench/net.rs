//! `cargo xtask bench net`: sets up, builds for release and hands over to `beeline-bench-net`, which measures.
//!
//! It takes this process's place, so that a Ctrl-C ends when everything is cleaned up and not before.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Error, Result};

use crate::{build, image, process, setup, workspace};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask bench net\n  cargo xtask bench net --seconds 3 --rounds 9\n  \
                        cargo xtask bench net --family ipv6 --output json")]
pub struct Args {
    /// Time of each measurement
    #[arg(long, value_name = "N", default_value_t = 1)]
    seconds: u64,
    /// Rounds; each measures everything once
    #[arg(long, value_name = "N", default_value_t = 7)]
    rounds: u32,
    /// The addresses that are used
    #[arg(long, value_parser = ["ipv4", "ipv6"], default_value = "ipv4")]
    family: String,
    /// Form of the result
    #[arg(long, value_parser = ["md", "json"], default_value = "md")]
    output: String,
}

pub fn run(args: &Args) -> Result<()> {
    process::require_root("making network namespaces and loading programs", "bench net")?;
    setup::ensure()?;
    let beeline = image::build(image::Kind::Beeline)?;
    build::for_bench()?;
    // What else the machine does shall wait while it measures.
    let error = Command::new("nice")
        .args(["-n", "-20"])
        .env("BEELINE_BIN", beeline)
        .arg(workspace::beeline(true).with_file_name("beeline-bench-net"))
        .args(["--seconds", &args.seconds.to_string(), "--rounds", &args.rounds.to_string()])
        .args(["--family", &args.family, "--output", &args.output])
        .exec();
    Err(Error::new(error).context("cannot start the measurement"))
}
