//! Which addresses are VIPs, what this node does for each, and how long one is still answered after its last frontend is
//! gone; and at which of the node's own addresses replies from Pods elsewhere come in. Both stand in one filter.
//!
//! A VIP without frontends stays for a minute, or until no flow of it is left: the flows it has run on meanwhile, and
//! whoever still connects is refused instead of reaching a service of the host.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gateway_common::{Address, Vip};

use super::filter::Filter;
use super::write::Write;

/// How long a VIP without frontends is kept at most.
pub(super) const FAREWELL: Duration = Duration::from_mins(1);

impl Entry {
    fn wanted(&self) -> Vip {
        let Duty { answers, relay } = self.duty;
        Vip { frontends: self.frontends, answers: answers.into(), relay: relay.unwrap_or(Address::UNSPECIFIED) }
    }
}

/// All VIPs.
#[derive(Debug)]
pub(super) struct Vips {
    capacity: usize,
    entries: BTreeMap<Address, Entry>,
    dirty: BTreeSet<Address>,
    /// The node's addresses that backends elsewhere see, or that flows still have, and what is known of each.
    sources: BTreeMap<Address, Source>,
    filter: Filter,
}

/// An address of the node that backends elsewhere see.
#[derive(Debug, Default)]
struct Source {
    /// How many of them new flows reach by it.
    backends: usize,
    /// When the last one lost it.
    left: Duration,
}

/// What this node does for a VIP on its segment. The agent says so; until it does, a new VIP is not answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Duty {
    /// It answers who asks for the VIP.
    pub answers: bool,
    /// Where it sends TCP segments of no known flow meanwhile: the node that answered before.
    pub relay: Option<Address>,
}

impl Duty {
    /// What a map's entry says.
    pub fn of(vip: &Vip) -> Self {
        Self { answers: vip.answers != 0, relay: Some(vip.relay).filter(|relay| *relay != Address::UNSPECIFIED) }
    }
}

#[derive(Debug, Default)]
struct Entry {
    /// Its frontends after this plan.
    frontends: u32,
    /// What this node does for it.
    duty: Duty,
    /// What stands in the map.
    written: Option<Vip>,
    /// When it goes, if it has no frontends.
    expires: Option<Duration>,
}

impl Vips {
    /// From what the maps contain. Their frontends enter afterwards.
    pub(super) fn adopt(entries: &BTreeMap<Address, Vip>, filter: &[u64], capacity: u32, now: Duration) -> Self {
        let mut filter = Filter::adopt(filter, now + FAREWELL);
        let mut vips = BTreeMap::new();
        for (&address, vip) in entries {
            filter.enter(&address);
            let expires = Some(now + FAREWELL);
            vips.insert(address, Entry { frontends: 0, duty: Duty::of(vip), written: Some(*vip), expires });
        }
        let dirty = entries.keys().copied().collect();
        Self { capacity: capacity as usize, entries: vips, dirty, sources: BTreeMap::new(), filter }
    }

    /// Whether a frontend may enter at this address.
    pub(super) fn has_room(&self, address: &Address) -> bool {
        self.entries.contains_key(address) || self.entries.len() < self.capacity
    }

    /// A frontend comes.
    pub(super) fn enter(&mut self, address: Address) {
        let filter = &mut self.filter;
        let entry = self.entries.entry(address).or_insert_with(|| {
            filter.enter(&address);
            Entry::default()
        });
        entry.frontends += 1;
        entry.expires = None;
        self.dirty.insert(address);
    }

    /// A frontend goes.
    pub(super) fn leave(&mut self, address: Address, now: Duration) {
        if let Some(entry) = self.entries.get_mut(&address) {
            entry.frontends -= 1;
            if entry.frontends == 0 {
                entry.expires = Some(now + FAREWELL);
            }
            self.dirty.insert(address);
        }
    }

    /// One more backend elsewhere sees this address of the node.
    pub(super) fn enter_source(&mut self, source: Address) {
        let filter = &mut self.filter;
        let known = self.sources.entry(source).or_insert_with(|| {
            filter.enter(&source);
            Source::default()
        });
        known.backends += 1;
    }

    /// One backend less sees it. It stays until a scan finds no flow that has it.
    pub(super) fn leave_source(&mut self, source: &Address, now: Duration) {
        if let Some(known) = self.sources.get_mut(source) {
            known.backends -= 1;
            known.left = now;
        }
    }

    /// Forgets the sources that no backend sees and that no flow was seen of in a scan that began after the last one lost
    /// it. Remembers those that flows have: after a restart nothing else speaks of them.
    pub(super) fn release_idle_sources(&mut self, busy: &BTreeSet<Address>, scan_began: Duration) {
        let filter = &mut self.filter;
        self.sources.retain(|source, known| {
            let stays = known.backends > 0 || known.left >= scan_began || busy.contains(source);
            if !stays {
                filter.leave(source, scan_began);
            }
            stays
        });
        for &source in busy {
            self.sources.entry(source).or_insert_with(|| {
                filter.enter(&source);
                Source::default()
            });
        }
    }

    /// The node's addresses at which replies may come in.
    pub(super) fn sources(&self) -> BTreeSet<Address> {
        self.sources.keys().copied().collect()
    }

    /// VIPs without frontends that no flow was seen of in a scan that began after they lost them need not wait.
    pub(super) fn release_idle(&mut self, busy: &BTreeSet<Address>, scan_began: Duration) {
        for (address, entry) in &mut self.entries {
            if let Some(expires) = entry.expires
                && expires <= scan_began + FAREWELL
                && !busy.contains(address)
            {
                entry.expires = Some(scan_began.min(expires));
            }
        }
    }

    /// Writes the VIPs that have fewer frontends than before.
    pub(super) fn lower(&mut self, writes: &mut Vec<Write>) {
        self.write(writes, |written, wanted| written.is_some_and(|written| wanted.frontends < written.frontends));
    }

    /// Writes the VIPs that are new or have more frontends than before.
    pub(super) fn raise(&mut self, writes: &mut Vec<Write>) {
        self.write(writes, |_, _| true);
        self.dirty.clear();
        self.flush_filter(writes);
    }

    fn write(&mut self, writes: &mut Vec<Write>, applies: impl Fn(Option<Vip>, Vip) -> bool) {
        for &address in &self.dirty {
            let Some(entry) = self.entries.get_mut(&address) else { continue };
            let vip = entry.wanted();
            if entry.written != Some(vip) && applies(entry.written, vip) {
                entry.written = Some(vip);
                writes.push(Write::SetVip { address, vip });
            }
        }
    }

    /// Gives VIPs their duties; those that are not named keep theirs.
    pub(super) fn assign(&mut self, duties: &BTreeMap<Address, Duty>, writes: &mut Vec<Write>) {
        for (&address, &duty) in duties {
            if let Some(entry) = self.entries.get_mut(&address).filter(|entry| entry.duty != duty) {
                entry.duty = duty;
                self.dirty.insert(address);
            }
        }
        // Nobody meets a VIP that is not in the map yet.
        self.write(writes, |written, _| written.is_some());
        self.dirty.clear();
    }

    /// Removes the VIPs whose time has come.
    pub(super) fn expire(&mut self, now: Duration, writes: &mut Vec<Write>) {
        let filter = &mut self.filter;
        self.entries.retain(|&address, entry| {
            let stays = entry.expires.is_none_or(|expires| expires > now);
            if !stays {
                filter.leave(&address, now);
                if entry.written.is_some() {
                    writes.push(Write::RemoveVip { address });
                }
            }
            stays
        });
        self.filter.expire(now);
        self.flush_filter(writes);
    }

    /// Writes the filter's bits that came or went.
    pub(super) fn flush_filter(&mut self, writes: &mut Vec<Write>) {
        let words = self.filter.flush();
        writes.extend(words.into_iter().map(|(index, word)| Write::SetVipFilter { index, word }));
    }

    /// Every VIP, those that are waiting included.
    pub(super) fn addresses(&self) -> BTreeSet<Address> {
        self.entries.keys().copied().collect()
    }

    /// When a VIP or a filter's bit goes.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let expires = self.entries.values().filter_map(|entry| entry.expires).min();
        [expires, self.filter.next_deadline()].into_iter().flatten().min()
    }
}
