//! What stands behind each frontend in the maps: its service, its groups and their schedules.
//!
//! A group is known again by its frontend and the fingerprint of its reference, so that its id, and with it its
//! cursor, lives as long as the reference does. What did not change is not looked at again. A frontend of the HTTP layer
//! has a service without groups: only `FRONTENDS` says that it is steered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use gateway_common::maps::Capacities;
use gateway_common::{Frontend, FrontendKey, Group, Service, SlotRange, SourceRange};

use super::actual::Actual;
use super::affinities::{Affinities, Pair};
use super::backends::{Backends, Named};
use super::ids::Ids;
use super::note::{Matter, Note};
use super::placed::Placed;
use super::slots::SlotRanges;
use super::sources::{self, Sources};
use super::vips::Vips;
use super::write::Write;
use crate::model::{self, Behind, Model};

/// What `GROUPS` holds for a free id.
const FREE_GROUP: Group = Group { backends: SlotRange::EMPTY, reference: 0, frontend: 0, _reserved: 0 };

/// All services.
#[derive(Debug)]
pub(super) struct Services {
    frontend_ids: Ids,
    group_ids: Ids,
    slots: SlotRanges,
    sources: Sources,
    affinities: Affinities,
    programmed: BTreeMap<FrontendKey, Programmed>,
}

/// What the maps contain for a frontend.
#[derive(Debug)]
struct Programmed {
    id: u32,
    /// What `FRONTENDS` holds for it, if it leads to it already.
    published: Option<Frontend>,
    /// An earlier agent's work of whose backends no model has spoken since.
    adopted: bool,
    /// What it was made from; nothing if it must be made again.
    desired: Option<Desired>,
    written: Service,
    schedule: Placed,
    groups: Vec<PlacedGroup>,
    /// The backends that its groups name, with repetition.
    named: Vec<Named>,
    notes: Vec<Note>,
}

/// What a frontend was made from.
#[derive(Debug)]
enum Desired {
    Service(Arc<model::Service>),
    /// Whatever the HTTP layer does there is none of the maps' business.
    Site,
}

impl Desired {
    fn is(&self, behind: Behind<'_>) -> bool {
        match (self, behind) {
            // Two that share their memory are equal without a look at it.
            (Self::Service(made), Behind::Service(asked)) => made == asked,
            (Self::Site, Behind::Site(_)) => true,
            (Self::Service(_), Behind::Site(_)) | (Self::Site, Behind::Service(_)) => false,
        }
    }
}

#[derive(Debug)]
struct PlacedGroup {
    id: u32,
    written: Group,
    schedule: Placed,
}

/// A service that must be made again, and its backends' ids.
pub(super) struct Change {
    key: FrontendKey,
    /// Of a site it has no more than the owner.
    service: Arc<model::Service>,
    is_site: bool,
    /// Its groups stay as they are, and only what it says of its clients is done.
    keeps_groups: bool,
    /// For each group the id and weight of each backend that has an id.
    members: Vec<Vec<(u32, u32)>>,
    named: Vec<Named>,
    /// Those that got no id.
    missing: Vec<String>,
    /// The clients that it lets in, if it is restricted.
    ranges: BTreeSet<SourceRange>,
    /// How many ranges there is no room for: all or none.
    denied: usize,
}

impl Services {
    /// From what the maps contain. What belongs to nobody is freed by `repairs`.
    pub(super) fn adopt(
        actual: &Actual,
        capacities: Capacities,
        backends: &mut Backends,
        repairs: &mut Vec<Write>,
    ) -> Self {
        let mut slots = SlotRanges::new(capacities.slots());
        let mut programmed = BTreeMap::new();
        let mut keys: BTreeMap<u32, FrontendKey> = BTreeMap::new();
        for (&key, &frontend) in &actual.frontends {
            let id = frontend.id;
            if id >= capacities.frontends || keys.contains_key(&id) {
                repairs.push(Write::RemoveFrontend { key });
                continue;
            }
            keys.insert(id, key);
            let written = actual.services.get(&id).copied().unwrap_or(Service::EMPTY);
            let schedule = Placed::adopt(written.groups, actual.members(written.groups), &mut slots);
            let new = Programmed::new(id, written, schedule);
            programmed.insert(key, Programmed { published: Some(frontend), adopted: true, ..new });
        }
        for &id in actual.services.keys().filter(|id| !keys.contains_key(id)) {
            repairs.push(Write::SetService { id, service: Service::EMPTY });
        }
        let mut groups = BTreeSet::new();
        for (&id, &written) in &actual.groups {
            let owner = keys.get(&written.frontend).filter(|_| written.reference != 0);
            if let Some(programmed) = owner.and_then(|key| programmed.get_mut(key)) {
                let members = actual.members(written.backends);
                let schedule = Placed::adopt(written.backends, members, &mut slots);
                let members: BTreeSet<u32> = members.unwrap_or_default().iter().copied().collect();
                programmed.named.extend(members.into_iter().filter_map(|id| backends.name_adopted(id)));
                programmed.groups.push(PlacedGroup { id, written, schedule });
                groups.insert(id);
            } else {
                repairs.push(Write::SetGroup { id, group: FREE_GROUP });
            }
        }
        let sources = Sources::adopt(&actual.sources, capacities.sources, |id| keys.contains_key(&id), repairs);
        let chosen = chosen_with_affinity(programmed.values());
        let affinities = Affinities::adopt(&actual.affinities, |pair| chosen.contains(pair));
        let frontends = keys.into_keys().collect();
        Self {
            frontend_ids: Ids::adopt(capacities.frontends, &frontends, &frontends),
            group_ids: Ids::adopt(capacities.groups(), &groups, &groups),
            slots,
            sources,
            affinities,
            programmed,
        }
    }

    /// Takes frontends away that nobody asks for, and then what stood behind them.
    pub(super) fn retire(
        &mut self,
        model: &Model,
        now: Duration,
        (vips, backends): (&mut Vips, &mut Backends),
        writes: &mut Vec<Write>,
    ) {
        // Both are in order: with many frontends that is much quicker than to look each up.
        let mut wanted = model.frontends().map(|(key, _)| key).peekable();
        let is_gone = |key: &FrontendKey, programmed: &mut Programmed| {
            while wanted.next_if(|wanted| wanted < key).is_some() {}
            let is_kept = model.incomplete && programmed.adopted;
            wanted.peek() != Some(key) && !is_kept
        };
        let gone: Vec<_> = self.programmed.extract_if(.., is_gone).collect();
        for (key, programmed) in &gone {
            if programmed.published.is_some() {
                writes.push(Write::RemoveFrontend { key: *key });
            }
            vips.leave(key.address, now);
            for backend in &programmed.named {
                backends.unname(backend);
            }
        }
        vips.lower(writes);
        for (_, programmed) in gone {
            self.affinities.change(programmed.id, &programmed.chosen_with_affinity(), &BTreeSet::new());
            let Programmed { id, written, schedule, groups, .. } = programmed;
            if written != Service::EMPTY {
                writes.push(Write::SetService { id, service: Service::EMPTY });
            }
            writes.extend(self.sources.replace(id, BTreeSet::new(), true).after);
            schedule.release(&mut self.slots, now);
            for group in groups {
                self.free_group(group, now, writes);
            }
            self.frontend_ids.free(id, now);
        }
    }

    fn free_group(
        &mut self,
        PlacedGroup { id, written, schedule }: PlacedGroup,
        now: Duration,
        writes: &mut Vec<Write>,
    ) {
        if written != FREE_GROUP {
            writes.push(Write::SetGroup { id, group: FREE_GROUP });
        }
        schedule.release(&mut self.slots, now);
        self.group_ids.free(id, now);
    }

    /// Gives new frontends their ids and lists every service that must be made or made again. Those that there is no
    /// room for are left out and noted.
    pub(super) fn admit(
        &mut self,
        model: &Model,
        now: Duration,
        vips: &mut Vips,
        refused: &mut Vec<Note>,
        writes: &mut Vec<Write>,
    ) -> Vec<Change> {
        let mut free_groups = self.group_ids.available(now);
        let mut changes = Vec::new();
        for mut change in self.differing(model) {
            let (key, service) = (change.key, &change.service);
            let note = |matter| Note { frontend: key, owner: service.owner.clone(), matter };
            let programmed = self.programmed.get_mut(&key);
            // Its endpoints are among what could not be read.
            let has_none = service.groups.iter().all(|group| group.members.is_empty());
            let lost = model.incomplete && has_none && !change.is_site;
            if lost && programmed.as_ref().is_some_and(|programmed| programmed.adopted) {
                change.keeps_groups = true;
                changes.push(change);
                continue;
            }
            let has = programmed.as_ref().map_or(0, |programmed| programmed.groups.len());
            let lacks = service.groups.len().saturating_sub(has);
            match programmed {
                Some(programmed) if lacks > free_groups => {
                    programmed.adopted = false;
                    change.keeps_groups = true;
                    changes.push(change);
                    continue;
                }
                None if lacks > free_groups => {
                    refused.push(note(Matter::GroupsFull));
                    continue;
                }
                None if !vips.has_room(&key.address) => {
                    refused.push(note(Matter::VipsFull));
                    continue;
                }
                None => {
                    let Some(id) = self.frontend_ids.take(now) else {
                        refused.push(note(Matter::FrontendsFull));
                        continue;
                    };
                    vips.enter(key.address);
                    writes.push(Write::ClearFrontendCounters { id });
                    self.programmed.insert(key, Programmed::new(id, Service::EMPTY, Placed::empty()));
                }
                Some(_) => {}
            }
            free_groups -= lacks;
            changes.push(change);
        }
        changes
    }

    /// The frontends that are not programmed as a model has them.
    fn differing(&self, model: &Model) -> Vec<Change> {
        let mut programmed = self.programmed.iter().peekable();
        let differs = |(key, behind): &(FrontendKey, Behind<'_>)| {
            while programmed.next_if(|(known, _)| *known < key).is_some() {}
            let same = programmed.next_if(|(known, _)| *known == key);
            let made = same.and_then(|(_, programmed)| programmed.desired.as_ref());
            made.is_none_or(|made| !made.is(*behind))
        };
        model.frontends().filter(differs).map(|(key, behind)| Change::new(key, behind)).collect()
    }

    /// Decides which clients each change lets in. One whose ranges there is no room for lets nobody in; those that have
    /// ranges already come first. Changes that give ranges back are put before those that take some.
    pub(super) fn share_sources(&self, changes: &mut [Change]) {
        let id = |key: &FrontendKey| self.programmed.get(key).map(|programmed| programmed.id);
        let has = |change: &Change| id(&change.key).map_or(0, |id| self.sources.count(id));
        if changes.iter().all(|change| change.service.sources.is_none() && has(change) == 0) {
            return;
        }
        let mut room = self.sources.room_without(changes.iter().filter_map(|change| id(&change.key)));
        changes.sort_by_cached_key(|change| (has(change) == 0, change.key));
        for change in changes.iter_mut() {
            let Some(id) = id(&change.key) else { continue };
            let ranges = sources::ranges(id, &change.key, &change.service);
            if ranges.len() <= room {
                room -= ranges.len();
                change.ranges = ranges;
            } else {
                change.denied = ranges.len();
            }
        }
        changes.sort_by_cached_key(|change| (change.ranges.len() > has(change), change.key));
    }

    /// Makes a service what the change asks for. Who is let in and remembered does not depend on room for its groups.
    pub(super) fn update(&mut self, change: Change, now: Duration, backends: &mut Backends, writes: &mut Vec<Write>) {
        let Some(mut programmed) = self.programmed.remove(&change.key) else { return };
        let (key, service) = (change.key, Arc::clone(&change.service));
        if change.is_site && programmed.published.is_some() {
            // From here on no new connection looks for the groups that go.
            programmed.publish(key, true, writes);
        }
        let chosen_before = programmed.chosen_with_affinity();
        let (mut matters, old_groups) = if change.keeps_groups {
            let full = (!programmed.adopted).then_some(Matter::GroupsFull);
            (full.into_iter().collect(), Vec::new())
        } else {
            self.update_groups(&mut programmed, &change, now, writes)
        };
        let turn = self.sources.replace(programmed.id, change.ranges, programmed.written.is_restricted());
        writes.extend(turn.before);
        programmed.set_service(&service, writes);
        writes.extend(turn.after);
        self.affinities.change(programmed.id, &chosen_before, &programmed.chosen_with_affinity());
        if change.denied > 0 {
            matters.push(Matter::SourcesFull { ranges: change.denied as u32 });
        }
        if let Some(example) = change.missing.first() {
            matters.push(Matter::BackendsFull { missing: change.missing.len() as u32, example: example.clone() });
        }
        if !change.keeps_groups {
            programmed.adopted = false;
            for backend in std::mem::replace(&mut programmed.named, change.named) {
                backends.unname(&backend);
            }
        }
        let is_done = !change.keeps_groups && !matters.iter().any(Matter::is_shortage);
        let note = |matter| Note { frontend: key, owner: service.owner.clone(), matter };
        let desired = if change.is_site { Desired::Site } else { Desired::Service(Arc::clone(&service)) };
        programmed.desired = is_done.then_some(desired);
        programmed.notes = matters.into_iter().map(note).collect();
        self.programmed.insert(key, programmed);
        for group in old_groups {
            self.free_group(group, now, writes);
        }
    }

    /// Makes the groups of a service and their schedules: slots, then groups. Gives what is not as asked, and the groups
    /// that go when the service does not lead to them any more.
    fn update_groups(
        &mut self,
        programmed: &mut Programmed,
        change: &Change,
        now: Duration,
        writes: &mut Vec<Write>,
    ) -> (Vec<Matter>, Vec<PlacedGroup>) {
        let mut old_groups = std::mem::take(&mut programmed.groups);
        let mut matters = Vec::new();
        let mut shares = Vec::new();
        for (group, members) in change.service.groups.iter().zip(&change.members) {
            let reference = model::fingerprint(&group.reference);
            let known = old_groups.iter().position(|group| group.written.reference == reference);
            let Some(mut placed) = known.map(|index| old_groups.remove(index)).or_else(|| {
                let id = self.group_ids.take(now)?;
                Some(PlacedGroup { id, written: FREE_GROUP, schedule: Placed::empty() })
            }) else {
                matters.push(Matter::GroupsFull);
                break;
            };
            let fit = placed.schedule.update(members, &mut self.slots, now, writes);
            matters.extend(fit.matter(Some(&group.reference)));
            let written = Group { backends: placed.schedule.range(), reference, frontend: programmed.id, _reserved: 0 };
            if placed.written != written {
                placed.written = written;
                writes.push(Write::SetGroup { id: placed.id, group: written });
            }
            shares.push((placed.id, group.weight));
            programmed.groups.push(placed);
        }
        let fit = programmed.schedule.update(&shares, &mut self.slots, now, writes);
        matters.extend(fit.matter(None));
        (matters, old_groups)
    }

    /// Forgets the clients of backends that get no new connections any more.
    pub(super) fn forget_clients(&mut self, now: Duration, writes: &mut Vec<Write>) {
        self.affinities.flush(now, writes);
    }

    /// When clients are to be forgotten once more.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.affinities.next_deadline()
    }

    /// Lets clients reach the frontends that have a service now, or lead to the HTTP layer.
    pub(super) fn publish(&mut self, changed: &[Changed], writes: &mut Vec<Write>) {
        for &Changed { key, is_site } in changed {
            if let Some(programmed) = self.programmed.get_mut(&key) {
                programmed.publish(key, is_site, writes);
            }
        }
    }

    /// The VIP of every frontend, once for each.
    pub(super) fn addresses(&self) -> impl Iterator<Item = gateway_common::Address> + '_ {
        self.programmed.keys().map(|key| key.address)
    }

    /// What there is to say about the frontends that are programmed.
    pub(super) fn notes(&self) -> impl Iterator<Item = &Note> {
        self.programmed.values().flat_map(|programmed| &programmed.notes)
    }

    /// How many frontends are programmed.
    pub(super) fn len(&self) -> usize {
        self.programmed.len()
    }

    /// When an id or a range that was lacking may be free.
    pub(super) fn next_available(&self) -> Option<Duration> {
        let ids = [self.frontend_ids.next_available(), self.group_ids.next_available(), self.slots.next_reclaim()];
        ids.into_iter().flatten().min()
    }
}

impl Programmed {
    /// The backends that new connections are given, if clients stay with theirs; else nothing.
    fn chosen_with_affinity(&self) -> BTreeSet<u32> {
        if !self.written.has_affinity() {
            return BTreeSet::new();
        }
        let groups: BTreeSet<u32> = self.schedule.members().iter().copied().collect();
        let groups = self.groups.iter().filter(|group| groups.contains(&group.id));
        groups.flat_map(|group| group.schedule.members()).copied().collect()
    }

    /// Writes what the model says of the service, with the schedule that lies in the slots.
    fn set_service(&mut self, service: &model::Service, writes: &mut Vec<Write>) {
        let timeout_sec = service.affinity.map_or(0, |timeout| timeout.as_secs().clamp(1, u64::from(u32::MAX)));
        let written = Service {
            groups: self.schedule.range(),
            affinity_timeout_sec: timeout_sec as u32,
            algorithm: service.algorithm as u8,
            restricted: u8::from(service.sources.is_some()),
            mode: service.mode as u8,
            _reserved: 0,
        };
        if self.written != written {
            self.written = written;
            writes.push(Write::SetService { id: self.id, service: written });
        }
    }

    /// Has `FRONTENDS` lead to it.
    fn publish(&mut self, key: FrontendKey, is_site: bool, writes: &mut Vec<Write>) {
        let frontend = if is_site { Frontend::steered(self.id) } else { Frontend::balanced(self.id) };
        if self.published != Some(frontend) {
            self.published = Some(frontend);
            writes.push(Write::SetFrontend { key, frontend });
        }
    }

    const fn new(id: u32, written: Service, schedule: Placed) -> Self {
        Self {
            id,
            published: None,
            adopted: false,
            desired: None,
            written,
            schedule,
            groups: Vec::new(),
            named: Vec::new(),
            notes: Vec::new(),
        }
    }
}

/// The backends that frontends with affinity choose, each with its frontend's id.
fn chosen_with_affinity<'p>(programmed: impl Iterator<Item = &'p Programmed>) -> BTreeSet<Pair> {
    let pairs = |programmed: &Programmed| {
        let id = programmed.id;
        programmed.chosen_with_affinity().into_iter().map(move |backend| (id, backend))
    };
    programmed.flat_map(pairs).collect()
}

/// A frontend that a plan makes or makes again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changed {
    key: FrontendKey,
    is_site: bool,
}

impl Change {
    fn new(key: FrontendKey, behind: Behind<'_>) -> Self {
        let (service, is_site) = match behind {
            Behind::Service(service) => (Arc::clone(service), false),
            Behind::Site(site) => {
                (Arc::new(model::Service { owner: site.owner.clone(), ..model::Service::default() }), true)
            }
        };
        Self {
            key,
            service,
            is_site,
            keeps_groups: false,
            members: Vec::new(),
            named: Vec::new(),
            missing: Vec::new(),
            ranges: BTreeSet::new(),
            denied: 0,
        }
    }

    /// The frontend.
    pub(super) const fn changed(&self) -> Changed {
        Changed { key: self.key, is_site: self.is_site }
    }

    /// Finds or makes the ids of the backends that the service names.
    pub(super) fn name_backends(&mut self, backends: &mut Backends, now: Duration, writes: &mut Vec<Write>) {
        let groups = if self.keeps_groups { &[] } else { self.service.groups.as_slice() };
        for group in groups {
            let mut members = Vec::with_capacity(group.members.len());
            for (&backend, member) in &group.members {
                let named = (backend, member.place);
                if let Some(id) = backends.name(named, now, writes) {
                    members.push((id, u32::from(member.weight)));
                    self.named.push(named);
                } else {
                    self.missing.push(member.name.clone());
                }
            }
            self.members.push(members);
        }
    }
}
