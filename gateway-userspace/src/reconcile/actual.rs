//! Actual state: what the maps contain, as far as reconcile needs to know it.

use std::collections::{BTreeMap, BTreeSet};

use gateway_common::{Address, Backend, Frontend, FrontendKey, Group, Service, SlotRange, SourceRange, Vip};

use super::affinities::Pair;

/// What the maps contain. Of the arrays it holds only entries that are not all zeros.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actual {
    /// `FRONTENDS`.
    pub frontends: BTreeMap<FrontendKey, Frontend>,
    /// `VIPS`.
    pub vips: BTreeMap<Address, Vip>,
    /// `SERVICES`, by frontend id.
    pub services: BTreeMap<u32, Service>,
    /// `GROUPS`, by group id.
    pub groups: BTreeMap<u32, Group>,
    /// `BACKENDS`, by backend id; those that are free keep their generation.
    pub backends: BTreeMap<u32, Backend>,
    /// The members of every range of `SLOTS` that a service or a group names, by the range's offset and length.
    pub slots: BTreeMap<(u32, u32), Vec<u32>>,
    /// `SOURCES`.
    pub sources: BTreeSet<SourceRange>,
    /// `AFFINITY`: which backends it remembers for each frontend, but not of which clients.
    pub affinities: BTreeSet<Pair>,
    /// `VIP_FILTER`: all its words, or none if all are zero.
    pub vip_filter: Vec<u64>,
    /// `BACKEND_FILTER`: all its words, or none if all are zero.
    pub backend_filter: Vec<u64>,
}

impl Actual {
    /// The members of a range; nothing if it was not read.
    pub fn members(&self, range: SlotRange) -> Option<&[u32]> {
        if range.length == 0 { Some(&[]) } else { self.slots.get(&(range.offset, range.length)).map(Vec::as_slice) }
    }

    /// Every range that a service or a group names.
    pub fn ranges(&self) -> impl Iterator<Item = SlotRange> + '_ {
        let services = self.services.values().map(|service| service.groups);
        let groups = self.groups.values().map(|group| group.backends);
        services.chain(groups).filter(|range| range.length != 0)
    }
}
