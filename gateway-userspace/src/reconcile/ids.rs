//! Hands out the small numbers by which frontends, groups and backends are found in arrays.
//!
//! An id that was used is the last choice, the least recently freed first, and never before a rest: whoever in the
//! datapath still holds it from a look-up a moment ago has let go by then, and counters of old flows mix with new
//! ones as late as possible.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::time::Duration;

/// How long a freed id or range of slots rests. A look-up that began before it was freed ends within microseconds.
pub(super) const REST: Duration = Duration::from_secs(1);

/// The ids of one array.
#[derive(Debug)]
pub(super) struct Ids {
    /// Ids that were never used.
    fresh: Range<u32>,
    /// Ids that were used, with the time from which they can be taken again, earliest first.
    freed: VecDeque<(u32, Duration)>,
}

impl Ids {
    /// All ids below `capacity` but those in `taken`; those in `used` are the last choice. Nobody remembers when they
    /// were freed, but loading the datapath takes longer than any look-up.
    pub(super) fn adopt(capacity: u32, used: &BTreeSet<u32>, taken: &BTreeSet<u32>) -> Self {
        let first_fresh = used.last().map_or(0, |last| last.saturating_add(1)).min(capacity);
        let freed = (0..first_fresh).filter(|id| !taken.contains(id)).map(|id| (id, Duration::ZERO)).collect();
        Self { fresh: first_fresh..capacity, freed }
    }

    /// An id that nobody has; nothing if there is none, or none that has rested.
    pub(super) fn take(&mut self, now: Duration) -> Option<u32> {
        self.fresh.next().or_else(|| {
            let &(id, rested) = self.freed.front()?;
            (rested <= now).then(|| {
                self.freed.pop_front();
                id
            })
        })
    }

    /// Gives an id back.
    pub(super) fn free(&mut self, id: u32, now: Duration) {
        self.freed.push_back((id, now + REST));
    }

    /// How many ids can be taken now.
    pub(super) fn available(&self, now: Duration) -> usize {
        self.fresh.len() + self.freed.iter().take_while(|(_, rested)| *rested <= now).count()
    }

    /// When the next id can be taken, if none can now.
    pub(super) fn next_available(&self) -> Option<Duration> {
        self.freed.front().map(|(_, rested)| *rested)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn ids(capacity: u32) -> Ids {
        Ids::adopt(capacity, &BTreeSet::new(), &BTreeSet::new())
    }

    #[test]
    fn a_freed_id_is_the_last_choice_and_rests_first() {
        let mut ids = ids(3);
        assert_eq!((ids.take(NOW), ids.take(NOW)), (Some(0), Some(1)));

        ids.free(0, NOW);

        assert_eq!(ids.take(NOW), Some(2));
        assert_eq!(ids.take(NOW), None);
        assert_eq!(ids.next_available(), Some(NOW + REST));
        assert_eq!(ids.take(NOW + REST), Some(0));
    }

    #[test]
    fn the_least_recently_freed_comes_first() {
        let mut ids = ids(2);
        ids.take(NOW);
        ids.take(NOW);

        ids.free(1, NOW);
        ids.free(0, NOW);

        assert_eq!(ids.available(NOW + REST), 2);
        assert_eq!(ids.take(NOW + REST), Some(1));
    }

    #[test]
    fn adopted_ids_are_not_handed_out() {
        let mut ids = Ids::adopt(5, &BTreeSet::from([0, 1, 3]), &BTreeSet::from([1, 3]));

        assert_eq!([ids.take(NOW), ids.take(NOW), ids.take(NOW), ids.take(NOW)], [Some(4), Some(0), Some(2), None]);
    }
}
