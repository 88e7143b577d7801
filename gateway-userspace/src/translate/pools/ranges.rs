//! The addresses that pools hold: which pools overlap, which pool an address lies in, and the lowest that is free.
//!
//! Of pools that overlap the older holds its addresses; the younger is in conflict and gives out nothing, so that it is
//! always one pool that an address comes from.

use std::collections::BTreeMap;

use gateway_common::Address;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::super::by_age;
use super::super::endpoints::Family;
use crate::source::address_pool::{AddressRange, address, number};
use crate::source::{AddressPool, Kind, Name, ObjectId, Objects};

/// One pool, with its ranges in order and apart from each other.
pub(super) struct Pool<'a> {
    pub name: &'a Name,
    pub object: &'a AddressPool,
    ranges: Vec<AddressRange>,
    /// The older pool that holds some of its addresses already.
    pub conflict: Option<&'a Name>,
    /// For each family how far the search for a free address has come: the range and the number.
    cursors: [(usize, u128); 2],
}

/// All pools, those that are used first before the others.
pub(super) struct Pools<'a> {
    pub pools: Vec<Pool<'a>>,
    /// The ranges of all pools without conflict by their first number: the last number and the pool's place in `pools`.
    holders: BTreeMap<u128, (u128, usize)>,
}

impl<'a> Pools<'a> {
    pub fn new(objects: &'a Objects) -> Self {
        let mut pools: Vec<Pool<'a>> =
            objects.address_pools.iter().map(|(name, found)| Pool::new(name, &found.object)).collect();
        pools.sort_by(Pool::by_age);
        find_conflicts(&mut pools);
        // The sort is stable: of equal priority the older stays first.
        pools.sort_by_key(|pool| -i64::from(pool.object.spec.priority.unwrap_or(0)));
        let mut holders = BTreeMap::new();
        for (index, pool) in pools.iter().enumerate().filter(|(_, pool)| pool.conflict.is_none()) {
            holders.extend(pool.ranges.iter().map(|range| (range.first, (range.last, index))));
        }
        Self { pools, holders }
    }

    /// The pool without conflict that holds an address.
    pub fn holder(&self, address: Address) -> Option<&Pool<'a>> {
        let number = number(address);
        let (_, (last, index)) = self.holders.range(..=number).next_back()?;
        (number <= *last).then(|| &self.pools[*index])
    }

    /// Whether any pool holds an address, be it in conflict or not.
    pub fn holds(&self, address: Address) -> bool {
        self.holder(address).is_some() || self.pools.iter().any(|pool| pool.conflict.is_some() && pool.holds(address))
    }
}

impl<'a> Pool<'a> {
    fn new(name: &'a Name, object: &'a AddressPool) -> Self {
        let mut ranges: Vec<AddressRange> =
            object.spec.addresses.iter().filter_map(|text| AddressRange::parse(text).ok()).collect();
        ranges.sort_unstable();
        ranges.dedup_by(|next, range| {
            let joins = next.first <= range.last.saturating_add(1);
            if joins {
                range.last = range.last.max(next.last);
            }
            joins
        });
        Self { name, object, ranges, conflict: None, cursors: [(0, 0); 2] }
    }

    fn by_age(&self, other: &Self) -> std::cmp::Ordering {
        let id = |pool: &Self| ObjectId { kind: Kind::AddressPool, name: pool.name.clone() };
        let created = |pool: &Self| pool.object.metadata.creation_timestamp.clone();
        by_age(created(self).as_ref(), &id(self), created(other).as_ref(), &id(other))
    }

    pub fn selector(&self) -> Option<&'a LabelSelector> {
        self.object.spec.namespace_selector.as_ref()
    }

    /// Whether it has addresses of a family, free or not.
    pub fn has(&self, family: Family) -> bool {
        self.ranges.iter().any(|range| range.is_ipv4() == (family == Family::V4))
    }

    /// The lowest address of a family that nobody holds. What is held stays so while the search goes on, so it never looks
    /// at an address twice.
    pub fn lowest_free<T>(&mut self, family: Family, held: &BTreeMap<Address, T>) -> Option<Address> {
        let is_v4 = family == Family::V4;
        let (index, next) = &mut self.cursors[usize::from(is_v4)];
        while let Some(range) = self.ranges.get(*index) {
            let mut candidate = range.first.max(*next);
            while range.is_ipv4() == is_v4 && candidate <= range.last {
                if !held.contains_key(&address(candidate)) {
                    *next = candidate;
                    return Some(address(candidate));
                }
                candidate += 1;
            }
            *index += 1;
        }
        None
    }

    /// How many addresses it holds; the greatest number stands for all that cannot be counted.
    pub fn total(&self) -> u64 {
        let count =
            |range: &AddressRange| u64::try_from(range.last - range.first).unwrap_or(u64::MAX).saturating_add(1);
        self.ranges.iter().map(count).fold(0, u64::saturating_add)
    }

    /// How many of the addresses that are held are its own.
    pub fn assigned<T>(&self, held: &BTreeMap<Address, T>) -> u64 {
        let count = |range: &AddressRange| held.range(address(range.first)..=address(range.last)).count() as u64;
        self.ranges.iter().map(count).sum()
    }

    fn holds(&self, address: Address) -> bool {
        let single = AddressRange::single(address);
        self.ranges.iter().any(|range| range.overlaps(&single))
    }
}

/// Tells each pool, the oldest first, whether an older one without conflict holds some of its addresses.
fn find_conflicts(pools: &mut [Pool<'_>]) {
    let mut taken: BTreeMap<u128, (u128, usize)> = BTreeMap::new();
    for index in 0..pools.len() {
        let older = pools[index].ranges.iter().find_map(|range| {
            let (_, (last, older)) = taken.range(..=range.last).next_back()?;
            (*last >= range.first).then_some(*older)
        });
        match older {
            Some(older) => pools[index].conflict = Some(pools[older].name),
            None => taken.extend(pools[index].ranges.iter().map(|range| (range.first, (range.last, index)))),
        }
    }
}
