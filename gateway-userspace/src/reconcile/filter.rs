//! Keeps a filter's bits equal to the addresses behind them.
//!
//! Several addresses may share a bit: it is set while any of them needs it. A bit can outlive its last address for a
//! while, so that late packets are still looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use gateway_common::{Address, FilterWord};

/// A bit: its word and the bit within it.
type Position = (u32, u64);

/// A filter as it is and as it shall be.
#[derive(Debug)]
pub(super) struct Filter {
    actual: Vec<u64>,
    wanted: Vec<u64>,
    users: HashMap<Position, u32>,
    leaving: BTreeMap<Position, Duration>,
    dirty: BTreeSet<u32>,
}

impl Filter {
    /// From the words in the map. A bit that nobody enters for goes at `until`.
    pub(super) fn adopt(words: &[u64], until: Duration) -> Self {
        let mut actual = words.to_vec();
        actual.resize(FilterWord::COUNT as usize, 0);
        let mut leaving = BTreeMap::new();
        for (index, &bits) in actual.iter().enumerate().filter(|&(_, &bits)| bits != 0) {
            for bit in (0..u64::BITS).map(|bit| 1 << bit).filter(|bit| bits & bit != 0) {
                leaving.insert((index as u32, bit), until);
            }
        }
        Self { wanted: actual.clone(), actual, users: HashMap::new(), leaving, dirty: BTreeSet::new() }
    }

    /// An address needs its bit.
    pub(super) fn enter(&mut self, address: &Address) {
        let position @ (index, bit) = FilterWord::position(address);
        *self.users.entry(position).or_default() += 1;
        self.leaving.remove(&position);
        if self.wanted[index as usize] & bit == 0 {
            self.wanted[index as usize] |= bit;
            self.dirty.insert(index);
        }
    }

    /// An address needs its bit no longer than to `until`.
    pub(super) fn leave(&mut self, address: &Address, until: Duration) {
        let position = FilterWord::position(address);
        if let Some(users) = self.users.get_mut(&position) {
            *users -= 1;
            if *users == 0 {
                self.users.remove(&position);
                self.leaving.insert(position, until);
            }
        }
    }

    /// Clears the bits whose time has come.
    pub(super) fn expire(&mut self, now: Duration) {
        let wanted = &mut self.wanted;
        let dirty = &mut self.dirty;
        self.leaving.retain(|&(index, bit), until| {
            let stays = *until > now;
            if !stays {
                wanted[index as usize] &= !bit;
                dirty.insert(index);
            }
            stays
        });
    }

    /// The words that must be written now.
    pub(super) fn flush(&mut self) -> Vec<(u32, FilterWord)> {
        let dirty = std::mem::take(&mut self.dirty);
        let differs = dirty.into_iter().filter(|&index| self.actual[index as usize] != self.wanted[index as usize]);
        let words: Vec<_> = differs.map(|index| (index, FilterWord { bits: self.wanted[index as usize] })).collect();
        for (index, word) in &words {
            self.actual[*index as usize] = word.bits;
        }
        words
    }

    /// When the next bit goes.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.leaving.values().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const NOW: Duration = Duration::from_secs(100);
    const LATER: Duration = Duration::from_secs(160);

    fn address(last: u8) -> Address {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    #[test]
    fn a_shared_bit_stays_until_its_last_address_has_left() {
        let mut filter = Filter::adopt(&[], NOW);
        filter.enter(&address(1));
        filter.enter(&address(1));
        let (index, bit) = FilterWord::position(&address(1));
        assert_eq!(filter.flush(), [(index, FilterWord { bits: bit })]);

        filter.leave(&address(1), NOW);
        filter.expire(NOW);
        assert_eq!(filter.flush(), []);

        filter.leave(&address(1), LATER);
        filter.expire(NOW);
        assert_eq!(filter.flush(), []);
        assert_eq!(filter.next_deadline(), Some(LATER));

        filter.expire(LATER);
        assert_eq!(filter.flush(), [(index, FilterWord { bits: 0 })]);
        assert_eq!(filter.next_deadline(), None);
    }

    #[test]
    fn an_adopted_bit_that_is_needed_is_not_written_and_one_that_is_not_goes_later() {
        let (index, bit) = FilterWord::position(&address(1));
        let (old_index, old_bit) = FilterWord::position(&address(2));
        let mut words = vec![0; FilterWord::COUNT as usize];
        words[index as usize] |= bit;
        words[old_index as usize] |= old_bit;
        let mut filter = Filter::adopt(&words, LATER);

        filter.enter(&address(1));
        filter.expire(NOW);
        assert_eq!(filter.flush(), []);

        filter.expire(LATER);
        words[old_index as usize] &= !old_bit;
        assert_eq!(filter.flush(), [(old_index, FilterWord { bits: words[old_index as usize] })]);
    }
}
