//! Who has each frontend that several ask for: the older object, then the first by name.

use std::collections::{BTreeMap, BTreeSet};

use gateway_common::FrontendKey;

use super::{Claim, Field, Report};
use crate::source::ObjectId;

/// Every frontend's owner, and those who came too late.
#[derive(Default)]
pub(super) struct Ownership<'a> {
    owners: BTreeMap<FrontendKey, &'a Claim<'a>>,
    losses: BTreeMap<(&'a ObjectId, Field), Loss<'a>>,
}

/// The frontends that one field of an object asks for in vain, gathered so that two families of one port are one loss.
pub(super) struct Loss<'a> {
    loser: &'a Claim<'a>,
    winner: &'a Claim<'a>,
    pub keys: BTreeSet<FrontendKey>,
}

impl<'a> Ownership<'a> {
    /// Of claims in the order of their age.
    pub fn of(claims: &'a [Claim<'a>]) -> Self {
        let mut ownership = Self::default();
        for claim in claims {
            let winner = *ownership.owners.entry(claim.key).or_insert(claim);
            if !std::ptr::eq(winner, claim) {
                let new = || Loss { loser: claim, winner, keys: BTreeSet::new() };
                ownership.losses.entry((claim.teller.0, claim.field)).or_insert_with(new).keys.insert(claim.key);
            }
        }
        ownership
    }

    /// The claims that are fulfilled, by frontend.
    pub fn owners(&self) -> impl Iterator<Item = &'a Claim<'a>> {
        self.owners.values().copied()
    }

    /// Whether an object has a frontend.
    pub fn has(&self, object: &ObjectId, key: FrontendKey) -> bool {
        self.owners.get(&key).is_some_and(|owner| owner.object == object)
    }

    /// What a field of an object lost, for itself or for the one that it adds to.
    pub fn loss(&self, object: &'a ObjectId, field: Field) -> Option<&Loss<'a>> {
        self.losses.get(&(object, field))
    }

    /// Tells every loser.
    pub fn report(&self, report: &mut Report) {
        for loss in self.losses.values() {
            let Claim { teller: (object, origin), field, .. } = loss.loser;
            report.add(origin.error(object, field.to_string(), loss.message()));
        }
    }
}

impl Loss<'_> {
    /// Who has it, and what to do.
    pub fn message(&self) -> String {
        let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        format!(
            "{} already has {} ({}) and is older or first by name: use another address or port",
            self.winner.teller.0,
            keys.join(" and "),
            self.winner.field,
        )
    }
}
