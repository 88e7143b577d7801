//! Passes the datapath from one agent to the next; neither traffic nor maps notice.
//!
//! Whoever holds the lock of the bpffs directory serves, and listens on a socket in the directory's name. An agent that
//! starts makes itself ready, asks there, and takes the lock when the other has let go. The other then writes nothing
//! more and stands by: see [`Standby`]. Nobody is ever forced out: an agent that does not answer keeps the lock.

mod line;
mod listener;
mod standby;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};
use tracing::info;

pub use self::line::Introduction;
use self::line::{Answer, read, write};
pub use self::listener::Listener;
pub use self::standby::{Standby, waiting};
use super::local;
use crate::dataplane::{self, Directory};
use crate::state::{self, RunDirectory};

/// How long the agent that serves may take to end its pass and let go.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How long nobody may listen though the lock is held: whoever has just taken it is about to, and `unload` is soon done.
const SILENCE_LIMIT: Duration = Duration::from_secs(3);

/// Between two looks at a lock that somebody else was quicker to take.
const PAUSE: Duration = Duration::from_millis(50);

/// How often others may be quicker: each agent that starts asks the one before it once.
const MOST_ROUNDS: u32 = 20;

/// What an agent that starts gets.
#[derive(Debug)]
pub enum Place {
    /// The directory is its own.
    Holder(Directory, Listener),
    /// Another agent serves, and this one, which had handed over before, leaves it at that.
    Taken,
}

/// Why the agent that serves goes on to.
#[derive(Debug, thiserror::Error)]
#[error("{holder} works with `{}` and {reason}: stop it, or give this agent a directory of its own with --bpffs", path.display())]
pub struct Refused {
    holder: String,
    path: PathBuf,
    reason: String,
}

/// What came of asking once.
enum Asked {
    /// The lock is free.
    Released,
    /// The other ended, or was handing over to a third.
    Gone,
    /// The lock is held by something without a socket.
    NobodyListens,
    /// It goes on to serve.
    Refused { process: u32, reason: String },
}

/// Takes the directory, if need be from the agent that has it.
pub async fn take(bpffs: &Path, me: &Introduction) -> anyhow::Result<Place> {
    let started = Instant::now();
    let mut last = Asked::NobodyListens;
    for _ in 0..MOST_ROUNDS {
        match Directory::create(bpffs) {
            Ok(directory) => {
                let listener = Listener::start(&name_of(bpffs)?, me).await;
                return Ok(Place::Holder(directory, listener));
            }
            Err(dataplane::Error::Locked { .. }) if standby::is_resumed() => return Ok(Place::Taken),
            Err(dataplane::Error::Locked { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // Asked before the other lets go: it shall not do so for one who can then do nothing.
        dataplane::refuse_foreign(bpffs)?;
        last = ask(&name_of(bpffs)?, me, ANSWER_LIMIT).await?;
        match last {
            Asked::Released => {}
            Asked::NobodyListens if started.elapsed() > SILENCE_LIMIT => break,
            Asked::Gone | Asked::NobodyListens => sleep(PAUSE).await,
            Asked::Refused { .. } => break,
        }
    }
    Err(refused(bpffs, last).into())
}

/// Asks whoever listens under the name to let go, and waits until it has.
async fn ask(name: &str, me: &Introduction, limit: Duration) -> anyhow::Result<Asked> {
    let (stream, process) = match local::connect(name) {
        Ok(connected) => connected,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(Asked::NobodyListens),
        Err(error) => return Err(error).context("the agent that serves cannot be asked to hand over"),
    };
    stream.set_nonblocking(true)?;
    let mut stream = UnixStream::from_std(stream)?;
    info!(process, "another agent serves: asking it to hand over");
    let conversation = async {
        write(&mut stream, me).await?;
        read::<Answer>(&mut stream).await
    };
    Ok(match timeout(limit, conversation).await {
        Err(_) => Asked::Refused { process, reason: format!("did not hand over within {limit:?}") },
        Ok(Ok(Answer { refused: Some(reason), .. })) => {
            Asked::Refused { process, reason: format!("does not hand over: {reason}") }
        }
        Ok(Ok(Answer { from: Introduction { version, instance, .. }, .. })) => {
            info!(process, version, instance, "took over");
            Asked::Released
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            Asked::Refused { process, reason: format!("gave an answer that is none ({error})") }
        }
        Ok(Err(_)) => Asked::Gone,
    })
}

fn refused(bpffs: &Path, last: Asked) -> Refused {
    let known = || RunDirectory::of(bpffs).ok().and_then(|directory| directory.state()).map_or(0, |state| state.pid);
    let (process, reason) = match last {
        Asked::Refused { process, reason } => (process, reason),
        Asked::NobodyListens => (known(), "does not listen for a hand-over, as older versions do not".to_owned()),
        Asked::Released | Asked::Gone => (known(), "was quicker to take it, again and again".to_owned()),
    };
    let holder = if process == 0 { "another agent".to_owned() } else { format!("another agent (process {process})") };
    Refused { holder, path: bpffs.to_owned(), reason }
}

fn name_of(bpffs: &Path) -> anyhow::Result<String> {
    let identity = state::identity(bpffs).with_context(|| format!("{} cannot be looked at", bpffs.display()))?;
    Ok(format!("beeline/handover/{identity}"))
}

#[cfg(test)]
mod tests;
