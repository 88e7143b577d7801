//! Attempts to reach a frontend that tell what their sockets see: who answered, and whom the kernel calls their peer.
//!
//! They are made by a program of their own, since whose sockets an agent meets is a matter of processes, and reported in JSON
//! on standard output.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::answers;

/// How long to wait for an answer to a datagram.
const LIMIT: Duration = Duration::from_secs(2);

/// How a client reaches its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// A TCP connection, with an HTTP request.
    Tcp,
    /// A UDP socket that is connected.
    Connected,
    /// A UDP socket that names the target with each datagram.
    Unconnected,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Connected, Self::Unconnected];

    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Connected => "connected",
            Self::Unconnected => "unconnected",
        }
    }
}

/// One conversation, as the client saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The Pod that answered.
    pub pod: String,
    /// The client's address, as the Pod saw it.
    pub client: IpAddr,
    /// What `getpeername` said, if the socket was connected.
    pub peer: Option<SocketAddr>,
    /// Whom `recvfrom` named as the sender, if it was a datagram.
    pub sender: Option<SocketAddr>,
}

/// What came of several attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How many each Pod answered.
    pub by_pod: BTreeMap<String, u64>,
    /// Names of errors, and how often each happened.
    pub errors: BTreeMap<String, u64>,
    /// Every address that was named as a peer or as a sender.
    pub peers: BTreeSet<SocketAddr>,
    /// The client addresses that the Pods saw.
    pub clients: BTreeSet<IpAddr>,
}

impl Report {
    /// How many `v1`, `v2` and so on answered.
    pub fn shares(&self, pods: usize) -> Vec<u64> {
        (1..=pods).map(|number| self.by_pod.get(&format!("v{number}")).copied().unwrap_or_default()).collect()
    }

    fn add(&mut self, outcome: io::Result<Seen>) {
        match outcome {
            Ok(seen) => {
                *self.by_pod.entry(seen.pod).or_default() += 1;
                self.peers.extend(seen.peer.into_iter().chain(seen.sender));
                self.clients.insert(seen.client);
            }
            Err(error) => *self.errors.entry(named(&error)).or_default() += 1,
        }
    }
}

/// An error's kind, which reads the same on every machine.
fn named(error: &io::Error) -> String {
    format!("{:?}", error.kind())
}

/// Attempts to reach a frontend, each with a socket of its own.
#[derive(Clone, Debug, Args)]
pub struct Attempts {
    /// How to reach the target
    pub way: Way,
    /// Where to; an IPv4 address in its v4-mapped form is reached by a socket of IPv6
    pub target: SocketAddr,
    /// Sockets to try, one after the other
    #[arg(long, default_value_t = 1)]
    pub count: usize,
    /// The address to bind a socket of UDP to
    #[arg(long)]
    pub source: Option<IpAddr>,
}

impl Attempts {
    /// Makes them, and reports in JSON.
    pub fn run(&self) -> Result<()> {
        let Self { way, target, count, source } = *self;
        let mut report = Report::default();
        for _ in 0..count {
            report.add(match way {
                Way::Tcp => connection(target),
                Way::Connected | Way::Unconnected => {
                    open(way, target, source).and_then(|socket| ask(&socket, way, target))
                }
            });
        }
        println!("{}", serde_json::to_string(&report)?);
        Ok(())
    }
}

/// Before an address in a line of a conversation: the socket is connected there.
pub const CONNECT: &str = "connect ";

/// Sends a datagram on one socket for each line of standard input and says what came of it, until the input ends. A line
/// may name another target, or one to connect to first.
pub fn converse(mut way: Way, target: SocketAddr) -> Result<()> {
    let socket = open(way, target, None)?;
    for line in io::stdin().lines() {
        let line = line?;
        let outcome = if let Some(peer) = line.strip_prefix(CONNECT) {
            way = Way::Connected;
            socket.connect(peer).and_then(|()| ask(&socket, way, target))
        } else if let Ok(named) = line.parse() {
            ask(&socket, Way::Unconnected, named)
        } else {
            ask(&socket, way, target)
        };
        let outcome = outcome.map_err(|error| named(&error));
        let mut output = io::stdout().lock();
        writeln!(output, "{}", serde_json::to_string(&outcome)?)?;
        output.flush()?;
    }
    Ok(())
}

fn connection(target: SocketAddr) -> io::Result<Seen> {
    let mut stream = answers::connect(target)?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let answer = answers::read_response(&response)?;
    Ok(Seen { pod: answer.pod, client: answer.client.ip(), peer: Some(stream.peer_addr()?), sender: None })
}

fn open(way: Way, target: SocketAddr, source: Option<IpAddr>) -> io::Result<UdpSocket> {
    let any: IpAddr = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((source.unwrap_or(any), 0))?;
    socket.set_read_timeout(Some(LIMIT))?;
    if way == Way::Connected {
        socket.connect(target)?;
    }
    Ok(socket)
}

fn ask(socket: &UdpSocket, way: Way, target: SocketAddr) -> io::Result<Seen> {
    let peer = if way == Way::Connected {
        socket.send(b"who")?;
        Some(socket.peer_addr()?)
    } else {
        socket.send_to(b"who", target)?;
        None
    };
    let mut buffer = [0; 2048];
    let (length, sender) = socket.recv_from(&mut buffer)?;
    let answer = answers::read_answer(&buffer[..length], "who")?;
    Ok(Seen { pod: answer.pod, client: answer.client.ip(), peer, sender: Some(sender) })
}
