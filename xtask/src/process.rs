//! Running other programs: cargo and the tools of the host.
//!
//! A program's output goes to the terminal unless it is asked for. A program that is missing or fails becomes one
//! error that shows the command line.

use std::{
    env,
    ffi::OsStr,
    io::{BufRead, BufReader, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Uid;

use crate::workspace;

/// The cargo that runs this command, at the clone's root. It builds where [`workspace::target`] says, also if the
/// environment names a folder relative to where the command was given.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace::root()).env("CARGO_TARGET_DIR", workspace::target());
    command
}

/// Runs a command to its end. All it writes goes to the standard error, so that our own standard output is the result
/// that was asked for and nothing else.
pub fn run(command: &mut Command) -> Result<()> {
    let errors = std::io::stderr().as_fd().try_clone_to_owned()?;
    let status = command.stdout(errors).status().with_context(|| format!("cannot start `{}`", line(command)))?;
    ensure!(status.success(), "`{}` failed: {status}", line(command));
    Ok(())
}

/// Runs a command and returns what it wrote to its standard output; its errors are part of the error.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{}`", line(command)))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed: {}\n{}", line(command), output.status, errors.trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command, shows each line of its standard output as it comes and gives it to `seen`.
pub fn run_reading(command: &mut Command, mut seen: impl FnMut(&str)) -> Result<()> {
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{}`", line(command)))?;
    if let Some(stdout) = child.stdout.take() {
        let mut terminal = std::io::stdout().lock();
        for text in BufReader::new(stdout).lines() {
            let text = text.with_context(|| format!("cannot read what `{}` writes", line(command)))?;
            writeln!(terminal, "{text}")?;
            seen(&text);
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "`{}` failed: {status}", line(command));
    Ok(())
}

/// The command line, as one would type it.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program());
    let words = std::iter::once(name).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Finds a program in the search path, in the folders of system tools that a user's path often lacks, and where cargo
/// installs.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")))
        .map(|home| home.join("bin"));
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .chain(cargo_home)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// Whether this process may load programs and make namespaces.
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// Refuses to go on without root and says how to get there.
pub fn require_root(what: &str, command: &str) -> Result<()> {
    ensure!(is_root(), "{what} needs root: run `sudo -E env \"PATH=$PATH\" cargo xtask {command}`");
    Ok(())
}
