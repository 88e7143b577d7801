//! The members of a group while they are gathered from one Service or several.
//!
//! They are endpoints of this node, of others and of linked clusters, all by their weights. Those that are meant for the
//! clients of other nodes or zones get nothing as long as anybody else is ready, and if nobody is ready anywhere, those that
//! still answer while they end get the connections.

use std::collections::BTreeMap;

use gateway_common::Place;

use super::endpoints::{Candidate, Fitness};
use super::topology::Reach;
use crate::model::{Backend, Member};

/// Endpoints with the weights that entries give them.
#[derive(Default)]
pub(super) struct Pool<'a> {
    shares: BTreeMap<Backend, (Candidate<'a>, Share)>,
}

/// What decides a backend's weight.
pub(super) struct Share {
    /// The weight that its own annotation gives it.
    own: Option<u16>,
    /// The weights that entries give it, added up.
    given: u16,
    fitness: Fitness,
}

/// Those to whom new connections may go: fitter ones come first, then those that are meant for clients from here.
type Rank = (Fitness, bool);

impl<'a> Pool<'a> {
    /// Adds a backend with the weight its entry gives it.
    pub fn add(&mut self, candidate: Candidate<'a>, weight: u16) {
        let Candidate { fitness, reach, .. } = candidate;
        let (known, share) = self.shares.entry(candidate.backend).or_insert_with(|| {
            let share = Share::of(&candidate);
            (candidate, share)
        });
        known.reach = known.reach.min(reach);
        share.give(weight);
        share.see(fitness);
    }

    /// The members on whatever node: whoever is of the best rank gets its weight, the others none.
    pub fn into_members(self) -> BTreeMap<Backend, Member> {
        let rank = |(candidate, share): &(Candidate<'_>, Share)| -> Rank {
            (share.fitness, candidate.reach != Reach::NotMeantForHere)
        };
        let best = self.shares.values().map(rank).max().filter(|(fitness, _)| *fitness > Fitness::NotReady);
        let member = |(backend, found): (Backend, (Candidate<'_>, Share))| {
            let (candidate, share) = &found;
            let weight = if Some(rank(&found)) == best { share.stated() } else { 0 };
            let place = if candidate.reach == Reach::Here { Place::Here } else { Place::Elsewhere };
            (backend, Member { name: candidate.name(), weight, place })
        };
        self.shares.into_iter().map(member).collect()
    }

    /// The members, if this node is to serve its own endpoints only.
    pub fn into_local_members(mut self) -> BTreeMap<Backend, Member> {
        self.shares.retain(|_, (candidate, _)| candidate.reach == Reach::Here);
        self.into_members()
    }
}

impl Share {
    /// That of a candidate to which no entry has given anything yet.
    pub fn of(candidate: &Candidate<'_>) -> Self {
        Self { own: candidate.own_weight(), given: 0, fitness: candidate.fitness }
    }

    /// An entry gives it some weight.
    pub fn give(&mut self, weight: u16) {
        self.given = self.given.saturating_add(weight);
    }

    /// It is found as fit as this: of several findings the best counts.
    pub fn see(&mut self, fitness: Fitness) {
        self.fitness = self.fitness.max(fitness);
    }

    /// Its weight, if it serves: its own, else what entries give it.
    pub fn weight(&self, serving: Option<Fitness>) -> Option<u16> {
        (Some(self.fitness) == serving).then(|| self.stated())
    }

    fn stated(&self) -> u16 {
        self.own.unwrap_or(self.given)
    }
}

/// How fit those are that serve: whoever is ready; if nobody is, whoever still answers while it ends.
pub(super) fn serving<'s>(shares: impl Iterator<Item = &'s Share>) -> Option<Fitness> {
    shares.map(|share| share.fitness).max().filter(|best| *best > Fitness::NotReady)
}
