//! What a look-up takes: one after the other, each waiting for the answer of the one before, as no request does
//! that has nothing else to do. Half of the ids that are asked for are on the list.

use std::{
    collections::HashSet,
    fs,
    io::{self, Write as _},
    time::Instant,
};

use server::{seckill::UserId, state::Blacklist};

use crate::{Failed, make::Random};

/// Look-ups that are timed together, so that the clock costs little.
const TOGETHER: usize = 64;
const SAMPLES: usize = 20_000;

pub(crate) fn measure(is_packed: bool, file: &str) -> Result<(), Failed> {
    let text = fs::read_to_string(file)?;
    let mut random = Random(88_172_645_463_325_252);
    let lines: Vec<&str> = text.lines().collect();
    let mut asked = Vec::with_capacity(SAMPLES * TOGETHER);
    for _ in 0..SAMPLES * TOGETHER {
        let id: u64 = lines[usize::try_from(random.below(lines.len() as u64))?].parse()?;
        asked.push(if random.below(2) == 0 { id } else { id ^ 1 });
    }
    let median_ns = if is_packed {
        let list = Blacklist::parse(text.as_bytes())?;
        drop(lines);
        drop(text);
        median(&asked, |id| list.contains(UserId(id)))
    } else {
        let set: HashSet<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        drop(lines);
        drop(text);
        // The id of a request is a number in both designs, and the set is of strings.
        median(&asked, |id| set.contains(id.to_string().as_str()))
    };
    Ok(writeln!(io::stdout(), "{median_ns:.0}")?)
}

fn median(asked: &[u64], contains: impl Fn(u64) -> bool) -> f64 {
    let mut carried = 0;
    let mut samples: Vec<f64> = asked
        .chunks(TOGETHER)
        .map(|ids| {
            let begun = Instant::now();
            for id in ids {
                // Changes nothing, which the processor learns only from the answer.
                carried = u64::from(contains(id ^ (carried & 2)));
            }
            begun.elapsed().as_secs_f64() * 1e9 / ids.len() as f64
        })
        .collect();
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
