//! Which clients must be forgotten, because the backend they were given gets no new connections any more.
//!
//! The datapath trusts what it remembers of a client, so whatever left a frontend's schedules is forgotten in the same
//! pass. A flow that was just then being established may remember it once more; so it is forgotten a second time after
//! a rest, and before the frontend's id has another life.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::ids::REST;
use super::write::Write;

/// A frontend's id and the id of a backend behind it.
pub type Pair = (u32, u32);

/// What must be forgotten.
#[derive(Debug, Default)]
pub(super) struct Affinities {
    left: BTreeSet<Pair>,
    again: VecDeque<(Duration, BTreeSet<Pair>)>,
}

impl Affinities {
    /// From what the maps remember: what no schedule would choose is forgotten.
    pub(super) fn adopt(remembered: &BTreeSet<Pair>, is_chosen: impl Fn(&Pair) -> bool) -> Self {
        let left = remembered.iter().filter(|pair| !is_chosen(pair)).copied().collect();
        Self { left, again: VecDeque::new() }
    }

    /// A frontend with affinity chose these backends before, and chooses those after.
    pub(super) fn change(&mut self, frontend: u32, before: &BTreeSet<u32>, after: &BTreeSet<u32>) {
        self.left.extend(before.difference(after).map(|&backend| (frontend, backend)));
        let is_back = |&(id, backend): &Pair| id == frontend && after.contains(&backend);
        for (_, pairs) in &mut self.again {
            pairs.retain(|pair| !is_back(pair));
        }
    }

    /// Forgets what left, and once more what had left a rest ago.
    pub(super) fn flush(&mut self, now: Duration, writes: &mut Vec<Write>) {
        let mut pairs = std::mem::take(&mut self.left);
        let fresh = pairs.clone();
        while let Some((_, due)) = self.again.pop_front_if(|(at, _)| *at <= now) {
            pairs.extend(due);
        }
        if !pairs.is_empty() {
            writes.push(Write::ForgetAffinity { pairs });
        }
        if !fresh.is_empty() {
            self.again.push_back((now + REST, fresh));
        }
    }

    /// When something is to be forgotten once more.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.again.front().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn flushed(affinities: &mut Affinities, now: Duration) -> Vec<Write> {
        let mut writes = Vec::new();
        affinities.flush(now, &mut writes);
        writes
    }

    fn forget(pairs: &[Pair]) -> Vec<Write> {
        vec![Write::ForgetAffinity { pairs: pairs.iter().copied().collect() }]
    }

    #[test]
    fn what_left_is_forgotten_at_once_and_again_after_a_rest() {
        let mut affinities = Affinities::default();
        affinities.change(3, &BTreeSet::from([1, 2]), &BTreeSet::from([2, 4]));

        assert_eq!(flushed(&mut affinities, NOW), forget(&[(3, 1)]));
        assert_eq!(flushed(&mut affinities, NOW), []);
        assert_eq!(affinities.next_deadline(), Some(NOW + REST));
        assert_eq!(flushed(&mut affinities, NOW + REST), forget(&[(3, 1)]));
        assert_eq!((flushed(&mut affinities, NOW + 2 * REST), affinities.next_deadline()), (vec![], None));
    }

    #[test]
    fn a_backend_that_came_back_is_not_forgotten_again() {
        let mut affinities = Affinities::default();
        affinities.change(3, &BTreeSet::from([1, 2]), &BTreeSet::from([]));
        flushed(&mut affinities, NOW);

        affinities.change(3, &BTreeSet::from([]), &BTreeSet::from([1]));

        assert_eq!(flushed(&mut affinities, NOW + REST), forget(&[(3, 2)]));
    }

    #[test]
    fn what_an_earlier_agent_left_behind_is_forgotten() {
        let remembered = BTreeSet::from([(1, 1), (1, 2), (7, 1)]);

        let mut affinities = Affinities::adopt(&remembered, |pair| *pair == (1, 2));

        assert_eq!(flushed(&mut affinities, NOW), forget(&[(1, 1), (7, 1)]));
    }
}
