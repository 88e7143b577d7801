//! Which backend has which id, who names it, where it is, and when it is gone.
//!
//! A backend is kept while any group names it, whatever its weight, and beyond that while its Pod lives. When it is
//! gone its entry is freed and its generation counts up, which ends its flows at once. A way that changes does neither:
//! flows keep the source they were given, new ones get the new one.

use std::collections::btree_map::Entry as MapEntry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use gateway_common::{Address, Backend, Place, Port, Protocol};

use super::filter::Filter;
use super::ids::Ids;
use super::vips::Vips;
use super::ways::{Unreachable, Way, Ways};
use super::write::Write;
use crate::model::{self, Model, PodId};

/// How long packets from a gone backend's address are still looked at, so that late replies do not leave with the
/// Pod's address as if they were of nobody's flow.
pub(super) const LATE_REPLIES: Duration = Duration::from_mins(1);

/// A backend as a group names it.
pub(super) type Named = (model::Backend, Place);

/// All backends that have an id.
#[derive(Debug)]
pub(super) struct Backends {
    ids: Ids,
    taken: BTreeMap<model::Backend, Entry>,
    /// Those that no group names.
    unnamed: BTreeSet<model::Backend>,
    /// Those whose entry in the map may have to be another one.
    unsettled: BTreeSet<model::Backend>,
    /// Those elsewhere that nothing leads to, and whether that is for want of an address of ours.
    unreachable: BTreeMap<model::Backend, bool>,
    /// How many backends are reached by each device.
    devices: BTreeMap<u32, usize>,
    /// Of which version the ways are that all entries were settled by.
    ways_version: Option<u64>,
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
    /// How many groups name it as a Pod of this node.
    named_here: u32,
    /// How many groups name it as a Pod elsewhere.
    named_elsewhere: u32,
    /// An earlier agent's work that no model has spoken of since.
    adopted: bool,
    /// Where it is and what its packets bear as their source, as the map has it; nothing if the map has no entry yet.
    written: Option<(Place, Address)>,
    /// The devices that lead to it, if it is elsewhere.
    devices: Option<Arc<[u32]>>,
}

impl Entry {
    const fn new(id: u32) -> Self {
        Self { id, named_here: 0, named_elsewhere: 0, adopted: false, written: None, devices: None }
    }

    const fn is_named(&self) -> bool {
        self.named_here + self.named_elsewhere > 0
    }

    /// How many groups name it as being there.
    const fn named(&mut self, place: Place) -> &mut u32 {
        match place {
            Place::Here => &mut self.named_here,
            Place::Elsewhere => &mut self.named_elsewhere,
        }
    }

    /// Where it is. Who knows a Pod of this node knows better than who saw it from another cluster; what nobody names any
    /// more stays where it was.
    fn place(&self) -> Place {
        match (self.named_here, self.named_elsewhere) {
            (0, 0) => self.written.map_or(Place::Here, |(place, _)| place),
            (0, _) => Place::Elsewhere,
            (_, _) => Place::Here,
        }
    }
}

impl Backends {
    /// From what the maps contain.
    pub(super) fn adopt(entries: &BTreeMap<u32, Backend>, filter: &[u64], capacity: u32, now: Duration) -> Self {
        let mut taken = BTreeMap::new();
        let mut orphans = Vec::new();
        let mut filter = Filter::adopt(filter, now + LATE_REPLIES);
        let mut taken_ids = BTreeSet::new();
        for (&id, entry) in entries {
            let Some(place) = entry.place() else { continue };
            taken_ids.insert(id);
            let backend = identity(entry);
            if let MapEntry::Vacant(vacancy) = taken.entry(backend) {
                filter.enter(&backend.address);
                let written = Some((place, entry.source));
                vacancy.insert(Entry { adopted: true, written, ..Entry::new(id) });
            } else {
                orphans.push(id);
            }
        }
        let used = entries.keys().copied().collect();
        Self {
            ids: Ids::adopt(capacity, &used, &taken_ids),
            unnamed: taken.keys().copied().collect(),
            unsettled: BTreeSet::new(),
            unreachable: BTreeMap::new(),
            devices: BTreeMap::new(),
            ways_version: None,
            adopted: taken.iter().map(|(&backend, entry): (_, &Entry)| (entry.id, backend)).collect(),
            taken,
            generations: entries.iter().map(|(&id, entry)| (id, entry.generation)).collect(),
            orphans,
            filter,
        }
    }

    /// A group that lies in the maps names the backend of this id: its identity, unless the id is not taken.
    pub(super) fn name_adopted(&mut self, id: u32) -> Option<Named> {
        let backend = *self.adopted.get(&id)?;
        let entry = self.taken.get_mut(&backend)?;
        let place = entry.place();
        *entry.named(place) += 1;
        self.unnamed.remove(&backend);
        Some((backend, place))
    }

    /// The source of every backend, once for each that has one.
    pub(super) fn sources(&self) -> impl Iterator<Item = Address> {
        self.taken.values().filter_map(|entry| stated(entry.written?.1))
    }

    /// One more group names the backend: its id, an old or a new one; nothing if all are taken.
    pub(super) fn name(&mut self, (backend, place): Named, now: Duration, writes: &mut Vec<Write>) -> Option<u32> {
        let entry = match self.taken.entry(backend) {
            MapEntry::Occupied(entry) => entry.into_mut(),
            MapEntry::Vacant(vacancy) => {
                let id = self.ids.take(now)?;
                self.filter.enter(&backend.address);
                writes.push(Write::ClearBackendCounters { id });
                vacancy.insert(Entry::new(id))
            }
        };
        let before = entry.written.map(|(place, _)| place);
        *entry.named(place) += 1;
        entry.adopted = false;
        self.unnamed.remove(&backend);
        if before != Some(entry.place()) {
            self.unsettled.insert(backend);
        }
        Some(entry.id)
    }

    /// One group less names the backend.
    pub(super) fn unname(&mut self, (backend, place): &Named) {
        if let Some(entry) = self.taken.get_mut(backend) {
            *entry.named(*place) -= 1;
            if !entry.is_named() {
                self.unnamed.insert(*backend);
            } else if entry.written.map(|(place, _)| place) != Some(entry.place()) {
                self.unsettled.insert(*backend);
            }
        }
    }

    /// Writes the entries of backends that came, moved, or are reached by another way than before. Replies are looked for
    /// at a new source before the first packet bears it.
    pub(super) fn settle(&mut self, ways: &mut dyn Ways, now: Duration, vips: &mut Vips, writes: &mut Vec<Write>) {
        let version = Some(ways.version());
        if self.ways_version != version {
            self.ways_version = version;
            let elsewhere = self.taken.iter().filter(|(_, entry)| entry.place() == Place::Elsewhere);
            self.unsettled.extend(elsewhere.map(|(backend, _)| *backend));
        }
        let mut entries = Vec::new();
        for backend in std::mem::take(&mut self.unsettled) {
            entries.extend(self.settle_one(backend, ways, now, vips));
        }
        self.flush_filter(writes);
        vips.flush_filter(writes);
        writes.extend(entries);
    }

    fn settle_one(
        &mut self,
        backend: model::Backend,
        ways: &mut dyn Ways,
        now: Duration,
        vips: &mut Vips,
    ) -> Option<Write> {
        let entry = self.taken.get_mut(&backend)?;
        let way = match entry.place() {
            Place::Here => Way::Local,
            Place::Elsewhere => match ways.way(&backend.address) {
                // Whoever says that a Pod elsewhere has an address of this very node is not let at the node's services.
                Way::Local => Way::None,
                way => way,
            },
        };
        match way {
            Way::None | Way::NoSource => self.unreachable.insert(backend, way == Way::NoSource),
            Way::Local | Way::By { .. } => self.unreachable.remove(&backend),
        };
        let (place, source, devices) = match way {
            Way::Local => (Place::Here, Address::UNSPECIFIED, None),
            Way::By { source, devices } => (Place::Elsewhere, source, Some(devices)),
            Way::None | Way::NoSource => (Place::Elsewhere, Address::UNSPECIFIED, None),
        };
        for device in devices.iter().flat_map(|devices| devices.iter()) {
            *self.devices.entry(*device).or_default() += 1;
        }
        forget(&mut self.devices, std::mem::replace(&mut entry.devices, devices).as_deref());
        let before = entry.written.replace((place, source));
        if before == Some((place, source)) {
            return None;
        }
        if let Some(source) = stated(source) {
            vips.enter_source(source);
        }
        if let Some(source) = before.and_then(|(_, source)| stated(source)) {
            vips.leave_source(&source, now);
        }
        let generation = self.generations.get(&entry.id).copied().unwrap_or(0);
        let model::Backend { address, port, protocol, pod } = backend;
        let place = place as u8;
        let backend = Backend { address, source, pod: pod.raw(), generation, port, protocol, place };
        Some(Write::SetBackend { id: entry.id, backend })
    }

    /// Writes the filter's bits of the backends that came.
    fn flush_filter(&mut self, writes: &mut Vec<Write>) {
        let words = self.filter.flush();
        writes.extend(words.into_iter().map(|(index, word)| Write::SetBackendFilter { index, word }));
    }

    /// Frees the backends that are gone.
    pub(super) fn retire(&mut self, model: &Model, now: Duration, vips: &mut Vips, writes: &mut Vec<Write>) {
        let lives = |backend: &model::Backend| backend.pod != PodId::NONE && model.living_pods.contains(&backend.pod);
        let is_kept =
            |backend: &model::Backend| model.incomplete && self.taken.get(backend).is_some_and(|entry| entry.adopted);
        let is_gone = |backend: &&model::Backend| !lives(backend) && !is_kept(backend);
        let gone: Vec<model::Backend> = self.unnamed.iter().filter(is_gone).copied().collect();
        for backend in gone {
            self.unnamed.remove(&backend);
            self.unreachable.remove(&backend);
            if let Some(Entry { id, written, devices, .. }) = self.taken.remove(&backend) {
                self.filter.leave(&backend.address, now + LATE_REPLIES);
                if let Some(source) = written.and_then(|(_, source)| stated(source)) {
                    vips.leave_source(&source, now);
                }
                forget(&mut self.devices, devices.as_deref());
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

    /// The devices that lead to backends elsewhere.
    pub(super) fn devices(&self) -> BTreeSet<u32> {
        self.devices.keys().copied().collect()
    }

    /// What is to be said of backends elsewhere that cannot be reached.
    pub(super) fn unreachable(&self) -> Option<Unreachable> {
        let (backend, &lacks_source) = self.unreachable.first_key_value()?;
        Some(Unreachable { backends: self.unreachable.len(), example: backend.address, lacks_source })
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

/// One backend less is reached by these devices.
fn forget(counts: &mut BTreeMap<u32, usize>, devices: Option<&[u32]>) {
    for device in devices.unwrap_or_default() {
        if let MapEntry::Occupied(mut count) = counts.entry(*device) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// An address, if it is one.
fn stated(address: Address) -> Option<Address> {
    (address != Address::UNSPECIFIED).then_some(address)
}

/// Who an entry of the map stands for.
fn identity(entry: &Backend) -> model::Backend {
    let Backend { address, pod, port, protocol, .. } = *entry;
    model::Backend { address, port, protocol, pod: PodId::from_raw(pod) }
}
