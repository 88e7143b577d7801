//! The Service that stands for each Gateway: headless, without a selector, owned by the Gateway and removed with it.
//!
//! The leader writes it, and only where it differs. What it bears is decided in `translate`. A Service of the same name
//! that was not made for the Gateway is never touched: an event at the Gateway says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::duty::Duty;
use super::events::Notice;
use super::requests::{FIELD_MANAGER, Failure, request};
use super::{Facts, Seen};
use crate::source::{Kind, Name, ObjectId};
use crate::translate::GATEWAY_NAME_LABEL;
use crate::translate::statuses::StandIn;

/// After how long what could not be written is tried again; twice as long after each further failure.
const RETRY_PERIOD: Duration = Duration::from_secs(5);
const LONGEST_PERIOD: Duration = Duration::from_mins(1);
/// How many failures in a row deserve a word in the log. A namespace that is being deleted fails, too, for some time.
const FAILURES_TO_TELL: u32 = 5;

/// Writes the Services while this agent leads.
pub(super) struct Builder {
    pub(super) client: Client,
    pub(super) seen: Arc<Seen>,
    pub(super) facts: watch::Receiver<Arc<Facts>>,
    pub(super) leading: watch::Receiver<bool>,
    pub(super) notices: mpsc::Sender<Notice>,
}

impl Duty for Builder {
    fn leading(&self) -> watch::Receiver<bool> {
        self.leading.clone()
    }

    /// As long as this agent leads. Nothing is remembered from an earlier term.
    async fn term(&mut self) {
        let services: Api<PartialObjectMeta<Service>> = Api::all(self.client.clone());
        let events = watcher(services, watcher::Config::default().labels(GATEWAY_NAME_LABEL));
        let events = events.default_backoff().filter_map(async |event| {
            event.inspect_err(|error| debug!(%error, "the watch for Services of Gateways is interrupted")).ok()
        });
        pin_mut!(events);
        let mut site = Site::default();
        self.facts.mark_changed();
        loop {
            let wake = site.wake().unwrap_or_else(|| Instant::now() + Duration::from_hours(1));
            tokio::select! {
                Some(event) = events.next() => site.note(event),
                Ok(()) = self.facts.changed() => {}
                () = sleep_until(wake) => {}
                else => return,
            }
            let facts = self.facts.borrow_and_update().clone();
            if facts.complete && site.is_listed {
                self.work(&mut site, &facts).await;
            }
        }
    }
}

impl Builder {
    /// Makes everything as it should be, as far as nothing has to wait.
    async fn work(&self, site: &mut Site, facts: &Facts) {
        let mut wanted = BTreeSet::new();
        for (gateway, status) in &facts.statuses.gateways {
            let id = ObjectId { kind: Kind::Gateway, name: gateway.clone() };
            let name = Name::new(&*gateway.namespace, &*status.stand_in.name);
            wanted.insert(name.clone());
            let Some(sight) = self.seen.get(&id) else { continue };
            let plan = Plan { gateway: &id, uid: &sight.uid, stand_in: &status.stand_in };
            let known = site.there.get(&name);
            if site.must_wait(&name) || known.is_some_and(|known| known.is_as(&plan)) {
                continue;
            }
            match self.write(&name, &plan, known).await {
                Ok(standing) => site.put(name, standing),
                Err(trouble) => self.tell(&plan, &trouble, site.postpone(name)),
            }
        }
        let is_leftover = |name: &Name| !wanted.contains(name) && !site.must_wait(name);
        let ours = site.there.iter().filter(|(name, standing)| standing.applied.is_some() && is_leftover(name));
        let leftover: Vec<_> = ours.map(|(name, standing)| (name.clone(), standing.uid.clone())).collect();
        for (name, uid) in leftover {
            match self.remove(&name, uid).await {
                Ok(()) | Err(Failure::Gone | Failure::Conflict) => site.forget(&name),
                Err(failure) => {
                    debug!(service = %name, %failure, "a Service whose Gateway is none of ours was not removed");
                    site.postpone(name);
                }
            }
        }
        site.pauses.retain(|name, _| wanted.contains(name) || site.there.contains_key(name));
    }

    /// Makes or mends one Service.
    async fn write(&self, name: &Name, plan: &Plan<'_>, known: Option<&Standing>) -> Result<Standing, Trouble> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), &name.namespace);
        let found = match known {
            Some(known) => Some(known.clone()),
            None => match request(services.get_metadata(&name.name)).await {
                Ok(object) => Some(Standing::of(&object.metadata)),
                Err(Failure::Gone) => None,
                Err(failure) => return Err(failure.into()),
            },
        };
        let uid = match found {
            Some(found) if found.owner.as_deref() == Some(plan.uid) => Some(found.uid),
            // Of an earlier Gateway of the name, most likely: then it goes by itself.
            Some(found) if found.applied.is_some() => return Err(Trouble::Leftover),
            Some(_) => return Err(Trouble::Foreign),
            None => None,
        };
        // What is not known to be ours is not taken from whoever was quicker.
        let parameters = PatchParams { force: uid.is_some(), ..PatchParams::apply(FIELD_MANAGER) };
        let patch = Patch::Apply(plan.document(name, uid));
        let object = request(services.patch_metadata(&name.name, &parameters, &patch)).await?;
        debug!(service = %name, gateway = %plan.gateway, "the Service of a Gateway is written");
        Ok(Standing::of(&object.metadata))
    }

    async fn remove(&self, name: &Name, uid: String) -> Result<(), Failure> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), &name.namespace);
        let preconditions = Some(Preconditions { uid: Some(uid), resource_version: None });
        let parameters = DeleteParams { preconditions, ..DeleteParams::default() };
        request(services.delete(&name.name, &parameters)).await?;
        info!(service = %name, "its Gateway is none of ours any more: deleted");
        Ok(())
    }

    /// Says why a Service is not as it should be, once, where somebody can do something about it.
    fn tell(&self, plan: &Plan<'_>, trouble: &Trouble, failures: u32) {
        let (gateway, service) = (plan.gateway, &plan.stand_in.name);
        match trouble {
            // That of an earlier Gateway goes by itself, soon; that of another Gateway with such a name does not.
            Trouble::Foreign | Trouble::Leftover if failures == trouble.failures_to_tell() => {
                let note = format!(
                    "Service `{service}` was not made for this Gateway, whose labels and annotations it should bear: rename \
                     one of them"
                );
                let (id, uid) = (gateway.clone(), Some(plan.uid.to_string()));
                let notice = Notice { id, uid, reason: "ServiceNotCreated", note };
                let _dropped_if_too_many = self.notices.try_send(notice);
            }
            Trouble::Failed(failure) if failures == trouble.failures_to_tell() => {
                warn!(%gateway, service, %failure, "the Service of a Gateway cannot be written");
            }
            Trouble::Failed(failure) => debug!(%gateway, service, %failure, "the Service of a Gateway was not written"),
            Trouble::Foreign | Trouble::Leftover => {
                debug!(%gateway, service, "the name of a Gateway's Service is taken");
            }
        }
    }
}

/// Why a Service is not as it should be.
enum Trouble {
    /// Somebody else's has the name.
    Foreign,
    /// That of an earlier Gateway has the name, or of another one.
    Leftover,
    Failed(Failure),
}

impl Trouble {
    /// After how many failures in a row it is told.
    fn failures_to_tell(&self) -> u32 {
        match self {
            Self::Foreign => 1,
            Self::Leftover | Self::Failed(_) => FAILURES_TO_TELL,
        }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What is there and what must wait.
#[derive(Default)]
struct Site {
    there: BTreeMap<Name, Standing>,
    pauses: BTreeMap<Name, Pause>,
    /// Whether all that is there has been seen.
    is_listed: bool,
}

/// How long something must wait after it has failed.
struct Pause {
    until: Instant,
    failures: u32,
}

impl Site {
    fn note(&mut self, event: watcher::Event<PartialObjectMeta<Service>>) {
        match event {
            watcher::Event::Apply(service) | watcher::Event::InitApply(service) => {
                self.put(name(&service.metadata), Standing::of(&service.metadata));
            }
            watcher::Event::Delete(service) => self.forget(&name(&service.metadata)),
            watcher::Event::Init => {
                self.there.clear();
                self.is_listed = false;
            }
            watcher::Event::InitDone => self.is_listed = true,
        }
    }

    fn put(&mut self, name: Name, standing: Standing) {
        self.pauses.remove(&name);
        self.there.insert(name, standing);
    }

    fn forget(&mut self, name: &Name) {
        self.pauses.remove(name);
        self.there.remove(name);
    }

    fn must_wait(&self, name: &Name) -> bool {
        self.pauses.get(name).is_some_and(|pause| pause.until > Instant::now())
    }

    /// When something need no longer wait.
    fn wake(&self) -> Option<Instant> {
        let now = Instant::now();
        self.pauses.values().map(|pause| pause.until).filter(|until| *until > now).min()
    }

    /// Lets something wait; returns how often it has failed in a row.
    fn postpone(&mut self, name: Name) -> u32 {
        let now = Instant::now();
        let pause = self.pauses.entry(name).or_insert(Pause { until: now, failures: 0 });
        let time = RETRY_PERIOD * (1 << pause.failures.min(8));
        pause.until = now + time.min(LONGEST_PERIOD);
        pause.failures += 1;
        pause.failures
    }
}

/// What a Gateway wants.
struct Plan<'a> {
    gateway: &'a ObjectId,
    uid: &'a str,
    stand_in: &'a StandIn,
}

impl Plan<'_> {
    /// All that we have to say about the Service. With a UID, another of the same name is a conflict.
    fn document(&self, name: &Name, uid: Option<String>) -> Value {
        let mut document = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": name.name,
                "namespace": name.namespace,
                "labels": self.stand_in.labels,
                "annotations": self.stand_in.annotations,
                "ownerReferences": [{
                    "apiVersion": "gateway.networking.k8s.io/v1",
                    "kind": "Gateway",
                    "name": self.gateway.name.name,
                    "uid": self.uid,
                    "controller": true,
                }],
            },
            "spec": { "clusterIP": "None" },
        });
        if let Some(uid) = uid {
            document["metadata"]["uid"] = uid.into();
        }
        document
    }
}

/// What a Service bears.
#[derive(Clone, Debug, Default, PartialEq)]
struct Standing {
    uid: String,
    /// The UID of the Gateway that it is for.
    owner: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    /// What of that we have applied, and so may take back; none if the Service was not made by us.
    applied: Option<Applied>,
}

/// The names of the labels and annotations that are ours.
#[derive(Clone, Debug, Default, PartialEq)]
struct Applied {
    labels: BTreeSet<String>,
    annotations: BTreeSet<String>,
}

impl Standing {
    fn of(metadata: &ObjectMeta) -> Self {
        let owners = metadata.owner_references.iter().flatten();
        let mut owners = owners.filter(|owner| owner.controller == Some(true) && owner.kind == "Gateway");
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            owner: owners.next().map(|owner| owner.uid.clone()),
            labels: metadata.labels.clone().unwrap_or_default(),
            annotations: metadata.annotations.clone().unwrap_or_default(),
            applied: applied(metadata),
        }
    }

    /// Whether it bears all that a Gateway wants, and nothing of ours that it does not.
    fn is_as(&self, plan: &Plan<'_>) -> bool {
        let has = |there: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>| {
            wanted.iter().all(|(key, value)| there.get(key) == Some(value))
        };
        let same = |ours: &BTreeSet<String>, wanted: &BTreeMap<String, String>| ours.iter().eq(wanted.keys());
        let StandIn { name: _, labels, annotations } = plan.stand_in;
        self.owner.as_deref() == Some(plan.uid)
            && has(&self.labels, labels)
            && has(&self.annotations, annotations)
            && self
                .applied
                .as_ref()
                .is_some_and(|applied| same(&applied.labels, labels) && same(&applied.annotations, annotations))
    }
}

/// What the API server has noted under our name.
fn applied(metadata: &ObjectMeta) -> Option<Applied> {
    let entry = metadata.managed_fields.iter().flatten().find(|entry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.as_deref().unwrap_or_default().is_empty()
    })?;
    let fields = &entry.fields_v1.as_ref()?.0["f:metadata"];
    let keys = |field: &str| {
        let fields = fields[field].as_object().into_iter().flat_map(|fields| fields.keys());
        fields.filter_map(|key| key.strip_prefix("f:").map(str::to_string)).collect()
    };
    Some(Applied { labels: keys("f:labels"), annotations: keys("f:annotations") })
}

fn name(metadata: &ObjectMeta) -> Name {
    Name::new(metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests;
