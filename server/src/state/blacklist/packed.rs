//! Sorted ids in little memory, with quick look-ups: blocks of 256 ids, each in Elias-Fano code of its own.
//!
//! Of each block the first id stands in an array small enough for the processor's cache. In the block each id is
//! its distance to the first, cut in two: the low bits as they are, and the high ones, which are below 256, in
//! unary: for each value a one for every id that has it, then a zero. That is 512 bits, whatever the ids are, and
//! as many low bits as make the last distance's high part smaller than 256. So a block takes two bits an id more
//! than the logarithm of the mean distance between its ids, where no code can do with less than 1.44 more if they
//! are random; and because each block has a width of its own, ids in clusters take less.
//!
//! Peter Elias, "Efficient storage and retrieval by content and address of static files" (1974); Giuseppe
//! Ottaviano and Rossano Venturini, "Partitioned Elias-Fano indexes" (2014).

use std::{cmp::Ordering, hint::black_box, ops::Range};

use super::{
    bits::{as_index, ones, zero},
    room_for,
    sums::Sums,
};

/// Ids of a block, but for the last one, which may have fewer.
const BLOCK_IDS: usize = 256;
/// Words of the unary part of a block: a one for each id, and a zero for each value of a high part.
const HIGH_WORDS: usize = 2 * BLOCK_IDS / 64;
/// Bits of a high part.
const HIGH_BITS: u32 = BLOCK_IDS.ilog2();

/// A set of ids.
#[derive(Debug, Clone, Default)]
pub(super) struct Packed {
    /// First id of each block, ascending.
    firsts: Vec<u64>,
    guide: Guide,
    /// Where each block begins in `words`, and where the last one ends. The width of the low parts follows from
    /// it: a block of width w has `HIGH_WORDS + 4 w` words.
    starts: Vec<u32>,
    words: Vec<u64>,
    len: usize,
}

/// Makes a [`Packed`] of ids that come in order.
#[derive(Debug)]
pub(super) struct Packer {
    packed: Packed,
    sums: Sums,
    block: [u64; BLOCK_IDS],
    block_len: usize,
}

impl Packed {
    /// Whether `id` is in the set.
    pub(super) fn contains(&self, id: u64) -> bool {
        let among = self.guide.blocks_near(id, &self.firsts);
        let before = among.start + self.firsts[among].partition_point(|&first| first <= id);
        let Some(index) = before.checked_sub(1) else { return false };
        let (block, distance) = (self.block(index), id - self.firsts[index]);
        if let Some(next) = self.firsts.get(index + 1) {
            block.read_ahead(distance, next - self.firsts[index]);
        }
        block.contains(distance)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// All, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.firsts
            .iter()
            .enumerate()
            .flat_map(|(index, first)| self.block(index).distances().map(move |distance| first + distance))
    }

    /// What it takes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.firsts)
            + size_of_val(&*self.guide.begins)
            + size_of_val(&*self.starts)
            + size_of_val(&*self.words)
    }

    fn block(&self, index: usize) -> Block<'_> {
        let words = &self.words[self.starts[index] as usize..self.starts[index + 1] as usize];
        let (high, low) = words.split_first_chunk().expect("a block must have a high part");
        Block {
            high,
            low,
            width: u32::try_from(low.len() / (BLOCK_IDS / 64)).expect("a width must be below 64"),
        }
    }
}

impl Packer {
    /// One for about `count` ids.
    pub(super) fn for_ids(count: usize) -> Self {
        let packed = Packed {
            firsts: Vec::new(),
            guide: Guide::default(),
            starts: vec![0],
            words: room_for(count),
            len: 0,
        };
        Self { packed, sums: Sums::default(), block: [0; BLOCK_IDS], block_len: 0 }
    }

    /// Takes the next id, unless it is smaller than the one before; the same again does not count.
    #[inline]
    pub(super) fn try_push(&mut self, id: u64) -> bool {
        // Once there has been an id the block has one.
        let last = self.block_len.checked_sub(1).map(|index| self.block[index]);
        if last.is_some_and(|last| id <= last) {
            return last == Some(id);
        }
        if self.block_len == BLOCK_IDS {
            self.end_block();
        }
        self.block[self.block_len] = id;
        self.block_len += 1;
        true
    }

    /// Takes the next id, which must not be smaller than the one before.
    #[inline]
    pub(super) fn push(&mut self, id: u64) {
        let is_taken = self.try_push(id);
        debug_assert!(is_taken, "{id} must not come behind a larger one");
    }

    /// The set, and the sums of what is in it.
    pub(super) fn finish(mut self) -> (Packed, Sums) {
        self.end_block();
        self.packed.guide = Guide::to(&self.packed.firsts);
        self.packed.firsts.shrink_to_fit();
        self.packed.starts.shrink_to_fit();
        self.packed.words.shrink_to_fit();
        (self.packed, self.sums)
    }
}

impl Packer {
    fn end_block(&mut self) {
        let block = &self.block[..self.block_len];
        let [first, .., last] = match *block {
            [] => return,
            [only] => [only, only],
            [first, .., last] => [first, last],
        };
        let width = (u64::BITS - (last - first).leading_zeros()).saturating_sub(HIGH_BITS);
        let mut high = [0_u64; HIGH_WORDS];
        for (index, id) in block.iter().enumerate() {
            self.sums.add(*id);
            let bit = index + as_index((id - first) >> width);
            high[bit / 64] |= 1 << (bit % 64);
        }
        let words = &mut self.packed.words;
        words.extend(high);
        let end = words.len() + BLOCK_IDS / 64 * width as usize;
        let (mut filling, mut filled) = (0_u64, 0);
        for id in block {
            let low = (id - first) & mask(width);
            filling |= low << filled;
            filled += width;
            if filled >= u64::BITS {
                words.push(filling);
                filled -= u64::BITS;
                filling = if filled == 0 { 0 } else { low >> (width - filled) };
            }
        }
        if filled > 0 {
            words.push(filling);
        }
        words.resize(end, 0);
        self.packed.firsts.push(first);
        self.packed.starts.push(u32::try_from(end).expect("a list must have fewer than 2^32 words"));
        self.packed.len += self.block_len;
        self.block_len = 0;
    }
}

/// Where to look for a block: the range of all first ids, cut in as many equal pieces as there are blocks, at
/// most. If the ids lie evenly few blocks begin in each; if they all lie in one, a look-up is a binary search.
#[derive(Debug, Clone, Default)]
struct Guide {
    /// Length of a piece, as a power of two.
    shift: u32,
    /// For each piece the first block that does not begin before it, and how many blocks there are.
    begins: Vec<u32>,
}

impl Guide {
    fn to(firsts: &[u64]) -> Self {
        let (Some(smallest), Some(largest)) = (firsts.first(), firsts.last()) else { return Self::default() };
        let mut shift = 0;
        while (largest - smallest) >> shift >= firsts.len() as u64 {
            shift += 1;
        }
        let count = |index: usize| u32::try_from(index).expect("a list must have fewer than 2^32 blocks");
        let mut begins = Vec::with_capacity(as_index((largest - smallest) >> shift) + 2);
        for (index, first) in firsts.iter().enumerate() {
            let pieces = as_index((first - smallest) >> shift) + 1;
            begins.resize(pieces.max(begins.len()), count(index));
        }
        begins.push(count(firsts.len()));
        Self { shift, begins }
    }

    /// The blocks that begin in the piece in which `id` lies; all before them begin before `id`, and all behind
    /// them after it.
    fn blocks_near(&self, id: u64, firsts: &[u64]) -> Range<usize> {
        let Some(distance) = firsts.first().and_then(|smallest| id.checked_sub(*smallest)) else {
            return 0..0;
        };
        let piece = as_index(distance >> self.shift);
        match self.begins.get(piece..).unwrap_or_default() {
            [begin, end, ..] => *begin as usize..*end as usize,
            _ => firsts.len()..firsts.len(),
        }
    }
}

/// The ids of a block as their distances to its first one.
#[derive(Debug, Clone, Copy)]
struct Block<'a> {
    high: &'a [u64; HIGH_WORDS],
    low: &'a [u64],
    /// Bits of a low part.
    width: u32,
}

impl<'a> Block<'a> {
    fn contains(self, distance: u64) -> bool {
        let high = as_index(distance >> self.width);
        if high >= BLOCK_IDS {
            return false;
        }
        let low = distance & mask(self.width);
        // Those with this high part stand behind as many zeros as there are smaller high parts.
        let begin = if high == 0 { 0 } else { zero(self.high, high - 1) + 1 };
        let (mut from, mut count) = (begin - high, ones(self.high, begin));
        while count > 0 {
            let half = count / 2;
            match self.low(from + half).cmp(&low) {
                Ordering::Equal => return true,
                Ordering::Less => (from, count) = (from + half + 1, count - half - 1),
                Ordering::Greater => count = half,
            }
        }
        false
    }

    /// Lets the processor fetch low parts while it still waits for the unary part, which alone says where they are:
    /// those where `distance` would be if the ids lay evenly between this block and the next one, `length` away.
    #[inline]
    fn read_ahead(self, distance: u64, length: u64) {
        let (high, end) = (as_index(distance >> self.width), as_index(length >> self.width));
        if high < BLOCK_IDS {
            let index = high * BLOCK_IDS / (end + 1);
            black_box(self.low.get(index * self.width as usize / 64).copied());
        }
    }

    /// The low part of the id at `index`.
    fn low(self, index: usize) -> u64 {
        let width = self.width as usize;
        let bit = index * width;
        let (word, shift) = (bit / 64, bit % 64);
        let Some(&here) = self.low.get(word) else { return 0 };
        let next = if shift + width > 64 { self.low[word + 1] << (64 - shift) } else { 0 };
        ((here >> shift) | next) & mask(self.width)
    }

    /// All of them, ascending.
    fn distances(self) -> impl Iterator<Item = u64> + 'a {
        let bits = (0..HIGH_WORDS * 64).filter(move |bit| self.high[bit / 64] >> (bit % 64) & 1 == 1);
        bits.enumerate().map(move |(index, bit)| ((bit - index) as u64) << self.width | self.low(index))
    }
}

fn mask(width: u32) -> u64 {
    (1 << width) - 1
}
