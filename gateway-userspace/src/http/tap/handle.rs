//! What the two ends of a connection tell each other: the tap why it refused, the server what became of a request for
//! another protocol.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use super::scanner::Verdict;
use super::violation::Violation;

/// A connection's tap, as those see it who serve and log the connection. Clones are the same tap.
#[derive(Clone, Debug, Default)]
pub struct Handle(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    violation: OnceLock<Violation>,
    is_amid_head: AtomicBool,
    switch: Mutex<Switch>,
}

/// Where a request for another protocol stands. There is at most one: what follows it is withheld.
#[derive(Debug, Default)]
enum Switch {
    #[default]
    None,
    Asked(Option<Waker>),
    Answered(Verdict),
}

impl Handle {
    /// Why the connection was refused, if it was.
    pub fn violation(&self) -> Option<Violation> {
        self.0.violation.get().copied()
    }

    /// Whether the client has begun a head and not ended it.
    pub fn is_amid_head(&self) -> bool {
        self.0.is_amid_head.load(Relaxed)
    }

    /// Answers the request that asked for another protocol ([`super::asks_to_switch`]): to be called once for each, also
    /// if it was answered with an error, since nothing behind it is read before. Without such a request nothing happens.
    pub fn decide(&self, verdict: Verdict) {
        let mut switch = self.switch();
        if let Switch::Asked(waker) = &mut *switch {
            let waker = waker.take();
            *switch = Switch::Answered(verdict);
            drop(switch);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Whether a head has begun that is not complete.
    pub(in crate::http) fn note_head(&self, is_amid: bool) {
        self.0.is_amid_head.store(is_amid, Relaxed);
    }

    /// Notes a violation; the first one stays.
    pub(super) fn refuse(&self, violation: Violation) {
        self.0.violation.get_or_init(|| violation);
    }

    /// A request for another protocol is about to be passed on.
    pub(super) fn ask(&self) {
        *self.switch() = Switch::Asked(None);
    }

    /// The answer to it, once there is one.
    pub(super) fn poll_verdict(&self, cx: &Context<'_>) -> Poll<Verdict> {
        let mut switch = self.switch();
        match &mut *switch {
            Switch::Answered(verdict) => {
                let verdict = *verdict;
                *switch = Switch::None;
                Poll::Ready(verdict)
            }
            Switch::Asked(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            // Nobody asked: nobody will answer, and scanning on is the strict choice.
            Switch::None => Poll::Ready(Verdict::Refused),
        }
    }

    /// Nothing panics while it holds the lock, and what it guards is whole at any time.
    fn switch(&self) -> MutexGuard<'_, Switch> {
        self.0.switch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
