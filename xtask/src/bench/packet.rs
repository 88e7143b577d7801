//! `cargo xtask bench packet`: sets up, builds the datapath, and hands over to `beeline-bench-packet`, which measures.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Error, Result};

use crate::{build, process, setup, workspace};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask bench packet\n  cargo xtask bench packet --rounds 21\n  \
                        cargo xtask bench packet --quick --output json")]
pub struct Args {
    /// Rounds; each measures everything once
    #[arg(long, value_name = "N", default_value_t = 11)]
    rounds: u32,
    /// Measure with one flow and one service only
    #[arg(long)]
    quick: bool,
    /// Form of the result
    #[arg(long, value_parser = ["md", "json"], default_value = "md")]
    output: String,
}

pub fn run(args: &Args) -> Result<()> {
    process::require_root("running programs in the kernel", "bench packet")?;
    setup::ensure()?;
    build::for_bench()?;
    let mut command = Command::new(workspace::beeline(true).with_file_name("beeline-bench-packet"));
    command.args(["--rounds", &args.rounds.to_string(), "--output", &args.output]);
    if args.quick {
        command.arg("--quick");
    }
    Err(Error::new(command.exec()).context("cannot start the measurement"))
}
