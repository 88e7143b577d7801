//! `beeline check`: is this host fit to run Beeline, or is this folder of manifests fit to be served?
//!
//! Every finding says what was looked at, how it is, and what to do where it is not well. Nothing is changed.

mod datapath;
mod firewall;
mod kernel;
mod network;
mod paths;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ArgAction;
use serde::Serialize;
use tracing::warn;

use self::paths::Paths;
use super::{Outcome, Output, colour, print, print_json};
use crate::dataplane::View;
use crate::host::Host;
use crate::host::uplinks::Device;
use crate::source::{Problem, Severity};
use crate::translate::{self, Options};

const EXAMPLES: &str = "\
Examples:
  beeline check                           this host: kernel, settings, firewall, devices
  beeline check --interface eth1          the same, with this device as uplink
  beeline check examples/folder           a folder of manifests: nothing of the host is looked at
  beeline check . --output json

Exit code 1 if anything fails; warnings alone leave it 0.";

/// Is this host fit, or are these manifests?
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Folder of manifests to check instead of this host
    #[arg(value_name = "DIR")]
    manifests: Option<PathBuf>,

    /// Device that clients come by; repeatable [default: the devices of the default routes]
    #[arg(long = "interface", value_name = "NAME", conflicts_with = "manifests")]
    interfaces: Vec<String>,

    /// Take Services and Ingresses with Tencent's annotation direct-access: "true" for ours
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true,
        default_missing_value = "true", action = ArgAction::Set)]
    adopt_tencent_annotations: bool,

    /// Form of the result
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

/// How a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// What was looked at.
    subject: String,
    level: Level,
    /// How it is, and what to do if it is not well.
    message: String,
}

impl Finding {
    fn ok(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self { subject: subject.into(), level: Level::Ok, message: message.into() }
    }

    fn warn(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self { subject: subject.into(), level: Level::Warn, message: message.into() }
    }

    fn fail(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self { subject: subject.into(), level: Level::Fail, message: message.into() }
    }
}

pub fn execute(arguments: &Arguments, bpffs: &Path) -> anyhow::Result<Outcome> {
    match &arguments.manifests {
        Some(folder) => {
            let options =
                Options { adopt_tencent_annotations: arguments.adopt_tencent_annotations, ..Options::default() };
            check_folder(folder, &options, arguments.output)
        }
        None => check_host(arguments, bpffs),
    }
}

fn check_folder(folder: &Path, options: &Options, output: Output) -> anyhow::Result<Outcome> {
    if !folder.is_dir() {
        bail!("{}: this is no folder: name the folder the manifests lie in", folder.display());
    }
    let problems = translate::check_folder(folder, options);
    match output {
        Output::Json => print_json(&problems)?,
        Output::Text => print(&folder_text(folder, &problems))?,
    }
    let failed = problems.iter().any(Problem::is_error);
    Ok(if failed { Outcome::ProblemsFound } else { Outcome::Fine })
}

fn folder_text(folder: &Path, problems: &[Problem]) -> String {
    let mut lines: Vec<_> = problems.iter().map(|problem| format!("{}: {problem}\n", problem.severity)).collect();
    let count = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let several = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let errors = several(count(Severity::Error), "error");
    let warnings = several(count(Severity::Warning), "warning");
    lines.push(format!("{}: {errors}, {warnings}\n", folder.display()));
    lines.concat()
}

fn check_host(arguments: &Arguments, bpffs: &Path) -> anyhow::Result<Outcome> {
    let mut findings = kernel::findings(bpffs);
    let (uplinks, network) = network::findings(&arguments.interfaces)?;
    findings.extend(network);
    findings.extend(way_findings(bpffs, &uplinks)?);
    findings.extend(datapath::findings(bpffs, &uplinks));
    match arguments.output {
        Output::Json => print_json(&findings)?,
        Output::Text => print(&host_text(&findings, colour(io::stdout().is_terminal())))?,
    }
    let failed = findings.iter().any(|finding| finding.level == Level::Fail);
    Ok(if failed { Outcome::ProblemsFound } else { Outcome::Fine })
}

/// Logs what is in the way of clients, for an agent that starts.
pub fn log(bpffs: &Path, interfaces: &[String]) {
    let findings = network::findings(interfaces).and_then(|(uplinks, mut findings)| {
        findings.extend(way_findings(bpffs, &uplinks)?);
        Ok(findings)
    });
    match findings {
        Ok(findings) => {
            for Finding { subject, message, .. } in findings.iter().filter(|finding| finding.level != Level::Ok) {
                warn!("{subject}: {message}");
            }
        }
        Err(error) => warn!(error = %format_args!("{error:#}"), "what is in the way of clients cannot be looked at"),
    }
}

/// What stands between clients and Pods beside devices and their settings: routes, rules, and firewalls.
fn way_findings(bpffs: &Path, uplinks: &[Device]) -> anyhow::Result<Vec<Finding>> {
    let dump = View::open(bpffs).and_then(|view| view.dump()).ok();
    let mut host = Host::open().context("the kernel's routing socket cannot be opened")?;
    let paths = match &dump {
        Some(dump) => Paths::find(&mut host, dump, uplinks).context("the kernel does not show the ways to Pods")?,
        None => Paths::default(),
    };
    let mut findings = vec![paths.finding()];
    findings.extend(firewall::findings(&paths.all, dump.as_ref(), uplinks));
    Ok(findings)
}

fn host_text(findings: &[Finding], colour: bool) -> String {
    let width = findings.iter().map(|finding| finding.subject.chars().count()).max().unwrap_or(0);
    let line = |Finding { subject, level, message }: &Finding| {
        let (word, code) = match level {
            Level::Ok => ("ok  ", "32"),
            Level::Warn => ("warn", "33"),
            Level::Fail => ("fail", "31"),
        };
        let word = if colour { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() };
        format!("{word}  {subject:<width$}  {message}\n")
    };
    findings.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_line_up_and_are_coloured_only_where_asked() {
        let findings = [Finding::ok("kernel", "6.18"), Finding::fail("ip forwarding", "off: turn it on")];

        assert_eq!(host_text(&findings, false), "ok    kernel         6.18\nfail  ip forwarding  off: turn it on\n");
        assert!(host_text(&findings, true).contains("\x1b[31mfail\x1b[0m"));
    }

    #[test]
    fn a_folder_is_summed_up_by_severity() {
        let problems = [Problem::of_file("a.yaml", "is empty")];

        assert_eq!(folder_text(Path::new("shop"), &problems), "error: a.yaml: is empty\nshop: 1 error, 0 warnings\n");
    }
}
