//! Ten million ids of ten digits, each once.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
};

use crate::Failed;

const COUNT: u64 = 10_000_000;
/// Ids lie between these; so many have ten digits.
const FROM: u64 = 1_000_000_000;
const RANGE: u64 = 9_000_000_000;

pub(crate) fn make(is_random: bool, file: &str) -> Result<(), Failed> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    // One in each of as many equal pieces, so that none is there twice.
    let mut ids: Vec<u64> =
        (0..COUNT).map(|index| FROM + index * (RANGE / COUNT) + random.below(RANGE / COUNT)).collect();
    if is_random {
        for index in (1..ids.len()).rev() {
            ids.swap(index, usize::try_from(random.below(index as u64 + 1))?);
        }
    }
    let mut file = BufWriter::new(File::create(file)?);
    for id in ids {
        writeln!(file, "{id}")?;
    }
    Ok(file.flush()?)
}

/// George Marsaglia, "Xorshift RNGs" (2003).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
