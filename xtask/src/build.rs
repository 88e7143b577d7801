//! `cargo xtask build`: one binary with the datapath inside, and the servers that tests and demo use.

use std::process::Command;

use anyhow::Result;

use crate::{build_ebpf, process, workspace};

#[derive(clap::Args, Default)]
#[command(after_help = "Examples:\n  cargo xtask build              target/debug/beeline\n  \
                        cargo xtask build --release    target/release/beeline, optimised, without DWARF")]
pub struct Args {
    /// Optimise, and strip DWARF from the datapath
    #[arg(long)]
    pub release: bool,
}

pub fn run(args: &Args) -> Result<()> {
    build_ebpf::run(&build_ebpf::Args { release: args.release })?;
    process::run(&mut host(args.release))?;
    eprintln!("{}: built", workspace::shown(&workspace::beeline(args.release)));
    Ok(())
}

/// The programs that measure, optimised, and the datapath; the agent that they measure is the image's.
pub fn for_bench() -> Result<()> {
    build_ebpf::run(&build_ebpf::Args { release: false })?;
    let packages = ["--package", "beeline-test-pod", "--package", "beeline-tests"];
    process::run(process::cargo().args(["build", "--release"]).args(packages))
}

/// The host's half: the agent and the test servers.
fn host(release: bool) -> Command {
    let mut command = process::cargo();
    let packages = ["--package", "gateway-userspace", "--package", "beeline-test-pod", "--package", "beeline-tests"];
    command.arg("build").args(packages);
    if release {
        command.arg("--release");
    }
    command
}
