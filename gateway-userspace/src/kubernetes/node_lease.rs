//! Each agent's own Lease, `beeline-node-<node>`: that it lives, and which revision of the Pods its maps hold.
//!
//! It is renewed every 10 s. When the leader waits for a revision it says so on its own Lease, which every agent watches,
//! and an agent that has programmed it, or soon will have, says so at once. So nothing is written while nobody asks.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::election::WANTED_ANNOTATION;
use super::lease::{CONFLICT_PAUSE, Claim, Standing};
use super::requests::Failure;

/// The label that all of them have.
pub(super) const NODE_LABEL: &str = "beeline.dev/node-lease";
/// The annotation that says what the node's maps hold.
pub(super) const REVISION_ANNOTATION: &str = "beeline.dev/revision";
/// After how long without a renewal the agent counts as dead.
pub(super) const DEAD_AFTER: Duration = Duration::from_secs(40);

const RENEW_PERIOD: Duration = Duration::from_secs(10);
const RETRY_PERIOD: Duration = Duration::from_secs(1);

/// Stands for what was published while it makes no sense to publish more.
const NOTHING_TO_ADD: u64 = u64::MAX;

/// The name of a node's Lease.
pub(super) fn lease_name(node: &str) -> String {
    format!("beeline-node-{node}")
}

/// The node of a Lease.
pub(super) fn node_of(lease: &Lease) -> Option<&str> {
    lease.metadata.name.as_deref()?.strip_prefix("beeline-node-")
}

/// The revision that a Lease's annotation says.
pub(super) fn revision_of(lease: &Lease, annotation: &str) -> u64 {
    let annotations = lease.metadata.annotations.as_ref();
    annotations.and_then(|annotations| annotations.get(annotation)?.parse().ok()).unwrap_or(0)
}

fn wanted_by(leader: &Lease) -> u64 {
    revision_of(leader, WANTED_ANNOTATION)
}

/// Keeps the Lease of this node.
pub(super) struct Presence {
    /// Our claim to the node's Lease.
    pub(super) claim: Claim,
    /// The leader's Lease, as the watch shows it.
    pub(super) leader: watch::Receiver<Option<Lease>>,
    /// The version of Pods up to which the node's maps hold everything.
    pub(super) revision: watch::Receiver<u64>,
    /// When to stop.
    pub(super) stop: watch::Receiver<bool>,
}

impl Presence {
    /// Keeps the Lease until told to stop, and takes it off the cluster then.
    pub(super) async fn run(mut self) {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = self.keep() => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        // What a cut-off request has done is known only by reading.
        let deleted = match self.claim.read().await {
            Ok(()) => self.claim.delete().await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = deleted {
            info!(%failure, "this node's Lease was not deleted: the leader takes no notice of it when it has run out");
        }
    }

    /// The first writing takes the Lease from whoever has it: an agent that starts replaces the one before it. An agent
    /// that was replaced keeps quiet for as long as its successor lives.
    async fn keep(&mut self) {
        let mut taken = false;
        let mut failing = false;
        let mut published = NOTHING_TO_ADD;
        let mut next = Instant::now();
        loop {
            self.wait(next, published).await;
            let revision = *self.revision.borrow_and_update();
            published = NOTHING_TO_ADD;
            match self.renew(revision, taken).await {
                Ok(None) => {
                    (taken, failing, published) = (true, false, revision);
                    next = Instant::now() + RENEW_PERIOD;
                }
                Ok(Some(until)) => next = until,
                Err(Failure::Conflict) => next = Instant::now() + CONFLICT_PAUSE,
                Err(failure) => {
                    if !std::mem::replace(&mut failing, true) {
                        warn!(%failure, "this node's Lease cannot be written: trying again");
                    }
                    next = Instant::now() + RETRY_PERIOD;
                }
            }
        }
    }

    /// Waits for the moment, or until the leader waits for more than was published and it has been programmed.
    async fn wait(&mut self, next: Instant, published: u64) {
        loop {
            let programmed = *self.revision.borrow_and_update();
            let wanted = self.leader.borrow_and_update().as_ref().map_or(0, wanted_by);
            if published < wanted && wanted <= programmed {
                return;
            }
            tokio::select! {
                () = sleep_until(next) => return,
                Ok(()) = self.revision.changed() => {}
                Ok(()) = self.leader.changed() => {}
            }
        }
    }

    /// Writes the Lease; if a successor has it, until when he does without renewing it.
    async fn renew(&mut self, revision: u64, taken: bool) -> Result<Option<Instant>, Failure> {
        if !taken || self.successor().is_some() {
            self.claim.read().await?;
        }
        if taken && let Some(until) = self.successor() {
            return Ok(Some(until));
        }
        let written = self.claim.write(&[(REVISION_ANNOTATION, revision.to_string())]).await;
        if matches!(written, Err(Failure::Conflict)) {
            self.claim.read().await?;
        }
        written.map(|()| None)
    }

    fn successor(&self) -> Option<Instant> {
        match self.claim.standing() {
            Standing::Others(until) => Some(until),
            Standing::Free | Standing::Ours => None,
        }
    }
}
