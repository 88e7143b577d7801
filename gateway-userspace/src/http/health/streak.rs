//! When checks in a row change what is thought of a backend.

use crate::model::http::HealthCheck;

/// How often in a row checks have said the opposite of what is thought.
#[derive(Debug)]
pub struct Streak {
    is_healthy: bool,
    against: u32,
}

impl Default for Streak {
    fn default() -> Self {
        Self { is_healthy: true, against: 0 }
    }
}

impl Streak {
    /// One more check; whether the backend is healthy now, if that has changed.
    pub fn note(&mut self, has_passed: bool, check: &HealthCheck) -> Option<bool> {
        if has_passed == self.is_healthy {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let threshold = if has_passed { check.healthy_threshold } else { check.unhealthy_threshold };
        if self.against < threshold {
            return None;
        }
        *self = Self { is_healthy: has_passed, against: 0 };
        Some(has_passed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_so_many_in_a_row_change_anything() {
        let check = HealthCheck {
            path: "/".to_string(),
            host: None,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            healthy_threshold: 2,
            unhealthy_threshold: 3,
            expected: vec![200..=200],
        };
        let mut streak = Streak::default();
        let mut said = |checks: &str| -> Vec<Option<bool>> {
            checks.chars().map(|passed| streak.note(passed == '+', &check)).collect()
        };

        assert_eq!(said("--+--"), [None; 5]);
        assert_eq!(said("-"), [Some(false)]);
        assert_eq!(said("-+-+"), [None; 4]);
        assert_eq!(said("+"), [Some(true)]);
        assert_eq!(said("+++-"), [None; 4]);
    }
}
