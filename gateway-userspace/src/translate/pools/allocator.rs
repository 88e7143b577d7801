//! Gives addresses to owners, one step after the other, and remembers who holds what.
//!
//! An address belongs to one owner, or to several of one namespace that have the same sharing key and no port in common.
//! Owners that share and later come to want the same port keep their address; who has the port is then decided as for any
//! two claims to one frontend.

use std::collections::BTreeMap;

use gateway_common::Address;

use super::super::endpoints::Family;
use super::super::listeners::namespace_labels;
use super::super::selector::matches;
use super::super::statuses::{Condition, ObjectStatus, PoolStatus, Truth};
use super::ranges::{Pool, Pools};
use super::{Assigned, Given, Need, Ports, Refusal, Wish};
use crate::source::{Name, ObjectId, Objects};

const NOT_ASSIGNED: &str = "AddressNotAssigned";
const NOT_USABLE: &str = "AddressNotUsable";

/// Owners that may share: their namespace and their key.
type Sharers<'a> = (String, &'a str);

pub(super) struct Allocator<'a> {
    wishes: Vec<&'a Wish<'a>>,
    assigned: Vec<Assigned>,
    pools: Pools<'a>,
    /// The pools, by their place, that each namespace may use.
    open: BTreeMap<&'a str, Vec<usize>>,
    /// Who holds each address: the places of their wishes.
    held: BTreeMap<Address, Vec<usize>>,
    /// The addresses that sharers hold, in the order in which they came.
    shared: BTreeMap<Sharers<'a>, Vec<Address>>,
    /// How many of them have been found to have one of these ports taken, which they keep.
    passed_over: BTreeMap<(Sharers<'a>, &'a Ports), usize>,
    /// Whether many may ask for addresses, as in a cluster.
    is_shared: bool,
}

impl<'a> Allocator<'a> {
    pub fn new(objects: &'a Objects, wishes: Vec<&'a Wish<'a>>, is_shared: bool) -> Self {
        let pools = Pools::new(objects);
        let mut open = BTreeMap::new();
        for wish in &wishes {
            let namespace = &*wish.id.name.namespace;
            open.entry(namespace).or_insert_with(|| open_pools(objects, &pools, namespace));
        }
        Self {
            assigned: wishes.iter().map(|_| Assigned::default()).collect(),
            wishes,
            pools,
            open,
            held: BTreeMap::new(),
            shared: BTreeMap::new(),
            passed_over: BTreeMap::new(),
            is_shared,
        }
    }

    pub fn into_owners(self) -> BTreeMap<ObjectId, Assigned> {
        self.wishes.iter().map(|wish| wish.id.clone()).zip(self.assigned).collect()
    }

    /// Whether pools say who may have what. In a folder without any, whoever asks for an address has it: there is one who
    /// writes all its files. In a cluster many may write, and none of them may take any address there is.
    fn has_pools(&self) -> bool {
        self.is_shared || !self.pools.pools.is_empty()
    }

    /// What an owner has by its status it keeps, unless it asks for something else.
    pub fn keep_what_statuses_say(&mut self) {
        for owner in 0..self.wishes.len() {
            let wish = self.wishes[owner];
            for (address, field) in &wish.current {
                let named = wish.asked.iter().find(|(asked, _)| asked == address);
                let field = named.map_or(field, |(_, field)| field);
                if named.is_some() || self.lacks(owner, Family::of(*address)) {
                    self.keep(owner, *address, field);
                }
            }
        }
    }

    /// What an owner was given keeps being its own while its status does not say so yet.
    pub fn keep_what_was_given(&mut self, given: &Given) {
        for owner in 0..self.wishes.len() {
            let wish = self.wishes[owner];
            for address in given.get(&wish.id).into_iter().flatten() {
                if self.lacks(owner, Family::of(*address)) {
                    self.keep(owner, *address, wish.field);
                }
            }
        }
    }

    fn keep(&mut self, owner: usize, address: Address, field: &str) {
        if self.has_pools() {
            let is_free = self.holders(address).iter().all(|&other| self.agree(owner, other));
            if !is_free {
                return;
            }
            if !self.pools.holds(address) {
                let note = format!("no AddressPool holds {address} any more: it is kept as long as its owner lives");
                self.assigned[owner].notes.push((field.to_string(), note));
            }
        }
        self.give(owner, address, field);
    }

    /// Whether an owner still wants an address of a family from a pool.
    fn lacks(&self, owner: usize, family: Family) -> bool {
        let wish = self.wishes[owner];
        let mut has = self.assigned[owner].addresses.iter().map(|(address, _)| Family::of(*address));
        wish.families.contains(&family)
            && match wish.need {
                Need::First => self.assigned[owner].addresses.is_empty(),
                Need::Each | Need::All => !has.any(|known| known == family),
            }
    }

    /// What an owner asks for it gets, if it is open to it and nobody else's.
    pub fn grant_what_is_asked_for(&mut self) {
        for owner in 0..self.wishes.len() {
            let wish = self.wishes[owner];
            for (address, field) in &wish.asked {
                if self.assigned[owner].addresses.iter().any(|(known, _)| known == address) {
                    continue;
                }
                match self.refuse(owner, *address) {
                    None => self.give(owner, *address, field),
                    Some(message) => {
                        let refusal = Refusal { reason: NOT_USABLE, message, field: field.clone() };
                        self.assigned[owner].refusal.get_or_insert(refusal);
                    }
                }
            }
        }
    }

    /// Why an owner cannot have an address it asks for.
    fn refuse(&self, owner: usize, address: Address) -> Option<String> {
        if !self.has_pools() {
            return None;
        }
        let wish = self.wishes[owner];
        let namespace = &*wish.id.name.namespace;
        if let Some(&other) = self.holders(address).iter().find(|&&other| !self.may_share(owner, other)) {
            let holder = &self.wishes[other].id;
            let what = if self.agree(owner, other) {
                "on one of the same ports: use other ports or another address".to_string()
            } else {
                format!(
                    "use another address, or let both share it: annotation {}, of one value, in one namespace",
                    super::SHARING_ANNOTATION
                )
            };
            return Some(format!("{address} belongs to {holder}: {what}"));
        }
        let is_open = self.pools.holder(address).is_some_and(|pool| {
            self.open[namespace].iter().any(|&index| std::ptr::eq(&raw const self.pools.pools[index], pool))
        });
        (!is_open).then(|| {
            format!(
                "{address} is in no AddressPool that is open to {}: use an address of one, or none to get one",
                audience(namespace)
            )
        })
    }

    /// Gives whoever lacks an address the lowest that is free in the best pool.
    pub fn assign_what_is_missing(&mut self) {
        for owner in 0..self.wishes.len() {
            let wish = self.wishes[owner];
            self.assigned[owner].is_given = wish.asked.is_empty();
            for family in &wish.families {
                if !self.lacks(owner, *family) {
                    continue;
                }
                if let Some(address) = self.find(owner, *family) {
                    self.give(owner, address, wish.field);
                }
            }
            let missing = wish.families.iter().filter(|family| self.lacks(owner, **family)).count();
            let has_none = missing > 0 && self.assigned[owner].addresses.is_empty();
            if has_none || missing > 0 && wish.need == Need::All {
                let message = self.why_not_assigned(owner);
                let refusal = Refusal { reason: NOT_ASSIGNED, message, field: wish.field.to_string() };
                self.assigned[owner].refusal.get_or_insert(refusal);
            }
        }
    }

    fn find(&mut self, owner: usize, family: Family) -> Option<Address> {
        if let Some(address) = self.find_shared(owner, family) {
            return Some(address);
        }
        let open = &self.open[&*self.wishes[owner].id.name.namespace];
        open.iter().find_map(|&index| self.pools.pools[index].lowest_free(family, &self.held))
    }

    /// The first address of an owner's sharers that has none of its ports taken.
    fn find_shared(&mut self, owner: usize, family: Family) -> Option<Address> {
        let wish = self.wishes[owner];
        let sharers = sharers(wish)?;
        let addresses = self.shared.get(&sharers)?;
        let start = self.passed_over.get(&(sharers.clone(), &wish.ports)).copied().unwrap_or(0);
        let is_free = |address: &Address| self.holders(*address).iter().all(|&other| self.may_share(owner, other));
        let passed = addresses[start..].iter().take_while(|address| !is_free(address)).count();
        let found = addresses[start + passed..].iter().copied().find(|ip| Family::of(*ip) == family && is_free(ip));
        self.passed_over.insert((sharers, &wish.ports), start + passed);
        found
    }

    fn give(&mut self, owner: usize, address: Address, field: &str) {
        self.assigned[owner].addresses.push((address, field.to_string()));
        self.held.entry(address).or_default().push(owner);
        if let Some(sharers) = sharers(self.wishes[owner]) {
            let known = self.shared.entry(sharers).or_default();
            if self.held[&address].len() == 1 {
                known.push(address);
            }
        }
    }

    fn holders(&self, address: Address) -> &[usize] {
        self.held.get(&address).map_or(&[], Vec::as_slice)
    }

    /// Whether two owners want to share.
    fn agree(&self, one: usize, other: usize) -> bool {
        sharers(self.wishes[one]).is_some_and(|key| sharers(self.wishes[other]).is_some_and(|others| others == key))
    }

    /// Whether two owners want to share and can.
    fn may_share(&self, one: usize, other: usize) -> bool {
        self.agree(one, other) && self.wishes[one].ports.is_disjoint(&self.wishes[other].ports)
    }

    fn why_not_assigned(&self, owner: usize) -> String {
        let wish = self.wishes[owner];
        let kind = wish.id.kind;
        let namespace = &*wish.id.name.namespace;
        if self.pools.pools.is_empty() {
            return format!(
                "the {kind} asks for no address and there is no AddressPool: name its VIPs, or create a pool"
            );
        }
        let lacking: Vec<Family> = wish.families.iter().copied().filter(|family| self.lacks(owner, *family)).collect();
        let families = lacking.iter().map(|family| family.name()).collect::<Vec<_>>().join(" or ");
        let open = self.open[namespace].iter().map(|&index| &self.pools.pools[index]);
        let names = |pool: &Pool<'_>| lacking.iter().any(|family| pool.has(*family)).then(|| pool.name.to_string());
        let exhausted: Vec<String> = open.filter_map(names).collect();
        if exhausted.is_empty() {
            return format!(
                "no AddressPool with {families} is open to {}: create one, or name a VIP",
                audience(namespace)
            );
        }
        let several = if exhausted.len() == 1 { "" } else { "s" };
        format!("AddressPool{several} {} has no free {families} address left: add some", exhausted.join(", "))
    }

    /// What the pools' status should say.
    pub fn pool_statuses(&self, objects: &Objects) -> BTreeMap<Name, PoolStatus> {
        let status = |pool: &Pool<'_>| {
            let found = objects.address_pools.get(pool.name);
            let generation = found.and_then(|found| found.object.metadata.generation).unwrap_or(0);
            let conditions = vec![accepted(pool)];
            let status = ObjectStatus { generation, conditions };
            (pool.name.clone(), PoolStatus { status, total: pool.total(), assigned: pool.assigned(&self.held) })
        };
        self.pools.pools.iter().map(status).collect()
    }
}

fn accepted(pool: &Pool<'_>) -> Condition {
    let (truth, reason, message) = match pool.conflict {
        None => (Truth::True, "Accepted", "its addresses are given out".to_string()),
        Some(older) => {
            let message = format!(
                "AddressPool {older} is older and holds some of its addresses: nothing new is given out of it, and what is \
                 assigned stays: take the overlap out"
            );
            (Truth::False, "Conflicted", message)
        }
    };
    Condition { kind: "Accepted", truth, reason, message }
}

/// The pools without conflict that a namespace may use, the best first.
fn open_pools(objects: &Objects, pools: &Pools<'_>, namespace: &str) -> Vec<usize> {
    let labels = namespace_labels(objects, namespace);
    let is_open =
        |pool: &Pool<'_>| pool.conflict.is_none() && pool.selector().is_none_or(|selector| matches(selector, &labels));
    pools.pools.iter().enumerate().filter(|(_, pool)| is_open(pool)).map(|(index, _)| index).collect()
}

/// For whom an owner wants an address: one without a namespace wants it for all of them.
fn audience(namespace: &str) -> String {
    if namespace.is_empty() { "all namespaces".to_string() } else { format!("namespace `{namespace}`") }
}

fn sharers<'a>(wish: &Wish<'a>) -> Option<Sharers<'a>> {
    wish.sharing_key.map(|key| (wish.id.name.namespace.clone(), key))
}
