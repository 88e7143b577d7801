//! Says what is new: each problem once when it appears and once when it is gone, not at every reconcile.

use std::collections::BTreeMap;
use std::time::SystemTime;

use tracing::{error, info, warn};

use crate::dataplane::Attached;
use crate::source::{Problem, Severity};

/// What was said last.
#[derive(Debug, Default)]
pub struct Said {
    lines: BTreeMap<String, Severity>,
}

impl Said {
    /// Logs what has come and what has gone; returns whether there was either.
    pub fn update(&mut self, problems: &[Problem], notes: &[String]) -> bool {
        let mut now: BTreeMap<String, Severity> =
            problems.iter().map(|problem| (problem.to_string(), problem.severity)).collect();
        now.extend(notes.iter().map(|note| (note.clone(), Severity::Warning)));
        for (line, severity) in now.iter().filter(|(line, _)| !self.lines.contains_key(*line)) {
            match severity {
                Severity::Error => error!("{line}"),
                Severity::Warning => warn!("{line}"),
            }
        }
        for line in self.lines.keys().filter(|line| !now.contains_key(*line)) {
            info!("no longer: {line}");
        }
        let changed = self.lines != now;
        self.lines = now;
        changed
    }
}

/// Logs which links are new and which are gone.
pub fn attached(links: &Attached) {
    for link in &links.attached {
        info!(link, "attached");
    }
    for link in &links.detached {
        info!(link, "detached");
    }
}

/// The time of day, in milliseconds since 1970.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_news_when_it_comes_and_when_it_goes() {
        let mut said = Said::default();
        let problem = Problem::of_file("a.yaml", "is empty");

        assert!(said.update(std::slice::from_ref(&problem), &[]));
        assert!(!said.update(std::slice::from_ref(&problem), &[]));
        assert!(said.update(&[], &[]));
    }

    #[test]
    fn a_problem_that_only_moved_to_another_line_is_no_news() {
        let mut said = Said::default();
        let mut problem = Problem::of_file("a.yaml", "is empty");
        said.update(std::slice::from_ref(&problem), &[]);
        problem.line = 7;

        assert!(!said.update(&[problem], &[]));
    }
}
