//! How busy a backend is: its open requests for its weight.

use std::cmp::Ordering;

/// Open requests against a weight, which is not 0.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Requests, or connections that are passed on, that have not ended.
    pub open: usize,
    /// The backend's weight.
    pub weight: u32,
}

impl Ord for Load {
    fn cmp(&self, other: &Self) -> Ordering {
        let (one, another) =
            (self.open as u128 * u128::from(other.weight), other.open as u128 * u128::from(self.weight));
        one.cmp(&another)
    }
}

impl PartialOrd for Load {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Load {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Load {}
