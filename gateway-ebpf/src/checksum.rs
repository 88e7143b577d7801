//! The Internet checksum under changes: RFC 1624 (equation 3), computed from differences.
//!
//! Words are summed as they lie in memory; the ones' complement sum does not depend on the byte order as long
//! as it is the same throughout (RFC 1071 section 2 B).

/// Sum of the new minus sum of the old words, in ones' complement, as the kernel's checksum helpers take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference(u32);

impl Difference {
    /// No change.
    pub const NONE: Self = Self(0);

    /// What replacing one word by another does.
    #[inline(always)]
    pub const fn of(old: u32, new: u32) -> Self {
        Self(fold_to_32(!old as u64 + new as u64))
    }

    /// What replacing one half word by another does.
    #[inline(always)]
    pub const fn of_half(old: [u8; 2], new: [u8; 2]) -> Self {
        Self::of(u16::from_ne_bytes(old) as u32, u16::from_ne_bytes(new) as u32)
    }

    /// What replacing four words by four others does.
    #[inline(always)]
    pub const fn of_four(old: [u32; 4], new: [u32; 4]) -> Self {
        let mut sum = 0u64;
        let mut index = 0;
        while index < 4 {
            sum += !old[index] as u64 + new[index] as u64;
            index += 1;
        }
        Self(fold_to_32(sum))
    }

    /// Both changes together.
    #[inline(always)]
    pub const fn plus(self, other: Self) -> Self {
        Self(fold_to_32(self.0 as u64 + other.0 as u64))
    }

    /// From a sum of words as the kernel's helpers give it.
    #[inline(always)]
    pub const fn from_sum(sum: u32) -> Self {
        Self(sum)
    }

    /// The checksum of words whose sum this is, their own checksum field being zero.
    #[inline(always)]
    pub const fn finish(self) -> [u8; 2] {
        (!fold_to_16(self.0 as u64)).to_ne_bytes()
    }

    /// The number the kernel's helpers take as `to` with `from` 0.
    #[inline(always)]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The checksum after the change.
    #[inline(always)]
    pub const fn apply_to(self, checksum: [u8; 2]) -> [u8; 2] {
        let sum = !u16::from_ne_bytes(checksum) as u32 as u64 + self.0 as u64;
        (!fold_to_16(sum)).to_ne_bytes()
    }
}

/// What adding words to a checksum's sum does, beside what `seed` does already.
#[inline(always)]
pub fn sum_words(words: &[u32], seed: Difference) -> Difference {
    let mut sum = u64::from(seed.0);
    for word in words {
        sum += u64::from(*word);
    }
    Difference(fold_to_32(sum))
}

#[inline(always)]
const fn fold_to_32(sum: u64) -> u32 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    ((sum & 0xffff_ffff) + (sum >> 32)) as u32
}

#[inline(always)]
const fn fold_to_16(sum: u64) -> u16 {
    let sum = fold_to_32(sum);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// The checksum of whole bytes, RFC 1071: the slow way that the tests hold the fast one against.
#[cfg(test)]
pub fn full(bytes: &[u8], seed: u64) -> [u8; 2] {
    let mut sum = seed;
    for pair in bytes.chunks(2) {
        sum += u64::from(u16::from_ne_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    (!fold_to_16(sum)).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_incremental_checksum_equals_the_full_one(mut bytes in prop::collection::vec(any::<u8>(), 20..80), new: [u8; 16], at in 0usize..1) {
            let before = full(&bytes, 0);
            let word = |b: &[u8], i: usize| u32::from_ne_bytes([b[i], b[i + 1], b[i + 2], b[i + 3]]);
            let old_words = [word(&bytes, at), word(&bytes, at + 4), word(&bytes, at + 8), word(&bytes, at + 12)];
            let new_words = [word(&new, 0), word(&new, 4), word(&new, 8), word(&new, 12)];
            bytes[at..at + 16].copy_from_slice(&new);

            let after = Difference::of_four(old_words, new_words).apply_to(before);

            // 0x0000 and 0xffff are the same number in ones' complement.
            let same = |a: [u8; 2], b: [u8; 2]| a == b || (a == [0, 0] && b == [255, 255]) || (a == [255, 255] && b == [0, 0]);
            prop_assert!(same(after, full(&bytes, 0)));
        }
    }
}
