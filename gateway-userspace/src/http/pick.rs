//! Which backend a request or connection goes to: by weight, in two levels, the references of a rule and the Pods of each.
//!
//! A wheel walks a schedule, the datapath's, by a cursor that all workers share: in any run of as many requests as it has
//! slots each member gets exactly its weight, whichever workers they come to. Cursors outlive a change of the model, so that
//! one does not begin anew for all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use gateway_common::Algorithm;
use gateway_common::maps::MAX_SCHEDULE_SLOTS;

use super::endpoint::Endpoint;
use super::reject::Reason;
use crate::schedule::Schedule;

/// A weighted choice.
#[derive(Debug)]
pub struct Wheel {
    slots: Box<[u32]>,
    cursor: Arc<AtomicU64>,
    algorithm: Algorithm,
}

impl Wheel {
    /// A choice among members with these weights.
    pub fn new(weights: &[u32], algorithm: Algorithm, cursor: Arc<AtomicU64>) -> Self {
        Self { slots: Schedule::new(weights, MAX_SCHEDULE_SLOTS).slots.into(), cursor, algorithm }
    }

    /// The next slot, if any member has weight.
    fn turn(&self) -> Option<usize> {
        let slots = self.slots.len();
        match (slots, self.algorithm) {
            (0, _) => None,
            (1, _) => Some(0),
            (_, Algorithm::WeightedRoundRobin) => Some((self.cursor.fetch_add(1, Relaxed) % slots as u64) as usize),
            (_, Algorithm::Random) => Some(fastrand::usize(..slots)),
        }
    }

    fn member(&self, slot: usize) -> usize {
        self.slots[slot] as usize
    }

    /// The members in the order of the slots that follow one, the slot's own last; some more than once.
    fn following(&self, slot: usize) -> impl Iterator<Item = usize> {
        (1..=self.slots.len()).map(move |step| self.member((slot + step) % self.slots.len()))
    }
}

/// The backends behind one reference.
#[derive(Debug)]
pub struct Reference {
    /// Why none of them can be chosen, if so.
    pub failure: Option<Reason>,
    /// The backends and what people call them.
    pub members: Vec<(Arc<Endpoint>, Arc<str>)>,
    /// The choice among them.
    pub wheel: Wheel,
}

/// A backend that was chosen, and from where the next one is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The member of its reference.
    pub member: usize,
    slot: usize,
}

impl Reference {
    /// The next backend by weight. One that fails of late is passed over, unless all do.
    pub fn choose(&self) -> Result<Choice, Reason> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let slot = self.wheel.turn().ok_or(Reason::NoneReady)?;
        let member = self.wheel.member(slot);
        if self.is_healthy(member) {
            return Ok(Choice { member, slot });
        }
        let other = self.wheel.following(slot).find(|&member| self.is_healthy(member));
        Ok(Choice { member: other.unwrap_or(member), slot })
    }

    /// Another backend than those that were tried, rather one that does not fail of late.
    pub fn choose_other(&self, last: Choice, tried: &[usize]) -> Option<Choice> {
        let others = || self.wheel.following(last.slot).filter(|member| !tried.contains(member));
        let member = others().find(|&member| self.is_healthy(member)).or_else(|| others().next())?;
        Some(Choice { member, slot: last.slot })
    }

    /// A backend that is chosen already, by a session.
    pub fn stay(&self, member: usize) -> Choice {
        Choice { member, slot: self.wheel.slots.iter().position(|&slot| slot as usize == member).unwrap_or(0) }
    }

    fn is_healthy(&self, member: usize) -> bool {
        self.members[member].0.is_healthy()
    }
}

/// The references of a rule.
#[derive(Debug)]
pub struct References {
    /// In the order of the rule.
    pub all: Vec<Reference>,
    /// The choice among them.
    pub wheel: Wheel,
}

impl References {
    /// Whether any of them has weight.
    pub fn is_weighted(&self) -> bool {
        !self.wheel.slots.is_empty()
    }

    /// The next reference by weight. One that leads nowhere keeps its share.
    pub fn choose(&self) -> Result<usize, Reason> {
        self.wheel.turn().map(|slot| self.wheel.member(slot)).ok_or(Reason::NoBackends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_that_share_a_cursor_give_exact_shares_together() {
        let cursor = Arc::new(AtomicU64::new(7));
        let workers = [(); 3].map(|()| Wheel::new(&[5, 3, 1], Algorithm::WeightedRoundRobin, Arc::clone(&cursor)));
        let mut counts = [0; 3];

        for turn in 0..900 {
            let wheel = &workers[turn % 3];
            counts[wheel.member(wheel.turn().unwrap())] += 1;
        }

        assert_eq!(counts, [500, 300, 100]);
    }

    #[test]
    fn random_choice_never_meets_a_member_without_weight() {
        let wheel = Wheel::new(&[1, 0, 3], Algorithm::Random, Arc::default());
        let mut counts = [0; 3];

        for _ in 0..4000 {
            counts[wheel.member(wheel.turn().unwrap())] += 1;
        }

        assert_eq!(counts[1], 0);
        assert!((700..1300).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn without_weight_nothing_is_chosen() {
        assert_eq!(Wheel::new(&[0, 0], Algorithm::WeightedRoundRobin, Arc::default()).turn(), None);
    }
}
