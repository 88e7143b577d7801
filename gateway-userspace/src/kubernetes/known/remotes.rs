//! What is known of linked clusters: the same as of this one, in less detail, each namespace received by itself.

use std::collections::{BTreeMap, BTreeSet};

use super::Known;
use crate::kubernetes::change::{Change, Item, Scope};
use crate::source::{Entry, Kind, Name, Object, ObjectId, Remote, Sourced};

impl Known {
    /// Takes in a change that came over a link.
    pub(super) fn apply_remote(&mut self, link: &str, change: Change) -> bool {
        match change {
            Change::Apply(_, item) => self.take_remote(link, item),
            Change::Delete(_, id) => self.delete_remote(link, &id),
            Change::Replace(scope, items) => self.replace_remote(link, &scope, items),
            // How a link does as a whole is said by itself, and of Gateway API this cluster's alone counts.
            Change::Health(..) | Change::Remote(..) | Change::Link(..) | Change::Unlink(_) | Change::Definitions(_) => {
                false
            }
        }
    }

    fn take_remote(&mut self, link: &str, item: Item) -> bool {
        let differs = self.note(Some(link), &item);
        match item {
            Item::Good(entry, ..) => {
                insert(self.objects.remotes.entry(link.to_string()).or_default(), entry) || differs
            }
            Item::Bad(..) => differs,
        }
    }

    fn delete_remote(&mut self, link: &str, id: &ObjectId) -> bool {
        let had_problems = self.problems.remove(&(Some(link.to_string()), id.clone())).is_some();
        let Some(remote) = self.objects.remotes.get_mut(link) else { return had_problems };
        let was_there = match id.kind {
            Kind::Service => remote.objects.services.remove(&id.name).is_some(),
            Kind::EndpointSlice => remote.objects.endpoint_slices.remove(&id.name).is_some(),
            Kind::Pod => remote.objects.pods.remove(&id.name).is_some(),
            _ => false,
        };
        was_there || had_problems
    }

    fn replace_remote(&mut self, link: &str, scope: &Scope, items: Vec<Item>) -> bool {
        let kind = scope.kind();
        let listed: BTreeSet<Name> = items.iter().map(|item| item.id().name.clone()).collect();
        let known = self.objects.remotes.get(link).map(|remote| names(remote, scope)).unwrap_or_default();
        let mut differs = false;
        for name in known.into_iter().filter(|name| !listed.contains(name)) {
            differs |= self.delete_remote(link, &ObjectId { kind, name });
        }
        for item in items {
            differs |= self.take_remote(link, item);
        }
        differs
    }
}

/// The names of what is known within a scope.
fn names(remote: &Remote, scope: &Scope) -> Vec<Name> {
    let within = |name: &&Name| match scope {
        Scope::Within(_, namespace) => *name.namespace == **namespace,
        Scope::Named(_, one) => **name == **one,
        Scope::All(_) | Scope::LocalPods => true,
    };
    match scope.kind() {
        Kind::Service => remote.objects.services.keys().filter(within).cloned().collect(),
        Kind::EndpointSlice => remote.objects.endpoint_slices.keys().filter(within).cloned().collect(),
        Kind::Pod => remote.objects.pods.keys().filter(within).cloned().collect(),
        _ => Vec::new(),
    }
}

fn insert(remote: &mut Remote, entry: Entry) -> bool {
    let Entry { id, origin, object } = entry;
    match object {
        Object::Service(object) => put(&mut remote.objects.services, id.name, Sourced { object, origin }),
        Object::EndpointSlice(object) => put(&mut remote.objects.endpoint_slices, id.name, Sourced { object, origin }),
        Object::Pod(object) => put(&mut remote.objects.pods, id.name, Sourced { object, origin }),
        _ => false,
    }
}

/// Puts a value in and says whether it is news.
fn put<T: PartialEq>(map: &mut BTreeMap<Name, T>, name: Name, value: T) -> bool {
    if map.get(&name) == Some(&value) {
        return false;
    }
    map.insert(name, value);
    true
}
