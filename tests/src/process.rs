//! Processes: run to the end with their errors, or in the background with their output in a file.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::netns::Lifetime;
use crate::wait;

/// How long a process may take to end after it was asked to.
const END_LIMIT: Duration = Duration::from_secs(10);

/// Runs a command to its end and gives its standard output; an error holds what it said.
pub fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{name}`: is it installed?"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("`{name} {}` ended with {}: {}{}", arguments.join(" "), output.status, text.trim(), errors.trim());
    }
    Ok(text)
}

/// Kills processes by their ids and waits until they are gone.
pub fn end_processes(processes: &[Pid]) {
    for process in processes {
        // Already gone is as good as killed.
        let _gone = kill(*process, Signal::SIGKILL);
    }
    for process in processes {
        let gone = || (kill(*process, None) == Err(Errno::ESRCH) || is_zombie(*process)).then_some(());
        if wait::until("a killed process is gone", Duration::from_secs(3), gone).is_err() {
            eprintln!("process {process} does not end");
        }
    }
}

fn is_zombie(process: Pid) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')))
}

/// The file that a process writes its standard error to, or several in turn.
#[derive(Clone, Debug)]
pub struct Log {
    path: PathBuf,
}

impl Log {
    /// A log at the path; the file need not exist yet.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        // Before the first line there may be no file.
        fs::read_to_string(&self.path).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// The last lines as one text, for an error.
    pub fn tail(&self) -> String {
        let lines = self.lines();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    fn open(&self) -> Result<File> {
        File::options()
            .create(true)
            .append(true)
            .open(&self.path)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// A process in the background. Dropping it kills it, unless it is to be kept.
pub struct Background {
    name: String,
    child: Child,
    log: Log,
    lifetime: Lifetime,
}

impl Background {
    /// Starts a command; what it says on standard error is added to the log. A Ctrl-C in the terminal does not reach it:
    /// whoever works with it ends first.
    pub fn start(name: &str, mut command: Command, log: Log, lifetime: Lifetime) -> Result<Self> {
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.open()?)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log, lifetime })
    }

    /// The process id.
    pub fn id(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Waits until `ready` finds what it looks for in the log; ends early if the process does.
    pub fn wait_for_log<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut ready: impl FnMut(&[String]) -> Option<T>,
    ) -> Result<T> {
        let mut ended = None;
        let found = wait::until(what, limit, || {
            ended = self.child.try_wait().ok().flatten();
            let found = ready(&self.log.lines());
            if found.is_none() && ended.is_some() { Some(None) } else { found.map(Some) }
        });
        match found {
            Ok(Some(found)) => Ok(found),
            Ok(None) => bail!("{} ended early: {}", self.name, self.log.tail()),
            Err(error) => Err(error).with_context(|| format!("{} says: {}", self.name, self.log.tail())),
        }
    }

    /// Sends a signal and waits for the end.
    pub fn end(&mut self, signal: Signal) -> Result<ExitStatus> {
        kill(self.id(), signal).with_context(|| format!("cannot signal {}", self.name))?;
        let what = format!("{} ends after {signal}", self.name);
        let status = wait::until(&what, END_LIMIT, || self.child.try_wait().transpose())?;
        status.with_context(|| format!("cannot wait for {}", self.name))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if self.lifetime == Lifetime::Process {
            // It may have ended by itself; then there is nothing to kill and nothing to report.
            let _ended = self.child.kill();
            let _status = self.child.wait();
        }
    }
}
