//! Connections that stay open with data flowing, to see whether anything disturbs them.
//!
//! Each either sends numbers through an echo and checks that they return, or reads an HTTP response without end and
//! checks that no line is missing. What is reset, mixed up or silent for too long is reported as broken.

use std::io;
use std::net::{SocketAddr, TcpStream as BlockingStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client;
use crate::netns::Namespace;
use crate::wait;

/// Time between a number's return and the next.
const PAUSE: Duration = Duration::from_millis(20);
/// A number that takes longer to return means that the connection stalls.
const STALL: Duration = Duration::from_secs(2);

/// What flows over the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Talk {
    /// Numbers through an echo.
    Echo,
    /// The response to `GET /stream`.
    Stream,
}

/// Open connections, driven by a thread of their own.
pub struct LongLived {
    stop: Arc<AtomicBool>,
    progress: Arc<[AtomicU64]>,
    worker: JoinHandle<Result<Report>>,
}

/// What the connections went through.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many there were.
    pub connections: usize,
    /// Numbers that came back, of all together.
    pub messages: u64,
    /// The longest time one took.
    pub longest_wait: Duration,
    /// What happened to those that did not last.
    pub broken: Vec<String>,
}

impl LongLived {
    /// Opens connections to an echo and keeps them busy until [`LongLived::finish`].
    pub fn open(from: &Namespace, target: SocketAddr, count: usize) -> Result<Self> {
        Self::start(from, target, count, Talk::Echo)
    }

    /// Opens connections to the HTTP servers of Pods and reads from each until [`LongLived::finish`].
    pub fn open_http(from: &Namespace, target: SocketAddr, count: usize) -> Result<Self> {
        Self::start(from, target, count, Talk::Stream)
    }

    fn start(from: &Namespace, target: SocketAddr, count: usize, talk: Talk) -> Result<Self> {
        let open = || (0..count).map(|_| client::connect(target)).collect::<io::Result<Vec<_>>>();
        let streams = from.enter(open)?.with_context(|| format!("cannot open {count} connections to {target}"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let progress: Arc<[AtomicU64]> = (0..count).map(|_| AtomicU64::new(0)).collect();
        let worker = {
            let (stop, progress) = (Arc::clone(&stop), Arc::clone(&progress));
            thread::spawn(move || drive(streams, talk, &stop, &progress))
        };
        Ok(Self { stop, progress, worker })
    }

    /// Waits until every connection has had some more numbers back; an error names how many have not.
    pub fn wait_for_progress(&self) -> Result<()> {
        let before: Vec<_> = self.progress.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let behind = || {
            let pairs = self.progress.iter().zip(&before);
            pairs.filter(|(now, before)| now.load(Ordering::Relaxed) < **before + 3).count()
        };
        wait::until("every connection goes on", STALL * 2, || (behind() == 0).then_some(()))
            .with_context(|| format!("{} of {} connections stand still", behind(), before.len()))
    }

    /// Closes the connections and says how they fared.
    pub fn finish(self) -> Result<Report> {
        self.stop.store(true, Ordering::Relaxed);
        self.worker.join().map_err(|_| anyhow!("the thread of the long-lived connections panicked"))?
    }
}

fn drive(
    streams: Vec<BlockingStream>,
    talk: Talk,
    stop: &Arc<AtomicBool>,
    progress: &Arc<[AtomicU64]>,
) -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut report = Report { connections: streams.len(), ..Report::default() };
        let mut tasks = JoinSet::new();
        for (index, stream) in streams.into_iter().enumerate() {
            stream.set_nonblocking(true)?;
            let stream = TcpStream::from_std(stream)?;
            let (stop, progress) = (Arc::clone(stop), Arc::clone(progress));
            tasks.spawn(async move { converse(stream, talk, &stop, &progress[index]).await });
        }
        while let Some(outcome) = tasks.join_next().await {
            match outcome? {
                Ok(longest) => report.longest_wait = report.longest_wait.max(longest),
                Err(error) => report.broken.push(error.to_string()),
            }
        }
        report.messages = progress.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        Ok(report)
    })
}

/// Talks until it is told to stop; gives the longest time that a number took.
async fn converse(stream: TcpStream, talk: Talk, stop: &AtomicBool, progress: &AtomicU64) -> io::Result<Duration> {
    let mut stream = BufReader::new(stream);
    let mut longest = Duration::ZERO;
    let mut number = 0_u64;
    if talk == Talk::Stream {
        in_time(request(&mut stream), number).await?;
    }
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        let received = match talk {
            Talk::Echo => in_time(echo(&mut stream, number), number).await?,
            Talk::Stream => in_time(line(&mut stream), number).await?,
        };
        if received != number {
            return Err(io::Error::other(format!("received {received} where {number} was due")));
        }
        longest = longest.max(begin.elapsed());
        number += 1;
        progress.store(number, Ordering::Relaxed);
        if talk == Talk::Echo {
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(longest)
}

async fn in_time<T>(step: impl Future<Output = io::Result<T>>, number: u64) -> io::Result<T> {
    match timeout(STALL, step).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(io::Error::other(format!("{error} after {number} numbers"))),
        Err(_) => Err(io::Error::other(format!("silent for {STALL:?} after {number} numbers"))),
    }
}

async fn echo(stream: &mut BufReader<TcpStream>, number: u64) -> io::Result<u64> {
    stream.write_u64(number).await?;
    stream.read_u64().await
}

/// Asks for the stream and reads the response's head. HTTP/1.0, so that lines come without chunks around them.
async fn request(stream: &mut BufReader<TcpStream>) -> io::Result<()> {
    stream.write_all(b"GET /stream HTTP/1.0\r\n\r\n").await?;
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed within the response's head"));
        }
    }
    Ok(())
}

/// Reads the number of one line.
async fn line(stream: &mut BufReader<TcpStream>) -> io::Result<u64> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let number = line.strip_suffix('\n').and_then(|line| line.split(' ').next_back()?.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("no line of a Pod: `{line}`")))
}
