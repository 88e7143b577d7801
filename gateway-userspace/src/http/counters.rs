//! How often what happened: in all, and at each frontend and listener. Workers count apart and are summed by who asks.
//!
//! Each worker has numbers of its own on cache lines of their own, so that no two of them write to one. What is counted of
//! a frontend and of a listener lives as long as they do, whatever changes in them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::reject::Reason;

/// The upper ends of the classes of waiting times, in milliseconds; one class more is above them all.
pub const WAIT_CLASSES_MS: [u64; 7] = [1, 5, 25, 100, 500, 2500, 10_000];

/// One worker's numbers.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    /// Connections of clients that were accepted.
    pub connections: AtomicU64,
    /// Requests that were read.
    pub requests: AtomicU64,
    /// Attempts at a backend after the first one.
    pub retries: AtomicU64,
    /// Connections to backends that were made.
    pub backend_connections: AtomicU64,
    /// How often a backend was left out for a while, since it failed.
    pub ejections: AtomicU64,
    rejected: [AtomicU64; Reason::ALL.len()],
}

/// The numbers of all workers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Connections of clients that were accepted.
    pub connections: u64,
    /// Requests that were read.
    pub requests: u64,
    /// Attempts at a backend after the first one.
    pub retries: u64,
    /// Connections to backends that were made.
    pub backend_connections: u64,
    /// How often a backend was left out for a while, since it failed.
    pub ejections: u64,
    /// Requests and connections that were refused or broke off, by the reason's name; only those that there are.
    pub rejected: BTreeMap<String, u64>,
}

impl Counters {
    /// Counts a refusal.
    pub fn reject(&self, reason: Reason) {
        self.rejected[reason as usize].fetch_add(1, Relaxed);
    }
}

impl Counts {
    /// The sum of the workers' numbers.
    pub fn sum<'a>(workers: impl IntoIterator<Item = &'a Counters>) -> Self {
        let mut counts = Self::default();
        for worker in workers {
            counts.connections += worker.connections.load(Relaxed);
            counts.requests += worker.requests.load(Relaxed);
            counts.retries += worker.retries.load(Relaxed);
            counts.backend_connections += worker.backend_connections.load(Relaxed);
            counts.ejections += worker.ejections.load(Relaxed);
            for (reason, count) in Reason::ALL.iter().zip(&worker.rejected) {
                let count = count.load(Relaxed);
                if count > 0 {
                    *counts.rejected.entry(reason.name().to_owned()).or_default() += count;
                }
            }
        }
        counts
    }
}

/// One thing that is counted, by each worker apart.
#[derive(Debug)]
pub struct Apart<T> {
    workers: Arc<[Arc<T>]>,
}

impl<T> Clone for Apart<T> {
    fn clone(&self) -> Self {
        Self { workers: Arc::clone(&self.workers) }
    }
}

impl<T: Default> Apart<T> {
    /// Nothing counted yet.
    pub fn new(workers: usize) -> Self {
        Self { workers: (0..workers).map(|_| Arc::default()).collect() }
    }

    /// What a worker counts.
    pub fn of(&self, worker: usize) -> &Arc<T> {
        &self.workers[worker]
    }

    fn sum(&self, number: impl Fn(&T) -> &AtomicU64) -> u64 {
        self.workers.iter().map(|worker| number(worker).load(Relaxed)).fold(0, u64::wrapping_add)
    }
}

/// One worker's connections of a frontend.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Connections {
    opened: AtomicU64,
    ended: AtomicU64,
}

/// An open connection of a frontend, until it is dropped.
#[derive(Debug)]
pub struct OpenConnection(Arc<Connections>);

impl OpenConnection {
    /// One more.
    pub fn new(connections: &Arc<Connections>) -> Self {
        connections.opened.fetch_add(1, Relaxed);
        Self(Arc::clone(connections))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Relaxed);
    }
}

impl Apart<Connections> {
    /// How many there were, and how many are open.
    pub fn connections(&self) -> (u64, u64) {
        // In this order none that ends meanwhile counts as ended and not as opened.
        let ended = self.sum(|one| &one.ended);
        let opened = self.sum(|one| &one.opened);
        (opened, opened.saturating_sub(ended))
    }
}

/// One worker's requests at a listener.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Requests {
    /// By the first digit of the status.
    statuses: [AtomicU64; 5],
    waits: [AtomicU64; WAIT_CLASSES_MS.len() + 1],
    wait_us: AtomicU64,
}

impl Requests {
    /// An answer's head goes to the client.
    pub fn note_status(&self, status: u16) {
        let class = usize::from(status / 100).clamp(1, self.statuses.len());
        self.statuses[class - 1].fetch_add(1, Relaxed);
    }

    /// A backend's head was there so long after the request was handed to it.
    pub fn note_wait(&self, wait: Duration) {
        let is_within = |limit: &u64| wait <= Duration::from_millis(*limit);
        let class = WAIT_CLASSES_MS.iter().position(is_within).unwrap_or(WAIT_CLASSES_MS.len());
        self.waits[class].fetch_add(1, Relaxed);
        self.wait_us.fetch_add(wait.as_micros() as u64, Relaxed);
    }
}

/// What was counted of a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestCounts {
    /// Answers by the first digit of their status: 1xx to 5xx.
    pub statuses: [u64; 5],
    /// Answers of backends by the time until their head, in the classes of [`WAIT_CLASSES_MS`].
    pub waits: Vec<u64>,
    /// All these times together, in microseconds.
    pub wait_us: u64,
}

impl Apart<Requests> {
    /// The sum of the workers' numbers.
    pub fn requests(&self) -> RequestCounts {
        RequestCounts {
            statuses: std::array::from_fn(|class| self.sum(|one| &one.statuses[class])),
            waits: (0..=WAIT_CLASSES_MS.len()).map(|class| self.sum(|one| &one.waits[class])).collect(),
            wait_us: self.sum(|one| &one.wait_us),
        }
    }
}

impl RequestCounts {
    /// Answers of all kinds.
    pub fn answers(&self) -> u64 {
        self.statuses.iter().sum()
    }

    /// How long backends took until their head, in the mean.
    pub fn mean_wait(&self) -> Option<Duration> {
        let count: u64 = self.waits.iter().sum();
        self.wait_us.checked_div(count).map(Duration::from_micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_workers_count_apart_is_summed_and_open_is_what_has_not_ended() {
        let apart = Apart::<Connections>::new(2);
        let [first, second] = [0, 1].map(|worker| OpenConnection::new(apart.of(worker)));
        assert_eq!(apart.connections(), (2, 2));

        drop(first);

        assert_eq!(apart.connections(), (2, 1));
        drop(second);
    }

    #[test]
    fn answers_are_counted_by_class_and_waits_by_their_length() {
        let apart = Apart::<Requests>::new(2);
        for (worker, status, wait_ms) in [(0, 200, 1), (1, 204, 2), (1, 503, 20_000), (0, 101, 100)] {
            apart.of(worker).note_status(status);
            apart.of(worker).note_wait(Duration::from_millis(wait_ms));
        }

        let counts = apart.requests();

        assert_eq!(counts.statuses, [1, 2, 0, 0, 1]);
        assert_eq!(counts.waits, [1, 1, 0, 1, 0, 0, 0, 1]);
        assert_eq!(counts.mean_wait(), Some(Duration::from_micros(5_025_750)));
        assert_eq!((counts.answers(), RequestCounts::default().mean_wait()), (4, None));
    }
}
