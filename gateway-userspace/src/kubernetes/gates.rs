//! The readiness gates of Pods: the leader opens them when every living agent has programmed the Pod.
//!
//! A Pod that waits for us has a version at which it began to; an agent whose Lease says that version or a later one
//! holds it in its maps. Agents of dead or deleted nodes do not count, and after a time-out the gate is opened anyway, with
//! an event that names who lags: no rollout hangs for ever. Which Pod waits is `source::pod`'s business; what is due is
//! decided in `due`.

mod due;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, pin_mut, stream};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod as KubernetesPod, PodCondition, PodReadinessGate, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Client;
use kube::api::{Api, Object, Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use self::due::{Due, Gates, Outcome, WaitingPod};
use super::Facts;
use super::duty::Duty;
use super::events::Notice;
use super::lease;
use super::node_lease::{NODE_LABEL, REVISION_ANNOTATION, node_of, revision_of};
use super::requests::{FIELD_MANAGER, Failure, request, resource, version_number};
use crate::source::pod::Readiness;
use crate::source::{Kind, Name, ObjectId, Pod};

/// How many Pods are written to at once.
const WRITES_AT_ONCE: usize = 8;
/// After how long a writing that failed is tried again.
const RETRY_PERIOD: Duration = Duration::from_secs(1);

/// As much of a Pod as tells whether it waits for us.
type GatedPod = Object<GatedSpec, GatedStatus>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GatedSpec {
    #[serde(default)]
    readiness_gates: Vec<PodReadinessGate>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct GatedStatus {
    #[serde(default)]
    conditions: Vec<PodCondition>,
}

/// Opens the gates while this agent leads.
pub(super) struct Gatekeeper {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) timeout: Duration,
    /// The gates that are ours to open.
    pub(super) ours: &'static [&'static str],
    pub(super) facts: watch::Receiver<Arc<Facts>>,
    pub(super) leading: watch::Receiver<bool>,
    /// Where it says which revision it waits for.
    pub(super) wanted: watch::Sender<u64>,
    pub(super) notices: mpsc::Sender<Notice>,
}

impl Duty for Gatekeeper {
    fn leading(&self) -> watch::Receiver<bool> {
        self.leading.clone()
    }

    /// As long as this agent leads. Nothing is remembered from an earlier term.
    async fn term(&mut self) {
        let pods: Api<GatedPod> = Api::all_with(self.client.clone(), &resource(Kind::Pod, None));
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), &self.namespace);
        let living = "status.phase!=Succeeded,status.phase!=Failed";
        let pod_events = watch_all(pods, watcher::Config::default().fields(living));
        let lease_events = watch_all(leases.clone(), watcher::Config::default().labels(NODE_LABEL));
        pin_mut!(pod_events, lease_events);
        let mut gates = Gates::new(self.timeout);
        loop {
            let next = gates.next().unwrap_or_else(|| Instant::now() + Duration::from_hours(1));
            tokio::select! {
                Some(event) = pod_events.next() => note_pods(&mut gates, self.ours, event),
                Some(event) = lease_events.next() => note_leases(&mut gates, event),
                Ok(()) = self.facts.changed() => {}
                () = sleep_until(next) => {}
                else => return,
            }
            let facts = self.facts.borrow_and_update().clone();
            // It never falls: that nobody waits any more is no news.
            let wanted = gates.wanted();
            self.wanted.send_if_modified(|known| std::mem::replace(known, wanted.max(*known)) < wanted);
            if facts.complete && !facts.nodes.is_empty() {
                forget_dead(&leases, gates.take_dead(&facts.nodes, Instant::now())).await;
            }
            self.open(&mut gates, &facts.nodes).await;
        }
    }
}

impl Gatekeeper {
    /// Opens what is due.
    async fn open(&self, gates: &mut Gates, nodes: &BTreeSet<String>) {
        let due = gates.due(nodes, Instant::now());
        let written: Vec<(Name, bool)> = stream::iter(due)
            .map(|due| async move { (due.pod.clone(), self.open_one(&due).await) })
            .buffer_unordered(WRITES_AT_ONCE)
            .collect()
            .await;
        for (pod, done) in written {
            if done { gates.opened(&pod) } else { gates.postpone(&pod, Instant::now() + RETRY_PERIOD) }
        }
    }

    /// Opens one Pod's gates; whether there is nothing left to do.
    async fn open_one(&self, due: &Due) -> bool {
        let pods: Api<KubernetesPod> = Api::namespaced(self.client.clone(), &due.pod.namespace);
        let patch = Patch::Strategic(patch(due));
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_string()), ..PatchParams::default() };
        match request(pods.patch_subresource("status", &due.pod.name, &parameters, &patch)).await {
            Ok(_) => {
                debug!(pod = %due.pod, "its readiness gates are open");
                if let Outcome::TimedOut { .. } = &due.outcome {
                    let message = message(due);
                    info!(pod = %due.pod, message, "a readiness gate was opened at its time-out");
                    let id = ObjectId { kind: Kind::Pod, name: due.pod.clone() };
                    let notice = Notice { id, uid: Some(due.uid.clone()), reason: reason(due), note: message };
                    let _dropped_if_too_many = self.notices.try_send(notice);
                }
                true
            }
            // Another Pod may have the name by now: the watch will tell.
            Err(Failure::Gone | Failure::Conflict) => true,
            Err(failure) => {
                warn!(pod = %due.pod, %failure, "its readiness gates cannot be opened: trying again");
                false
            }
        }
    }
}

fn reason(due: &Due) -> &'static str {
    match due.outcome {
        Outcome::Programmed => "Programmed",
        Outcome::TimedOut { .. } => "TimedOut",
    }
}

fn message(due: &Due) -> String {
    match &due.outcome {
        Outcome::Programmed => "every agent has programmed the Pod".to_string(),
        Outcome::TimedOut { after, lagging } if lagging.is_empty() => {
            format!("opened after {}s although no agent is known: check the DaemonSet", after.as_secs())
        }
        Outcome::TimedOut { after, lagging } => format!(
            "opened after {}s although the agents of these nodes have not programmed the Pod: {}: check their logs",
            after.as_secs(),
            lagging.join(", "),
        ),
    }
}

fn patch(due: &Due) -> serde_json::Value {
    let conditions: Vec<PodCondition> = due
        .gates
        .iter()
        .map(|gate| PodCondition {
            type_: (*gate).to_string(),
            status: "True".to_string(),
            reason: Some(reason(due).to_string()),
            message: Some(message(due)),
            last_transition_time: Some(Time(Timestamp::now())),
            ..PodCondition::default()
        })
        .collect();
    json!({ "metadata": { "uid": due.uid }, "status": { "conditions": conditions } })
}

/// Takes the Leases of nodes that are gone off the cluster.
async fn forget_dead(leases: &Api<Lease>, dead: Vec<Lease>) {
    for dead in dead {
        let name = dead.metadata.name.clone().unwrap_or_default();
        match lease::delete(leases, &dead).await {
            Ok(()) => info!(lease = name, "its node is gone: deleted"),
            Err(failure) => debug!(lease = name, %failure, "the Lease of a node that is gone was not deleted"),
        }
    }
}

/// A watch that tries again by itself, with errors for the log only.
fn watch_all<K>(api: Api<K>, config: watcher::Config) -> impl stream::Stream<Item = watcher::Event<K>>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    watcher(api, config).default_backoff().filter_map(async |event| {
        event.inspect_err(|error| debug!(%error, "a watch for readiness gates is interrupted")).ok()
    })
}

fn note_pods(gates: &mut Gates, ours: &[&'static str], event: watcher::Event<GatedPod>) {
    let now = Instant::now();
    match event {
        watcher::Event::Apply(pod) => gates.note_pod(name(&pod.metadata), waiting(pod, ours), now),
        watcher::Event::InitApply(pod) => gates.list_pod(name(&pod.metadata), waiting(pod, ours), now),
        watcher::Event::Delete(pod) => gates.opened(&name(&pod.metadata)),
        watcher::Event::Init => gates.begin_pods(),
        watcher::Event::InitDone => gates.end_pods(),
    }
}

fn note_leases(gates: &mut Gates, event: watcher::Event<Lease>) {
    let now = Instant::now();
    match event {
        watcher::Event::Apply(lease) | watcher::Event::InitApply(lease) => {
            let revision = revision_of(&lease, REVISION_ANNOTATION);
            if let Some(node) = node_of(&lease).map(str::to_string) {
                gates.note_agent(node, lease, revision, now);
            }
        }
        watcher::Event::Delete(lease) => node_of(&lease).into_iter().for_each(|node| gates.forget_agent(node)),
        watcher::Event::Init => {}
        watcher::Event::InitDone => gates.end_agents(),
    }
}

fn name(metadata: &ObjectMeta) -> Name {
    Name::new(metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

/// What there is to do for a Pod, if it waits for us.
fn waiting(pod: GatedPod, ours: &[&'static str]) -> Option<WaitingPod> {
    let version = version_number(pod.metadata.resource_version.as_deref().unwrap_or_default());
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let conditions = pod.status.map(|status| status.conditions).unwrap_or_default();
    let is_open = |gate: &&str| conditions.iter().any(|other| other.type_ == **gate && other.status == "True");
    let has = |gate: &&str| pod.spec.readiness_gates.iter().any(|other| other.condition_type == **gate);
    let gates: Vec<&'static str> = ours.iter().copied().filter(|gate| has(gate) && !is_open(gate)).collect();
    if gates.is_empty() || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let pod = KubernetesPod {
        metadata: ObjectMeta::default(),
        spec: Some(PodSpec { readiness_gates: Some(pod.spec.readiness_gates), ..PodSpec::default() }),
        status: Some(PodStatus { conditions: Some(conditions), ..PodStatus::default() }),
    };
    let waits = Pod::from(&pod).readiness() == Some(Readiness::WaitsForUs);
    waits.then_some(WaitingPod { uid, version, gates })
}

#[cfg(test)]
mod tests;
