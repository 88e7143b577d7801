//! How long a request's head may take, without a timer of the runtime's for each request.
//!
//! hyper waits anew for each head, and nearly every wait ends with the head. All waits of a connection share one timer here:
//! it stays set for an earlier wait, and is set again only if it goes off while another is on.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

/// A connection's timer, of which only the last wait counts.
#[derive(Clone, Debug, Default)]
pub struct HeadTimer(Arc<Mutex<Option<Pin<Box<tokio::time::Sleep>>>>>);

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Wait { timer: self.clone(), deadline })
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
}

impl Sleep for Wait {}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = tokio::time::Instant::from_std(self.deadline);
        let mut timer = self.timer.0.lock().unwrap_or_else(PoisonError::into_inner);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_takes_its_own_time_whatever_the_timer_was_set_for() {
        let timer = HeadTimer::default();
        let start = tokio::time::Instant::now();
        let first = timer.sleep(Duration::from_secs(10));
        tokio::time::timeout(Duration::from_secs(6), first).await.unwrap_err();

        timer.sleep(Duration::from_secs(10)).await;

        assert_eq!(start.elapsed().as_secs(), 16);
        timer.sleep(Duration::from_secs(10)).await;
        assert_eq!(start.elapsed().as_secs(), 26);
    }
}
