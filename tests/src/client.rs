//! Clients that count: which Pod answered each of many connections or flows, and what each Pod saw.
//!
//! Every call is bounded in time. A refusal is counted as such; anything else that goes wrong is kept as text.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use beeline_test_pod::answers::read_answer;

use crate::netns::Namespace;
use crate::pod::Answer;

pub use beeline_test_pod::answers::{DatagramAnswer, connect, read_response};

/// How long to wait for the answer to a datagram before it is sent again.
const DATAGRAM_LIMIT: Duration = Duration::from_millis(500);
/// How often a datagram is sent before the flow counts as lost.
const DATAGRAM_TRIES: u32 = 4;
/// How many connections are open at once when many are opened.
const WORKERS: usize = 4;
/// Where the source ports of flows begin.
const FIRST_PORT: u16 = 10_000;

/// Where connections or flows ended up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// How many each Pod answered.
    pub by_pod: BTreeMap<String, u64>,
    /// How many were refused: RST or port unreachable.
    pub refused: u64,
    /// What else went wrong.
    pub failures: Vec<String>,
    /// The client addresses that the Pods saw.
    pub clients: BTreeSet<IpAddr>,
    /// Those that each Pod saw.
    pub clients_of: BTreeMap<String, BTreeSet<IpAddr>>,
}

impl Distribution {
    /// How many the Pod answered.
    pub fn of(&self, pod: &str) -> u64 {
        self.by_pod.get(pod).copied().unwrap_or_default()
    }

    /// How many were answered by anybody.
    pub fn answered(&self) -> u64 {
        self.by_pod.values().sum()
    }

    fn add(&mut self, outcome: io::Result<(String, IpAddr)>) {
        match outcome {
            Ok((pod, client)) => {
                self.clients_of.entry(pod.clone()).or_default().insert(client);
                *self.by_pod.entry(pod).or_default() += 1;
                self.clients.insert(client);
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => self.refused += 1,
            Err(error) => self.failures.push(error.to_string()),
        }
    }

    fn merge(&mut self, other: Self) {
        for (pod, count) in other.by_pod {
            *self.by_pod.entry(pod).or_default() += count;
        }
        self.refused += other.refused;
        self.failures.extend(other.failures);
        self.clients.extend(other.clients);
        for (pod, clients) in other.clients_of {
            self.clients_of.entry(pod).or_default().extend(clients);
        }
    }
}

/// Opens connections, a few at a time, and asks each who answers.
pub fn connections(from: &Namespace, target: SocketAddr, count: usize) -> Result<Distribution> {
    spread(from, count, move || {
        let answer = request(target, "/")?;
        Ok((answer.pod, answer.client.ip()))
    })
}

/// Opens UDP flows, each from a port of its own, and asks each who answers.
pub fn flows(from: &Namespace, target: SocketAddr, count: usize) -> Result<Distribution> {
    spread(from, count, move || {
        let answer = datagram(target, "who")?;
        Ok((answer.pod, answer.client.ip()))
    })
}

fn spread(
    from: &Namespace,
    count: usize,
    one: impl Fn() -> io::Result<(String, IpAddr)> + Sync,
) -> Result<Distribution> {
    let work = |worker: usize| {
        let share = count / WORKERS + usize::from(worker < count % WORKERS);
        let mut distribution = Distribution::default();
        (0..share).for_each(|_| distribution.add(one()));
        distribution
    };
    from.enter(|| {
        thread::scope(|scope| {
            let work = &work;
            let workers: Vec<_> = (0..WORKERS).map(|worker| scope.spawn(move || work(worker))).collect();
            let mut total = Distribution::default();
            for worker in workers {
                total.merge(worker.join().unwrap_or_else(|panicked| std::panic::resume_unwind(panicked)));
            }
            total
        })
    })
}

/// Opens a connection of its own for one HTTP request. To be called inside a namespace.
pub fn request(target: SocketAddr, path: &str) -> io::Result<Answer> {
    let mut stream = connect(target)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    read_response(&response)
}

/// Sends a datagram on a flow of its own until it is answered. To be called inside a namespace.
pub fn datagram(target: SocketAddr, payload: &str) -> io::Result<DatagramAnswer> {
    ask(&flow(target)?, payload)
}

/// A UDP socket that is connected to the target, with a source port that no earlier one of this process had: the
/// kernel gives ports again at once, and then what looks like a new flow is an old one. To be called inside a namespace.
pub fn flow(target: SocketAddr) -> io::Result<UdpSocket> {
    static NEXT_PORT: AtomicU16 = AtomicU16::new(FIRST_PORT);
    let any: IpAddr = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = loop {
        let port = NEXT_PORT.fetch_add(1, Ordering::Relaxed).max(FIRST_PORT);
        match UdpSocket::bind((any, port)) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            bound => break bound?,
        }
    };
    socket.connect(target)?;
    socket.set_read_timeout(Some(DATAGRAM_LIMIT))?;
    Ok(socket)
}

/// Sends a datagram on the flow until it is answered.
pub fn ask(flow: &UdpSocket, payload: &str) -> io::Result<DatagramAnswer> {
    let mut buffer = [0; 2048];
    for _ in 0..DATAGRAM_TRIES {
        flow.send(payload.as_bytes())?;
        match flow.recv(&mut buffer) {
            Ok(length) => return read_answer(&buffer[..length], payload),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(ErrorKind::TimedOut, format!("no answer to {DATAGRAM_TRIES} datagrams")))
}

/// Sends bytes through an echo and checks that every one comes back, both directions busy at once.
pub fn transfer(from: &Namespace, target: SocketAddr, length: usize) -> Result<()> {
    from.enter(|| {
        let mut stream = connect(target).with_context(|| format!("cannot connect to {target}"))?;
        let mut sender = stream.try_clone()?;
        thread::scope(|scope| {
            let sent = scope.spawn(move || {
                sender.write_all(&pattern(length))?;
                sender.shutdown(Shutdown::Write)
            });
            let mut received = Vec::with_capacity(length);
            let outcome = stream.read_to_end(&mut received);
            let Ok(sent) = sent.join() else { bail!("the sending thread panicked") };
            sent.with_context(|| format!("cannot send to {target}"))?;
            outcome.with_context(|| format!("stopped after {} of {length} bytes from {target}", received.len()))?;
            ensure!(received == pattern(length), "{target} did not return what was sent");
            Ok(())
        })
    })?
}

/// Bytes in which no two neighbouring kilobytes are the same.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u64).map(|index| (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}
