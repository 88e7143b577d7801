//! Runs the collector of idle flows on a thread of its own, as often as the table's occupancy asks for.
//!
//! It ends when the agent drops its handle, which waits for the step that is under way, some milliseconds.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};

use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::dataplane::{Round, Sweeper, monotonic_ns};

/// Between two steps of one round: leaves most of a CPU to others.
const STEP_PAUSE: Duration = Duration::from_millis(10);

/// Between rounds when there is room enough.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Between rounds when the table is nearly full.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// After an error.
const ERROR_PAUSE: Duration = Duration::from_secs(5);

/// A whole scan of all flows.
#[derive(Debug)]
pub struct Sweep {
    /// When it began.
    pub began: Instant,
    /// What it found.
    pub round: Round,
}

/// Ends the collector when it is dropped; afterwards it touches no map any more.
pub struct Handle {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts the thread; returns where its rounds arrive.
pub fn start(mut sweeper: Sweeper, shortest_timeout: Duration) -> io::Result<(mpsc::Receiver<Sweep>, Handle)> {
    let (stop, stopped) = sync_channel::<()>(0);
    let (sender, receiver) = mpsc::channel(4);
    let thread = thread::Builder::new().name("sweep".to_owned()).spawn(move || {
        let mut pause = Duration::ZERO;
        let mut began = None;
        while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            let begin = *began.get_or_insert_with(Instant::now);
            pause = match sweeper.step(monotonic_ns()) {
                Err(error) => {
                    warn!(%error, "idle flows could not be collected; trying again");
                    began = None;
                    ERROR_PAUSE
                }
                Ok(report) => match report.round {
                    None => STEP_PAUSE,
                    Some(round) => {
                        began = None;
                        let pause = pause_after(round.flows, round.max_flows, shortest_timeout);
                        tell(&sender, Sweep { began: begin, round });
                        pause
                    }
                },
            };
        }
    })?;
    Ok((receiver, Handle { stop: Some(stop), thread: Some(thread) }))
}

/// A round that the agent has no time for is left out: the next one says as much.
fn tell(sender: &mpsc::Sender<Sweep>, sweep: Sweep) {
    let Round { flows, collected, .. } = sweep.round;
    debug!(flows, collected, took = ?sweep.began.elapsed(), "looked at all flows");
    if sender.try_send(sweep).is_err() {
        debug!("the agent is busy: this round is not told");
    }
}

/// The fuller the table, the sooner the next round; never so late that flows outlive their timeout by much.
fn pause_after(flows: u64, max_flows: u64, shortest_timeout: Duration) -> Duration {
    let relaxed = (shortest_timeout / 4).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
    match flows.saturating_mul(100) / max_flows.max(1) {
        0..50 => relaxed,
        50..75 => relaxed.min(Duration::from_secs(1)),
        _ => SHORTEST_PAUSE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fuller_table_is_looked_at_more_often() {
        let timeout = Duration::from_secs(20);

        assert_eq!(pause_after(10, 100, timeout), LONGEST_PAUSE);
        assert_eq!(pause_after(60, 100, timeout), Duration::from_secs(1));
        assert_eq!(pause_after(90, 100, timeout), SHORTEST_PAUSE);
    }

    #[test]
    fn a_short_timeout_is_kept_to() {
        assert_eq!(pause_after(0, 100, Duration::from_secs(4)), Duration::from_secs(1));
        assert_eq!(pause_after(0, 0, Duration::from_millis(1)), SHORTEST_PAUSE);
    }
}
