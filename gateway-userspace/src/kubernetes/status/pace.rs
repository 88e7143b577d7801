//! When an object may be written to again: not at once, ever later after failures, and ever later if the same has to be
//! written over and over because somebody else writes something else.

use std::time::Duration;

use tokio::time::Instant;

/// The time between two writings to one object.
const PERIOD: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_mins(1);
const LONGEST_REPEAT: Duration = Duration::from_mins(5);

/// How often the same was written again when somebody should look into it.
const SUSPICIOUS: u32 = 3;

/// What was last written to an object, and when it may be written to again.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    not_before: Instant,
    failures: u32,
    repeats: u32,
    content: Option<u64>,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { not_before: now, failures: 0, repeats: 0, content: None }
    }

    pub(super) fn not_before(&self) -> Instant {
        self.not_before
    }

    /// Something was written; whether the very same was so often before that somebody must be writing against us.
    pub(super) fn wrote(&mut self, content: u64, now: Instant) -> bool {
        self.failures = 0;
        self.repeats = if self.content == Some(content) { self.repeats.saturating_add(1) } else { 0 };
        self.content = Some(content);
        self.not_before = now + doubled(PERIOD, self.repeats, LONGEST_REPEAT);
        self.repeats == SUSPICIOUS
    }

    /// A writing has failed; the server may have said for how long it wants to be left alone.
    pub(super) fn failed(&mut self, busy: Option<Duration>, now: Instant) {
        let pause = doubled(FIRST_RETRY, self.failures, LONGEST_RETRY);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + busy.map_or(pause, |busy| busy.max(pause));
    }
}

fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_again_and_again_is_written_ever_later() {
        let now = Instant::now();
        let mut pace = Pace::new(now);

        let suspicious: Vec<bool> = (0..5).map(|_| pace.wrote(7, now)).collect();

        assert_eq!(suspicious, [false, false, false, true, false]);
        assert_eq!(pace.not_before(), now + 16 * PERIOD);

        pace.wrote(8, now);
        assert_eq!(pace.not_before(), now + PERIOD);
    }

    #[test]
    fn failures_are_tried_again_ever_later_up_to_a_minute() {
        let now = Instant::now();
        let mut pace = Pace::new(now);

        for _ in 0..20 {
            pace.failed(None, now);
        }
        assert_eq!(pace.not_before(), now + LONGEST_RETRY);

        pace.failed(Some(2 * LONGEST_RETRY), now);
        assert_eq!(pace.not_before(), now + 2 * LONGEST_RETRY);
    }
}
