//! A client that never stops: one connection after the other, each with a request, to see whether anything disturbs them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::client;
use crate::netns::Namespace;
use crate::wait;

/// Time between a connection's end and the next.
const PAUSE: Duration = Duration::from_millis(5);
/// How long more connections may take to come.
const LIMIT: Duration = Duration::from_secs(10);

/// The client, on a thread of its own.
pub struct Steady {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    worker: JoinHandle<Result<Report>>,
}

/// How its connections fared.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many there were.
    pub connections: u64,
    /// What happened to those that were not answered.
    pub failures: Vec<String>,
}

impl Steady {
    /// Begins.
    pub fn start(from: &Namespace, target: SocketAddr) -> Result<Self> {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&done));
        let worker = from.spawn(move || {
            let mut report = Report::default();
            while !stopped.load(Ordering::Relaxed) {
                report.connections += 1;
                if let Err(error) = client::request(target, "/") {
                    report.failures.push(format!("connection {}: {error}", report.connections));
                }
                count.store(report.connections, Ordering::Relaxed);
                thread::sleep(PAUSE);
            }
            Ok(report)
        })?;
        Ok(Self { stop, done, worker })
    }

    /// Waits until there have been some more connections.
    pub fn wait_for_more(&self, count: u64) -> Result<()> {
        let wanted = self.done.load(Ordering::Relaxed) + count;
        let done = || (self.done.load(Ordering::Relaxed) >= wanted).then_some(());
        wait::until("more connections were made", LIMIT, done)
    }

    /// Ends and says how it went.
    pub fn finish(self) -> Result<Report> {
        self.stop.store(true, Ordering::Relaxed);
        let report = self.worker.join().map_err(|_| anyhow!("it panicked"));
        report.and_then(|report| report).context("the steady client")
    }
}
