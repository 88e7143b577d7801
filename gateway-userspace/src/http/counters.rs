//! How often what happened, summed over all workers.
//!
//! Each worker counts in numbers of its own, so that no two of them write to one cache line.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::reject::Reason;

/// One worker's numbers.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections of clients that were accepted.
    pub connections: AtomicU64,
    /// Requests that were read.
    pub requests: AtomicU64,
    /// Attempts at a backend after the first one.
    pub retries: AtomicU64,
    /// Connections to backends that were made.
    pub backend_connections: AtomicU64,
    rejected: [AtomicU64; Reason::ALL.len()],
}

/// The numbers of all workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections of clients that were accepted.
    pub connections: u64,
    /// Requests that were read.
    pub requests: u64,
    /// Attempts at a backend after the first one.
    pub retries: u64,
    /// Connections to backends that were made.
    pub backend_connections: u64,
    /// Requests and connections that were refused or broke off, by the reason's name; only those that there are.
    pub rejected: BTreeMap<&'static str, u64>,
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
            for (reason, count) in Reason::ALL.iter().zip(&worker.rejected) {
                let count = count.load(Relaxed);
                if count > 0 {
                    *counts.rejected.entry(reason.name()).or_default() += count;
                }
            }
        }
        counts
    }
}
