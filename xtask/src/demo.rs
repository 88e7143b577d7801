//! `cargo xtask demo`: sets up, builds and hands over to `beeline-demo`, which does the rest.
//!
//! The demo takes this process's place, so that a Ctrl-C ends when everything is cleaned up and not before.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Error, Result};

use crate::{build, process, setup, workspace};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask demo\n  cargo xtask demo --output json | jq .traffic\n  \
                        cargo xtask demo --keep       leave it up to look around\n  \
                        cargo xtask demo --clean      take away what was kept")]
pub struct Args {
    /// Form of the result
    #[arg(long, value_parser = ["text", "json"], default_value = "text")]
    output: String,
    /// Leave namespaces, agent and datapath up, and say how to look around
    #[arg(long)]
    keep: bool,
    /// Only remove what an earlier `--keep` or a crash left
    #[arg(long, conflicts_with_all = ["keep", "output"])]
    clean: bool,
}

pub fn run(args: &Args) -> Result<()> {
    process::require_root("making network namespaces and loading programs", "demo")?;
    setup::ensure()?;
    build::run(&build::Args::default())?;
    let mut demo = Command::new(workspace::beeline(false).with_file_name("beeline-demo"));
    if args.clean {
        demo.arg("--clean");
    } else {
        demo.args(["--output", &args.output]);
    }
    if args.keep {
        demo.arg("--keep");
    }
    Err(Error::new(demo.exec()).context("cannot start the demo"))
}
