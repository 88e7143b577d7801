//! A client that tells what its own sockets see, in a namespace and a cgroup of choice: `beeline_test_pod::attempts` from
//! outside.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use beeline_test_pod::attempts::CONNECT;

use crate::binaries;
use crate::cgroup::Cgroup;
use crate::netns::Namespace;

pub use beeline_test_pod::attempts::{Attempts, Report, Seen, Way};

/// Where clients of a test live: a namespace, and the cgroup that the agent meets.
pub struct Home<'a> {
    /// The namespace.
    pub namespace: &'a Namespace,
    /// The cgroup; without one, that of the test.
    pub cgroup: Option<&'a Cgroup>,
}

impl Home<'_> {
    fn command(&self, way: Way, target: SocketAddr) -> Result<Command> {
        let mut command = self.namespace.command(binaries::test_client()?)?;
        if let Some(cgroup) = self.cgroup {
            cgroup.take_in(&mut command)?;
        }
        command.args([way.word(), &target.to_string()]);
        Ok(command)
    }

    /// Lets a client make this many attempts.
    pub fn attempt(&self, way: Way, target: SocketAddr, count: usize) -> Result<Report> {
        self.attempt_from(way, target, None, count)
    }

    /// The same from sockets that are bound to an address.
    pub fn attempt_from(&self, way: Way, target: SocketAddr, source: Option<IpAddr>, count: usize) -> Result<Report> {
        let mut command = self.command(way, target)?;
        command.args(["--count", &count.to_string()]);
        if let Some(source) = source {
            command.args(["--source", &source.to_string()]);
        }
        let output = command.output().context("cannot run the test client")?;
        if !output.status.success() {
            bail!("the test client ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        serde_json::from_slice(&output.stdout).context("the test client gave no report")
    }

    /// Starts a client that keeps its socket.
    pub fn converse(&self, way: Way, target: SocketAddr) -> Result<Conversation> {
        let mut command = self.command(way, target)?;
        let mut child = command.arg("--converse").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (input, output) = child.stdin.take().zip(child.stdout.take()).context("the client has no pipes")?;
        Ok(Conversation { child, input, output: BufReader::new(output) })
    }
}

/// A client that keeps its socket. Dropping it ends it.
pub struct Conversation {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Conversation {
    /// Sends a datagram. The inner error is the name of what the socket answered with.
    pub fn ask(&mut self) -> Result<Result<Seen, String>> {
        self.say("")
    }

    /// Sends one to an address that it names, connected or not.
    pub fn ask_at(&mut self, target: SocketAddr) -> Result<Result<Seen, String>> {
        self.say(&target.to_string())
    }

    /// Connects the socket to another peer and sends a datagram.
    pub fn ask_connected_to(&mut self, peer: SocketAddr) -> Result<Result<Seen, String>> {
        self.say(&format!("{CONNECT}{peer}"))
    }

    fn say(&mut self, line: &str) -> Result<Result<Seen, String>> {
        writeln!(self.input, "{line}")?;
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!(io::Error::new(ErrorKind::UnexpectedEof, "the test client ended"));
        }
        serde_json::from_str(&line).with_context(|| format!("the test client said {line}"))
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}
