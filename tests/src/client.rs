//! Clients that count: which Pod answered each of many connections or flows, and what each Pod saw.
//!
//! Every call is bounded in time. A refusal is counted as such; anything else that goes wrong is kept as text.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::netns::Namespace;
use crate::pod::Answer;

/// How long a connection may take from SYN to its last byte.
const LIMIT: Duration = Duration::from_secs(5);
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

/// What a Pod says in a whole HTTP response.
pub(crate) fn read_response(response: &str) -> io::Result<Answer> {
    let body = response.split_once("\r\n\r\n").map(|(_, body)| body);
    body.and_then(|body| serde_json::from_str(body).ok())
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, format!("no answer of a Pod: {response}")))
}

/// Connects with a bounded time for everything. To be called inside a namespace.
pub fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What a Pod said to a datagram.
pub struct DatagramAnswer {
    /// The Pod's name.
    pub pod: String,
    /// The client's address and port, as the Pod sees them.
    pub client: SocketAddr,
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

pub(crate) fn read_answer(answer: &[u8], payload: &str) -> io::Result<DatagramAnswer> {
    let text = String::from_utf8_lossy(answer);
    let mut words = text.splitn(3, ' ');
    let answer = match (words.next(), words.next().map(str::parse), words.next()) {
        (Some(pod), Some(Ok(client)), Some(rest)) if rest == payload => {
            Some(DatagramAnswer { pod: pod.to_owned(), client })
        }
        _ => None,
    };
    answer.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, format!("no answer of a Pod: {text}")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_a_datagram_names_pod_and_client() {
        let answer = read_answer(b"v1 172.20.0.2:40000 who are you", "who are you").unwrap();

        assert_eq!(answer.pod, "v1");
        assert_eq!(answer.client.port(), 40000);
        assert!(read_answer(b"v1 172.20.0.2:40000 other", "who").is_err());
    }
}
