//! How long to wait before the next attempt: longer each time, and never in step with the other agents.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// The times that a watch keeps. Tests have shorter ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The first wait, and the longest.
    pub first: Duration,
    pub longest: Duration,
    /// How long an answer may take to begin, and to go on.
    pub answer: Duration,
    /// How long a watch may say nothing.
    pub quiet: Duration,
    /// A watch that has not broken in this time works.
    pub settled: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(30),
            answer: Duration::from_secs(30),
            quiet: super::connect::QUIET,
            settled: Duration::from_secs(1),
        }
    }
}

/// Waits that double.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) const fn new(pace: &Pace) -> Self {
        Self { first: pace.first, longest: pace.longest, next: pace.first }
    }

    pub(super) const fn reset(&mut self) {
        self.next = self.first;
    }

    /// The next wait: between half of it and the whole, so that agents that failed together do not come back together.
    pub(super) fn next(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(self.longest);
        whole.mul_f64(0.5 + 0.5 * chance())
    }
}

/// A number between 0 and 1. Nothing secret hangs on it.
pub(super) fn chance() -> f64 {
    let random = RandomState::new().build_hasher().finish() >> 32;
    f64::from(random as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew() {
        let pace = Pace::default();
        let mut backoff = Backoff::new(&pace);

        let waits: Vec<Duration> = (0..12).map(|_| backoff.next()).collect();

        for (number, wait) in waits.iter().enumerate() {
            let whole = (pace.first * 2u32.pow(number as u32)).min(pace.longest);
            assert!((whole / 2..=whole).contains(wait), "{number}: {wait:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= pace.first);
    }
}
