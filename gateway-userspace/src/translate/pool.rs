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
    shares: BTreeMap<Backend, Share<'a>>,
}

struct Share<'a> {
    candidate: Candidate<'a>,
    /// The weights that entries give it, added up.
    given: u16,
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
        let share = self.shares.entry(candidate.backend).or_insert(Share { candidate, given: 0 });
        share.given = share.given.saturating_add(weight);
        share.candidate.fitness = share.candidate.fitness.max(fitness);
    }

    /// The members: whoever is ready gets its weight; if nobody is, whoever still answers while it ends.
    pub fn into_members(self) -> Members {
        let is_here = |share: &&Share<'_>| share.candidate.reach == Reach::Here;
        let best = self.shares.values().filter(is_here).map(|share| share.candidate.fitness).max();
        let serving = best.filter(|best| *best > Fitness::NotReady);
        let mut members = Members::default();
        for (backend, share) in self.shares {
            let Share { candidate, given } = share;
            match candidate.reach {
                Reach::Here => {
                    let is_serving = Some(candidate.fitness) == serving;
                    let weight = if is_serving { candidate.own_weight().unwrap_or(given) } else { 0 };
                    members.here.insert(backend, Member { name: candidate.name(), weight });
                }
                Reach::Elsewhere => members.elsewhere += u32::from(candidate.fitness == Fitness::Ready),
                Reach::NotMeantForHere => {}
            }
        }
        members
    }
}
