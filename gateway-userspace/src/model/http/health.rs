//! How backends are asked whether they can serve (`Upstream.spec.healthCheck`).

use std::ops::RangeInclusive;
use std::time::Duration;

/// A request that a backend has to answer as expected, again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked for, by GET.
    pub path: String,
    /// The Host that the backend sees; without one, its address.
    pub host: Option<String>,
    /// From one check to the next, give or take a tenth.
    pub interval: Duration,
    /// How long an answer may take, connection and TLS included; no longer than the interval.
    pub timeout: Duration,
    /// Checks in a row that must pass until a backend that failed gets requests again.
    pub healthy_threshold: u32,
    /// Checks in a row that must fail until it gets none.
    pub unhealthy_threshold: u32,
    /// The statuses that pass.
    pub expected: Vec<RangeInclusive<u16>>,
}

impl HealthCheck {
    /// Whether an answer of this status passes.
    pub fn expects(&self, status: u16) -> bool {
        self.expected.iter().any(|range| range.contains(&status))
    }
}
