//! `cargo xtask fuzz`: hands over to `beeline-fuzz`, which searches.
//!
//! It is built as the tests are, with all assertions: a panic is a finding.

use anyhow::{Context, Result};

use crate::process;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask fuzz                        all targets, 60 s each\n  \
                        cargo xtask fuzz --seconds 3600 tap     one target for an hour\n  \
                        cargo xtask fuzz --seed 7 tap           the inputs of seed 7, as a failure names it")]
pub struct Args {
    /// Targets; all if left out
    targets: Vec<String>,
    /// How long to search, for each target
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// Where the random numbers begin; another place each time if left out
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl Default for Args {
    fn default() -> Self {
        Self { targets: Vec::new(), seconds: 60, seed: None }
    }
}

pub fn run(args: &Args) -> Result<()> {
    let mut command = process::cargo();
    command.args(["run", "--quiet", "--package", "beeline-tests", "--bin", "beeline-fuzz", "--"]);
    command.args(["--seconds", &args.seconds.to_string()]).args(&args.targets);
    if let Some(seed) = args.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    process::run(&mut command)
        .context("fuzzing: make a test of the input it shows; a stream belongs into tests/src/smuggling/corpus.rs")
}
