//! What a look-up takes: one after the other, each waiting for the answer of the one before, as no request does
//! that has nothing else to do. Half of the ids that are asked for are on the list. `wait` is what no design can do
//! without: one read of as much memory as the packed list takes, at a place that nobody knows before.

use std::{
    collections::HashSet,
    fs,
    hint::black_box,
    io::{self, Write as _},
    time::Instant,
};

use server::{seckill::UserId, state::Blacklist};

use crate::{Failed, make::Random};

/// Numbers of 64 bits in 16 MiB, as a power of two.
const WAIT_BITS: u32 = 21;
/// Look-ups that are timed together, so that the clock costs little.
const TOGETHER: usize = 64;
const SAMPLES: usize = 20_000;

pub(crate) fn measure(design: &str, file: &str) -> Result<(), Failed> {
    let text = fs::read_to_string(file)?;
    let mut random = Random(88_172_645_463_325_252);
    let lines: Vec<&str> = text.lines().collect();
    let mut asked = Vec::with_capacity(SAMPLES * TOGETHER);
    for _ in 0..SAMPLES * TOGETHER {
        let id: u64 = lines[usize::try_from(random.below(lines.len() as u64))?].parse()?;
        asked.push(if random.below(2) == 0 { id } else { id ^ 1 });
    }
    let median_ns = match design {
        "packed" => {
            let list = Blacklist::parse(text.as_bytes())?;
            drop(lines);
            drop(text);
            median(&asked, |id| list.contains(UserId(id)))
        }
        "set" => {
            let set: HashSet<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            drop(lines);
            drop(text);
            // The id of a request is a number in both designs, and the set is of strings.
            median(&asked, |id| set.contains(id.to_string().as_str()))
        }
        "wait" => {
            let memory: Vec<u64> = (0..1_u64 << WAIT_BITS).collect();
            drop(lines);
            drop(text);
            // Multiplied by the golden ratio, as in Donald Knuth, "The Art of Computer Programming" 3 (1973), 6.4.
            let place = |id: u64| id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - WAIT_BITS);
            median(&asked, |id| {
                memory.get(place(id).try_into().unwrap_or(usize::MAX)).is_some_and(|word| word & 1 == 1)
            })
        }
        _ => return Err("the design must be packed, set or wait".into()),
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
                // Changes nothing, which the compiler must not know and the processor learns only from the answer.
                carried = u64::from(contains(id ^ (black_box(carried) & 2)));
            }
            begun.elapsed().as_secs_f64() * 1e9 / ids.len() as f64
        })
        .collect();
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
