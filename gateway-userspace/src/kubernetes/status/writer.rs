//! Writes status while this agent leads: a few objects at once, each in its own time.
//!
//! Whatever has changed, what should be said or what is said, only marks an object to be looked at. So nothing is written
//! twice, and nothing is lost: an object is looked at again for as long as it does not say what it should.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::FuturesUnordered;
use kube::Client;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::difference::is_current;
use super::pace::Pace;
use super::parents::{List, parents};
use super::render::status;
use super::write::{Job, What, now};
use crate::kubernetes::Facts;
use crate::kubernetes::duty::Duty;
use crate::kubernetes::requests::{Failure, resource};
use crate::kubernetes::seen::{Seen, Sight};
use crate::source::{Kind, Name, ObjectId};

/// How many objects are written to at once.
const WRITES_AT_ONCE: usize = 8;
/// Facts that change quickly are looked at this often.
const LOOK_PERIOD: Duration = Duration::from_millis(100);

/// Writes status while this agent leads.
pub(super) struct Writer {
    client: Client,
    seen: Arc<Seen>,
    facts: watch::Receiver<Arc<Facts>>,
    leading: watch::Receiver<bool>,
}

impl Writer {
    pub(super) fn new(
        client: Client,
        seen: Arc<Seen>,
        facts: watch::Receiver<Arc<Facts>>,
        leading: watch::Receiver<bool>,
    ) -> Self {
        Self { client, seen, facts, leading }
    }
}

impl Duty for Writer {
    fn leading(&self) -> watch::Receiver<bool> {
        self.leading.clone()
    }

    /// As long as this agent leads. Another may have written before, so everything is looked at.
    async fn term(&mut self) {
        let mut desk = Desk::new(self.facts.borrow_and_update().clone(), self.seen.all());
        let mut writing: FuturesUnordered<BoxFuture<'static, (ObjectId, Result<Sight, Failure>)>> =
            FuturesUnordered::new();
        let mut look_again = Instant::now();
        loop {
            while writing.len() < WRITES_AT_ONCE
                && let Some(job) = desk.next(&self.seen)
            {
                let (id, client) = (job.id.clone(), self.client.clone());
                writing.push(async move { (id, job.run(client).await) }.boxed());
            }
            let wake = desk.wake().unwrap_or_else(|| Instant::now() + Duration::from_hours(1));
            tokio::select! {
                changed = async { sleep_until(look_again).await; self.facts.changed().await } => {
                    if changed.is_err() {
                        return;
                    }
                    look_again = Instant::now() + LOOK_PERIOD;
                    desk.set(self.facts.borrow_and_update().clone());
                }
                () = self.seen.changed() => {}
                Some((id, outcome)) = writing.next() => desk.wrote(&id, outcome, &self.seen),
                () = sleep_until(wake) => {}
            }
            desk.look_at(self.seen.take_changed());
        }
    }
}

/// What there is to do.
struct Desk {
    facts: Arc<Facts>,
    /// Objects to be looked at.
    marked: BTreeSet<ObjectId>,
    /// Objects to be looked at then.
    later: BTreeMap<ObjectId, Instant>,
    /// Objects that are being written to, each with the content.
    busy: HashMap<ObjectId, u64>,
    paces: HashMap<ObjectId, Pace>,
    /// The kinds that the agent may not write to: said once.
    forbidden: HashSet<Kind>,
}

impl Desk {
    fn new(facts: Arc<Facts>, marked: Vec<ObjectId>) -> Self {
        Self {
            facts,
            marked: marked.into_iter().collect(),
            later: BTreeMap::new(),
            busy: HashMap::new(),
            paces: HashMap::new(),
            forbidden: HashSet::new(),
        }
    }

    fn look_at(&mut self, changed: HashSet<ObjectId>) {
        self.marked.extend(changed);
    }

    /// What should be said has changed.
    fn set(&mut self, facts: Arc<Facts>) {
        self.marked.extend(changes(&self.facts, &facts));
        self.facts = facts;
    }

    /// When an object is to be looked at again.
    fn wake(&self) -> Option<Instant> {
        self.later.values().min().copied()
    }

    /// The next writing, if one may begin now.
    fn next(&mut self, seen: &Seen) -> Option<Job> {
        if !self.facts.complete {
            return None;
        }
        let now = Instant::now();
        let due: Vec<ObjectId> = self.later.extract_if(.., |_, at| *at <= now).map(|(id, _)| id).collect();
        self.marked.extend(due);
        let mut waiting = Vec::new();
        let mut next = None;
        while let Some(id) = self.marked.pop_first() {
            if self.busy.contains_key(&id) {
                waiting.push(id);
                continue;
            }
            let Some(sight) = seen.get(&id) else {
                self.paces.remove(&id);
                continue;
            };
            let Some(what) = what(&self.facts, &id, &sight) else { continue };
            let not_before = self.paces.get(&id).map(Pace::not_before).filter(|not_before| *not_before > now);
            if let Some(not_before) = not_before {
                self.later.insert(id, not_before);
                continue;
            }
            self.busy.insert(id.clone(), content(&what));
            let resource = resource(id.kind, seen.served(id.kind).as_deref());
            next = Some(Job { id, resource, sight, what });
            break;
        }
        self.marked.extend(waiting);
        next
    }

    /// A writing has ended.
    fn wrote(&mut self, id: &ObjectId, outcome: Result<Sight, Failure>, seen: &Seen) {
        let now = Instant::now();
        let content = self.busy.remove(id).unwrap_or_default();
        let pace = self.paces.entry(id.clone()).or_insert_with(|| Pace::new(now));
        let failure = match outcome {
            Ok(sight) => {
                debug!(object = %id, "status written");
                if pace.wrote(content, now) {
                    warn!(object = %id, "somebody else keeps changing what this agent writes to its status");
                }
                return seen.note_answer(id, sight);
            }
            // The watch will tell what is there now.
            Err(Failure::Gone) => {
                self.paces.remove(id);
                return;
            }
            Err(failure) => failure,
        };
        pace.failed(if let Failure::Busy(pause) = failure { Some(pause) } else { None }, now);
        match failure {
            Failure::Forbidden(_) if !self.forbidden.insert(id.kind) => {}
            Failure::Forbidden(_) | Failure::Invalid(_) => {
                warn!(object = %id, %failure, "its status cannot be written");
            }
            Failure::Gone | Failure::Conflict | Failure::Busy(_) | Failure::Unreachable(_) => {
                debug!(object = %id, %failure, "its status cannot be written at present");
            }
        }
        self.marked.insert(id.clone());
    }
}

/// What is to be written to an object, if anything.
fn what(facts: &Facts, id: &ObjectId, sight: &Sight) -> Option<What> {
    let now = now();
    if let Some(list) = List::of(id.kind) {
        let wanted = if id.kind == Kind::BackendTlsPolicy {
            facts.statuses.backend_tls_policies.get(&id.name)
        } else {
            facts.statuses.routes.get(id)
        };
        if wanted.is_none() && facts.rejected.contains(id) {
            return None;
        }
        parents(list, &sight.status(), wanted, &now)?;
        return Some(What::Parents(list, wanted.cloned()));
    }
    match status(facts, id, &sight.status(), &now) {
        Some(wanted) => (!is_current(sight, &wanted)).then_some(What::Apply(wanted)),
        // It was ours and no longer is.
        None if sight.applied.is_some() && !facts.rejected.contains(id) => {
            Some(What::Apply(Value::Object(serde_json::Map::default())))
        }
        None => None,
    }
}

/// What stands for a writing's content whatever the time.
fn content(what: &What) -> u64 {
    let mut hasher = DefaultHasher::new();
    match what {
        What::Apply(status) => timeless(status).to_string().hash(&mut hasher),
        What::Parents(_, wanted) => format!("{wanted:?}").hash(&mut hasher),
    }
    hasher.finish()
}

fn timeless(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| *name != "lastTransitionTime")
            .map(|(name, value)| (name.clone(), timeless(value)))
            .collect(),
        Value::Array(entries) => entries.iter().map(timeless).collect(),
        other => other.clone(),
    }
}

/// The objects of which two sets of facts say different things.
fn changes(before: &Facts, after: &Facts) -> BTreeSet<ObjectId> {
    let mut changed: BTreeSet<ObjectId> = before.rejected.symmetric_difference(&after.rejected).cloned().collect();
    let (before, after) = (&before.statuses, &after.statuses);
    changed.extend(differing(&before.routes, &after.routes).cloned());
    let mut mark = |kind: Kind, names: Vec<&Name>| {
        changed.extend(names.into_iter().map(|name| ObjectId { kind, name: name.clone() }));
    };
    mark(Kind::Service, differing(&before.services, &after.services).collect());
    mark(Kind::Gateway, differing(&before.gateways, &after.gateways).collect());
    mark(Kind::GatewayClass, differing(&before.gateway_classes, &after.gateway_classes).collect());
    mark(Kind::Ingress, differing(&before.ingresses, &after.ingresses).collect());
    mark(Kind::ListenerSet, differing(&before.listener_sets, &after.listener_sets).collect());
    let policies = differing(&before.backend_tls_policies, &after.backend_tls_policies);
    mark(Kind::BackendTlsPolicy, policies.collect());
    mark(Kind::Upstream, differing(&before.upstreams, &after.upstreams).collect());
    mark(Kind::AddressPool, differing(&before.address_pools, &after.address_pools).collect());
    mark(Kind::ClusterLink, differing(&before.cluster_links, &after.cluster_links).collect());
    changed
}

fn differing<'a, K: Ord, V: PartialEq>(
    before: &'a BTreeMap<K, V>,
    after: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = &'a K> {
    let gone = before.keys().filter(|key| !after.contains_key(key));
    gone.chain(after.iter().filter(|(key, value)| before.get(key) != Some(value)).map(|(key, _)| key))
}
