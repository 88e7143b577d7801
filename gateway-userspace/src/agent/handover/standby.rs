//! An agent after it has handed over: it writes nothing and waits to be stopped.
//!
//! If the agent that took over dies and nobody takes its place, this one starts anew, in the same process, and serves
//! again. It never asks for that: where another has the lock it goes on waiting, so two agents cannot chase each other.

use std::env;
use std::fs;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::agent::local;
use crate::agent::probe::Pulse;
use crate::dataplane;
use crate::state;

/// How long the lock must be free: an agent that is restarted shall find it so.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often the lock is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Set for a process that has stood by and starts anew.
const RESUMED_VARIABLE: &str = "BEELINE_RESUMED";

/// The sockets of this network namespace; the last word of a line is a name, with `@` for an abstract one.
const SOCKETS: &str = "/proc/net/unix";

/// Whether this process has stood by, and so takes what is free but asks nobody for it.
pub fn is_resumed() -> bool {
    env::var_os(RESUMED_VARIABLE).is_some()
}

/// An agent that stands by.
#[derive(Debug)]
pub struct Standby {
    bpffs: PathBuf,
    /// Tells `unload` that somebody waits here.
    _name: Option<UnixListener>,
}

impl Standby {
    /// Stands by from now on. To be called before the lock is let go, so that `unload` never misses it.
    pub fn begin(bpffs: &Path) -> Self {
        let name = listen(bpffs)
            .inspect_err(|error| warn!(%error, "`beeline unload` will not know that this agent waits"))
            .ok();
        Self { bpffs: bpffs.to_owned(), _name: name }
    }

    /// Waits until nobody has served for a while. May be cancelled.
    pub async fn until_free(&self, pulse: &Pulse) {
        let mut free_since = None;
        let mut complaint = None;
        loop {
            pulse.stands_by();
            let failure = match dataplane::is_locked(&self.bpffs) {
                Ok(false) => {
                    let since: Instant = *free_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= PATIENCE {
                        return;
                    }
                    None
                }
                Ok(true) => {
                    free_since = None;
                    None
                }
                Err(error) => Some(error.to_string()),
            };
            if let Some(error) = failure.as_ref().filter(|_| failure != complaint) {
                warn!(error, "whether another agent serves cannot be found out; trying again");
            }
            complaint = failure;
            sleep(LOOK).await;
        }
    }

    /// Starts this process anew, with the flags it was given. Returns only if that fails.
    pub fn resume(self) -> anyhow::Error {
        info!(bpffs = %self.bpffs.display(), "no agent serves any more: starting again");
        let mut arguments = env::args_os();
        let name = arguments.next().unwrap_or_else(|| "beeline".into());
        let error = Command::new("/proc/self/exe").arg0(name).args(arguments).env(RESUMED_VARIABLE, "1").exec();
        anyhow::Error::new(error).context("this agent cannot start itself again")
    }
}

/// The processes that stand by for a directory, in the caller's numbering.
pub fn waiting(bpffs: &Path) -> anyhow::Result<Vec<u32>> {
    let prefix = format!("@{}", prefix_of(bpffs)?);
    let sockets = fs::read_to_string(SOCKETS).with_context(|| format!("{SOCKETS} cannot be read"))?;
    let names = sockets.lines().filter_map(|line| line.split(' ').next_back());
    let names: std::collections::BTreeSet<_> = names.filter(|name| name.starts_with(&prefix)).collect();
    // Who can no longer be reached has just ended.
    Ok(names.into_iter().filter_map(|name| local::connect(&name[1..]).ok()).map(|(_, process)| process).collect())
}

/// A name of its own: in containers two agents may well have the same process id.
fn listen(bpffs: &Path) -> anyhow::Result<UnixListener> {
    let name = format!("{}{}-{}", prefix_of(bpffs)?, std::process::id(), dataplane::monotonic_ns());
    local::listen(&name).with_context(|| format!("the name {name} cannot be taken"))
}

fn prefix_of(bpffs: &Path) -> anyhow::Result<String> {
    let identity = state::identity(bpffs).with_context(|| format!("{} cannot be looked at", bpffs.display()))?;
    Ok(format!("beeline/standby/{identity}/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stands_by_is_found_as_long_as_it_does() {
        let directory = tempfile::tempdir().expect("a directory");
        let other = tempfile::tempdir().expect("a directory");

        let standby = Standby::begin(directory.path());

        assert_eq!(waiting(directory.path()).expect("a list"), [std::process::id()]);
        assert!(waiting(other.path()).expect("a list").is_empty());
        drop(standby);
        assert!(waiting(directory.path()).expect("a list").is_empty());
    }
}
