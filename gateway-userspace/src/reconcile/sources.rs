//! Which ranges of clients lie in the maps, and in which order they are replaced.
//!
//! A service that becomes restricted has its ranges before it is told so, and one that is open again is told so before
//! they go. While it is restricted, new ranges come before old ones go. So no write lets a client in, or keeps one out,
//! that neither the old nor the new ranges would.

use std::collections::{BTreeMap, BTreeSet};

use gateway_common::{FrontendKey, SourceRange};
use ipnet::IpNet;

use super::write::Write;
use crate::model;

/// The ranges of all frontends.
#[derive(Debug)]
pub(super) struct Sources {
    capacity: usize,
    used: usize,
    /// By frontend id.
    placed: BTreeMap<u32, BTreeSet<SourceRange>>,
}

/// Writes that replace a frontend's ranges, around the one that sets its service.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub(super) before: Vec<Write>,
    pub(super) after: Vec<Write>,
}

/// What shall stand in the maps for a service that a model restricts. Ranges of the other family than the VIP's have no
/// clients there: IPv4 ones would never match, and `::/0` must not match the v4-mapped form of IPv4 clients.
pub(super) fn ranges(id: u32, key: &FrontendKey, service: &model::Service) -> BTreeSet<SourceRange> {
    let is_v4 = key.address.is_v4_mapped();
    let nets = service.sources.iter().flatten().map(IpNet::trunc);
    let nets = nets.filter(|net| matches!(net, IpNet::V4(_)) == is_v4);
    nets.map(|net| SourceRange::new(id, net.network().into(), net.prefix_len())).collect()
}

impl Sources {
    /// From what the maps contain. Ranges of ids that no frontend has are removed by `repairs`.
    pub(super) fn adopt(
        actual: &BTreeSet<SourceRange>,
        capacity: u32,
        is_taken: impl Fn(u32) -> bool,
        repairs: &mut Vec<Write>,
    ) -> Self {
        let mut sources = Self { capacity: capacity as usize, used: 0, placed: BTreeMap::new() };
        for &range in actual {
            if is_taken(range.first.frontend) {
                sources.placed.entry(range.first.frontend).or_default().insert(range);
                sources.used += 1;
            } else {
                repairs.push(Write::RemoveSource { range });
            }
        }
        sources
    }

    /// How many ranges a frontend has.
    pub(super) fn count(&self, id: u32) -> usize {
        self.placed.get(&id).map_or(0, BTreeSet::len)
    }

    /// How many ranges there is room for if these frontends gave theirs back.
    pub(super) fn room_without(&self, ids: impl Iterator<Item = u32>) -> usize {
        (self.capacity + ids.map(|id| self.count(id)).sum::<usize>()).saturating_sub(self.used)
    }

    /// Makes these the ranges of a frontend.
    pub(super) fn replace(&mut self, id: u32, wanted: BTreeSet<SourceRange>, was_restricted: bool) -> Turn {
        let old = self.placed.remove(&id).unwrap_or_default();
        let comes: Vec<Write> = wanted.difference(&old).map(|&range| Write::SetSource { range }).collect();
        let goes: Vec<Write> = old.difference(&wanted).map(|&range| Write::RemoveSource { range }).collect();
        let fits_both = self.used + comes.len() <= self.capacity;
        self.used = self.used + comes.len() - goes.len();
        if !wanted.is_empty() {
            self.placed.insert(id, wanted);
        }
        if was_restricted && fits_both {
            Turn { before: comes, after: goes }
        } else {
            Turn { before: goes.into_iter().chain(comes).collect(), after: Vec::new() }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use gateway_common::{Address, Port, Protocol};

    use super::*;

    fn restricted(sources: &[&str]) -> model::Service {
        let sources = sources.iter().map(|net| net.parse().expect("a range")).collect();
        model::Service { sources: Some(sources), ..model::Service::default() }
    }

    fn shown(vip: Address, sources: &[&str]) -> Vec<String> {
        let key = FrontendKey::new(vip, Port::new(80), Protocol::TCP);
        ranges(3, &key, &restricted(sources)).iter().map(SourceRange::to_string).collect()
    }

    #[test]
    fn a_vip_has_the_ranges_of_its_own_family_alone_each_by_its_first_address() {
        let nets = ["10.1.2.3/8", "10.0.0.0/8", "::/0", "2001:db8::1/32"];

        assert_eq!(shown(Address::from_v4([203, 0, 113, 1]), &nets), ["10.0.0.0/8"]);
        assert_eq!(shown(Ipv6Addr::LOCALHOST.into(), &nets), ["::/0", "2001:db8::/32"]);
    }

    #[test]
    fn new_ranges_come_before_old_ones_go_unless_there_is_no_room_for_both() {
        let range = |last| SourceRange::new(0, Address::from_v4([10, 0, 0, last]), 32);
        let turn = |capacity| {
            let mut sources = Sources::adopt(&BTreeSet::from([range(1)]), capacity, |_| true, &mut Vec::new());
            sources.replace(0, BTreeSet::from([range(2)]), true)
        };
        let (comes, goes) = (Write::SetSource { range: range(2) }, Write::RemoveSource { range: range(1) });

        assert_eq!((turn(2).before, turn(2).after), (vec![comes.clone()], vec![goes.clone()]));
        assert_eq!((turn(1).before, turn(1).after), (vec![goes, comes], vec![]));
    }
}
