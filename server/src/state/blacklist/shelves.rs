//! Ids in any order -> the same ids ascending, for ids that lie evenly.
//!
//! A range is cut into equal pieces, and each has a shelf: room for a few thousand ids, which is an eighth more than
//! there should be. That is a bucket sort that never moves a bucket, because how many ids there will be and between
//! which bounds is known beforehand, more or less. Each shelf is sorted in the processor's cache by radix, and if the
//! pieces are short of ids that are no more than 32 bits. What has no room, or lies outside, is refused.

use std::ops::RangeInclusive;

use super::{bits::as_index, zeroed};

/// Ids that there should be on a shelf at least: 32 kB of short ones.
const SHELF_IDS: usize = 1 << 13;

/// How a range is cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    low: u64,
    /// Length of a piece, as a power of two.
    shift: u32,
    pieces: usize,
    /// For ids of a piece.
    room: usize,
}

/// Ids of a range, each as its distance to the begin of its piece.
#[derive(Debug)]
pub(super) struct Shelves<K> {
    cut: Cut,
    slots: Vec<K>,
    /// Ids of each piece.
    lens: Vec<usize>,
}

impl Cut {
    /// For about `count` ids of `range`.
    pub(super) fn new(range: RangeInclusive<u64>, count: usize) -> Self {
        let (low, high) = range.into_inner();
        let most = (count / SHELF_IDS).max(1);
        let shift = (0..u64::BITS - 1).find(|shift| as_index((high - low) >> shift) < most);
        let shift = shift.unwrap_or(u64::BITS - 1);
        let pieces = as_index((high - low) >> shift) + 1;
        let each = count / pieces;
        Self { low, shift, pieces, room: each + each / 8 + 64 }
    }

    /// Whether a distance within a piece has at most 32 bits.
    pub(super) fn is_short(self) -> bool {
        self.shift <= u32::BITS
    }
}

impl<K: radsort::Key + Copy + Default + Into<u64> + TryFrom<u64>> Shelves<K> {
    pub(super) fn new(cut: Cut) -> Self {
        Self { cut, slots: zeroed(cut.pieces * cut.room), lens: vec![0; cut.pieces] }
    }

    /// Takes an id, if there is room for it.
    #[inline]
    pub(super) fn try_put(&mut self, id: u64) -> bool {
        let Cut { low, shift, room, .. } = self.cut;
        let distance = id.wrapping_sub(low);
        let piece = as_index(distance >> shift);
        let Some(len) = self.lens.get_mut(piece).filter(|len| **len < room) else { return false };
        let Ok(distance) = K::try_from(distance & ((1 << shift) - 1)) else { return false };
        self.slots[piece * room + *len] = distance;
        *len += 1;
        true
    }

    /// How many it has taken.
    pub(super) fn len(&self) -> usize {
        self.lens.iter().sum()
    }

    /// Shows all that it has taken, ascending.
    pub(super) fn visit(mut self, mut see: impl FnMut(u64)) {
        let Cut { low, shift, room, .. } = self.cut;
        for (piece, (shelf, len)) in self.slots.chunks_exact_mut(room).zip(self.lens).enumerate() {
            let shelf = &mut shelf[..len];
            radsort::sort(shelf);
            let begin = low + ((piece as u64) << shift);
            shelf.iter().for_each(|&distance| see(begin + distance.into()));
        }
    }
}
