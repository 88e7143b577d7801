//! The cheap question before all others: can this address be ours at all?
//!
//! A bitmap with one bit for each hash value of an address. The agent sets the bits of VIPs, and of this node's
//! addresses that Pods elsewhere see, in one and of backends in another; a clear bit means "surely not ours" for the price of one memory read. A set bit means
//! "perhaps", and the exact tables decide.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Address;

/// Sixty-four bits of a filter: the value of `VIP_FILTER` and `BACKEND_FILTER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FilterWord {
    /// One bit for each hash value.
    pub bits: u64,
}

impl FilterWord {
    /// Words in a filter: 2^20 bits, 128 KiB.
    pub const COUNT: u32 = 1 << 14;

    /// The word that holds the address's bit, and the bit within it.
    #[inline(always)]
    pub const fn position(address: &Address) -> (u32, u64) {
        let [a, b, c, d] = address.words();
        // Fibonacci hashing; the high bits of the product depend on all bits of the address. Whoever crafts
        // collisions gains nothing but a look-up in the exact table.
        let high = (a as u64) << 32 | b as u64;
        let low = (c as u64) << 32 | d as u64;
        let hash = (high ^ low.rotate_left(17))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(low)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let index = (hash >> 44) as u32;
        (index >> 6, 1 << (index & 63))
    }
}
