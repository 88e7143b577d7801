//! What the objects' status says now, as the watches and our own writes have shown it.
//!
//! Only what is needed to tell whether it says what it should: the rest of an object is the source's business.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Notify;

use super::change::{Change, Item, Scope};
use super::requests::{FIELD_MANAGER, version_number};
use crate::source::{Kind, ObjectId, Written};

/// What was last seen of one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sight {
    pub(super) uid: String,
    pub(super) version: String,
    /// The status, whole, as text: as a tree it would take ten times the memory, and many objects have one.
    status: Box<str>,
    /// What of it we have applied, and so may take back; none if nothing.
    pub(super) applied: Option<Applied>,
}

/// What of a status is ours.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Applied {
    /// The types of the conditions.
    pub(super) conditions: Vec<String>,
}

impl Sight {
    /// What an object as the API server has it, whole, says of itself; nothing if it has no status of ours.
    pub(super) fn of_written(written: &Written) -> Option<Self> {
        match written {
            // A cluster has many Services, and few of this type; one that no longer is may have a status of ours.
            Written::Service(service) => {
                let balances = service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer");
                let sight = Self::of(&service.metadata, service.status.as_ref());
                (balances || sight.applied.is_some()).then_some(sight)
            }
            Written::Gateway(gateway) => Some(Self::of(&gateway.metadata, gateway.status.as_ref())),
            Written::GatewayClass(class) => Some(Self::of(&class.metadata, class.status.as_ref())),
            Written::Route(route) => Some(Self::of(&route.metadata, route.status.as_ref())),
            Written::ListenerSet(set) => Some(Self::of(&set.metadata, set.status.as_ref())),
            Written::BackendTlsPolicy(policy) => Some(Self::of(&policy.metadata, policy.status.as_ref())),
            Written::Upstream(upstream) => Some(Self::of(&upstream.metadata, upstream.status.as_ref())),
            Written::AddressPool(pool) => Some(Self::of(&pool.metadata, pool.status.as_ref())),
            Written::ClusterLink(link) => Some(Self::of(&link.metadata, link.status.as_ref())),
            Written::Ingress(ingress) => Some(Self::of(&ingress.metadata, ingress.status.as_ref())),
            Written::EndpointSlice(_)
            | Written::IngressClass(_)
            | Written::Pod(_)
            | Written::ReferenceGrant(_)
            | Written::Namespace(_)
            | Written::Node(_)
            | Written::Secret(_)
            | Written::ConfigMap(_) => None,
        }
    }

    /// The metadata must still hold `managedFields`: they tell what is ours.
    pub(super) fn of(metadata: &ObjectMeta, status: Option<&impl Serialize>) -> Self {
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            version: metadata.resource_version.clone().unwrap_or_default(),
            applied: applied(metadata),
            ..Self::default()
        }
        .saying(status)
    }

    /// The same with another status.
    pub(super) fn saying(self, status: Option<&impl Serialize>) -> Self {
        let text = status.and_then(|status| serde_json::to_string(status).ok()).unwrap_or_default();
        Self { status: text.into(), ..self }
    }

    /// The status; `null` if there is none.
    pub(super) fn status(&self) -> Value {
        serde_json::from_str(&self.status).unwrap_or_default()
    }
}

/// What the API server has noted under our name.
fn applied(metadata: &ObjectMeta) -> Option<Applied> {
    let fields = metadata.managed_fields.as_ref()?.iter().find(|entry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.as_deref() == Some("status")
    })?;
    let fields = fields.fields_v1.as_ref().map(|fields| &fields.0["f:status"])?;
    // The API server writes the keys of a keyed list as `k:{"type":"Ready"}`.
    let key =
        |key: &String| Some(serde_json::from_str::<Value>(key.strip_prefix("k:")?).ok()?["type"].as_str()?.into());
    let conditions = fields["f:conditions"].as_object().into_iter().flat_map(|map| map.keys()).filter_map(key);
    fields.as_object().is_some_and(|fields| !fields.is_empty()).then(|| Applied { conditions: conditions.collect() })
}

/// What was last seen of all objects that have a status of ours, shared between who watches and who writes.
#[derive(Debug, Default)]
pub struct Seen {
    store: Mutex<Store>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Store {
    sights: HashMap<ObjectId, Arc<Sight>>,
    changed: HashSet<ObjectId>,
    served: HashMap<Kind, String>,
}

impl Seen {
    /// Notes an object as the API server has it, whole: with its status and our `managedFields`.
    #[cfg(test)]
    pub(super) fn note(&self, id: &ObjectId, written: &Written) {
        match Sight::of_written(written) {
            Some(sight) => self.put(id, sight),
            None => self.forget(id),
        }
    }

    /// Notes what a watch tells, and takes out of it what nobody else needs.
    pub(super) fn take_in(&self, change: &mut Change) {
        match change {
            Change::Apply(Scope::All(_), item) => self.take_item(item),
            Change::Delete(Scope::All(_), id) => self.forget(id),
            Change::Replace(Scope::All(kind), items) => {
                for item in items.iter_mut() {
                    self.take_item(item);
                }
                self.keep(*kind, &items.iter().map(|item| item.id().clone()).collect());
            }
            _ => {}
        }
    }

    fn take_item(&self, item: &mut Item) {
        if let Item::Good(entry, _, sight) = item {
            match sight.take() {
                Some(sight) => self.put(&entry.id, *sight),
                None => self.forget(&entry.id),
            }
        }
    }

    /// An object is gone.
    fn forget(&self, id: &ObjectId) {
        let mut store = self.lock();
        store.sights.remove(id);
        store.changed.remove(id);
    }

    /// These are all objects of a kind that there are: others that were seen are gone.
    fn keep(&self, kind: Kind, all: &HashSet<ObjectId>) {
        let mut store = self.lock();
        store.sights.retain(|id, _| id.kind != kind || all.contains(id));
        store.changed.retain(|id| id.kind != kind || all.contains(id));
    }

    /// In which version the server serves a kind, where it is not the newest.
    pub(super) fn serve(&self, kind: Kind, version: &str) {
        self.lock().served.insert(kind, version.to_string());
    }

    /// The version in which the server serves a kind, if it was told.
    pub(super) fn served(&self, kind: Kind) -> Option<String> {
        self.lock().served.get(&kind).cloned()
    }

    pub(super) fn get(&self, id: &ObjectId) -> Option<Arc<Sight>> {
        self.lock().sights.get(id).cloned()
    }

    /// All that are there.
    pub(super) fn all(&self) -> Vec<ObjectId> {
        self.lock().sights.keys().cloned().collect()
    }

    /// What an answer to our own writing showed. An object that went meanwhile is not brought back.
    pub(super) fn note_answer(&self, id: &ObjectId, sight: Sight) {
        let mut store = self.lock();
        let Some(known) = store.sights.get(id) else { return };
        if known.uid == sight.uid && version_number(&known.version) < version_number(&sight.version) {
            store.sights.insert(id.clone(), sight.into());
        }
    }

    /// Waits until an object was noted.
    pub(super) async fn changed(&self) {
        self.news.notified().await;
    }

    /// What was noted since this was last asked.
    pub(super) fn take_changed(&self) -> HashSet<ObjectId> {
        mem::take(&mut self.lock().changed)
    }

    pub(super) fn put(&self, id: &ObjectId, sight: Sight) {
        let mut store = self.lock();
        // The watch may be behind what the answer to our own writing has shown.
        let stale = store.sights.get(id).is_some_and(|known| {
            known.uid == sight.uid && version_number(&known.version) > version_number(&sight.version)
        });
        if stale {
            return;
        }
        store.sights.insert(id.clone(), sight.into());
        store.changed.insert(id.clone());
        drop(store);
        self.news.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::source::{Name, Upstream};

    fn id() -> ObjectId {
        ObjectId { kind: Kind::Upstream, name: Name::new("shop", "a") }
    }

    fn upstream(uid: &str, version: &str) -> Written {
        let document = json!({
            "metadata": {"name": "a", "namespace": "shop", "uid": uid, "resourceVersion": version, "managedFields": [
                {"manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:spec": {}}},
                {"manager": "beeline", "operation": "Apply", "subresource": "status", "fieldsV1": {"f:status": {
                    "f:conditions": {"k:{\"type\":\"Accepted\"}": {".": {}}}, "f:total": {}}}},
            ]},
            "spec": {"services": []},
            "status": {"total": version.parse::<u64>().unwrap()},
        });
        Written::Upstream(Box::new(serde_json::from_value::<Upstream>(document).unwrap()))
    }

    #[test]
    fn managed_fields_tell_which_conditions_are_ours() {
        let seen = Seen::default();

        seen.note(&id(), &upstream("u", "7"));

        let applied = seen.get(&id()).unwrap().applied.clone();
        assert_eq!(applied, Some(Applied { conditions: vec!["Accepted".to_string()] }));
    }

    #[test]
    fn a_watch_that_is_behind_does_not_undo_what_an_answer_showed() {
        let seen = Seen::default();
        seen.note(&id(), &upstream("u", "7"));

        seen.note_answer(&id(), Sight { uid: "u".into(), version: "10".into(), ..Sight::default() });
        seen.note(&id(), &upstream("u", "9"));
        assert_eq!(seen.get(&id()).unwrap().version, "10");

        seen.note(&id(), &upstream("another", "9"));
        assert_eq!(seen.get(&id()).unwrap().uid, "another", "another object of the same name");
    }

    #[test]
    fn an_answer_does_not_bring_back_what_is_gone() {
        let seen = Seen::default();
        seen.note(&id(), &upstream("u", "7"));
        seen.forget(&id());

        seen.note_answer(&id(), Sight { uid: "u".into(), version: "10".into(), ..Sight::default() });

        assert_eq!(seen.get(&id()), None);
    }
}
