//! Pods are watched twice: all of them by their metadata, and those of this node whole. Together they are one Pod.
//!
//! The newer version counts; what only the whole Pod says stays beside newer metadata of the same Pod. A Pod is there
//! when the watch of all has it, and gone when either has seen it go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;

use crate::kubernetes::change::Scope;
use crate::source::pod::Readiness;
use crate::source::{Entry, Name, Object, Objects, Pod};

/// What is remembered beside the Pods themselves.
#[derive(Debug, Default)]
pub(super) struct Pods {
    /// The Pods of this node, whole, as last seen so. Some may not be among all yet.
    local: BTreeMap<Name, Entry>,
    /// Those of them of which newer metadata are known, and their version.
    behind: BTreeMap<Name, u64>,
    /// The highest version of the metadata.
    highest: u64,
}

impl Pods {
    /// The highest version such that every change of a Pod up to it is known, of local Pods whole, and of those that wait
    /// for us with the slices that make them backends.
    pub(super) fn revision(&self, objects: &Objects) -> u64 {
        let waits = |entry: &&Entry| match &entry.object {
            Object::Pod(pod) => {
                pod.readiness() == Some(Readiness::WaitsForUs) && lacks_slice(objects, &entry.id.name, pod)
            }
            _ => false,
        };
        let waiting = self.local.values().filter(waits).filter_map(version_of);
        let oldest = self.behind.values().copied().chain(waiting).min();
        oldest.map_or(self.highest, |version| self.highest.min(version.saturating_sub(1)))
    }

    pub(super) fn local_names(&self) -> Vec<Name> {
        self.local.keys().cloned().collect()
    }

    /// Takes a Pod in. Says whether it differs in more than its version.
    pub(super) fn apply(&mut self, objects: &mut Objects, scope: &Scope, mut entry: Entry) -> bool {
        let Object::Pod(pod) = &entry.object else { return false };
        let name = entry.id.name.clone();
        let known = objects.pods.get(&name).map(|known| known.object.clone());
        if *scope == Scope::LocalPods {
            self.local.insert(name.clone(), entry.clone());
            let Some(known) = &known else {
                // Whether it is there at all is for the watch of all to say.
                return false;
            };
            entry.object = Object::Pod(joined(known, pod));
        } else {
            self.highest = self.highest.max(pod.version);
            if let Some(Entry { object: Object::Pod(whole), .. }) = self.local.get(&name) {
                entry.object = Object::Pod(joined(pod, whole));
            }
        }
        let Object::Pod(pod) = &entry.object else { return false };
        self.compare(&name, pod.version);
        let differs = known.is_none_or(|known| !same_but_for_version(&known, pod));
        objects.insert(entry);
        differs
    }

    /// Takes a Pod out, unless another of the same name has come since.
    pub(super) fn delete(&mut self, objects: &mut Objects, scope: &Scope, name: &Name) -> bool {
        self.behind.remove(name);
        if *scope == Scope::LocalPods {
            let uid = self.local.remove(name).and_then(|entry| uid_of(&entry));
            if objects.pods.get(name).is_some_and(|known| known.object.uid != uid) {
                return false;
            }
        }
        objects.pods.remove(name).is_some()
    }

    /// Notes whether the whole Pod is older than what is known of it.
    fn compare(&mut self, name: &Name, version: u64) {
        match self.local.get(name) {
            Some(Entry { object: Object::Pod(whole), .. }) if whole.version < version => {
                self.behind.insert(name.clone(), version);
            }
            _ => drop(self.behind.remove(name)),
        }
    }
}

/// Whether a Service selects a Pod that no slice of the Service names yet.
fn lacks_slice(objects: &Objects, name: &Name, pod: &Pod) -> bool {
    let selects = |service: &Service| {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.is_some_and(|wanted| !wanted.is_empty() && pod.labels.has_all(wanted))
    };
    let of_namespace = objects.services.iter().filter(|(service, _)| service.namespace == name.namespace);
    let selecting: Vec<&str> =
        of_namespace.filter(|(_, found)| selects(&found.object)).map(|(service, _)| &*service.name).collect();
    let slices = objects.endpoint_slices.iter().filter(|(slice, _)| slice.namespace == name.namespace);
    let named: BTreeSet<&str> = slices
        .filter(|(_, found)| {
            let targets = found.object.endpoints.iter().filter_map(|endpoint| endpoint.pod.as_ref());
            targets.into_iter().any(|target| target.uid == pod.uid)
        })
        .filter_map(|(_, found)| found.object.service.as_deref())
        .collect();
    selecting.iter().any(|service| !named.contains(service))
}

fn version_of(entry: &Entry) -> Option<u64> {
    match &entry.object {
        Object::Pod(pod) => Some(pod.version),
        _ => None,
    }
}

/// One Pod of what is known of it.
fn joined(metadata: &Arc<Pod>, whole: &Arc<Pod>) -> Arc<Pod> {
    if whole.version >= metadata.version {
        return whole.clone();
    }
    if whole.uid != metadata.uid {
        return metadata.clone();
    }
    Arc::new(Pod { body: whole.body.clone(), ..(**metadata).clone() })
}

fn same_but_for_version(one: &Pod, other: &Pod) -> bool {
    let Pod { uid, labels, weight, terminating, version: _, body } = one;
    *uid == other.uid
        && *labels == other.labels
        && *weight == other.weight
        && *terminating == other.terminating
        && *body == other.body
}

fn uid_of(entry: &Entry) -> Option<Arc<str>> {
    match &entry.object {
        Object::Pod(pod) => pod.uid.clone(),
        _ => None,
    }
}
