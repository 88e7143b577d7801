//! Elects the one agent that writes status: whoever holds the Lease `beeline-leader` in the agents' namespace.
//!
//! The rules are client-go's: 15 s without a renewal make the Lease free, the holder renews it every 5 s, and one that
//! could not renew it for 10 s stops acting as leader by itself, before another may start. A holder that ends lets go, and
//! the others, who watch the Lease, take it at once. The Lease also carries what the leader wants to know: see `node_lease`.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{info, warn};

use super::lease::{CONFLICT_PAUSE, Claim, Standing};
use super::requests::Failure;

/// The Lease that the leader holds.
pub(super) const LEADER_LEASE: &str = "beeline-leader";

/// The annotation on it that says which revision the leader waits for: agents that have programmed it say so at once.
pub(super) const WANTED_ANNOTATION: &str = "beeline.dev/wanted-revision";

/// After how long without a renewal the Lease is free.
pub(super) const LEASE_DURATION: Duration = Duration::from_secs(15);
/// How long a leader acts without having renewed the Lease.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
const RENEW_PERIOD: Duration = Duration::from_secs(5);
const RETRY_PERIOD: Duration = Duration::from_secs(1);
/// The time between two writings on behalf of the leader's wishes: every agent hears of each.
const WISH_PERIOD: Duration = Duration::from_millis(200);

/// Takes part in the election until told to stop.
pub(super) struct Election {
    /// Our claim to the Lease.
    pub(super) claim: Claim,
    /// The Lease, as the watch shows it.
    pub(super) lease: watch::Receiver<Option<Lease>>,
    /// The revision that the leader waits for.
    pub(super) wanted: watch::Receiver<u64>,
    /// Whether we lead.
    pub(super) leading: watch::Sender<bool>,
    /// When to stop.
    pub(super) stop: watch::Receiver<bool>,
}

impl Election {
    /// Runs the election, and lets go of the Lease at the end.
    pub(super) async fn run(mut self) {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = self.campaign() => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        self.leading.send_replace(false);
        // What a cut-off request has done is known only by reading.
        let released = match self.claim.read().await {
            Ok(()) => self.claim.release().await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = released {
            info!(%failure, "the leader's Lease was not released: another agent takes over when it has run out");
        }
    }

    async fn campaign(&mut self) {
        let mut leads_until = Instant::now();
        let mut next = Instant::now();
        let mut failing = false;
        loop {
            if let Standing::Others(until) = self.claim.standing() {
                self.step_down("another agent holds the Lease");
                next = until;
            }
            self.wait(next, leads_until).await;
            if *self.leading.borrow() && Instant::now() >= leads_until {
                self.step_down("the Lease could not be renewed in time");
            }
            if self.is_held_by_another() {
                continue;
            }
            let started = Instant::now();
            match self.attempt(leads_until).await {
                Ok(true) => {
                    failing = false;
                    (leads_until, next) = (started + RENEW_DEADLINE, started + RENEW_PERIOD);
                    if !self.leading.send_replace(true) {
                        info!("this agent leads: it writes the status of objects");
                    }
                }
                Ok(false) => next = Instant::now() + CONFLICT_PAUSE,
                Err(failure) => {
                    if !std::mem::replace(&mut failing, true) {
                        warn!(lease = LEADER_LEASE, %failure, "the leader's Lease cannot be written: trying again");
                    }
                    next = Instant::now() + RETRY_PERIOD;
                }
            }
        }
    }

    fn is_held_by_another(&self) -> bool {
        matches!(self.claim.standing(), Standing::Others(_))
    }

    /// Waits for the moment, or for news of the Lease; a leader also for the end of its time, or for a wish to pass on.
    async fn wait(&mut self, next: Instant, leads_until: Instant) {
        let leading = *self.leading.borrow();
        let until = if leading { next.min(leads_until) } else { next };
        let wish = Instant::now() + WISH_PERIOD;
        loop {
            tokio::select! {
                () = sleep_until(until) => return,
                Ok(()) = self.lease.changed() => {
                    let before = self.claim.standing();
                    let lease = self.lease.borrow_and_update().clone();
                    self.claim.observe(lease);
                    // Renewals of our own come back here, too.
                    if self.claim.standing() != before {
                        return;
                    }
                }
                Ok(()) = async { sleep_until(wish).await; self.wanted.changed().await }, if leading => return,
            }
        }
    }

    /// Takes or renews the Lease; false if somebody else was quicker. A leader's attempt ends with its time.
    async fn attempt(&mut self, leads_until: Instant) -> Result<bool, Failure> {
        let leading = *self.leading.borrow();
        let wanted = *self.wanted.borrow_and_update();
        let claim = &mut self.claim;
        let attempt = async {
            // Before it is taken from somebody, the record is read anew: the watch may have been blind.
            if claim.standing() == Standing::Free {
                claim.read().await?;
                if matches!(claim.standing(), Standing::Others(_)) {
                    return Ok(false);
                }
            }
            match claim.write(&[(WANTED_ANNOTATION, wanted.to_string())]).await {
                Ok(()) => Ok(true),
                Err(Failure::Conflict) => claim.read().await.map(|()| false),
                Err(failure) => Err(failure),
            }
        };
        let until = if leading { leads_until } else { Instant::now() + RENEW_DEADLINE };
        match timeout_at(until, attempt).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::Unreachable("no answer in time".to_string())),
        }
    }

    fn step_down(&self, reason: &str) {
        if self.leading.send_replace(false) {
            warn!(reason, "this agent no longer leads: it stops writing the status of objects");
        }
    }
}
