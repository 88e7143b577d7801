//! Whether an attempt at a backend is followed by another.
//!
//! After an attempt of which a backend has seen nothing there are some more, at once. After one that it has seen the rule says how
//! often and when, or there is none. A budget keeps retries from multiplying the load on backends that fail under it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::StatusCode;

use crate::model::http::Retry;

/// Attempts that follow those of which no backend has seen anything, whatever the rule says.
const SAFE_ATTEMPTS: u32 = 2;

/// Attempts that follow, if the rule wants some and does not say how many.
const DEFAULT_ATTEMPTS: u32 = 1;

/// The longest pause.
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// A worker's budget: each request allows for a fifth of a retry, and each second for ten.
#[derive(Debug)]
pub struct Budget {
    /// In fifths of a retry.
    fifths: AtomicU64,
    refilled: Mutex<Instant>,
}

const FIFTHS: u64 = 5;
const MAX_RETRIES: u64 = 100;
const MAX_FIFTHS: u64 = MAX_RETRIES * FIFTHS;
const RETRIES_PER_SEC: u64 = 10;

impl Default for Budget {
    fn default() -> Self {
        Self { fifths: AtomicU64::new(MAX_FIFTHS), refilled: Mutex::new(Instant::now()) }
    }
}

impl Budget {
    /// A request has come.
    pub fn note_request(&self) {
        // It is full most often, and then nothing is written.
        if self.fifths.load(Relaxed) < MAX_FIFTHS {
            self.fifths.fetch_add(1, Relaxed);
        }
    }

    /// Takes a retry out of it, if there is one.
    fn take(&self) -> bool {
        self.refill();
        self.fifths.fetch_update(Relaxed, Relaxed, |fifths| fifths.checked_sub(FIFTHS)).is_ok()
    }

    fn refill(&self) {
        let mut refilled = self.refilled.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let earned = now.duration_since(*refilled).as_millis() as u64 * RETRIES_PER_SEC * FIFTHS / 1000;
        if earned > 0 {
            let _ = self.fifths.fetch_update(Relaxed, Relaxed, |fifths| Some((fifths + earned).min(MAX_FIFTHS)));
            *refilled = now;
        }
    }
}

/// What another attempt follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// An attempt of which no backend has seen anything.
    Unseen,
    /// An attempt that a backend has answered, or may have begun to serve.
    Seen,
}

/// What remains to be tried for one request.
#[derive(Debug)]
pub struct Tries<'a> {
    rule: Option<&'a Retry>,
    safe: u32,
    wanted: u32,
    pause: Duration,
}

impl<'a> Tries<'a> {
    /// As a rule has it.
    pub fn new(rule: Option<&'a Retry>) -> Self {
        let wanted = rule.map_or(0, |rule| rule.attempts.unwrap_or(DEFAULT_ATTEMPTS));
        let pause = rule.and_then(|rule| rule.backoff).unwrap_or_default();
        Self { rule, safe: SAFE_ATTEMPTS, wanted, pause }
    }

    /// Whether a request may be needed again after it was sent.
    pub fn wants_copy(&self) -> bool {
        self.wanted > 0
    }

    /// Whether an answer is one after which the rule wants another attempt.
    pub fn is_wanted_after(&self, status: StatusCode) -> bool {
        self.wanted > 0 && self.rule.is_some_and(|rule| rule.codes.contains(&status.as_u16()))
    }

    /// Another attempt, if there is one left: the pause before it.
    pub fn next(&mut self, after: After, budget: &Budget) -> Option<Duration> {
        let is_safe = after == After::Unseen && self.safe > 0;
        if !(is_safe || self.wanted > 0) || !budget.take() {
            return None;
        }
        if is_safe {
            self.safe -= 1;
            return Some(Duration::ZERO);
        }
        self.wanted -= 1;
        let pause = self.pause;
        self.pause = (self.pause * 2).min(MAX_BACKOFF);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_and_attempts_end() {
        let rule = Retry { codes: [503].into(), attempts: Some(2), backoff: Some(Duration::from_millis(10)) };
        let budget = Budget::default();
        let mut tries = Tries::new(Some(&rule));

        assert!(tries.is_wanted_after(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(tries.next(After::Seen, &budget), Some(Duration::from_millis(10)));
        assert_eq!(tries.next(After::Seen, &budget), Some(Duration::from_millis(20)));
        assert_eq!(tries.next(After::Seen, &budget), None);
        assert!(!tries.is_wanted_after(StatusCode::SERVICE_UNAVAILABLE));
    }

    #[test]
    fn what_no_backend_has_seen_costs_none_of_the_attempts_that_the_rule_gives() {
        let rule = Retry { codes: [503].into(), attempts: Some(1), backoff: Some(Duration::from_millis(10)) };
        let budget = Budget::default();
        let mut tries = Tries::new(Some(&rule));

        assert_eq!(tries.next(After::Unseen, &budget), Some(Duration::ZERO));
        assert_eq!(tries.next(After::Unseen, &budget), Some(Duration::ZERO));
        assert_eq!(tries.next(After::Unseen, &budget), Some(Duration::from_millis(10)));
        assert_eq!(tries.next(After::Unseen, &budget), None);
    }

    #[test]
    fn without_a_rule_only_what_is_safe_is_tried_again() {
        let budget = Budget::default();
        let mut tries = Tries::new(None);

        assert_eq!(tries.next(After::Seen, &budget), None);
        assert_eq!(tries.next(After::Unseen, &budget), Some(Duration::ZERO));
        assert_eq!(tries.next(After::Unseen, &budget), Some(Duration::ZERO));
        assert_eq!(tries.next(After::Unseen, &budget), None);
    }

    #[test]
    fn the_budget_ends() {
        let budget = Budget::default();
        let taken = (0..200).filter(|_| budget.take()).count();

        assert!((100..110).contains(&taken), "{taken}");
        let rest = (0..5).find(|_| {
            budget.note_request();
            budget.take()
        });
        assert!(rest.is_some(), "five requests allow for one more");
    }
}
