//! `cargo xtask demo`: sets up, builds and hands over to `beeline-demo`, which does the rest.
//!
//! The demo of one node takes this process's place, so that a Ctrl-C ends when everything is cleaned up and not before. For
//! the demo of a cluster this process brings one up and takes it down again, whatever becomes of the demo.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Error, Result, ensure};

use crate::cluster::{Interrupt, Lifetime, Shape, Temporary};
use crate::{build, process, setup, workspace};

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask demo\n  cargo xtask demo --output json | jq '.traffic, .requests'\n  \
                        cargo xtask demo --keep       leave it up to look around\n  \
                        cargo xtask demo --clean      take away what was kept\n  \
                        cargo xtask demo --cluster    on a real Kubernetes of three nodes"
)]
pub struct Args {
    /// Form of the result
    #[arg(long, value_parser = ["text", "json"], default_value = "text")]
    output: String,
    /// Leave namespaces, agent and datapath, or the cluster, up, and say how to look around
    #[arg(long)]
    keep: bool,
    /// Only remove what an earlier `--keep` or a crash left
    #[arg(long, conflicts_with_all = ["keep", "output", "cluster"])]
    clean: bool,
    #[command(flatten)]
    place: Place,
}

/// Where the demo runs.
#[derive(clap::Args)]
struct Place {
    /// Bring up a Kubernetes of three nodes, install Beeline there, and open connections from a host outside of it
    #[arg(long)]
    cluster: bool,
    /// With kube-proxy on the cluster's nodes
    #[arg(long, requires = "cluster")]
    kube_proxy: bool,
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
    if args.place.cluster {
        return in_cluster(args, &mut demo);
    }
    if args.keep {
        demo.arg("--keep");
    }
    Err(Error::new(demo.exec()).context("cannot start the demo"))
}

/// Runs the demo of a cluster in one that is made for it.
fn in_cluster(args: &Args, demo: &mut Command) -> Result<()> {
    let interrupt = Interrupt::catch()?;
    let lifetime = if args.keep { Lifetime::Kept } else { Lifetime::Value };
    let timed = |what: &str, start: Instant| eprintln!("== {what}: {:.1} s", start.elapsed().as_secs_f64());
    let start = Instant::now();
    let shape = Shape { kube_proxy: args.place.kube_proxy, ..Shape::of(3) };
    let cluster = Temporary::up("demo", shape, lifetime, &interrupt)?;
    timed("a Kubernetes of three nodes is up", start);
    let shown = show(&cluster, demo, &interrupt);
    if args.keep && !interrupt.is_set() {
        cluster.explain();
        return shown;
    }
    let start = Instant::now();
    cluster.down()?;
    timed("the cluster is gone", start);
    shown
}

fn show(cluster: &Temporary, demo: &mut Command, interrupt: &Interrupt) -> Result<()> {
    let start = Instant::now();
    cluster.load()?;
    interrupt.check()?;
    eprintln!("== both images are built and on every node: {:.1} s", start.elapsed().as_secs_f64());
    let status = demo.arg("--cluster").envs(cluster.environment()?).status().context("cannot start the demo")?;
    interrupt.check()?;
    ensure!(status.success(), "the demo failed: {status}");
    Ok(())
}
