//! `cargo xtask bench churn`: sets up, builds for release, finds etcd and the API server, and hands over to
//! `beeline-bench-churn`, which measures.
//!
//! It takes this process's place, so that a Ctrl-C ends when everything is cleaned up and not before.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Error, Result};

use crate::{
    build,
    cluster::{self, Interrupt},
    image, process, setup, workspace,
};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask bench churn\n  cargo xtask bench churn --changes 200 --services 100 \
                        --scale-services 1000\n  cargo xtask bench churn --pods --output json")]
pub struct Args {
    /// Changes of one pass, each of one EndpointSlice
    #[arg(long, value_name = "N", default_value_t = 1000)]
    changes: u32,
    /// Services that are there while changes are measured
    #[arg(long, value_name = "N", default_value_t = 1000)]
    services: u32,
    /// Endpoints of each Service
    #[arg(long, value_name = "N", default_value_t = 5)]
    backends: u32,
    /// Services that are there at the cold start
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    scale_services: u32,
    /// Make a Pod for each endpoint, too, which takes some minutes
    #[arg(long)]
    pods: bool,
    /// Form of the result
    #[arg(long, value_parser = ["md", "json"], default_value = "md")]
    output: String,
}

pub fn run(args: &Args) -> Result<()> {
    process::require_root("making network namespaces and loading programs", "bench churn")?;
    setup::ensure()?;
    let environment = cluster::api_environment(&Interrupt::catch()?)?;
    let beeline = image::build(image::Kind::Beeline)?;
    build::for_bench()?;
    let mut command = Command::new(workspace::beeline(true).with_file_name("beeline-bench-churn"));
    command.args(["--changes", &args.changes.to_string(), "--services", &args.services.to_string()]);
    command.args(["--backends", &args.backends.to_string(), "--scale-services", &args.scale_services.to_string()]);
    command.args(["--output", &args.output]).env("BEELINE_BIN", beeline).envs(environment);
    if args.pods {
        command.arg("--pods");
    }
    Err(Error::new(command.exec()).context("cannot start the measurement"))
}
