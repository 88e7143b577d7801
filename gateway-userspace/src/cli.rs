//! The `beeline` command line: one file for each command, and what all of them share.
//!
//! Results go to standard output, errors and logs to standard error. Exit codes: 0 all is well, 1 something
//! failed or problems were found, 2 the command line was wrong. Colour is for terminals only.

mod check;
mod dump;
mod explain;
mod link_role;
mod names;
mod probe;
mod run;
mod status;
mod table;
mod unload;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::config::ConfigError;
use crate::http::explain::BadQuestion;

const EXAMPLES: &str = "\
Examples:
  beeline check                           is this host fit?
  beeline check examples/folder           are these manifests?
  beeline run --manifests /etc/beeline    serve them; stopping it leaves the datapath running
  beeline status                          what is served, to whom, how much
  beeline explain http --host shop.example   what becomes of a request, and why
  beeline unload                          take everything off the host

Exit codes: 0 all is well, 1 something failed or problems were found, 2 wrong usage";

/// The first warns of every attribute that is newer than itself, for each device at each look; the second tells of every
/// attempt that fails, which whoever tried tells once.
const QUIET: &str = "netlink_packet_route=error,kube_client=off";

/// Takes the traffic of a virtual IP straight to a Pod
#[derive(Debug, Parser)]
#[command(name = "beeline", version, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    command: Command,
}

/// The exit code of flags that make no sense, as clap has it for flags that do not parse.
const WRONG_USAGE: u8 = 2;

/// What every command takes.
#[derive(Debug, clap::Args)]
struct Shared {
    /// Directory of pinned maps and links; one agent serves each
    #[arg(long, global = true, value_name = "DIR", env = "BEELINE_BPFFS", default_value = "/sys/fs/bpf/beeline")]
    bpffs: PathBuf,

    /// Form of the log on standard error
    #[arg(long, global = true, value_enum, env = "BEELINE_LOG_FORMAT", default_value_t)]
    log_format: LogFormat,

    /// What is logged: error, warn, info, debug, trace, or `target=level` pairs
    #[arg(long, global = true, value_name = "LEVEL", env = "BEELINE_LOG", default_value = "info", value_parser = log_level)]
    log_level: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Arguments>),
    Status(status::Arguments),
    Dump(dump::Arguments),
    Explain(explain::Arguments),
    Check(check::Arguments),
    Probe(probe::Arguments),
    Unload(unload::Arguments),
    LinkRole(link_role::Arguments),
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum LogFormat {
    #[default]
    Text,
    Json,
}

/// The form of a command's result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    #[default]
    Text,
    Json,
}

/// How a command that did its work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Fine,
    ProblemsFound,
}

/// Parses the command line, does what it says and returns the exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    start(&cli.shared);
    match execute(cli.command, &cli.shared.bpffs) {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::ProblemsFound) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            let is_usage = error.is::<ConfigError>() || error.is::<BadQuestion>();
            if is_usage { ExitCode::from(WRONG_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

fn execute(command: Command, bpffs: &Path) -> anyhow::Result<Outcome> {
    match command {
        Command::Run(arguments) => run::execute(*arguments, bpffs),
        Command::Status(arguments) => status::execute(&arguments, bpffs),
        Command::Dump(arguments) => dump::execute(&arguments, bpffs),
        Command::Explain(arguments) => explain::execute(&arguments, bpffs),
        Command::Check(arguments) => check::execute(&arguments, bpffs),
        Command::Probe(arguments) => probe::execute(&arguments),
        Command::Unload(arguments) => unload::execute(&arguments, bpffs),
        Command::LinkRole(arguments) => link_role::execute(&arguments),
    }
}

/// Accepts what the log can be filtered by.
fn log_level(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("write error, warn, info, debug or trace".to_owned()),
    }
}

fn start(shared: &Shared) {
    let filter = EnvFilter::new(format!("{QUIET},{}", shared.log_level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match shared.log_format {
        LogFormat::Text => builder.with_ansi(colour(io::stderr().is_terminal())).with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}

/// Whether colour may be used where this says that the other side is a terminal (see no-color.org).
fn colour(terminal: bool) -> bool {
    terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Prints a result. A reader that has seen enough, such as `head`, is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("standard output"),
        _ => Ok(()),
    }
}

fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value).context("the result cannot be written as JSON")?;
    print(&format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_takes_the_bpffs_directory() {
        for arguments in [
            &["run", "--manifests", "/tmp"][..],
            &["status"],
            &["dump", "--counters"],
            &["explain", "http", "--host", "shop.example"],
            &["check", "examples"],
            &["probe", "live"],
            &["unload"],
        ] {
            let line = ["beeline"].iter().chain(arguments).chain(&["--bpffs", "/b"]);

            let cli = Cli::try_parse_from(line).expect("a command line");

            assert_eq!(cli.shared.bpffs, Path::new("/b"));
        }
    }

    #[test]
    fn a_log_level_that_is_none_is_a_usage_error() {
        let error = Cli::try_parse_from(["beeline", "status", "--log-level", "a=b=c"]).expect_err("no level");

        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn every_command_has_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();

            assert!(help.contains("Examples:") || help.contains("Example:"), "{}", command.get_name());
        }
    }
}
