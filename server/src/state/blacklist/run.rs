//! Two sorted runs of ids, made by two threads, -> one list, packed by two threads.
//!
//! The runs are cut at one id into halves of equal size, each of which is merged and packed by itself. Nothing
//! here starts a thread: whoever has some calls [`Half::pack`] on each.

use super::{
    BlacklistFaults,
    lines::Run,
    packed::{Packed, Packer},
    sums::Sums,
};

/// All ids of a text, which was read in two parts.
#[derive(Debug)]
pub struct Runs([Vec<u64>; 2]);

/// Some of the ids of both runs: all from one id on and below another one.
#[derive(Debug)]
pub struct Half<'a>([&'a [u64]; 2]);

/// A part of a list, packed.
#[derive(Debug)]
pub struct Part {
    pub(super) packed: Packed,
    pub(super) sums: Sums,
}

impl Runs {
    /// The ids of a text, of which `second` was read behind `first`.
    ///
    /// # Errors
    /// There are faults in one of them.
    pub fn new(first: Run, second: Run) -> Result<Self, BlacklistFaults> {
        let faults = first.faults.and(second.faults, first.ended);
        if faults.count > 0 { Err(faults) } else { Ok(Self([first.ids, second.ids])) }
    }

    /// The ids below the middle one and the others.
    #[must_use]
    pub fn halves(&self) -> [Half<'_>; 2] {
        let [first, second] = &self.0;
        let below = |bound: u64| [first, second].map(|run| run.partition_point(|&id| id < bound));
        let half = (first.len() + second.len()) / 2;
        // The largest bound below which there is not more than half.
        let (mut bound, mut step) = (0_u64, 1_u64 << 63);
        while step > 0 {
            let [in_first, in_second] = below(bound | step);
            if in_first + in_second <= half {
                bound |= step;
            }
            step >>= 1;
        }
        let [in_first, in_second] = below(bound);
        let ((first_low, first_high), (second_low, second_high)) =
            (first.split_at(in_first), second.split_at(in_second));
        [Half([first_low, second_low]), Half([first_high, second_high])]
    }
}

impl Half<'_> {
    /// Merges and packs.
    #[must_use]
    pub fn pack(self) -> Part {
        let [mut first, mut second] = self.0;
        let mut packer = Packer::for_ids(first.len() + second.len());
        while let ([one, ..], [other, ..]) = (first, second) {
            let is_first = one <= other;
            packer.push(if is_first { *one } else { *other });
            first = &first[usize::from(is_first)..];
            second = &second[usize::from(!is_first)..];
        }
        for &id in first.iter().chain(second) {
            packer.push(id);
        }
        let (packed, sums) = packer.finish();
        Part { packed, sums }
    }
}
