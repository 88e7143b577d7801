//! Which address each Gateway and Service has: the one it asks for, the one it was given, or the lowest that is free.
//!
//! What an owner was given is read back from its status and never moved, whatever becomes of the pool. Owners come in
//! order of age, so equal objects give equal addresses. Nothing here runs through a range: a pool of 2^64 addresses costs
//! what one of two does. Who asks for what is gathered in `wishes`, and what a pool holds is for `ranges`.

mod allocator;
mod ranges;
mod wishes;

use std::collections::{BTreeMap, BTreeSet};

use gateway_common::{Address, Port, Protocol};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::endpoints::Family;
use super::statuses::PoolStatus;
use super::{Report, by_age};
use crate::model::Announce;
use crate::source::{Name, ObjectId, Objects, Origin};
use allocator::Allocator;
use ranges::Pools;

pub(super) use wishes::{families, sharing_key};

/// The annotation by which owners of one namespace agree to share an address: its value is the same on all of them.
pub const SHARING_ANNOTATION: &str = "beeline.dev/allow-shared-address";

/// Who tells clients of each VIP where it is: its pool says so; an address of no pool is announced.
pub(super) fn announcements(objects: &Objects, vips: impl Iterator<Item = Address>) -> BTreeMap<Address, Announce> {
    let pools = Pools::new(objects);
    let announce = |vip| match pools.holder(vip) {
        Some(pool) if !pool.object.spec.is_answered() => Announce::Network { pool: pool.name.name.clone() },
        Some(_) | None => Announce::Neighbor,
    };
    vips.map(|vip| (vip, announce(vip))).collect()
}

/// The addresses that owners were given without a status to read them back from, by owner.
pub type Given = BTreeMap<ObjectId, Vec<Address>>;

/// What an owner exposes.
type Ports = BTreeSet<(Protocol, Port)>;

/// What one owner wants.
#[derive(Clone, Debug)]
pub(super) struct Wish<'a> {
    /// The Gateway, Service, Ingress or `IngressClass`.
    pub id: ObjectId,
    pub created: Option<&'a Time>,
    /// Addresses that its spec names, each with the field.
    pub asked: Vec<(Address, String)>,
    /// The families in which it wants an address from a pool, the best first; empty if it asks for all it wants.
    pub families: Vec<Family>,
    pub need: Need,
    /// What it exposes: owners that share an address must not have one in common.
    pub ports: Ports,
    /// What owners have in common that share an address.
    pub sharing_key: Option<&'a str>,
    /// What its status says that it has, each with the field.
    pub current: Vec<(Address, String)>,
    /// The field that would ask for an address.
    pub field: &'static str,
}

/// How many of the families an owner needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// One address, of the first family that has one.
    First,
    /// One of each family, as far as there are any.
    Each,
    /// One of each family, or something is wrong.
    All,
}

/// Why an owner does not have what it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// `AddressNotAssigned` or `AddressNotUsable`, as Gateway API has it.
    pub reason: &'static str,
    pub message: String,
    /// The field to mend.
    pub field: String,
}

/// What one owner has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Assigned {
    addresses: Vec<(Address, String)>,
    refusal: Option<Refusal>,
    /// What is served all the same but deserves a word: the field and a sentence.
    notes: Vec<(String, String)>,
    /// Whether the addresses come from pools and not from the spec.
    is_given: bool,
}

/// Who has which address, and how the pools do.
#[derive(Clone, Debug, Default)]
pub(super) struct Assignments {
    owners: BTreeMap<ObjectId, Assigned>,
    pools: BTreeMap<Name, PoolStatus>,
}

impl Assignments {
    /// Fulfils wishes in the order that keeps what is: what statuses say, what this process gave, what is asked for, and
    /// only then what is new. Within each the older comes first.
    pub fn of(objects: &Objects, wishes: &[Wish<'_>], given: &Given, is_shared: bool) -> Self {
        let mut wishes: Vec<&Wish<'_>> = wishes.iter().collect();
        wishes.sort_by(|a, b| by_age(a.created, &a.id, b.created, &b.id));
        let mut allocator = Allocator::new(objects, wishes, is_shared);
        allocator.keep_what_statuses_say();
        allocator.keep_what_was_given(given);
        allocator.grant_what_is_asked_for();
        allocator.assign_what_is_missing();
        let pools = allocator.pool_statuses(objects);
        Self { owners: allocator.into_owners(), pools }
    }

    /// The addresses of an owner, each with the field that stands for it in messages.
    pub fn addresses(&self, id: &ObjectId) -> &[(Address, String)] {
        self.owners.get(id).map_or(&[], |assigned| &assigned.addresses)
    }

    /// Why an owner does not have all that it wants.
    pub fn refusal(&self, id: &ObjectId) -> Option<&Refusal> {
        self.owners.get(id)?.refusal.as_ref()
    }

    /// Names what an owner does not have, and what deserves a word.
    pub fn report(&self, id: &ObjectId, origin: &Origin, report: &mut Report) {
        for (field, note) in self.owners.get(id).into_iter().flat_map(|assigned| &assigned.notes) {
            report.add(origin.warning(id, &**field, &**note));
        }
        if let Some(refusal) = self.refusal(id) {
            report.add(origin.error(id, &*refusal.field, &*refusal.message));
        }
    }

    /// What the pools' status should say.
    pub fn pool_statuses(&self) -> &BTreeMap<Name, PoolStatus> {
        &self.pools
    }

    /// What owners have from pools, to be remembered until it stands in their status.
    pub fn given(&self) -> Given {
        let given = self.owners.iter().filter(|(_, assigned)| assigned.is_given && !assigned.addresses.is_empty());
        given.map(|(id, assigned)| (id.clone(), assigned.addresses.iter().map(|(ip, _)| *ip).collect())).collect()
    }
}

#[cfg(test)]
mod tests;
