//! Where a bit is among many.

/// Where the zero number `rank` is, from 0; there must be one.
pub(super) fn zero(words: &[u64], rank: usize) -> usize {
    let mut left = rank;
    for (index, word) in words.iter().enumerate() {
        let zeros = word.count_zeros() as usize;
        if left < zeros {
            return index * 64 + select(!word, left);
        }
        left -= zeros;
    }
    words.len() * 64
}

/// How many ones there are from `bit` on to the next zero.
pub(super) fn ones(words: &[u64], bit: usize) -> usize {
    let mut count = 0;
    let mut at = bit;
    while at < words.len() * 64 {
        let run = (words[at / 64] >> (at % 64)).trailing_ones() as usize;
        count += run;
        at += run;
        if run == 0 || !at.is_multiple_of(64) {
            break;
        }
    }
    count
}

/// Where the one number `rank` of a word is, from 0; it must have more ones than that.
///
/// Sebastiano Vigna, "Broadword implementation of rank/select queries" (2008), for the byte; in it one by one.
fn select(word: u64, rank: usize) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHEST: u64 = ONES << 7;
    let pairs = word - ((word >> 1) & (u64::MAX / 3));
    let fours = (pairs & (u64::MAX / 5)) + ((pairs >> 2) & (u64::MAX / 5));
    // In each byte how many ones there are in it and in those below it.
    let sums = ((fours + (fours >> 4)) & (u64::MAX / 17)).wrapping_mul(ONES);
    let rank = rank as u64;
    // The highest bit of each byte that ends before the one that is looked for.
    let before = ((rank.wrapping_mul(ONES) | HIGHEST) - sums) & HIGHEST;
    let shift = (before >> 7).wrapping_mul(ONES) >> 56 << 3;
    let mut byte = word >> shift & 0xff;
    for _ in 0..rank - ((sums << 8) >> shift & 0xff) {
        byte &= byte - 1;
    }
    as_index(shift) + byte.trailing_zeros() as usize
}

/// A number that is known to be small.
pub(super) fn as_index(small: u64) -> usize {
    usize::try_from(small).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn zeros_and_ones_are_found(words in prop::collection::vec(
            prop_oneof![any::<u64>(), Just(0), Just(u64::MAX), (0_u32..64).prop_map(|bit| u64::MAX << bit)], 1..6)
        ) {
            let bits: Vec<bool> =
                words.iter().flat_map(|word| (0..64).map(move |bit| word >> bit & 1 == 1)).collect();
            let zeros = bits.iter().enumerate().filter(|(_, bit)| !**bit).map(|(index, _)| index);
            for (rank, at) in zeros.enumerate() {
                prop_assert_eq!(zero(&words, rank), at);
            }
            for at in 0..bits.len() {
                prop_assert_eq!(ones(&words, at), bits[at..].iter().take_while(|bit| **bit).count());
            }
        }
    }
}
