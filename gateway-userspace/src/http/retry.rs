//! Whether an attempt at a backend is followed by another.
//!
//! What was never sent may always be sent again. What may have been received is sent again only if the method is
//! idempotent and nothing of a body is gone (RFC 9110, 9.2.2). Beyond what is always safe, the rule says how often. A budget
//! keeps retries from multiplying the load on backends that fail under it.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};

use super::reject::Reason;
use crate::model::http::Retry;

/// Attempts that follow one of which nothing was sent, if the rule says nothing.
const SAFE_ATTEMPTS: u32 = 2;

/// Attempts that follow, if the rule wants some and does not say how many.
const DEFAULT_ATTEMPTS: u32 = 1;

/// The longest pause.
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// A worker's budget: each request allows for a fifth of a retry, and each second for ten.
#[derive(Debug)]
pub struct Budget(Mutex<Tokens>);

#[derive(Debug)]
struct Tokens {
    /// In fifths of a retry.
    fifths: u64,
    refilled: Instant,
}

const FIFTHS: u64 = 5;
const MAX_RETRIES: u64 = 100;
const RETRIES_PER_SEC: u64 = 10;

impl Default for Budget {
    fn default() -> Self {
        Self(Mutex::new(Tokens { fifths: MAX_RETRIES * FIFTHS, refilled: Instant::now() }))
    }
}

impl Budget {
    /// A request has come.
    pub fn note_request(&self) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.fifths = (tokens.fifths + 1).min(MAX_RETRIES * FIFTHS);
    }

    /// Takes a retry out of it, if there is one.
    fn take(&self) -> bool {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let earned = now.duration_since(tokens.refilled).as_millis() as u64 * RETRIES_PER_SEC * FIFTHS / 1000;
        if earned > 0 {
            tokens.fifths = (tokens.fifths + earned).min(MAX_RETRIES * FIFTHS);
            tokens.refilled = now;
        }
        let has_one = tokens.fifths >= FIFTHS;
        tokens.fifths -= if has_one { FIFTHS } else { 0 };
        has_one
    }
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
    pub fn wants_copy(&self, method: &Method) -> bool {
        self.wanted > 0 && method.is_idempotent()
    }

    /// Whether an answer is one after which the rule wants another attempt.
    pub fn is_wanted_after(&self, status: StatusCode) -> bool {
        self.wanted > 0 && self.rule.is_some_and(|rule| rule.codes.contains(&status.as_u16()))
    }

    /// Another attempt, if there is one left: the pause before it.
    pub fn next(&mut self, after: Option<Reason>, budget: &Budget) -> Option<Duration> {
        let is_safe = matches!(after, Some(Reason::ConnectFailed | Reason::ConnectTimeout | Reason::BackendClosed));
        if self.wanted > 0 && budget.take() {
            self.wanted -= 1;
            let pause = self.pause;
            self.pause = (self.pause * 2).min(MAX_BACKOFF);
            return Some(pause);
        }
        if self.rule.is_none() && is_safe && self.safe > 0 && budget.take() {
            self.safe -= 1;
            return Some(Duration::ZERO);
        }
        None
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
        assert_eq!(tries.next(None, &budget), Some(Duration::from_millis(10)));
        assert_eq!(tries.next(Some(Reason::BackendTimeout), &budget), Some(Duration::from_millis(20)));
        assert_eq!(tries.next(None, &budget), None);
        assert!(!tries.is_wanted_after(StatusCode::SERVICE_UNAVAILABLE));
    }

    #[test]
    fn without_a_rule_only_what_is_safe_is_tried_again() {
        let budget = Budget::default();
        let mut tries = Tries::new(None);

        assert_eq!(tries.next(Some(Reason::BackendTimeout), &budget), None);
        assert_eq!(tries.next(Some(Reason::ConnectFailed), &budget), Some(Duration::ZERO));
        assert_eq!(tries.next(Some(Reason::ConnectFailed), &budget), Some(Duration::ZERO));
        assert_eq!(tries.next(Some(Reason::ConnectFailed), &budget), None);
    }

    #[test]
    fn the_budget_ends() {
        let budget = Budget::default();
        let taken = (0..200).filter(|_| budget.take()).count();

        assert!((100..110).contains(&taken), "{taken}");
    }
}
