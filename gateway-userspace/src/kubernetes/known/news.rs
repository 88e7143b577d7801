//! The commonest news, told apart from everything else: slices that come, go and change, and Services of which nothing but
//! the status is different, as after each writing of ours.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Known;
use crate::kubernetes::change::{Change, Item, Scope};
use crate::source::{Entry, Kind, Name, Object, ObjectId};

/// What is different since somebody last asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing else, if anything.
    Services(ServiceNews),
    /// Something else, too.
    Everything,
}

/// What is different about Services of which neither spec nor metadata are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceNews {
    /// Those of which slices came, went or changed.
    pub slices: BTreeSet<Name>,
    /// Those whose status says something else.
    pub statuses: BTreeSet<Name>,
}

impl Default for News {
    fn default() -> Self {
        Self::Services(ServiceNews::default())
    }
}

impl Known {
    /// Whether a change is about one slice of this cluster, or the status of one Service, which is good and always was.
    pub(super) fn is_common(&self, change: &Change) -> bool {
        let id = match change {
            Change::Apply(Scope::All(Kind::EndpointSlice), Item::Good(entry, problems, _)) if problems.is_empty() => {
                &entry.id
            }
            Change::Apply(Scope::All(Kind::Service), Item::Good(entry, problems, _))
                if problems.is_empty() && self.is_known_but_for_status(entry) =>
            {
                &entry.id
            }
            Change::Delete(Scope::All(Kind::EndpointSlice), id) => id,
            _ => return false,
        };
        !self.objects.rejected.contains(id) && !self.problems.keys().any(|(_, known)| known == id)
    }

    /// Takes such a change in.
    pub(super) fn apply_common(&mut self, change: Change) -> bool {
        match change {
            Change::Apply(Scope::All(Kind::Service), Item::Good(entry, ..)) => self.apply_status(entry),
            change => self.apply_to_slice(change),
        }
    }

    fn apply_status(&mut self, entry: Entry) -> bool {
        if self.objects.get(&entry.id).as_ref() == Some(&entry.object) {
            return false;
        }
        if let News::Services(news) = &mut self.news {
            news.statuses.insert(entry.id.name.clone());
        }
        self.objects.insert(entry);
        true
    }

    fn apply_to_slice(&mut self, change: Change) -> bool {
        let id = match &change {
            Change::Apply(_, item) => item.id().clone(),
            Change::Delete(_, id) => id.clone(),
            _ => return false,
        };
        let before = self.objects.endpoint_slices.get(&id.name).map(|found| found.object.clone());
        match change {
            Change::Apply(_, Item::Good(entry, ..)) => self.objects.insert(entry),
            _ => self.objects.remove(&id),
        }
        let after = self.objects.endpoint_slices.get(&id.name).map(|found| found.object.clone());
        let differs = before != after;
        if differs && let News::Services(news) = &mut self.news {
            let ObjectId { name: Name { namespace, .. }, .. } = id;
            let named = [before, after].into_iter().flatten().filter_map(|slice| slice.service.clone());
            news.slices.extend(named.map(|service| Name::new(&*namespace, &*service)));
        }
        differs
    }

    fn is_known_but_for_status(&self, entry: &Entry) -> bool {
        let Object::Service(service) = &entry.object else { return false };
        self.objects.services.get(&entry.id.name).is_some_and(|known| same_but_for_status(&known.object, service))
    }
}

/// Who wrote a status is noted in the metadata, and part of it.
fn same_but_for_status(one: &Service, other: &Service) -> bool {
    let unsigned = |service: &Service| ObjectMeta { managed_fields: None, ..service.metadata.clone() };
    one.spec == other.spec && unsigned(one) == unsigned(other)
}
