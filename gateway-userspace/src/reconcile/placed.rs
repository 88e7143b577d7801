//! A schedule and its place in the slots. It is never changed in place: the new one goes to free slots, and whoever
//! owns it is pointed there afterwards, in one write of eight bytes.

use std::time::Duration;

use gateway_common::SlotRange;
use gateway_common::maps::MAX_SCHEDULE_SLOTS;

use super::note::Matter;
use super::slots::SlotRanges;
use super::write::Write;
use crate::schedule::Schedule;

/// A schedule that lies in the slots.
#[derive(Debug)]
pub(super) struct Placed {
    /// Where it lies.
    range: SlotRange,
    /// What stands there; nothing if that is not known or the place is not its own.
    members: Option<Vec<u32>>,
}

/// How well a schedule says what it was asked to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Exact,
    /// Rounded to this many slots, because a schedule may have no more.
    Rounded(u32),
    /// Rounded to this many slots, because there is no room for more.
    Coarse(u32),
}

impl Fit {
    /// What people are told about it.
    pub(super) fn matter(self, reference: Option<&str>) -> Option<Matter> {
        let reference = reference.map(str::to_owned);
        match self {
            Self::Exact => None,
            Self::Rounded(slots) => Some(Matter::Rounded { reference, slots }),
            Self::Coarse(slots) => Some(Matter::Coarse { reference, slots }),
        }
    }
}

impl Placed {
    /// A schedule without slots.
    pub(super) const fn empty() -> Self {
        Self { range: SlotRange::EMPTY, members: Some(Vec::new()) }
    }

    /// One that lies in the maps already.
    pub(super) fn adopt(range: SlotRange, members: Option<&[u32]>, slots: &mut SlotRanges) -> Self {
        if range.length == 0 {
            return Self::empty();
        }
        match members {
            Some(members) if slots.reserve(range) => Self { range, members: Some(members.to_vec()) },
            Some(_) | None => Self { range: SlotRange::EMPTY, members: None },
        }
    }

    /// Where it lies.
    pub(super) const fn range(&self) -> SlotRange {
        self.range
    }

    /// What stands there, with repetition; nothing if that is not known.
    pub(super) fn members(&self) -> &[u32] {
        self.members.as_deref().unwrap_or_default()
    }

    /// Makes it the schedule of these members, each an id and a weight. Writes slots only if it is another one than
    /// now; the range has changed then, and the old one is released.
    pub(super) fn update(
        &mut self,
        members: &[(u32, u32)],
        slots: &mut SlotRanges,
        now: Duration,
        writes: &mut Vec<Write>,
    ) -> Fit {
        let weights: Vec<u32> = members.iter().map(|&(_, weight)| weight).collect();
        let least = weights.iter().filter(|&&weight| weight > 0).count() as u32;
        let mut max_slots = MAX_SCHEDULE_SLOTS;
        loop {
            let schedule = Schedule::new(&weights, max_slots);
            let length = schedule.slots.len() as u32;
            let fit = match (schedule.exact, max_slots) {
                (true, _) => Fit::Exact,
                (false, MAX_SCHEDULE_SLOTS) => Fit::Rounded(length),
                (false, _) => Fit::Coarse(length),
            };
            let wanted: Vec<u32> = schedule.slots.iter().map(|&member| members[member as usize].0).collect();
            if self.members.as_ref() == Some(&wanted) {
                return fit;
            }
            if length == 0 {
                self.replace(Self::empty(), slots, now);
                return fit;
            }
            if let Some(range) = slots.take(length, now) {
                writes.push(Write::SetSlots { offset: range.offset, members: wanted.clone() });
                self.replace(Self { range, members: Some(wanted) }, slots, now);
                return fit;
            }
            if length <= least {
                self.replace(Self::empty(), slots, now);
                return Fit::Coarse(0);
            }
            max_slots = length / 2;
        }
    }

    /// Gives its place back.
    pub(super) fn release(self, slots: &mut SlotRanges, now: Duration) {
        slots.release(self.range, now);
    }

    fn replace(&mut self, new: Self, slots: &mut SlotRanges, now: Duration) {
        std::mem::replace(self, new).release(slots, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn an_equal_schedule_is_not_written_again() {
        let mut slots = SlotRanges::new(100);
        let mut placed = Placed::empty();
        let mut writes = Vec::new();
        placed.update(&[(7, 2), (9, 1)], &mut slots, NOW, &mut writes);
        assert_eq!(writes, [Write::SetSlots { offset: 0, members: vec![7, 9, 7] }]);

        let fit = placed.update(&[(7, 20), (9, 10)], &mut slots, NOW, &mut writes);

        assert_eq!((fit, writes.len()), (Fit::Exact, 1));
    }

    #[test]
    fn a_schedule_without_room_becomes_coarser_and_at_last_empty() {
        let mut slots = SlotRanges::new(5);
        let mut writes = Vec::new();
        let mut first = Placed::empty();
        let mut second = Placed::empty();

        assert_eq!(first.update(&[(0, 9), (1, 1)], &mut slots, NOW, &mut writes), Fit::Coarse(5));
        assert_eq!(second.update(&[(0, 9), (1, 1)], &mut slots, NOW, &mut writes), Fit::Coarse(0));

        assert_eq!(first.range(), SlotRange { offset: 0, length: 5 });
        assert_eq!(second.range(), SlotRange::EMPTY);
    }
}
