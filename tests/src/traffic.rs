//! Traffic as of many users: new connections at a steady rate, and long-lived ones of which each ends by itself and is
//! followed by another.
//!
//! Whatever is refused, reset, closed before its time or kept waiting is reported as a failure.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::client;
use crate::netns::Namespace;
use crate::wait;

/// How long a new connection may take from SYN to its last byte, and a number to return.
const LIMIT: Duration = Duration::from_secs(5);
/// Time between a number's return and the next, on a long-lived connection.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest that a connection lives; the shortest is half of it.
pub const LONGEST_LIFE: Duration = Duration::from_secs(3);

/// How much of it there is, and where to.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Where the HTTP servers of Pods are reached.
    pub http: SocketAddr,
    /// Where their echoes are reached.
    pub echo: SocketAddr,
    /// New connections per second, each with a request.
    pub new_per_second: u32,
    /// Long-lived connections at any time.
    pub long_lived: u32,
}

/// The clients, on a thread of their own.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    worker: JoinHandle<Result<Report>>,
}

/// How they fared.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How long it went on.
    pub elapsed: Duration,
    /// New connections.
    pub connections: u64,
    /// The longest time that one of them took.
    pub slowest: Duration,
    /// Long-lived connections that came to their end.
    pub long_lived: u64,
    /// What happened to those of either kind that were disturbed.
    pub failures: Vec<String>,
}

/// How one connection ended that nothing disturbed.
enum Ended {
    New(Duration),
    LongLived,
}

impl Traffic {
    /// Begins.
    pub fn start(from: &Namespace, load: Load) -> Result<Self> {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&done));
        let worker = from.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(drive(load, stopped, &count))
        })?;
        Ok(Self { stop, done, worker })
    }

    /// Waits until more new connections have been made and ended.
    pub fn wait_for_more(&self, count: u64) -> Result<()> {
        let wanted = self.done.load(Ordering::Relaxed) + count;
        let done = || (self.done.load(Ordering::Relaxed) >= wanted).then_some(());
        wait::until(&format!("{count} more connections have ended"), LIMIT * 4, done)
    }

    /// Lets the long-lived connections come to their ends and says how all went.
    pub fn finish(self) -> Result<Report> {
        self.stop.store(true, Ordering::Relaxed);
        let report = self.worker.join().map_err(|_| anyhow!("it panicked"));
        report.and_then(|report| report).context("the traffic")
    }
}

impl Report {
    fn add(&mut self, ended: io::Result<Ended>) {
        match ended {
            Ok(Ended::New(took)) => self.slowest = self.slowest.max(took),
            Ok(Ended::LongLived) => self.long_lived += 1,
            Err(error) => self.failures.push(error.to_string()),
        }
    }
}

async fn drive(load: Load, stop: Arc<AtomicBool>, done: &AtomicU64) -> Result<Report> {
    let begin = Instant::now();
    let mut report = Report::default();
    let mut tasks = JoinSet::new();
    for number in 0..load.long_lived {
        // Their ends are spread over time.
        let life = LONGEST_LIFE / 2 + LONGEST_LIFE / 2 * number / load.long_lived;
        tasks.spawn(live_again_and_again(load.echo, life, begin, Arc::clone(&stop)));
    }
    let mut due = interval(Duration::from_secs(1) / load.new_per_second);
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut ended = 0;
    while !stop.load(Ordering::Relaxed) {
        tokio::select! {
            _ = due.tick() => {
                report.connections += 1;
                tasks.spawn(async move { vec![request(load.http, begin).await] });
            }
            Some(outcomes) = tasks.join_next() => {
                outcomes?.into_iter().for_each(|outcome| report.add(outcome));
                ended += 1;
                done.store(ended, Ordering::Relaxed);
            }
        }
    }
    report.elapsed = begin.elapsed();
    while let Some(outcomes) = tasks.join_next().await {
        outcomes?.into_iter().for_each(|outcome| report.add(outcome));
    }
    Ok(report)
}

/// A connection of its own for one HTTP request.
async fn request(target: SocketAddr, traffic_began: Instant) -> io::Result<Ended> {
    let begin = Instant::now();
    let exchange = async {
        let mut stream = TcpStream::connect(target).await?;
        let head = format!("GET / HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await?;
        client::read_response(&response)
    };
    let answer = in_time(exchange).await;
    let took = begin.elapsed();
    match answer {
        Ok(_) => Ok(Ended::New(took)),
        Err(error) => Err(io::Error::other(format!(
            "at {:.1?} a new connection to {target}, after {took:.1?}: {error}",
            traffic_began.elapsed()
        ))),
    }
}

/// One connection after the other; says how each ended.
async fn live_again_and_again(
    target: SocketAddr,
    life: Duration,
    traffic_began: Instant,
    stop: Arc<AtomicBool>,
) -> Vec<io::Result<Ended>> {
    let mut ended = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        let outcome = live(target, life).await;
        let (at, lived) = (traffic_began.elapsed(), begin.elapsed());
        let failed = outcome.is_err();
        ended.push(outcome.map_err(|error| {
            io::Error::other(format!("at {at:.1?} a connection to {target} of {life:.1?}, after {lived:.1?}: {error}"))
        }));
        if failed {
            sleep(PAUSE).await;
        }
    }
    ended
}

/// Sends numbers to an echo until the life is over, then ends as is proper: closed by both sides.
async fn live(target: SocketAddr, life: Duration) -> io::Result<Ended> {
    let begin = Instant::now();
    let mut stream = in_time(TcpStream::connect(target)).await?;
    stream.set_nodelay(true)?;
    let mut number = 0_u64;
    while begin.elapsed() < life {
        in_time(stream.write_u64(number)).await?;
        let received = in_time(stream.read_u64()).await?;
        if received != number {
            return Err(io::Error::other(format!("received {received} where {number} was due")));
        }
        number += 1;
        sleep(PAUSE).await;
    }
    stream.shutdown().await?;
    match in_time(stream.read(&mut [0; 8])).await? {
        0 => Ok(Ended::LongLived),
        more => Err(io::Error::other(format!("{more} bytes came after the last number"))),
    }
}

async fn in_time<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(LIMIT, step).await.unwrap_or_else(|_| Err(io::Error::other(format!("nothing came within {LIMIT:?}"))))
}
