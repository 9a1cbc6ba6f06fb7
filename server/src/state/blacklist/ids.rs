//! Ids in any order -> a packed list, on one thread and in little memory.
//!
//! Ids that come in order are packed as they come, and nothing else is kept of them. Others go to shelves (`shelves`),
//! cut to the range of the first ones. What has no place there, because the first ids were not like the rest, is kept
//! beside and merged in at the end: such a list takes longer to load, and is none the less right.

use std::mem;

use super::{
    bits::as_index,
    packed::{Packed, Packer},
    shelves::{Cut, Shelves},
    sums::Sums,
};

/// Ids beside their place after which it is looked at what would be a better one.
const BESIDE_MAX: usize = 1 << 16;

/// Takes ids.
#[derive(Debug)]
pub(super) struct Ids {
    /// Size of the text that they come from.
    bytes: u64,
    beside_max: usize,
    place: Place,
    /// What has no place there.
    beside: Vec<u64>,
}

/// Where ids go.
#[derive(Debug)]
enum Place {
    Undecided,
    /// All have come in order, but for a few.
    Ordered(Box<Packer>),
    Short(Shelves<u32>),
    Long(Shelves<u64>),
}

impl Ids {
    /// None yet, of a text of about `bytes`.
    pub(super) fn of_bytes(bytes: u64) -> Self {
        Self::deciding_after(BESIDE_MAX, bytes)
    }

    fn deciding_after(beside_max: usize, bytes: u64) -> Self {
        Self { bytes, beside_max, place: Place::Undecided, beside: Vec::new() }
    }

    /// Takes one more; the same again does not count.
    #[inline]
    pub(super) fn put(&mut self, id: u64) {
        let has_place = match &mut self.place {
            Place::Undecided => false,
            Place::Ordered(packer) => packer.try_push(id),
            Place::Short(shelves) => shelves.try_put(id),
            Place::Long(shelves) => shelves.try_put(id),
        };
        if !has_place {
            self.beside.push(id);
            if self.beside.len() == self.beside_max {
                self.decide();
            }
        }
    }

    /// Finds a better place, if there is one, for all ids so far.
    fn decide(&mut self) {
        let mut before = Packed::default();
        self.place = match mem::replace(&mut self.place, Place::Undecided) {
            Place::Undecided if self.beside.is_sorted() => {
                Place::Ordered(Box::new(Packer::for_ids(self.expected())))
            }
            Place::Undecided => self.shelves(&before),
            Place::Ordered(packer) => {
                before = packer.finish().0;
                self.shelves(&before)
            }
            best @ (Place::Short(_) | Place::Long(_)) => {
                self.place = best;
                return;
            }
        };
        let beside = mem::take(&mut self.beside);
        before.iter().chain(beside).for_each(|id| self.put(id));
    }

    /// Shelves for ids like those beside and those `before`.
    fn shelves(&self, before: &Packed) -> Place {
        let ids = before.iter().chain(self.beside.iter().copied());
        let (low, high) = ids.fold((u64::MAX, 0), |(low, high), id| (low.min(id), high.max(id)));
        let cut = Cut::new(low..=high, self.expected());
        if cut.is_short() { Place::Short(Shelves::new(cut)) } else { Place::Long(Shelves::new(cut)) }
    }

    /// How many ids there will be, if those beside are as long as the rest.
    fn expected(&self) -> usize {
        let line_bytes = |id: &u64| u64::from(id.checked_ilog10().unwrap_or(0)) + 2;
        let sample_bytes: u64 = self.beside.iter().map(line_bytes).sum();
        as_index(self.bytes.saturating_mul(self.beside.len() as u64) / sample_bytes.max(1))
    }

    /// The set of them, and its sums.
    pub(super) fn finish(mut self) -> (Packed, Sums) {
        self.beside.sort_unstable();
        let merge = |count| Merge { packer: Packer::for_ids(count), beside: &self.beside };
        match self.place {
            Place::Undecided => merge(0).finish(),
            Place::Ordered(packer) if self.beside.is_empty() => packer.finish(),
            Place::Ordered(packer) => {
                let packed = packer.finish().0;
                let mut merge = merge(packed.len());
                packed.iter().for_each(|id| merge.push(id));
                merge.finish()
            }
            Place::Short(shelves) => {
                let mut merge = merge(shelves.len());
                shelves.visit(|id| merge.push(id));
                merge.finish()
            }
            Place::Long(shelves) => {
                let mut merge = merge(shelves.len());
                shelves.visit(|id| merge.push(id));
                merge.finish()
            }
        }
    }
}

/// Packs what was beside together with the rest.
struct Merge<'a> {
    packer: Packer,
    /// What has not been packed yet, ascending.
    beside: &'a [u64],
}

impl Merge<'_> {
    /// Takes the next one of the rest.
    #[inline]
    fn push(&mut self, id: u64) {
        while let [first, behind @ ..] = self.beside
            && *first < id
        {
            self.packer.push(*first);
            self.beside = behind;
        }
        self.packer.push(id);
    }

    fn finish(mut self) -> (Packed, Sums) {
        self.beside.iter().for_each(|&id| self.packer.push(id));
        self.packer.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Ids that are all alike, in order or not, and ids that are not like those before.
    fn ids() -> impl Strategy<Value = Vec<u64>> {
        let piece = (any::<u64>(), 0_u32..64, 0_usize..120, any::<bool>(), any::<u64>()).prop_map(
            |(from, bits, count, is_ordered, seed)| {
                let scattered = (1..=count as u64).map(|index| {
                    let offset = seed.wrapping_mul(index).rotate_left(23).wrapping_mul(seed | 1) >> bits;
                    (from >> (bits / 2)).wrapping_add(offset) >> 1
                });
                let mut ids: Vec<u64> = scattered.collect();
                if is_ordered {
                    ids.sort_unstable();
                }
                ids
            },
        );
        prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn ids_in_any_order_are_the_set_of_them(ids in ids(), beside_max in 1_usize..80, bytes in 0_u64..20_000) {
            let mut taken = Ids::deciding_after(beside_max, bytes);
            ids.iter().for_each(|&id| taken.put(id));
            let (packed, sums) = taken.finish();
            let expected: BTreeSet<u64> = ids.into_iter().collect();
            let mut sums_expected = Sums::default();
            expected.iter().for_each(|&id| sums_expected.add(id));
            prop_assert!(packed.iter().eq(expected.iter().copied()));
            prop_assert_eq!((packed.len(), sums), (expected.len(), sums_expected));
        }
    }

    #[test]
    fn each_kind_of_list_has_its_place() {
        let place_of = |ids: &[u64]| {
            let mut taken = Ids::deciding_after(8, 8 * ids.len() as u64);
            ids.iter().for_each(|&id| taken.put(id));
            let name = match taken.place {
                Place::Undecided => "undecided",
                Place::Ordered(_) => "ordered",
                Place::Short(_) => "short",
                Place::Long(_) => "long",
            };
            (name, taken.beside.len())
        };
        let ordered: Vec<u64> = (0..100).map(|index| index * 1_000_003).collect();
        let scattered: Vec<u64> = (0..100).map(|index| index * 37 % 100 * 1_000_003).collect();
        let far: Vec<u64> = scattered.iter().map(|id| id * 1_000_000_007).collect();
        assert_eq!(place_of(&ordered[..7]), ("undecided", 7));
        assert_eq!(place_of(&ordered), ("ordered", 0));
        assert_eq!(place_of(&[&ordered[..], &ordered[50..55]].concat()), ("ordered", 5));
        assert_eq!(place_of(&[&ordered[..], &ordered[50..70]].concat()), ("short", 0));
        assert_eq!(place_of(&scattered).0, "short");
        assert_eq!(place_of(&far).0, "long");
        let (short, beside) = place_of(&[&scattered[..], &far].concat());
        assert_eq!(short, "short");
        assert!(beside > 50, "{beside}");
    }
}
