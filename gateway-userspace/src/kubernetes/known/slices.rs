//! Slices of Services that come, go and change: by far the commonest news, so it is told apart from everything else.

use std::collections::BTreeSet;

use super::Known;
use crate::kubernetes::change::{Change, Item, Scope};
use crate::source::{Kind, Name, ObjectId};

/// What is different since somebody last asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing but slices of these Services, if anything.
    Slices(BTreeSet<Name>),
    /// Something else, too.
    Everything,
}

impl Default for News {
    fn default() -> Self {
        Self::Slices(BTreeSet::new())
    }
}

impl Known {
    /// Whether a change is about one slice of this cluster, which is good and always was.
    pub(super) fn is_of_one_slice(&self, change: &Change) -> bool {
        let id = match change {
            Change::Apply(Scope::All(Kind::EndpointSlice), Item::Good(entry, problems, _)) if problems.is_empty() => {
                &entry.id
            }
            Change::Delete(Scope::All(Kind::EndpointSlice), id) => id,
            _ => return false,
        };
        !self.objects.rejected.contains(id) && !self.problems.keys().any(|(_, known)| known == id)
    }

    /// Takes such a change in.
    pub(super) fn apply_to_slice(&mut self, change: Change) -> bool {
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
        if differs && let News::Slices(services) = &mut self.news {
            let ObjectId { name: Name { namespace, .. }, .. } = id;
            let named = [before, after].into_iter().flatten().filter_map(|slice| slice.service.clone());
            services.extend(named.map(|service| Name::new(&*namespace, &*service)));
        }
        differs
    }
}
