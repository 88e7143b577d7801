//! Weights become a schedule: a cyclic order in which each member stands as often as its weight says.
//!
//! The order is that of Tijdeman's chairman assignment ("The chairman assignment problem", Discrete Mathematics 32,
//! 1980): after any number of steps from the beginning, what a member has had differs from its due by less than one.
//! It depends on nothing but the weights and their order. It costs O(slots × log members). The kernel's maps and the HTTP
//! layer walk the same order, each with a cursor of its own.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// A schedule over members `0..weights.len()`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// The member of each slot.
    pub slots: Vec<u32>,
    /// Whether the shares are exactly the weights; otherwise they are rounded.
    pub exact: bool,
}

impl Schedule {
    /// The schedule of these weights with at most `max_slots` slots, or one for each member with weight if these are
    /// more. Exact if Σ(weights / gcd) fits, otherwise rounded by largest remainder; nobody with weight loses out.
    pub fn new(weights: &[u32], max_slots: u32) -> Self {
        let (counts, exact) = slot_counts(weights, max_slots);
        Self { slots: spread(&counts), exact }
    }
}

/// How many slots each weight gets, and whether that is exact.
fn slot_counts(weights: &[u32], max_slots: u32) -> (Vec<u32>, bool) {
    let divisor = weights.iter().fold(0, |divisor, &weight| gcd(divisor, weight)).max(1);
    let total: u64 = weights.iter().map(|&weight| u64::from(weight / divisor)).sum();
    if total <= u64::from(max_slots) {
        return (weights.iter().map(|weight| weight / divisor).collect(), true);
    }
    (round(weights, max_slots), false)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Divides `max_slots` among the weights by largest remainder; a weight above zero gets at least one.
fn round(weights: &[u32], max_slots: u32) -> Vec<u32> {
    let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    let share = |weight: u32| u64::from(weight) * u64::from(max_slots);
    let mut counts: Vec<u32> =
        weights.iter().map(|&weight| ((share(weight) / total) as u32).max(u32::from(weight > 0))).collect();
    let given: u64 = counts.iter().map(|&count| u64::from(count)).sum();

    if given <= u64::from(max_slots) {
        let mut by_remainder: Vec<usize> = (0..weights.len()).filter(|&member| weights[member] > 0).collect();
        by_remainder.sort_by_key(|&member| (Reverse(share(weights[member]) % total), member));
        for member in by_remainder.into_iter().take((u64::from(max_slots) - given) as usize) {
            counts[member] += 1;
        }
        return counts;
    }
    // The small weights took more than their due: the largest counts give it back.
    let mut largest: BinaryHeap<(u32, Reverse<usize>)> = counts
        .iter()
        .enumerate()
        .filter(|&(_, &count)| count > 1)
        .map(|(member, &count)| (count, Reverse(member)))
        .collect();
    for _ in 0..given - u64::from(max_slots) {
        let Some((count, Reverse(member))) = largest.pop() else { break };
        counts[member] = count - 1;
        if count > 2 {
            largest.push((count - 1, Reverse(member)));
        }
    }
    counts
}

/// When a member must have had its next slot: a fraction. Of equal ones, the earlier member's comes first.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Deadline {
    numerator: u64,
    denominator: u64,
    member: u32,
}

impl Ord for Deadline {
    fn cmp(&self, other: &Self) -> Ordering {
        let left = u128::from(self.numerator) * u128::from(other.denominator);
        let right = u128::from(other.numerator) * u128::from(self.denominator);
        left.cmp(&right).then(self.member.cmp(&other.member))
    }
}

impl PartialOrd for Deadline {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Orders the slots so that each member's are evenly spread.
///
/// With n members, S slots, c slots of the member and x already had, its next slot is due in the steps
/// from `ceil((x + d) S / c)` to `floor((x + 1 - d) S / c)` with `d = 1 / (2n - 2)`: take the earliest deadline of
/// those that may have one. The paper shows that there always is one and that no deadline is missed.
fn spread(counts: &[u32]) -> Vec<u32> {
    let members: Vec<u32> = (0..counts.len() as u32).filter(|&member| counts[member as usize] > 0).collect();
    let total: u64 = counts.iter().map(|&count| u64::from(count)).sum();
    if members.len() <= 1 {
        return members.iter().flat_map(|&member| std::iter::repeat_n(member, total as usize)).collect();
    }
    let scale = 2 * members.len() as u64 - 2;
    let per_slot = |member: u32| u64::from(counts[member as usize]) * scale;
    let release = |member: u32, had: u64| ((had * scale + 1) * total).div_ceil(per_slot(member));
    let deadline = |member: u32, had: u64| Deadline {
        numerator: ((had + 1) * scale - 1) * total,
        denominator: per_slot(member),
        member,
    };

    let mut had = vec![0u64; counts.len()];
    let mut waiting: BinaryHeap<Reverse<(u64, u32)>> =
        members.iter().map(|&member| Reverse((release(member, 0), member))).collect();
    let mut ready: BinaryHeap<Reverse<Deadline>> = BinaryHeap::new();
    let mut slots = Vec::with_capacity(total as usize);
    for step in 1..=total {
        while let Some(&Reverse((at, member))) = waiting.peek()
            && (at <= step || ready.is_empty())
        {
            waiting.pop();
            ready.push(Reverse(deadline(member, had[member as usize])));
        }
        let Some(Reverse(Deadline { member, .. })) = ready.pop() else { break };
        slots.push(member);
        had[member as usize] += 1;
        if had[member as usize] < u64::from(counts[member as usize]) {
            waiting.push(Reverse((release(member, had[member as usize]), member)));
        }
    }
    slots
}

#[cfg(test)]
mod tests {
    use gateway_common::maps::MAX_SCHEDULE_SLOTS;
    use proptest::prelude::*;

    use super::*;

    fn counts(schedule: &Schedule, members: usize) -> Vec<u64> {
        let mut counts = vec![0; members];
        for &member in &schedule.slots {
            counts[member as usize] += 1;
        }
        counts
    }

    #[test]
    fn five_three_one_is_exact_and_smooth() {
        let schedule = Schedule::new(&[5, 3, 1], MAX_SCHEDULE_SLOTS);

        assert!(schedule.exact);
        assert_eq!(schedule.slots, [0, 1, 0, 1, 0, 0, 2, 1, 0]);
    }

    #[test]
    fn equal_weights_take_turns() {
        assert_eq!(Schedule::new(&[10, 10, 10, 10], MAX_SCHEDULE_SLOTS).slots, [0, 1, 2, 3]);
    }

    #[test]
    fn nobody_without_weight_gets_a_slot() {
        assert_eq!(Schedule::new(&[0, 7, 0], MAX_SCHEDULE_SLOTS).slots, [1]);
        assert!(Schedule::new(&[0, 0], MAX_SCHEDULE_SLOTS).slots.is_empty());
        assert!(Schedule::new(&[], MAX_SCHEDULE_SLOTS).slots.is_empty());
    }

    #[test]
    fn one_to_65535_is_rounded_to_within_a_slot() {
        let schedule = Schedule::new(&[1, 65535], MAX_SCHEDULE_SLOTS);

        assert!(!schedule.exact);
        assert_eq!(counts(&schedule, 2), [1, 4095]);
    }

    #[test]
    fn more_members_than_slots_get_one_each() {
        let schedule = Schedule::new(&[3; 100], 10);
        assert_eq!(counts(&schedule, 100), [1; 100]);

        let uneven: Vec<u32> = (1..=100).collect();
        assert_eq!(counts(&Schedule::new(&uneven, 10), 100), [1; 100]);
    }

    proptest! {
        #[test]
        fn shares_are_exact_where_they_fit(weights in prop::collection::vec(0u32..100, 0..40)) {
            let schedule = Schedule::new(&weights, MAX_SCHEDULE_SLOTS);
            let counts = counts(&schedule, weights.len());

            prop_assert!(schedule.exact);
            let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
            for (member, &weight) in weights.iter().enumerate() {
                prop_assert_eq!(counts[member] * total, u64::from(weight) * schedule.slots.len() as u64);
            }
        }

        #[test]
        fn rounded_shares_are_off_by_no_more_than_the_members_that_stand_below_a_slot(
            weights in prop::collection::vec(0u32..=65535, 1..20)
        ) {
            let schedule = Schedule::new(&weights, MAX_SCHEDULE_SLOTS);
            let counts = counts(&schedule, weights.len());

            prop_assert!(schedule.slots.len() <= MAX_SCHEDULE_SLOTS as usize);
            let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
            let slots = schedule.slots.len() as u64;
            for (member, &weight) in weights.iter().enumerate() {
                prop_assert_eq!(counts[member] > 0, weight > 0);
                // Whoever stands below one slot takes it from the largest, so those may give up to one for each.
                let off = (counts[member] * total).abs_diff(u64::from(weight) * slots);
                prop_assert!(off <= total * weights.len() as u64);
            }
        }

        #[test]
        fn after_any_number_of_steps_everybody_is_within_one_of_the_due(
            weights in prop::collection::vec(0u32..300, 1..30)
        ) {
            let schedule = Schedule::new(&weights, MAX_SCHEDULE_SLOTS);
            let total = schedule.slots.len() as u64;
            let shares = counts(&schedule, weights.len());
            let mut had = vec![0u64; weights.len()];

            for (step, &member) in (1..).zip(&schedule.slots) {
                had[member as usize] += 1;
                for (member, &had) in had.iter().enumerate() {
                    let off = (had * total).abs_diff(shares[member] * step);
                    prop_assert!(off < total, "member {} after {} steps", member, step);
                }
            }
        }

        #[test]
        fn equal_weights_give_equal_schedules(weights in prop::collection::vec(0u32..=65535, 0..20)) {
            let once = Schedule::new(&weights, MAX_SCHEDULE_SLOTS);
            prop_assert_eq!(once, Schedule::new(&weights, MAX_SCHEDULE_SLOTS));
        }
    }
}
