//! `cargo xtask conformance`: Gateway API's own conformance suite against Beeline, on a cluster that is made for it.
//!
//! The suite is the official one, built from its Go module, and runs from the host outside of the cluster. It tests what
//! the `GatewayClass` claims in its status and all that the profiles hold to be core; no test is left out here, no feature is
//! exempt, and no time-out is other than its own. What its back ends run is built from Go modules, too.

mod ground;
mod programs;
mod report;
mod suite;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, ensure};

use crate::{
    cluster::{Channel, Interrupt, Lifetime, Shape, Temporary},
    process, setup, workspace,
};
use programs::Programs;
use report::Report;
use suite::Suite;

/// How many nodes the cluster has: one without a Pod of most Services among them.
const NODES: u8 = 3;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask conformance\n  \
                        cargo xtask conformance --gateway-channel experimental\n  \
                        cargo xtask conformance --profiles GATEWAY-TCP,GATEWAY-UDP --run 'TCPRoute|UDPRoute'\n  \
                        cargo xtask conformance --report docs/conformance    keep the official report there")]
pub struct Args {
    /// Which of Gateway API's CRDs the cluster has
    #[arg(long, value_enum, default_value = "standard")]
    gateway_channel: Channel,
    /// Conformance profiles, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = suite::PROFILES, default_values = suite::PROFILES)]
    profiles: Vec<String>,
    /// Only the tests whose names match; what the suite sets up first it sets up all the same
    #[arg(long, value_name = "REGEX")]
    run: Option<String>,
    /// Write the official report into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "run")]
    report: Option<PathBuf>,
    /// Leave the cluster and what the suite made there up, and say how to look around
    #[arg(long)]
    keep: bool,
}

pub fn run(args: &Args) -> Result<()> {
    process::require_root("making namespaces and running containers", "conformance")?;
    setup::ensure_for_cluster()?;
    let interrupt = Interrupt::catch()?;
    let programs = Programs::ensure(&interrupt)?;

    let lifetime = if args.keep { Lifetime::Kept } else { Lifetime::Value };
    let shape = Shape { gateway_channel: args.gateway_channel, ..Shape::of(NODES) };
    let cluster = Temporary::up("conformance", shape, lifetime, &interrupt)?;
    let outcome = test(args, &cluster, &programs, &interrupt);
    if args.keep && !interrupt.is_set() {
        cluster.explain();
        return outcome;
    }
    cluster.down().and(outcome)
}

/// Prepares the cluster, runs the suite there and says what came of it.
fn test(args: &Args, cluster: &Temporary, programs: &Programs, interrupt: &Interrupt) -> Result<()> {
    let folder = workspace::target().join("conformance").join(args.gateway_channel.name());
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let start = Instant::now();
    cluster.load()?;
    programs.load(cluster, &folder)?;
    interrupt.check()?;
    eprintln!("{:5.1} s  all images are on every node", start.elapsed().as_secs_f64());
    let addresses = ground::prepare(cluster, &folder)?;
    interrupt.check()?;
    eprintln!("{:5.1} s  Beeline runs on every node", start.elapsed().as_secs_f64());

    let suite =
        Suite { program: programs.suite(), profiles: &args.profiles, run: args.run.as_deref(), keep: args.keep };
    let outcome = suite.run(cluster, &addresses, &folder, interrupt)?;
    outcome.print_failures();
    let report = Report::read(&folder.join(suite::REPORT))?;
    report.print();
    if let Some(target) = &args.report {
        keep_report(&folder.join(suite::REPORT), target, args.gateway_channel)?;
    }
    let log = workspace::shown(&folder.join(suite::LOG));
    outcome.verdict().with_context(|| format!("the whole story is in {log}"))?;
    ensure!(report.is_success() || args.run.is_some(), "the report does not speak of success in every profile");
    Ok(())
}

/// Brings the official report where it was asked for, under the name that Gateway API's collection has for it.
fn keep_report(report: &Path, target: &Path, channel: Channel) -> Result<()> {
    fs::create_dir_all(target).with_context(|| format!("cannot make {}", target.display()))?;
    let file = target.join(format!("{}-{}-default-report.yaml", channel.name(), env!("CARGO_PKG_VERSION")));
    fs::copy(report, &file).with_context(|| format!("cannot write {}", file.display()))?;
    println!("report  {}", file.display());
    Ok(())
}
