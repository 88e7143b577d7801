//! The account of what has been said: each text once while it lasts, and of one object and reason one in ten seconds.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Notice;
use crate::source::ObjectId;

/// How long nothing is said again of the same object and reason, though it be different.
const PAUSE: Duration = Duration::from_secs(10);

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Subject {
    pub(super) id: ObjectId,
    pub(super) reason: &'static str,
}

/// What is to be said of each subject.
pub(super) type Texts = BTreeMap<Subject, String>;

/// The account.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    texts: Texts,
    said: BTreeMap<Subject, (String, Instant)>,
}

impl Ledger {
    /// What is to be said has changed. What no longer lasts may be said anew when it comes back, after the pause.
    pub(super) fn set(&mut self, texts: Texts, now: Instant) {
        self.said.retain(|subject, (_, at)| texts.contains_key(subject) || now < *at + PAUSE);
        for (subject, (text, _)) in &mut self.said {
            if !texts.contains_key(subject) {
                text.clear();
            }
        }
        self.texts = texts;
    }

    /// Whether something waits to be said, now or later.
    pub(super) fn has_more(&self) -> bool {
        self.texts.iter().any(|(subject, text)| self.said.get(subject).is_none_or(|(said, _)| said != text))
    }

    /// What is said now.
    pub(super) fn due(&mut self, now: Instant, limit: usize) -> Vec<Notice> {
        let mut due = Vec::new();
        for (subject, text) in &self.texts {
            let said = self.said.get(subject);
            if due.len() == limit || said.is_some_and(|(said, at)| said == text || now < *at + PAUSE) {
                continue;
            }
            self.said.insert(subject.clone(), (text.clone(), now));
            let Subject { id, reason } = subject.clone();
            due.push(Notice { id, uid: None, reason, note: text.clone() });
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Kind, Name};

    fn texts(text: &str) -> Texts {
        let id = ObjectId { kind: Kind::Service, name: Name::new("shop", "a") };
        Texts::from([(Subject { id, reason: "NotServed" }, text.to_string())])
    }

    fn said(ledger: &mut Ledger, now: Instant) -> Vec<String> {
        ledger.due(now, 10).into_iter().map(|notice| notice.note).collect()
    }

    #[test]
    fn a_problem_is_said_once_while_it_lasts() {
        let now = Instant::now();
        let mut ledger = Ledger::default();

        ledger.set(texts("bad"), now);
        assert_eq!(said(&mut ledger, now), ["bad"]);

        ledger.set(texts("bad"), now + 9 * PAUSE);
        assert_eq!(said(&mut ledger, now + 9 * PAUSE), [""; 0]);
        assert!(!ledger.has_more());
    }

    #[test]
    fn what_keeps_changing_is_said_once_in_ten_seconds() {
        let now = Instant::now();
        let mut ledger = Ledger::default();
        ledger.set(texts("bad"), now);
        said(&mut ledger, now);

        ledger.set(texts("worse"), now);
        assert_eq!(said(&mut ledger, now), [""; 0]);
        assert!(ledger.has_more());
        assert_eq!(said(&mut ledger, now + PAUSE), ["worse"]);
    }

    #[test]
    fn what_comes_and_goes_is_said_once_in_ten_seconds() {
        let now = Instant::now();
        let mut ledger = Ledger::default();
        ledger.set(texts("bad"), now);
        said(&mut ledger, now);

        ledger.set(Texts::new(), now);
        ledger.set(texts("bad"), now);
        assert_eq!(said(&mut ledger, now), [""; 0]);
        assert_eq!(said(&mut ledger, now + PAUSE), ["bad"]);
    }

    #[test]
    fn many_problems_are_said_by_and_by() {
        let now = Instant::now();
        let mut ledger = Ledger::default();
        let subject = |number: usize| Subject {
            id: ObjectId { kind: Kind::Service, name: Name::new("shop", format!("{number}")) },
            reason: "NotServed",
        };
        ledger.set((0..5).map(|number| (subject(number), "bad".to_string())).collect(), now);

        assert_eq!(ledger.due(now, 3).len(), 3);
        assert_eq!(ledger.due(now, 3).len(), 2);
        assert!(!ledger.has_more());
    }
}
