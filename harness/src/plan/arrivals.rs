//! When each attempt of a stream is due, and which request it is.
//!
//! Both follow from the plan and the seed alone, so that a run can be repeated and its schedule be counted
//! before anything is sent. The generator behind them is ChaCha8 with one stream of numbers for each
//! purpose: its output is specified, so another machine or a later release of it draws the same numbers.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::{Arrival, ConnectionMode, LoadPlan, StreamPlan, stages::Stretch};

const NS_PER_S: f64 = 1e9;

/// The golden ratio's fraction: multiples of it, taken modulo 1, stay as far apart as numbers can, so
/// uniform streams of one rate never fire at the same instant.
const PHASE_STEP: f64 = 0.618_033_988_749_894_9;

/// The times at which a stream's attempts are due, nanoseconds after the start of the load: rising, all
/// below the load's duration. Only the stages and the duration of `load` matter here.
///
/// Uniform: every `1/rate` seconds, beginning at a fraction of that which depends on the stream's index.
/// Poisson: exponential gaps with the mean `1/rate`. Stages stretch both. A closed loop has no schedule.
/// Nothing is due before its connection can be opened.
pub fn arrivals(
    stream: &StreamPlan,
    stream_index: usize,
    seed: u64,
    load: &LoadPlan,
) -> impl Iterator<Item = u64> + use<> {
    let (arrival, gap_ns) = (stream.arrival, NS_PER_S / stream.rate);
    let duration_ns = load.duration_ns;
    let mut stretch = Stretch::new(&load.stages);
    let phase = (as_f64(stream_index) * PHASE_STEP).fract();
    let mut numbers = generator(seed, stream_index, Purpose::Arrivals);
    let first_ns = match stream.connection {
        ConnectionMode::ConnectWait { wait_ns } => wait_ns,
        _ => 0,
    };
    let mut elapsed_ns = 0.0;
    (0_usize..)
        .map(move |index| match arrival {
            // A product, not a sum of gaps: rounding must not add up over millions of attempts.
            Arrival::Uniform => (as_f64(index) + phase) * gap_ns,
            Arrival::Poisson => {
                elapsed_ns += -(1.0 - fraction(&mut numbers)).ln() * gap_ns;
                elapsed_ns
            }
            // A closed loop has no schedule: its next attempt is due when the last one is answered.
            Arrival::Closed => f64::INFINITY,
        })
        .map(move |constant_ns| whole_ns(stretch.place(constant_ns)))
        .skip_while(move |due_ns| *due_ns < first_ns)
        .take_while(move |due_ns| *due_ns < duration_ns)
}

/// Attempts in the schedule of all streams together.
#[must_use]
pub fn planned(load: &LoadPlan, seed: u64) -> u64 {
    load.streams.iter().enumerate().map(|(index, stream)| planned_of(load, index, stream, seed)).sum()
}

/// Attempts in the schedule of the stream with this index.
#[must_use]
pub fn planned_of(load: &LoadPlan, index: usize, stream: &StreamPlan, seed: u64) -> u64 {
    arrivals(stream, index, seed, load).map(|_| 1).sum()
}

/// Chooses which request each attempt of a stream is, by weight.
#[derive(Debug, Clone)]
pub struct RequestPicker {
    /// Sum of the weights up to and including each request.
    weights_up_to: Vec<u64>,
    numbers: ChaCha8Rng,
}

impl RequestPicker {
    /// A picker for a stream of the plan; `stream.requests` must not be empty.
    #[must_use]
    pub fn new(stream: &StreamPlan, stream_index: usize, seed: u64) -> Self {
        let mut sum = 0;
        let add = |weight: u64| {
            sum += weight;
            sum
        };
        let weights_up_to =
            stream.requests.iter().map(|request| u64::from(request.weight)).map(add).collect();
        Self { weights_up_to, numbers: generator(seed, stream_index, Purpose::Requests) }
    }

    /// Index of the next attempt's request in the stream's `requests`; call it once for each attempt.
    #[expect(clippy::should_implement_trait, reason = "it never ends, so an Option would mislead")]
    pub fn next(&mut self) -> usize {
        let total = self.weights_up_to.last().copied().expect("a stream must have a request");
        // The upper half of the product is below `total`, and uneven by less than total / 2^64.
        let drawn = (u128::from(self.numbers.next_u64()) * u128::from(total)) >> 64;
        self.weights_up_to.partition_point(|up_to| u128::from(*up_to) <= drawn)
    }
}

/// What a stream of random numbers is for; each purpose has its own, so that none disturbs another.
#[derive(Clone, Copy)]
enum Purpose {
    Arrivals = 0,
    Requests = 1,
}

fn generator(seed: u64, stream_index: usize, purpose: Purpose) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut numbers = ChaCha8Rng::from_seed(key);
    numbers.set_stream(stream_index as u64 * 2 + purpose as u64);
    numbers
}

/// A number from 0 to below 1 with all the 53 bits that an `f64` holds.
fn fraction(numbers: &mut ChaCha8Rng) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
    let bits = (numbers.next_u64() >> 11) as f64;
    bits / (1_u64 << 53) as f64
}

#[expect(clippy::cast_precision_loss, reason = "a run has fewer than 2^53 attempts")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times are not negative, and one beyond u64 saturates, which ends the schedule"
)]
fn whole_ns(ns: f64) -> u64 {
    ns as u64
}

#[cfg(test)]
mod tests;
