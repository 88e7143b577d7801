//! `cargo xtask check`: all that can be judged without root.
//!
//! Format, tidiness, lints for the host's and the kernel's code, tests, docs: each step with a heading and its time, in
//! the order of how fast they answer. Warnings are errors here. The first failure ends it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::{build_ebpf, process, tidy};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask check          all steps\n  cargo xtask check tidy     one step")]
pub struct Args {
    /// One step; all in this order if left out
    step: Option<Step>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Step {
    /// `cargo fmt --check`
    Format,
    /// Rules of the house that no lint knows
    Tidy,
    /// Clippy over everything that runs on the host
    LintHost,
    /// Clippy over what runs in the kernel
    LintDatapath,
    /// All tests that need no root
    Test,
    /// `cargo doc`
    Docs,
}

impl Step {
    /// Runs the step; returns how many tests passed.
    fn run(self) -> Result<usize> {
        match self {
            Self::Format => step("format", format)?,
            Self::Tidy => step("tidy", tidy::run)?,
            Self::LintHost => step("lint host", lint_host)?,
            Self::LintDatapath => step("lint datapath", build_ebpf::lint)?,
            Self::Test => return step("test", || test(&["--workspace"], &[])),
            Self::Docs => step("docs", docs)?,
        }
        Ok(0)
    }
}

pub fn run(args: &Args) -> Result<()> {
    match args.step {
        Some(step) => step.run().map(drop),
        None => all().map(drop),
    }
}

/// Runs all steps; returns how many tests passed.
pub fn all() -> Result<usize> {
    Step::value_variants().iter().map(|step| step.run()).sum()
}

/// Runs one step with a heading, its time, and its name in the error.
pub fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("\n== {name}");
    let start = Instant::now();
    let outcome = work().with_context(|| format!("step `{name}`"));
    let verdict = if outcome.is_ok() { "ok" } else { "failed" };
    println!("== {name}: {verdict}, {}", seconds(start.elapsed()));
    outcome
}

/// A time as the summaries show it.
pub fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Runs `cargo test` and counts the tests that passed. `environment` is what the tests find in their environment.
pub fn test(arguments: &[&str], environment: &[(&str, &std::path::Path)]) -> Result<usize> {
    let mut passed = 0;
    let mut command = process::cargo();
    command.arg("test").args(arguments).envs(environment.iter().copied());
    process::run_reading(&mut command, |line| passed += passed_in(line).unwrap_or(0))?;
    Ok(passed)
}

/// The number in `test result: ok. 12 passed; 0 failed; …`.
fn passed_in(line: &str) -> Option<usize> {
    line.strip_prefix("test result: ")?.split("; ").next()?.strip_suffix(" passed")?.rsplit(' ').next()?.parse().ok()
}

fn format() -> Result<()> {
    process::run(process::cargo().args(["fmt", "--all", "--check"]))
}

fn lint_host() -> Result<()> {
    let arguments = ["clippy", "--workspace", "--all-targets", "--features", "beeline-tests/kernel"];
    process::run(process::cargo().args(arguments).args(["--", "-Dwarnings"]))
}

fn docs() -> Result<()> {
    process::run(process::cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-Dwarnings"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passed_tests_are_counted_from_the_closing_line_only() {
        let closing = "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s";

        assert_eq!(passed_in(closing), Some(12));
        assert_eq!(passed_in("test a_name ... ok"), None);
        assert_eq!(passed_in("test result: FAILED. 3 passed; 1 failed; 0 ignored"), Some(3));
    }
}
