//! Status goes back to the objects: one elected agent writes it, only where it differs, and leaves alone what others wrote.
//!
//! [`start`] also keeps this node's Lease, opens readiness gates and writes events. What a status should say is decided in
//! `translate`; what that looks like in the object, in `render`; whether the object says so already, in `difference`.

mod difference;
mod pace;
mod parents;
mod render;
mod write;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::Api;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use self::writer::Writer;
use super::duty::serve;
use super::election::{Election, LEADER_LEASE, LEASE_DURATION};
use super::events::Reporter;
use super::gates::Gatekeeper;
use super::infrastructure::Builder;
use super::lease::{Claim, follow};
use super::node_lease::{DEAD_AFTER, NODE_LABEL, Presence, lease_name};
use super::peers::follow_peers;
use super::{Facts, Heard, Seen, Stance};

/// After how long a readiness gate is opened although an agent lags, if nothing else is asked for.
pub const GATE_TIMEOUT: Duration = Duration::from_mins(1);

/// How many notices may wait to be written as events.
const NOTICES: usize = 256;

/// Who this agent is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace of the agents, where the Leases are.
    pub namespace: String,
    /// The node.
    pub node: String,
    /// What tells this process from others on the node: the Pod's name.
    pub instance: String,
    /// After how long a readiness gate is opened although an agent lags.
    pub gate_timeout: Duration,
    /// The readiness gates that are ours to open.
    pub gates: &'static [&'static str],
}

/// Everything that writes to the API server.
#[derive(Debug)]
pub struct Status {
    facts: watch::Sender<Arc<Facts>>,
    /// By itself: it rises with every Pod of the cluster, and nobody who reads the facts asks for it.
    revision: watch::Sender<u64>,
    stance: watch::Sender<Stance>,
    heard: watch::Receiver<Option<Heard>>,
    leading: watch::Receiver<bool>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// Starts it. Nothing is written before [`Status::publish`] has said what.
pub fn start(client: &Client, runtime: &Handle, settings: Settings, seen: Arc<Seen>) -> Status {
    let Settings { namespace, node, instance, gate_timeout, gates } = settings;
    let identity = format!("{node}/{instance}");
    let (facts, known) = watch::channel(Arc::default());
    let (revision, programmed) = watch::channel(0);
    let (leading_sender, leading) = watch::channel(false);
    let (stop_sender, stop) = watch::channel(false);
    let (lease_sender, lease) = watch::channel(None);
    let (wanted_sender, wanted) = watch::channel(0);
    let (notice_sender, notices) = mpsc::channel(NOTICES);
    let (stance_sender, stance) = watch::channel(Stance::default());
    let (heard_sender, heard) = watch::channel(None);
    let (node_sender, own_node) = watch::channel(None);

    let leases: Api<Lease> = Api::namespaced(client.clone(), &namespace);
    let election = Election {
        claim: Claim::new(client, &namespace, LEADER_LEASE, &identity, LEASE_DURATION),
        lease: lease.clone(),
        wanted,
        leading: leading_sender,
        stop: stop.clone(),
    };
    let claim = Claim::new(client, &namespace, &lease_name(&node), &identity, DEAD_AFTER);
    let peers = follow_peers(leases.clone(), stance.clone(), stop.clone(), heard_sender);
    let presence = Presence {
        claim: claim.labelled(NODE_LABEL, "true"),
        leader: lease,
        revision: programmed,
        stance,
        node: own_node,
        stop,
    };
    let nodes: Api<Node> = Api::all(client.clone());
    let gatekeeper = Gatekeeper {
        client: client.clone(),
        namespace,
        timeout: gate_timeout,
        ours: gates,
        facts: known.clone(),
        leading: leading.clone(),
        wanted: wanted_sender,
        notices: notice_sender.clone(),
    };
    let builder = Builder {
        client: client.clone(),
        seen: seen.clone(),
        facts: known.clone(),
        leading: leading.clone(),
        notices: notice_sender,
    };
    let reporter = Reporter {
        client: client.clone(),
        instance: identity,
        seen: seen.clone(),
        facts: known.clone(),
        leading: leading.clone(),
        notices,
    };
    let writer = Writer::new(client.clone(), seen, known, leading.clone());
    let tasks = vec![
        runtime.spawn(follow(leases, LEADER_LEASE, lease_sender)),
        runtime.spawn(election.run()),
        runtime.spawn(presence.run()),
        runtime.spawn(async move { follow(nodes, &node, node_sender).await }),
        runtime.spawn(peers),
        runtime.spawn(serve(gatekeeper)),
        runtime.spawn(serve(builder)),
        runtime.spawn(serve(reporter)),
        runtime.spawn(serve(writer)),
    ];
    Status { facts, revision, stance: stance_sender, heard, leading, stop: stop_sender, tasks }
}

impl Status {
    /// Says what is known now. What was known before and not yet written is passed over.
    pub fn publish(&self, facts: Facts) {
        self.facts.send_if_modified(|known| {
            let is_same = Arc::ptr_eq(&known.statuses, &facts.statuses) && known.is_like(&facts);
            let differs = !is_same && **known != facts;
            if differs {
                *known = Arc::new(facts);
            }
            differs
        });
    }

    /// Says up to which version of Pods this node's maps hold everything.
    pub fn programmed(&self, revision: u64) {
        self.revision.send_if_modified(|known| std::mem::replace(known, revision) != revision);
    }

    /// Says to the other agents what they must know of this node.
    pub fn stand(&self, stance: Stance) {
        self.stance.send_if_modified(|known| {
            let differs = *known != stance;
            *known = stance;
            differs
        });
    }

    /// Another agent of this node goes on: its Lease is not to be taken off the cluster.
    pub fn hand_over(&self) {
        self.stance.send_modify(|stance| stance.succeeded = true);
    }

    /// What is known of the other agents, if that was asked for.
    pub fn peers(&self) -> watch::Receiver<Option<Heard>> {
        self.heard.clone()
    }

    /// Whether this agent is the one that writes.
    pub fn is_leader(&self) -> bool {
        *self.leading.borrow()
    }

    /// Stops writing and lets go of the Leases, so that another agent takes over at once.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            // A task that panicked has said so.
            let _ended = task.await;
        }
    }
}

#[cfg(test)]
mod tests;
