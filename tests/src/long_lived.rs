//! Connections that stay open with data flowing, to see whether anything disturbs them.
//!
//! Each sends numbers through an echo and checks that they return, or reads an HTTP response without end and checks that no
//! line is missing. What is reset, mixed up or silent for too long is reported as broken.

mod conversation;

use std::io;
use std::net::{SocketAddr, TcpStream as BlockingStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::conversation::{Conversation, Pace};
pub use self::conversation::{Talk, Tls};
use crate::client;
use crate::netns::Namespace;
use crate::wait;

/// Open connections, driven by a thread of their own.
pub struct LongLived {
    stop: Arc<AtomicBool>,
    progress: Arc<[AtomicU64]>,
    /// How long a few numbers of every connection may take.
    patience: Duration,
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

    /// Opens connections that talk in another way.
    pub fn start(from: &Namespace, target: SocketAddr, count: usize, talk: Talk) -> Result<Self> {
        let open = || (0..count).map(|_| client::connect(target)).collect::<io::Result<Vec<_>>>();
        let streams = from.enter(open)?.with_context(|| format!("cannot open {count} connections to {target}"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let progress: Arc<[AtomicU64]> = (0..count).map(|_| AtomicU64::new(0)).collect();
        let pace = Pace::of(&talk);
        let worker = {
            let (stop, progress) = (Arc::clone(&stop), Arc::clone(&progress));
            thread::spawn(move || drive(streams, &talk, &stop, &progress))
        };
        Ok(Self { stop, progress, patience: (pace.stall + pace.pause) * 3, worker })
    }

    /// Waits until every connection has had some more numbers back; an error names how many have not.
    pub fn wait_for_progress(&self) -> Result<()> {
        let before: Vec<_> = self.progress.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let behind = || {
            let pairs = self.progress.iter().zip(&before);
            pairs.filter(|(now, before)| now.load(Ordering::Relaxed) < **before + 3).count()
        };
        wait::until("every connection goes on", self.patience, || (behind() == 0).then_some(()))
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
    talk: &Talk,
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
            let (talk, stop, progress) = (talk.clone(), Arc::clone(stop), Arc::clone(progress));
            tasks.spawn(async move { converse(stream, &talk, &stop, &progress[index]).await });
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
async fn converse(stream: TcpStream, talk: &Talk, stop: &AtomicBool, progress: &AtomicU64) -> io::Result<Duration> {
    let Pace { pause, stall } = Pace::of(talk);
    let mut longest = Duration::ZERO;
    let mut number = 0_u64;
    let mut conversation = in_time(Conversation::begin(stream, talk), stall, number).await?;
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        let received = in_time(conversation.turn(number), stall, number).await?;
        if received != number {
            return Err(io::Error::other(format!("received {received} where {number} was due")));
        }
        longest = longest.max(begin.elapsed());
        number += 1;
        progress.store(number, Ordering::Relaxed);
        tokio::time::sleep(pause).await;
    }
    Ok(longest)
}

async fn in_time<T>(step: impl Future<Output = io::Result<T>>, stall: Duration, number: u64) -> io::Result<T> {
    match timeout(stall, step).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(io::Error::other(format!("{error} after {number} numbers"))),
        Err(_) => Err(io::Error::other(format!("silent for {stall:?} after {number} numbers"))),
    }
}
