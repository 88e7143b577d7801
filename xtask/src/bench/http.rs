//! `cargo xtask bench http`: sets up, builds for release and hands over to `beeline-bench-http`, which measures.
//!
//! It takes this process's place, so that a Ctrl-C ends when everything is cleaned up and not before.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Error, Result};

use crate::{build, image, process, setup, workspace};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask bench http\n  cargo xtask bench http --seconds 3 --rounds 9\n  \
                        cargo xtask bench http --load 'TLS' --output json")]
pub struct Args {
    /// Time of each measurement
    #[arg(long, value_name = "N", default_value_t = 2)]
    seconds: u64,
    /// Rounds; each measures everything once
    #[arg(long, value_name = "N", default_value_t = 7)]
    rounds: u32,
    /// Measure only loads whose name begins so
    #[arg(long, value_name = "NAME", default_value = "")]
    load: String,
    /// Form of the result
    #[arg(long, value_parser = ["md", "json"], default_value = "md")]
    output: String,
}

pub fn run(args: &Args) -> Result<()> {
    process::require_root("making network namespaces and loading programs", "bench http")?;
    setup::ensure()?;
    setup::ensure_for_bench_http()?;
    let beeline = image::build(image::Kind::Beeline)?;
    build::for_bench()?;
    // What else the machine does shall wait while it measures.
    let error = Command::new("nice")
        .args(["-n", "-20"])
        .env("BEELINE_BIN", beeline)
        .arg(workspace::beeline(true).with_file_name("beeline-bench-http"))
        .args(["--seconds", &args.seconds.to_string(), "--rounds", &args.rounds.to_string()])
        .args(["--load", &args.load, "--output", &args.output])
        .exec();
    Err(Error::new(error).context("cannot start the measurement"))
}
