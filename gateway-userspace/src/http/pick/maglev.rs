//! Maglev's table ("Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, 3.4), with weights.
//!
//! It depends on nothing but the backends' tokens and weights, so every node and every version has the same one. When a backend
//! goes, what it had is shared out, and little else moves.

/// Slots of a table, a prime: shares are right to about a hundredth for up to 160 backends of equal weight, and more backends
/// than slots are not all served.
pub const SLOTS: usize = 16_381;

/// The member of each slot, as an index into these tokens and weights. Nobody without weight has a slot.
pub fn table(members: &[(u64, u32)]) -> Box<[u32]> {
    const FREE: u32 = u32::MAX;
    let mut turns: Vec<Turns> = (members.iter().enumerate())
        .filter(|(_, (_, weight))| *weight > 0)
        .map(|(index, &(token, weight))| Turns::new(index as u32, token, weight))
        .collect();
    if turns.is_empty() {
        return Box::default();
    }
    // The order of the list must not matter, since it may be another one where the same Pods have other addresses.
    turns.sort_by_key(|turns| turns.token);
    let greatest = turns.iter().map(|turns| u64::from(turns.weight)).max().unwrap_or(1);
    let mut table = vec![FREE; SLOTS];
    let mut free = SLOTS;
    for round in 1.. {
        for turns in &mut turns {
            // In the first round everybody has a turn, however small the weight is.
            if round * u64::from(turns.weight) < turns.due {
                continue;
            }
            turns.due += greatest;
            let slot = turns.next_free(|slot| table[slot] == FREE);
            table[slot] = turns.member;
            free -= 1;
            if free == 0 {
                return table.into();
            }
        }
    }
    table.into()
}

/// A hash that is the same in every build: FNV-1a (draft-eastlake-fnv), whose bits are then mixed as `SplitMix64` does.
pub fn hash(bytes: &[u8], seed: u64) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let hash = bytes.iter().fold(OFFSET_BASIS ^ seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME));
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A member's own order of all slots, and how far it is in it.
struct Turns {
    member: u32,
    token: u64,
    weight: u32,
    /// Its next turn is in the first round that, times the weight, is no less.
    due: u64,
    next: usize,
    step: usize,
}

impl Turns {
    fn new(member: u32, token: u64, weight: u32) -> Self {
        let of = |seed: u64, below: usize| (hash(&token.to_be_bytes(), seed) % below as u64) as usize;
        Self { member, token, weight, due: 0, next: of(1, SLOTS), step: of(2, SLOTS - 1) + 1 }
    }

    /// The next slot in its order that is free. There must be one.
    fn next_free(&mut self, is_free: impl Fn(usize) -> bool) -> usize {
        loop {
            let slot = self.next;
            self.next = (slot + self.step) % SLOTS;
            if is_free(slot) {
                return slot;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(count: u64) -> Vec<(u64, u32)> {
        (0..count).map(|index| (hash(&index.to_be_bytes(), 9), 10)).collect()
    }

    /// The token of each slot's member.
    fn tokens(members: &[(u64, u32)]) -> Vec<u64> {
        table(members).iter().map(|&member| members[member as usize].0).collect()
    }

    fn count(tokens: &[u64], token: u64) -> usize {
        tokens.iter().filter(|&&of| of == token).count()
    }

    #[test]
    fn equal_weights_have_shares_that_differ_by_a_slot_or_two() {
        for pods in [1, 2, 7, 100] {
            let members = members(pods);
            let tokens = tokens(&members);

            for (token, _) in members {
                let due = SLOTS / pods as usize;
                assert!((due..=due + 1).contains(&count(&tokens, token)), "{pods}: {}", count(&tokens, token));
            }
        }
    }

    #[test]
    fn shares_are_as_the_weights_and_nobody_with_weight_has_none() {
        let members = [(11, 50), (22, 30), (33, 0), (44, 20), (55, 1)];
        let tokens = tokens(&members);

        assert_eq!(count(&tokens, 33), 0);
        for (token, weight) in [(11, 50), (22, 30), (44, 20), (55, 1)] {
            let due = SLOTS * weight / 101;
            assert!(count(&tokens, token).abs_diff(due) <= 2, "{token}: {} for {due}", count(&tokens, token));
        }
        assert_eq!(count(&super::tests::tokens(&[(1, 65_535), (2, 1)]), 2), 1);
    }

    #[test]
    fn when_a_pod_goes_little_moves_but_what_it_had() {
        let all = members(20);
        let (gone, _) = all[7];
        let fewer: Vec<_> = all.iter().copied().filter(|(token, _)| *token != gone).collect();

        let (before, after) = (tokens(&all), tokens(&fewer));

        let moved = before.iter().zip(&after).filter(|(one, other)| one != other).count();
        let had = count(&before, gone);
        assert!(moved >= had, "{moved}");
        // The paper (5.3) measures a few per cent beyond what has to move.
        assert!(moved <= had + SLOTS * 4 / 100, "{moved} of {SLOTS} moved where {had} had to");
    }

    #[test]
    fn the_order_of_the_list_does_not_matter() {
        let mut members = members(9);
        members[3].1 = 4;
        let forward = tokens(&members);
        members.reverse();

        assert_eq!(tokens(&members), forward);
    }

    #[test]
    fn the_table_is_the_same_in_every_build() {
        let tokens = tokens(&[(1, 10), (2, 10), (3, 5)]);
        let text: Vec<u8> = tokens.iter().map(|&token| token as u8).collect();

        assert_eq!(hash(b"beeline", 0), GOLDEN.0);
        assert_eq!(hash(&text, 0), GOLDEN.1);
    }

    /// Of the text "beeline", and of the table above: what an agent of another version on another node has, too.
    const GOLDEN: (u64, u64) = (0xb481_3828_813f_91f0, 0xa95e_4dec_cda4_abf0);

    #[test]
    fn without_weight_there_is_no_table() {
        assert!(table(&[]).is_empty());
        assert!(table(&[(1, 0)]).is_empty());
    }
}
