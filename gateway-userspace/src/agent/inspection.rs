//! Answers what `beeline explain` and `beeline status` ask of the agent that serves: what only its memory holds.
//!
//! A socket in the agent's run directory, for root alone; one question a connection, a line of JSON, and one answer. A
//! thread of its own answers, one after the other and within time limits, so neither the agent nor the HTTP layer waits. The
//! agent that takes over puts its own socket in the place.

use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::socket;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing::debug;

use super::http_layer::Observed;
use super::local;
use crate::dataplane;
use crate::http::explain;
use crate::state::RunDirectory;

/// How long either side may keep the other waiting.
const LIMIT: Duration = Duration::from_secs(5);

/// Pause after a question that could not be answered, or after no connection could be had.
const PAUSE: Duration = Duration::from_millis(50);

/// A question with all headers that a client may send fits.
const LONGEST_QUESTION_BYTES: u64 = 256 << 10;

/// An answer is bounded by what it may tell of.
const LONGEST_ANSWER_BYTES: u64 = 64 << 20;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Question {
    /// What becomes of a request: [`explain::Answer`].
    ExplainHttp(explain::Question),
    /// What was done for requests so far: [`crate::http::Activity`].
    HttpActivity,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Reply<T> {
    Answer(T),
    Refused(String),
}

/// The socket; a thread answers there until this is dropped.
#[derive(Debug)]
pub struct Inspection {
    path: PathBuf,
    /// The inode of our socket: the path may be another agent's by now.
    inode: u64,
    listener: UnixListener,
}

impl Inspection {
    /// Answers from now on, in the place of whoever did.
    pub fn start(directory: &RunDirectory, observed: Observed) -> io::Result<Self> {
        directory.create()?;
        let path = directory.socket();
        let unfinished = path.with_extension(format!("{}.new", std::process::id()));
        remove(&unfinished)?;
        let listener = UnixListener::bind(&unfinished)?;
        fs::set_permissions(&unfinished, Permissions::from_mode(0o600))?;
        let inode = fs::metadata(&unfinished)?.ino();
        fs::rename(&unfinished, &path)?;
        let answering = listener.try_clone()?;
        thread::Builder::new().name("inspection".to_owned()).spawn(move || run(&answering, &observed))?;
        Ok(Self { path, inode, listener })
    }
}

fn run(listener: &UnixListener, observed: &Observed) {
    for stream in listener.incoming() {
        match stream.and_then(|stream| answer(&stream, observed)) {
            Ok(()) => {}
            // Nobody accepts from a socket that was shut down.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
            Err(error) => {
                debug!(%error, "a question about what is served was not answered");
                thread::sleep(PAUSE);
            }
        }
    }
}

impl Drop for Inspection {
    fn drop(&mut self) {
        let is_ours = fs::metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode);
        if is_ours && let Err(error) = remove(&self.path) {
            debug!(%error, path = %self.path.display(), "the socket cannot be removed");
        }
        // The thread ends as soon as it has answered; nobody waits for whoever asked.
        if let Err(error) = socket::shutdown(self.listener.as_raw_fd(), socket::Shutdown::Both) {
            debug!(%error, "the socket cannot be shut down");
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn answer(mut stream: &UnixStream, observed: &Observed) -> io::Result<()> {
    local::trusted_peer(stream)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST_QUESTION_BYTES)).read_line(&mut line)?;
    let reply = reply(&line, observed)?;
    stream.write_all(reply.as_bytes())?;
    stream.shutdown(Shutdown::Write)
}

fn reply(line: &str, observed: &Observed) -> serde_json::Result<String> {
    let refused = |reason: String| serde_json::to_string(&Reply::<()>::Refused(reason));
    let Ok(question) = serde_json::from_str(line) else {
        return refused("this agent does not know the question: it may be of another version".to_owned());
    };
    let Some(observer) = observed.get() else {
        return refused(
            "this agent serves no requests: what it serves has no listener for HTTP, HTTPS or TLS".to_owned(),
        );
    };
    match question {
        Question::HttpActivity => serde_json::to_string(&Reply::Answer(observer.activity())),
        Question::ExplainHttp(question) => match explain::explain(&observer.live().load(), &question) {
            Ok(answer) => serde_json::to_string(&Reply::Answer(answer)),
            Err(error) => refused(error.to_string()),
        },
    }
}

/// Asks the agent that serves a directory.
pub fn ask<T: DeserializeOwned>(bpffs: &Path, question: &Question) -> anyhow::Result<T> {
    let nobody = || format!("no agent serves `{}`: start `beeline run`", bpffs.display());
    let directory = RunDirectory::of(bpffs).with_context(nobody)?;
    let mut stream = match UnixStream::connect(directory.socket()) {
        Ok(stream) => stream,
        Err(_) if dataplane::is_locked(bpffs).is_ok_and(|is_locked| !is_locked) => bail!(nobody()),
        Err(error) => {
            let message = "the agent that serves does not answer: it may be starting, or of an older version";
            return Err(error).context(message);
        }
    };
    local::trusted_peer(&stream).context("whoever listens is not the agent")?;
    let asked = talk(&mut stream, question).context("the agent that serves does not answer")?;
    match asked {
        Reply::Answer(answer) => Ok(answer),
        Reply::Refused(reason) => bail!(reason),
    }
}

fn talk<T: DeserializeOwned>(stream: &mut UnixStream, question: &Question) -> anyhow::Result<Reply<T>> {
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let line = serde_json::to_string(question)?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut text = String::new();
    stream.take(LONGEST_ANSWER_BYTES).read_to_string(&mut text)?;
    serde_json::from_str(&text).context("the answer cannot be read: it may be of another version")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::{Arc, OnceLock};

    use crate::http::{Live, Options, Server};

    fn question() -> Question {
        Question::ExplainHttp(explain::Question {
            address: None,
            port: None,
            is_secure: false,
            server_name: None,
            method: "GET".to_owned(),
            host: "shop.example".to_owned(),
            path: "/".to_owned(),
            headers: Vec::new(),
        })
    }

    fn serving() -> (Server, Observed) {
        let live = Live::new(Options { workers: 1, ..Options::default() });
        live.install(&BTreeMap::new());
        let server = Server::start(Vec::new(), live, None).expect("a server");
        let observed = Observed::from(OnceLock::from(server.observer()));
        (server, observed)
    }

    #[test]
    fn a_question_is_answered_as_long_as_the_agent_lives_and_by_the_one_that_took_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = RunDirectory::of(folder.path()).expect("a directory");
        let (_server, observed) = serving();
        let first = Inspection::start(&directory, Observed::default()).expect("listens");

        let refused = ask::<explain::Answer>(folder.path(), &question()).expect_err("nothing is served");
        let second = Inspection::start(&directory, Arc::clone(&observed)).expect("takes over");
        drop(first);
        let answer: explain::Answer = ask(folder.path(), &question()).expect("an answer");
        let mode = fs::metadata(directory.socket()).expect("a socket").permissions().mode();
        drop(second);

        assert!(refused.to_string().starts_with("this agent serves no requests"), "{refused}");
        assert_eq!(answer.frontends, []);
        assert_eq!(mode & 0o777, 0o600);
        assert!(!directory.socket().exists());
        let gone = ask::<explain::Answer>(folder.path(), &question()).expect_err("nobody listens");
        assert!(gone.to_string().contains("beeline run"), "{gone:#}");
        directory.remove().expect("removed");
    }

    #[test]
    fn a_question_that_is_none_is_refused() {
        let (_server, observed) = serving();

        let text = reply("{\"what\":1}\n", &observed).expect("a reply");

        assert!(text.contains("does not know the question"), "{text}");
    }
}
