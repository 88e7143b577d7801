//! `cargo xtask test`: every kind of test, or one.
//!
//! It sets the machine up, builds what the tests run, runs each kind and closes with a table. A kind that fails does not
//! keep the others from running; the command fails if one did. The kinds in the kernel need root and namespaces of their
//! own; they find the binary by `BEELINE_BIN` and the datapath's object by `BEELINE_DATAPATH`.

mod cluster;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::cluster::Interrupt;
use crate::test_kind::Kind;
use crate::{build, check, fuzz, inspect, peers, process, setup, workspace};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask test                     everything, as CI runs it (root)\n  \
                        cargo xtask test host                what needs no root: the same as `cargo xtask check`\n  \
                        cargo xtask test network             one kind\n  \
                        cargo xtask test network -- vlan     of one kind, the tests with `vlan` in their names")]
pub struct Args {
    /// The kind of test; all kinds if left out
    name: Option<Kind>,
    /// Arguments for the test programs of one kind
    #[arg(last = true, requires = "name")]
    arguments: Vec<String>,
}

pub fn run(args: &Args) -> Result<()> {
    let kinds = args.name.map_or_else(|| Kind::value_variants().to_vec(), |kind| vec![kind]);
    if kinds.iter().any(|kind| kind.needs_root()) {
        let words = args.name.map_or_else(|| "test".to_owned(), |kind| format!("test {}", kind.name()));
        process::require_root("running programs in the kernel", &words)?;
    }
    setup::ensure()?;
    if kinds.contains(&Kind::Network) {
        setup::ensure_for_network()?;
    }
    if kinds.iter().any(|kind| kind.needs_build()) {
        check::step("build", || build::run(&build::Args::default()))?;
    }
    let results: Vec<_> = kinds.iter().map(|&kind| Outcome::of(kind, &args.arguments)).collect();
    summarise(&results)
}

/// How one kind went.
struct Outcome {
    kind: Kind,
    result: Result<String>,
    time: Duration,
}

impl Outcome {
    fn of(kind: Kind, arguments: &[String]) -> Self {
        println!("\n=== {}", kind.name());
        let start = Instant::now();
        let result = run_kind(kind, arguments);
        if let Err(error) = &result {
            eprintln!("error: {}: {error:#}", kind.name());
        }
        Self { kind, result, time: start.elapsed() }
    }
}

fn summarise(results: &[Outcome]) -> Result<()> {
    println!("\n=== summary");
    for Outcome { kind, result, time } in results {
        let (verdict, detail) = match result {
            Ok(detail) => ("ok", detail.as_str()),
            Err(_) => ("failed", "see above"),
        };
        println!("{:10} {verdict:7} {:>9}   {detail}", kind.name(), check::seconds(*time));
    }
    let failed: Vec<_> = results.iter().filter(|outcome| outcome.result.is_err()).map(|o| o.kind.name()).collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Runs one test program of the package `beeline-tests`.
fn kernel_tests(name: &str, arguments: &[String], environment: &[(&str, &Path)]) -> Result<usize> {
    let mut words = vec!["--package", "beeline-tests", "--features", "kernel", "--test", name, "--"];
    words.extend(arguments.iter().map(String::as_str));
    check::test(&words, environment)
}

/// Where the programs of others are that tests talk with; without Go nowhere, and the tests that need them fail by name.
fn peer_programs() -> Result<PathBuf> {
    if process::find("go").is_none() {
        eprintln!("go is missing: tests that talk with Go's programs will fail");
        return Ok(PathBuf::new());
    }
    peers::ensure(&Interrupt::catch()?)
}

fn run_kind(kind: Kind, arguments: &[String]) -> Result<String> {
    match kind {
        Kind::Host => Ok(format!("{} passed", check::all()?)),
        Kind::Fuzz => {
            fuzz::run(&fuzz::Args::default())?;
            Ok("nothing found".to_owned())
        }
        Kind::Scenarios | Kind::Packets | Kind::Network | Kind::Crowd => {
            // Against the binary and the object that were just built.
            let (binary, object) = (workspace::beeline(false), workspace::datapath());
            let peers = if kind == Kind::Network { peer_programs()? } else { PathBuf::new() };
            let environment =
                [("BEELINE_BIN", binary.as_path()), ("BEELINE_DATAPATH", &object), ("BEELINE_PEERS", &peers)];
            Ok(format!("{} passed", kernel_tests(kind.name(), arguments, &environment)?))
        }
        Kind::Cluster => cluster::run(arguments),
        Kind::KubeProxy => cluster::run_beside_kube_proxy(arguments),
        Kind::Inspect => {
            inspect::run(&inspect::Args::default())?;
            Ok("within the baseline".to_owned())
        }
    }
}
