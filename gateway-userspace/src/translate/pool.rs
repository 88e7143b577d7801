//! The members of a group while they are gathered from one Service or several.
//!
//! A group's members are the endpoints on this node; those elsewhere are counted, since a node sends traffic to its own
//! Pods only. So the last resort, too, is a node's own: if none of its endpoints is ready, those of it that still answer
//! while they end get its connections, whatever other nodes have.

use std::collections::BTreeMap;

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

/// What becomes of a pool.
#[derive(Default)]
pub(super) struct Members {
    /// The endpoints on this node.
    pub here: BTreeMap<Backend, Member>,
    /// How many ready ones there are elsewhere that clients of this node should reach.
    pub elsewhere: u32,
}

impl<'a> Pool<'a> {
    /// Adds a backend with the weight its entry gives it.
    pub fn add(&mut self, candidate: Candidate<'a>, weight: u16) {
        let fitness = candidate.fitness;
        let (_, share) = self.shares.entry(candidate.backend).or_insert_with(|| {
            let share = Share::of(&candidate);
            (candidate, share)
        });
        share.give(weight);
        share.see(fitness);
    }

    /// The members with their weights.
    pub fn into_members(self) -> Members {
        let here = self.shares.values().filter(|(candidate, _)| candidate.reach == Reach::Here);
        let serving = serving(here.map(|(_, share)| share));
        let mut members = Members::default();
        for (backend, (candidate, share)) in self.shares {
            match candidate.reach {
                Reach::Here => {
                    let weight = share.weight(serving).unwrap_or(0);
                    members.here.insert(backend, Member { name: candidate.name(), weight });
                }
                Reach::Elsewhere => members.elsewhere += u32::from(share.fitness == Fitness::Ready),
                Reach::NotMeantForHere => {}
            }
        }
        members
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
        (Some(self.fitness) == serving).then(|| self.own.unwrap_or(self.given))
    }
}

/// How fit those are that serve: whoever is ready; if nobody is, whoever still answers while it ends.
pub(super) fn serving<'s>(shares: impl Iterator<Item = &'s Share>) -> Option<Fitness> {
    shares.map(|share| share.fitness).max().filter(|best| *best > Fitness::NotReady)
}
