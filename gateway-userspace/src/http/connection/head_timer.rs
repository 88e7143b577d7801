//! How long a request's head may take, and a connection may be without one, with no timer of the runtime's for each request.
//!
//! hyper waits anew for each head, and nearly every wait ends with the head. All waits of a connection share one timer here:
//! it stays set for an earlier wait, and is set again only if it goes off while another is on. hyper knows one limit for a head
//! and for the time before it; a wait goes on here while no head has begun, as the connection's tap sees it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

use crate::http::tap::Handle;

/// A connection's timer, of which only the last wait counts.
#[derive(Clone, Debug)]
pub struct HeadTimer {
    timer: Arc<Mutex<Option<Pin<Box<tokio::time::Sleep>>>>>,
    tap: Handle,
    /// How long no head need begin.
    idle: Duration,
}

impl HeadTimer {
    /// For the connection that a tap is at.
    pub fn new(tap: Handle, idle: Duration) -> Self {
        Self { timer: Arc::default(), tap, idle }
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        let now = self.now();
        let (deadline, idle_until) = (now + duration, now + self.idle);
        Box::pin(Wait { timer: self.clone(), deadline, head: duration, idle_until, has_begun: false })
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(deadline.saturating_duration_since(self.now()))
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// A wait.
#[derive(Debug)]
struct Wait {
    timer: HeadTimer,
    deadline: Instant,
    /// How long a head may take.
    head: Duration,
    /// When a head must have begun.
    idle_until: Instant,
    /// Whether one had begun when a deadline came last.
    has_begun: bool,
}

impl Sleep for Wait {}

impl Wait {
    /// The next deadline, if this one is not the last: a head that has begun since the last one may take its time, and as long as
    /// none has, the connection may be idle.
    fn later(&mut self) -> Option<Instant> {
        let had_begun = std::mem::replace(&mut self.has_begun, self.timer.tap.is_amid_head());
        if self.has_begun {
            return (!had_begun).then(|| self.deadline + self.head);
        }
        (self.deadline < self.idle_until).then(|| (self.deadline + self.head).min(self.idle_until))
    }

    fn poll_deadline(&self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = tokio::time::Instant::from_std(self.deadline);
        let mut timer = self.timer.timer.lock().unwrap_or_else(PoisonError::into_inner);
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        ready!(timer.as_mut().poll(cx));
        if timer.deadline() < deadline {
            timer.as_mut().reset(deadline);
            return timer.as_mut().poll(cx);
        }
        Poll::Ready(())
    }
}

impl Future for Wait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.poll_deadline(cx));
            let Some(later) = self.later() else { return Poll::Ready(()) };
            self.deadline = later;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_takes_its_own_time_whatever_the_timer_was_set_for() {
        let timer = HeadTimer::new(Handle::default(), Duration::ZERO);
        let start = tokio::time::Instant::now();
        let first = timer.sleep(Duration::from_secs(10));
        tokio::time::timeout(Duration::from_secs(6), first).await.unwrap_err();

        timer.sleep(Duration::from_secs(10)).await;

        assert_eq!(start.elapsed().as_secs(), 16);
        timer.sleep(Duration::from_secs(10)).await;
        assert_eq!(start.elapsed().as_secs(), 26);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_may_be_idle_for_longer_than_a_head_may_take() {
        let tap = Handle::default();
        let timer = HeadTimer::new(tap.clone(), Duration::from_secs(25));
        let start = tokio::time::Instant::now();

        timer.sleep(Duration::from_secs(10)).await;

        assert_eq!(start.elapsed().as_secs(), 25);
        let begun = tokio::time::Instant::now();
        tap.note_head(true);
        timer.sleep(Duration::from_secs(10)).await;
        assert_eq!(begun.elapsed().as_secs(), 20, "it may have begun just before the first deadline");
    }
}
