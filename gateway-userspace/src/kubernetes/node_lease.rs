//! Each agent's own Lease, `beeline-node-<node>`: that it lives, which revision of the Pods its maps hold, and what the
//! others must know of its node to share VIPs with it (`peers`).
//!
//! It is renewed every 10 s. When the leader waits for a revision it says so on its own Lease, which every agent watches,
//! and an agent that has programmed it, or soon will have, says so at once. So nothing is written while nobody asks.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::election::WANTED_ANNOTATION;
use super::lease::{CONFLICT_PAUSE, Claim, Standing};
use super::peers::{Peer, Stance};
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

/// The label of Nodes that no load balancer shall send traffic to.
const EXCLUDED_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// Whether clients shall come by other nodes if there are any: this one is not ready, going, or excluded.
fn is_unfit(node: &Node) -> bool {
    let is_excluded = node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(EXCLUDED_LABEL));
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let is_not_ready = conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status != "True");
    is_excluded || is_not_ready || node.metadata.deletion_timestamp.is_some()
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
    /// What it says of its node.
    pub(super) stance: watch::Receiver<Stance>,
    /// The Node, as the watch shows it.
    pub(super) node: watch::Receiver<Option<Node>>,
    /// When to stop.
    pub(super) stop: watch::Receiver<bool>,
}

impl Presence {
    /// Keeps the Lease until told to stop, and takes it off the cluster then, unless a successor has it.
    pub(super) async fn run(mut self) {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = self.keep() => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        if self.stance.borrow().succeeded {
            return;
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
        let mut said = None;
        let mut next = Instant::now();
        loop {
            self.wait(next, published, said.as_ref()).await;
            let revision = *self.revision.borrow_and_update();
            let word = self.word();
            (published, said) = (NOTHING_TO_ADD, None);
            match self.renew(revision, &word, taken).await {
                Ok(None) => {
                    (taken, failing, published, said) = (true, false, revision, Some(word));
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

    /// What the others must know of the node now.
    fn word(&mut self) -> Peer {
        let is_unfit = self.node.borrow_and_update().as_ref().is_some_and(is_unfit);
        let Stance { addresses, leaving, .. } = self.stance.borrow_and_update().clone();
        Peer { addresses, leaving: leaving || is_unfit }
    }

    /// Waits for the moment, or until the leader waits for more than was published and it has been programmed, or what was
    /// said of the node is true no more.
    async fn wait(&mut self, next: Instant, published: u64, said: Option<&Peer>) {
        loop {
            if said.is_some_and(|said| *said != self.word()) {
                return;
            }
            let programmed = *self.revision.borrow_and_update();
            let wanted = self.leader.borrow_and_update().as_ref().map_or(0, wanted_by);
            if published < wanted && wanted <= programmed {
                return;
            }
            tokio::select! {
                () = sleep_until(next) => return,
                Ok(()) = self.revision.changed() => {}
                Ok(()) = self.leader.changed() => {}
                Ok(()) = self.stance.changed() => {}
                Ok(()) = self.node.changed() => {}
            }
        }
    }

    /// Writes the Lease; if a successor has it, until when he does without renewing it.
    async fn renew(&mut self, revision: u64, word: &Peer, taken: bool) -> Result<Option<Instant>, Failure> {
        if !taken || self.successor().is_some() {
            self.claim.read().await?;
        }
        if taken && let Some(until) = self.successor() {
            return Ok(Some(until));
        }
        let [addresses, leaving] = word.annotations();
        let written = self.claim.write(&[(REVISION_ANNOTATION, revision.to_string()), addresses, leaving]).await;
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
