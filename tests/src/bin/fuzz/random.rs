//! Random numbers that follow from a seed: `SplitMix64`.

/// A sequence of numbers.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `max` bytes.
    pub fn bytes(&mut self, max: u64) -> Vec<u8> {
        let length = self.next() % max;
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}
