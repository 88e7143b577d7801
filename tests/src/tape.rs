//! A tape of random bytes, which inputs are made from by one choice after the other.
//!
//! Whoever holds the tape can shrink or mutate it, and the input follows: proptest and the fuzzer use the same makers.

/// A tape of choices. At its end every choice is the first, the plainest.
#[derive(Debug)]
pub struct Tape<'a>(&'a [u8]);

impl<'a> Tape<'a> {
    /// A tape at its start.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().map_or((0, self.0), |(first, rest)| (*first, rest));
        self.0 = rest;
        first
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (usize::from(self.byte()) << 8 | usize::from(self.byte())) % end
    }

    /// One of these.
    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()].clone()
    }

    /// True in one of `among` cases, and not at the tape's end.
    pub fn rarely(&mut self, among: u8) -> bool {
        self.byte() % among == among - 1
    }
}
