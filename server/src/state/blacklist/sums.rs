//! What tells lists apart without their ids: sums that do not depend on the order, and follow every change.

use std::fmt;

const SEED: u64 = 0x5851_f42d_4c95_7f2d;

/// Sums of all ids of a set, each scrambled, in two ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums([u64; 2]);

impl Sums {
    /// With `id`, which was not in the set.
    #[inline]
    pub(super) fn add(&mut self, id: u64) {
        self.0 = [self.0[0].wrapping_add(scramble(id)), self.0[1].wrapping_add(scramble(id ^ SEED))];
    }

    /// Without `id`, which was in the set.
    pub(super) fn take(&mut self, id: u64) {
        self.0 = [self.0[0].wrapping_sub(scramble(id)), self.0[1].wrapping_sub(scramble(id ^ SEED))];
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.0;
        write!(f, "{first:016x}{second:016x}")
    }
}

/// `SplitMix64`: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
fn scramble(id: u64) -> u64 {
    let id = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let id = (id ^ (id >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let id = (id ^ (id >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    id ^ (id >> 31)
}
