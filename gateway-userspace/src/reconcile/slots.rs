//! Divides the flat array of slots into ranges, one a schedule.
//!
//! First fit from a list of free ranges that grow together again. A released range rests before it is given to
//! another schedule, so that whoever in the datapath read its place a moment ago still finds the old members there.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use gateway_common::SlotRange;

use super::ids::REST;

/// Which slots are free.
#[derive(Debug)]
pub(super) struct SlotRanges {
    /// Free ranges: offset → length. No two of them touch.
    free: BTreeMap<u32, u32>,
    /// Released ranges with the time of their release, oldest first.
    resting: VecDeque<(SlotRange, Duration)>,
}

impl SlotRanges {
    /// All slots are free.
    pub(super) fn new(capacity: u32) -> Self {
        let free = if capacity == 0 { BTreeMap::new() } else { BTreeMap::from([(0, capacity)]) };
        Self { free, resting: VecDeque::new() }
    }

    /// Takes exactly this range, which lies in the maps already. False if some of it is taken or does not exist.
    pub(super) fn reserve(&mut self, range: SlotRange) -> bool {
        let Some(end) = range.offset.checked_add(range.length) else { return false };
        let Some((&offset, &length)) = self.free.range(..=range.offset).next_back() else { return false };
        if offset + length < end {
            return false;
        }
        self.free.remove(&offset);
        self.insert(offset, range.offset - offset);
        self.insert(end, offset + length - end);
        true
    }

    /// Takes a range of this length; nothing if there is none.
    pub(super) fn take(&mut self, length: u32, now: Duration) -> Option<SlotRange> {
        self.reclaim(now);
        let (&offset, &found) = self.free.iter().find(|&(_, &found)| found >= length)?;
        self.free.remove(&offset);
        self.insert(offset + length, found - length);
        Some(SlotRange { offset, length })
    }

    /// Gives a range back.
    pub(super) fn release(&mut self, range: SlotRange, now: Duration) {
        if range.length != 0 {
            self.resting.push_back((range, now));
        }
    }

    /// When the next range will have rested.
    pub(super) fn next_reclaim(&self) -> Option<Duration> {
        self.resting.front().map(|(_, since)| *since + REST)
    }

    fn reclaim(&mut self, now: Duration) {
        while let Some(&(range, since)) = self.resting.front()
            && since + REST <= now
        {
            self.resting.pop_front();
            self.join(range);
        }
    }

    /// Adds a range to the free ones, together with those that touch it.
    fn join(&mut self, SlotRange { mut offset, mut length }: SlotRange) {
        if let Some((&before, &before_length)) = self.free.range(..offset).next_back()
            && before + before_length == offset
        {
            self.free.remove(&before);
            offset = before;
            length += before_length;
        }
        if let Some(after_length) = self.free.remove(&(offset + length)) {
            length += after_length;
        }
        self.free.insert(offset, length);
    }

    fn insert(&mut self, offset: u32, length: u32) {
        if length != 0 {
            self.free.insert(offset, length);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn a_released_range_is_not_reused_before_it_has_rested() {
        let mut slots = SlotRanges::new(10);
        let range = slots.take(8, NOW).expect("there is room");

        slots.release(range, NOW);

        assert_eq!(slots.take(8, NOW), None);
        assert_eq!(slots.next_reclaim(), Some(NOW + REST));
        assert_eq!(slots.take(10, NOW + REST), Some(SlotRange { offset: 0, length: 10 }));
    }

    #[test]
    fn a_reserved_range_is_not_given_away() {
        let mut slots = SlotRanges::new(10);

        assert!(slots.reserve(SlotRange { offset: 3, length: 4 }));

        assert!(!slots.reserve(SlotRange { offset: 6, length: 1 }));
        assert!(!slots.reserve(SlotRange { offset: 9, length: 2 }));
        assert!(!slots.reserve(SlotRange { offset: u32::MAX, length: 2 }));
        assert_eq!(slots.take(3, NOW), Some(SlotRange { offset: 0, length: 3 }));
        assert_eq!(slots.take(3, NOW), Some(SlotRange { offset: 7, length: 3 }));
        assert_eq!(slots.take(1, NOW), None);
    }

    proptest! {
        #[test]
        fn ranges_never_overlap_and_all_room_comes_back(steps in prop::collection::vec((1u32..20, any::<bool>()), 1..60)) {
            let mut slots = SlotRanges::new(100);
            let mut taken: Vec<SlotRange> = Vec::new();
            let mut now = NOW;
            for (length, release) in steps {
                now += REST / 2;
                if release && !taken.is_empty() {
                    slots.release(taken.remove(length as usize % taken.len()), now);
                } else if let Some(range) = slots.take(length, now) {
                    for other in &taken {
                        prop_assert!(
                            range.offset + range.length <= other.offset || other.offset + other.length <= range.offset
                        );
                    }
                    taken.push(range);
                }
            }
            for range in taken {
                slots.release(range, now);
            }
            prop_assert_eq!(slots.take(100, now + REST), Some(SlotRange { offset: 0, length: 100 }));
        }
    }
}
