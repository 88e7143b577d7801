//! Which backend has which id, who names it, and when it is gone.
//!
//! A backend is kept while any group names it, whatever its weight, and beyond that while its Pod lives. When it is
//! gone its entry is freed and its generation counts up, which ends its flows at once.

use std::collections::btree_map::Entry as MapEntry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gateway_common::{Address, Backend, Place, Port, Protocol};

use super::filter::Filter;
use super::ids::Ids;
use super::write::Write;
use crate::model::{self, Model, PodId};

/// How long packets from a gone backend's address are still looked at, so that late replies do not leave with the
/// Pod's address as if they were of nobody's flow.
pub(super) const LATE_REPLIES: Duration = Duration::from_mins(1);

/// All backends that have an id.
#[derive(Debug)]
pub(super) struct Backends {
    ids: Ids,
    taken: BTreeMap<model::Backend, Entry>,
    /// Those that no group names.
    unnamed: BTreeSet<model::Backend>,
    /// The generation of every id that was ever used.
    generations: BTreeMap<u32, u32>,
    /// The identity behind each adopted id.
    adopted: BTreeMap<u32, model::Backend>,
    /// Taken ids that no identity leads to; only maps that somebody else wrote have such.
    orphans: Vec<u32>,
    filter: Filter,
}

#[derive(Debug)]
struct Entry {
    id: u32,
    /// How many groups name it.
    named: u32,
    /// An earlier agent's work that no model has spoken of since.
    adopted: bool,
}

impl Backends {
    /// From what the maps contain.
    pub(super) fn adopt(entries: &BTreeMap<u32, Backend>, filter: &[u64], capacity: u32, now: Duration) -> Self {
        let mut taken = BTreeMap::new();
        let mut orphans = Vec::new();
        let mut filter = Filter::adopt(filter, now + LATE_REPLIES);
        for (&id, entry) in entries.iter().filter(|(_, entry)| entry.place().is_some()) {
            let backend = identity(entry);
            if let MapEntry::Vacant(place) = taken.entry(backend) {
                filter.enter(&backend.address);
                place.insert(Entry { id, named: 0, adopted: true });
            } else {
                orphans.push(id);
            }
        }
        let used = entries.keys().copied().collect();
        let taken_ids = entries.iter().filter(|(_, entry)| entry.place().is_some()).map(|(&id, _)| id).collect();
        Self {
            ids: Ids::adopt(capacity, &used, &taken_ids),
            unnamed: taken.keys().copied().collect(),
            adopted: taken.iter().map(|(&backend, entry): (_, &Entry)| (entry.id, backend)).collect(),
            taken,
            generations: entries.iter().map(|(&id, entry)| (id, entry.generation)).collect(),
            orphans,
            filter,
        }
    }

    /// A group that lies in the maps names the backend of this id: its identity, unless the id is not taken.
    pub(super) fn name_adopted(&mut self, id: u32) -> Option<model::Backend> {
        let backend = *self.adopted.get(&id)?;
        self.taken.get_mut(&backend)?.named += 1;
        self.unnamed.remove(&backend);
        Some(backend)
    }

    /// One more group names the backend: its id, an old or a new one; nothing if all are taken.
    pub(super) fn name(&mut self, backend: model::Backend, now: Duration, writes: &mut Vec<Write>) -> Option<u32> {
        if let Some(entry) = self.taken.get_mut(&backend) {
            entry.named += 1;
            entry.adopted = false;
            self.unnamed.remove(&backend);
            return Some(entry.id);
        }
        let id = self.ids.take(now)?;
        let generation = self.generations.get(&id).copied().unwrap_or(0);
        self.taken.insert(backend, Entry { id, named: 1, adopted: false });
        self.filter.enter(&backend.address);
        writes.push(Write::ClearBackendCounters { id });
        let model::Backend { address, port, protocol, pod } = backend;
        let (source, place) = (Address::UNSPECIFIED, Place::Here as u8);
        let backend = Backend { address, source, pod: pod.raw(), generation, port, protocol, place };
        writes.push(Write::SetBackend { id, backend });
        Some(id)
    }

    /// One group less names the backend.
    pub(super) fn unname(&mut self, backend: &model::Backend) {
        if let Some(entry) = self.taken.get_mut(backend) {
            entry.named -= 1;
            if entry.named == 0 {
                self.unnamed.insert(*backend);
            }
        }
    }

    /// Writes the filter's bits of the backends that came.
    pub(super) fn flush_filter(&mut self, writes: &mut Vec<Write>) {
        let words = self.filter.flush();
        writes.extend(words.into_iter().map(|(index, word)| Write::SetBackendFilter { index, word }));
    }

    /// Frees the backends that are gone.
    pub(super) fn retire(&mut self, model: &Model, now: Duration, writes: &mut Vec<Write>) {
        let lives = |backend: &model::Backend| backend.pod != PodId::NONE && model.living_pods.contains(&backend.pod);
        let is_kept =
            |backend: &model::Backend| model.incomplete && self.taken.get(backend).is_some_and(|entry| entry.adopted);
        let is_gone = |backend: &&model::Backend| !lives(backend) && !is_kept(backend);
        let gone: Vec<model::Backend> = self.unnamed.iter().filter(is_gone).copied().collect();
        for backend in gone {
            self.unnamed.remove(&backend);
            if let Some(Entry { id, .. }) = self.taken.remove(&backend) {
                self.filter.leave(&backend.address, now + LATE_REPLIES);
                self.free(id, now, writes);
            }
        }
        for id in std::mem::take(&mut self.orphans) {
            self.free(id, now, writes);
        }
        self.adopted.clear();
        self.filter.expire(now);
        self.flush_filter(writes);
    }

    fn free(&mut self, id: u32, now: Duration, writes: &mut Vec<Write>) {
        let generation = self.generations.entry(id).or_default();
        *generation = generation.wrapping_add(1);
        let backend = Backend {
            address: Address::UNSPECIFIED,
            source: Address::UNSPECIFIED,
            pod: PodId::NONE.raw(),
            generation: *generation,
            port: Port::new(0),
            protocol: Protocol::new(0),
            place: 0,
        };
        writes.push(Write::SetBackend { id, backend });
        self.ids.free(id, now);
    }

    /// How many backends have an id.
    pub(super) fn len(&self) -> usize {
        self.taken.len()
    }

    /// When an id will be free again, if there was none.
    pub(super) fn next_available(&self) -> Option<Duration> {
        self.ids.next_available()
    }

    /// When a filter's bit goes.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.filter.next_deadline()
    }
}

/// Who an entry of the map stands for.
fn identity(entry: &Backend) -> model::Backend {
    let Backend { address, pod, port, protocol, .. } = *entry;
    model::Backend { address, port, protocol, pod: PodId::from_raw(pod) }
}
