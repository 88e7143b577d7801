//! The account of what has been said: each text once while it lasts, and of one object and reason one in ten seconds.
//!
//! What could not be said counts as not said.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Notice;
use crate::source::ObjectId;

/// How long nothing is said again of the same object and reason, though it be different.
const PAUSE: Duration = Duration::from_secs(10);
/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);
/// How often it is tried to say what does not last, and how much of that waits at most.
const MOST_ATTEMPTS: u32 = 6;
const MOST_NOTICES: usize = 256;

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
    /// What is to be said once and does not last.
    notices: BTreeMap<Subject, Notice>,
    said: BTreeMap<Subject, Said>,
}

/// What was said last of a subject.
#[derive(Debug)]
struct Said {
    /// Nothing while it could not be said, or if it was over since.
    text: Option<String>,
    not_before: Instant,
    /// How often in succession it could not be said.
    failures: u32,
}

impl Ledger {
    /// What is to be said has changed. What no longer lasts may be said anew when it comes back, after the pause.
    pub(super) fn set(&mut self, texts: Texts, now: Instant) {
        let notices = &self.notices;
        let is_known = |subject: &Subject| texts.contains_key(subject) || notices.contains_key(subject);
        self.said.retain(|subject, said| is_known(subject) || now < said.not_before);
        for (subject, said) in &mut self.said {
            if !texts.contains_key(subject) {
                said.text = None;
            }
        }
        self.texts = texts;
    }

    /// Has something said once. If much waits already that could not be said, it is dropped.
    pub(super) fn add(&mut self, notice: Notice) {
        if self.notices.len() < MOST_NOTICES {
            self.notices.insert(notice.subject(), notice);
        }
    }

    /// Whether something waits to be said, now or later.
    pub(super) fn has_more(&self) -> bool {
        self.waiting().next().is_some()
    }

    /// What should be said now. It waits until it [was said](Self::said).
    pub(super) fn due(&self, now: Instant, limit: usize) -> Vec<Notice> {
        let may_be_said = |notice: &Notice| self.said.get(&notice.subject()).is_none_or(|said| said.not_before <= now);
        self.waiting().filter(may_be_said).take(limit).collect()
    }

    /// It was said, or there is nobody left whom it concerns.
    pub(super) fn said(&mut self, notice: &Notice, now: Instant) {
        let subject = notice.subject();
        self.notices.remove(&subject);
        self.said.insert(subject, Said { text: Some(notice.note.clone()), not_before: now + PAUSE, failures: 0 });
    }

    /// It could not be said: it is tried again, later each time.
    pub(super) fn failed(&mut self, notice: &Notice, now: Instant) {
        let subject = notice.subject();
        let failures = self.said.get(&subject).map_or(0, |said| said.failures) + 1;
        if failures == MOST_ATTEMPTS {
            // What does not last is of no interest any more.
            self.notices.remove(&subject);
        }
        let pause = (PAUSE * 2u32.pow(failures.min(10) - 1)).min(LONGEST_PAUSE);
        self.said.insert(subject, Said { text: None, not_before: now + pause, failures });
    }

    /// What was not said yet.
    fn waiting(&self) -> impl Iterator<Item = Notice> {
        let is_said = |subject: &Subject, text: &str| {
            self.said.get(subject).is_some_and(|said| said.text.as_deref() == Some(text))
        };
        let texts = self.texts.iter().filter(move |(subject, text)| !is_said(subject, text)).map(|(subject, text)| {
            let Subject { id, reason } = subject.clone();
            Notice { id, uid: None, reason, note: text.clone() }
        });
        self.notices.values().cloned().chain(texts)
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
        let due = ledger.due(now, 10);
        for notice in &due {
            ledger.said(notice, now);
        }
        due.into_iter().map(|notice| notice.note).collect()
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

        for count in [3, 2] {
            let due = ledger.due(now, 3);
            for notice in &due {
                ledger.said(notice, now);
            }
            assert_eq!(due.len(), count);
        }
        assert!(!ledger.has_more());
    }

    #[test]
    fn what_could_not_be_said_is_tried_again_later_each_time() {
        let mut now = Instant::now();
        let mut ledger = Ledger::default();
        ledger.set(texts("bad"), now);
        for pause in [PAUSE, 2 * PAUSE, 4 * PAUSE] {
            ledger.failed(&ledger.due(now, 1)[0], now);
            assert_eq!((ledger.due(now, 1).len(), ledger.has_more()), (0, true));
            ledger.set(texts("bad"), now);
            now += pause;
        }

        assert_eq!(said(&mut ledger, now), ["bad"]);
        assert!(!ledger.has_more());
    }

    #[test]
    fn what_does_not_last_is_said_once_and_not_tried_for_ever() {
        let mut now = Instant::now();
        let id = ObjectId { kind: Kind::Pod, name: Name::new("shop", "a") };
        let notice = Notice { id, uid: Some("1".into()), reason: "TimedOut", note: "late".into() };
        let mut ledger = Ledger::default();
        ledger.add(notice.clone());
        ledger.failed(&notice, now);
        ledger.set(Texts::new(), now);
        now += PAUSE;
        assert_eq!(said(&mut ledger, now), ["late"]);
        assert!(!ledger.has_more());

        ledger.add(notice.clone());
        for _ in 0..MOST_ATTEMPTS {
            ledger.failed(&notice, now);
        }
        assert!(!ledger.has_more());
    }
}
