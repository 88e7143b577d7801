//! Which backend a request or connection goes to: by weight, in two levels, the references of a rule and the Pods of each.
//!
//! A wheel is a cycle of members in which each stands as often as its weight says. Round robin walks it by a cursor that all
//! workers share: in any run of as many requests as it has slots each member gets exactly its weight, whichever workers they
//! come to. The other pickers look at it elsewhere: at random, by what is open, by who asks. Cursors outlive a change of the
//! model, so that one does not begin anew for all.

mod asker;
mod load;
mod maglev;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use gateway_common::maps::MAX_SCHEDULE_SLOTS;

pub use self::asker::Asker;
use self::load::Load;
use super::endpoint::Endpoint;
use super::reject::Reason;
use super::session::backend_token;
use crate::model::http::Picker;
use crate::schedule::Schedule;

/// A cycle of members by weight.
#[derive(Debug)]
pub struct Wheel {
    slots: Box<[u32]>,
    cursor: Arc<AtomicU64>,
}

impl Wheel {
    /// Members with these weights, evenly spread.
    pub fn new(weights: &[u32], cursor: Arc<AtomicU64>) -> Self {
        Self { slots: Schedule::new(weights, MAX_SCHEDULE_SLOTS).slots.into(), cursor }
    }

    /// The next slot, if any member has weight.
    fn turn(&self) -> Option<usize> {
        match self.slots.len() {
            0 => None,
            1 => Some(0),
            slots => Some((self.cursor.fetch_add(1, Relaxed) % slots as u64) as usize),
        }
    }

    /// Any slot, if any member has weight.
    fn any(&self) -> Option<usize> {
        (!self.slots.is_empty()).then(|| fastrand::usize(..self.slots.len()))
    }

    /// The slot of a hash, if any member has weight.
    fn of_hash(&self, hash: u64) -> Option<usize> {
        (!self.slots.is_empty()).then(|| (hash % self.slots.len() as u64) as usize)
    }

    fn member(&self, slot: usize) -> usize {
        self.slots[slot] as usize
    }

    /// All slots, beginning with this one.
    fn starting_at(&self, slot: usize) -> impl Iterator<Item = usize> {
        (0..self.slots.len()).map(move |step| (slot + step) % self.slots.len())
    }

    /// The members in the order of the slots that follow one, the slot's own last; some more than once.
    fn following(&self, slot: usize) -> impl Iterator<Item = usize> {
        self.starting_at(slot + 1).map(|slot| self.member(slot))
    }
}

/// The backends behind one reference.
#[derive(Debug)]
pub struct Reference {
    /// Why none of them can be chosen, if so.
    pub failure: Option<Reason>,
    /// The backends and what people call them.
    pub members: Vec<(Arc<Endpoint>, Arc<str>)>,
    weights: Box<[u32]>,
    picker: Picker,
    wheel: Wheel,
}

/// A backend that was chosen, and from where the next one is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The member of its reference.
    pub member: usize,
    slot: usize,
}

impl Reference {
    /// These backends, each with its weight.
    pub fn new(
        members: Vec<(Arc<Endpoint>, Arc<str>)>,
        weights: Vec<u32>,
        picker: Picker,
        cursor: Arc<AtomicU64>,
    ) -> Self {
        let wheel = match picker {
            Picker::WeightedRoundRobin | Picker::TwoChoices | Picker::LeastRequests => Wheel::new(&weights, cursor),
            Picker::Maglev(_) => {
                let tokens = members.iter().map(|(endpoint, _)| backend_token(&endpoint.key.backend));
                let members: Vec<(u64, u32)> = tokens.zip(weights.iter().copied()).collect();
                Wheel { slots: maglev::table(&members), cursor }
            }
        };
        Self { failure: None, members, weights: weights.into(), picker, wheel }
    }

    /// One that leads nowhere.
    pub fn unusable(failure: Reason) -> Self {
        Self { failure: Some(failure), ..Self::new(Vec::new(), Vec::new(), Picker::default(), Arc::default()) }
    }

    /// The backend for who asks. One that fails of late is passed over, unless all do.
    pub fn choose(&self, asker: &Asker<'_>) -> Result<Choice, Reason> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let slot = self.slot(asker).ok_or(Reason::NoneReady)?;
        let member = self.wheel.member(slot);
        if self.is_healthy(member) || !self.has_healthy() {
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

    /// Whether a session may stay with a member: it gets new requests and is healthy, or none is so. One that is not ready, or
    /// about to end, has no weight.
    pub fn may_stay(&self, member: usize) -> bool {
        let has_weight = self.weights[member] > 0 || self.weights.iter().all(|weight| *weight == 0);
        has_weight && (self.is_healthy(member) || !self.has_healthy())
    }

    /// A backend that is chosen already, by a session.
    pub fn stay(&self, member: usize) -> Choice {
        Choice { member, slot: self.wheel.slots.iter().position(|&slot| slot as usize == member).unwrap_or(0) }
    }

    fn slot(&self, asker: &Asker<'_>) -> Option<usize> {
        match &self.picker {
            Picker::WeightedRoundRobin => self.wheel.turn(),
            Picker::LeastRequests => Some(self.least_busy(self.wheel.turn()?)),
            Picker::TwoChoices => Some(self.less_busy(self.wheel.any()?, self.wheel.any()?)),
            Picker::Maglev(key) => self.wheel.of_hash(asker.hash(key)),
        }
    }

    /// The slot of the backend with the fewest open requests for its weight; of several such the first from this slot on, so
    /// that they take turns.
    fn least_busy(&self, slot: usize) -> usize {
        let can_serve = |member: usize| self.weights[member] > 0 && self.is_healthy(member);
        let loads = (0..self.members.len()).filter(|&member| can_serve(member)).map(|member| self.load(member));
        let Some(least) = loads.min() else { return slot };
        let is_least = |slot: &usize| {
            let member = self.wheel.member(*slot);
            can_serve(member) && self.load(member) <= least
        };
        self.wheel.starting_at(slot).find(is_least).unwrap_or(slot)
    }

    /// Of two backends at or behind these slots that with fewer open requests for its weight; of equals the first, so that
    /// each gets what its weight says as long as nothing is open.
    fn less_busy(&self, one: usize, other: usize) -> usize {
        let first = self.wheel.member(one);
        let is_another = |slot: &usize| self.wheel.member(*slot) != first;
        let Some(other) = self.wheel.starting_at(other).find(is_another) else { return one };
        let second = self.wheel.member(other);
        let is_better = match (self.is_healthy(first), self.is_healthy(second)) {
            (true, false) => false,
            (false, true) => true,
            _ => self.load(second) < self.load(first),
        };
        if is_better { other } else { one }
    }

    fn load(&self, member: usize) -> Load {
        Load { open: self.members[member].0.open_requests(), weight: self.weights[member] }
    }

    fn is_healthy(&self, member: usize) -> bool {
        self.members[member].0.is_healthy()
    }

    fn has_healthy(&self) -> bool {
        (0..self.members.len()).any(|member| self.weights[member] > 0 && self.is_healthy(member))
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
mod tests;
