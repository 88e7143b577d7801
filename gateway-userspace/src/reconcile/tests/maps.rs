//! The maps as plain collections. Each write is checked: it stays within the maps' sizes, it changes something, and
//! afterwards every frontend leads to slots, groups and backends that exist.

use std::collections::{BTreeMap, BTreeSet};

use gateway_common::{
    Address, Backend, FilterWord, Frontend, FrontendKey, Group, Port, Protocol, Service, SlotRange, SourceRange, Vip,
};

use crate::reconcile::{Actual, Capacities, Pair, Write};

const NO_BACKEND: Backend = Backend {
    address: Address::UNSPECIFIED,
    pod: 0,
    generation: 0,
    port: Port::new(0),
    protocol: Protocol::new(0),
    source: Address::UNSPECIFIED,
    place: 0,
};
const NO_GROUP: Group = Group { backends: SlotRange::EMPTY, reference: 0, frontend: 0, _reserved: 0 };

pub struct Maps {
    pub capacities: Capacities,
    pub frontends: BTreeMap<FrontendKey, Frontend>,
    pub vips: BTreeMap<Address, Vip>,
    pub services: Vec<Service>,
    pub groups: Vec<Group>,
    pub slots: Vec<u32>,
    pub backends: Vec<Backend>,
    pub sources: BTreeSet<SourceRange>,
    /// What the datapath remembers of clients: tests put it here.
    pub affinities: BTreeSet<Pair>,
    pub vip_filter: Vec<u64>,
    pub backend_filter: Vec<u64>,
}

impl Maps {
    pub fn new(capacities: Capacities) -> Self {
        Self {
            capacities,
            frontends: BTreeMap::new(),
            vips: BTreeMap::new(),
            services: vec![Service::EMPTY; capacities.frontends as usize],
            groups: vec![NO_GROUP; capacities.groups() as usize],
            slots: vec![0; capacities.slots() as usize],
            backends: vec![NO_BACKEND; capacities.backends as usize],
            sources: BTreeSet::new(),
            affinities: BTreeSet::new(),
            vip_filter: vec![0; FilterWord::COUNT as usize],
            backend_filter: vec![0; FilterWord::COUNT as usize],
        }
    }

    pub fn members(&self, range: SlotRange) -> &[u32] {
        &self.slots[range.offset as usize..(range.offset + range.length) as usize]
    }

    pub fn apply(&mut self, write: &Write) {
        match write {
            Write::RemoveFrontend { key } => assert!(self.frontends.remove(key).is_some()),
            Write::SetFrontend { key, frontend } => {
                assert_ne!(self.frontends.insert(*key, *frontend), Some(*frontend));
            }
            Write::SetVip { address, vip } => assert_ne!(self.vips.insert(*address, *vip), Some(*vip)),
            Write::RemoveVip { address } => assert!(self.vips.remove(address).is_some()),
            Write::SetVipFilter { index, word } => change(&mut self.vip_filter[*index as usize], word.bits),
            Write::SetBackendFilter { index, word } => change(&mut self.backend_filter[*index as usize], word.bits),
            Write::ClearFrontendCounters { .. } | Write::ClearBackendCounters { .. } => {}
            Write::SetBackend { id, backend } => change(&mut self.backends[*id as usize], *backend),
            Write::SetSlots { offset, members } => {
                self.slots[*offset as usize..*offset as usize + members.len()].copy_from_slice(members);
            }
            Write::SetGroup { id, group } => change(&mut self.groups[*id as usize], *group),
            Write::SetService { id, service } => change(&mut self.services[*id as usize], *service),
            Write::SetSource { range } => assert!(self.sources.insert(*range)),
            Write::RemoveSource { range } => assert!(self.sources.remove(range)),
            Write::ForgetAffinity { pairs } => self.affinities.retain(|pair| !pairs.contains(pair)),
        }
        self.check();
    }

    fn check(&self) {
        assert!(self.vips.len() <= self.capacities.frontends as usize);
        assert!(self.sources.len() <= self.capacities.sources as usize);
        for (key, frontend) in self.frontends.iter().filter(|(_, frontend)| !frontend.is_steered()) {
            let id = frontend.id;
            assert!(self.vips.contains_key(&key.address), "{key} has no VIP");
            assert!(is_set(&self.vip_filter, &key.address), "{key} is filtered out");
            for &group_id in self.members(self.services[id as usize].groups) {
                let group = self.groups[group_id as usize];
                assert!(group.reference != 0 && group.frontend == id, "{key} leads to foreign group {group_id}");
                for &member in self.members(group.backends) {
                    let backend = self.backends[member as usize];
                    assert_ne!(backend.place, 0, "{key} leads to free backend {member}");
                    assert!(is_set(&self.backend_filter, &backend.address), "{member} is filtered out");
                    let is_seen = backend.source == Address::UNSPECIFIED || is_set(&self.vip_filter, &backend.source);
                    assert!(is_seen, "replies from {member} are filtered out");
                }
            }
        }
    }

    pub fn actual(&self) -> Actual {
        let mut actual = Actual {
            frontends: self.frontends.clone(),
            vips: self.vips.clone(),
            services: used(&self.services, Service::EMPTY),
            groups: used(&self.groups, NO_GROUP),
            backends: used(&self.backends, NO_BACKEND),
            slots: BTreeMap::new(),
            sources: self.sources.clone(),
            affinities: self.affinities.clone(),
            vip_filter: self.vip_filter.clone(),
            backend_filter: self.backend_filter.clone(),
        };
        let ranges: Vec<SlotRange> = actual.ranges().collect();
        let slots = ranges.into_iter().map(|range| ((range.offset, range.length), self.members(range).to_vec()));
        actual.slots = slots.collect();
        actual
    }

    /// Whether nothing is left but the backends' generations.
    pub fn is_empty(&self) -> bool {
        let Actual { frontends, vips, services, groups, backends, slots, sources, affinities, .. } = self.actual();
        frontends.is_empty()
            && vips.is_empty()
            && services.is_empty()
            && groups.is_empty()
            && slots.is_empty()
            && sources.is_empty()
            && affinities.is_empty()
            && backends.values().all(|backend| backend.place == 0)
            && self.vip_filter.iter().chain(&self.backend_filter).all(|&bits| bits == 0)
    }
}

fn change<T: PartialEq + std::fmt::Debug>(place: &mut T, value: T) {
    assert_ne!(*place, value, "the map contains that already");
    *place = value;
}

fn used<T: PartialEq + Copy>(array: &[T], free: T) -> BTreeMap<u32, T> {
    array.iter().enumerate().filter(|&(_, value)| *value != free).map(|(id, &value)| (id as u32, value)).collect()
}

pub fn is_set(filter: &[u64], address: &Address) -> bool {
    let (index, bit) = FilterWord::position(address);
    filter[index as usize] & bit != 0
}
