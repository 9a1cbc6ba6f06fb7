//! When each attempt of a stream is due, and which request it is.
//!
//! Both follow from the plan and the seed alone, so that a run can be repeated and its schedule be counted
//! before anything is sent. The generator behind them is ChaCha8 with one stream of numbers for each
//! purpose: its output is specified, so another machine or a later release of it draws the same numbers.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::{Arrival, ConnectionMode, LoadPlan, StreamPlan};

const NS_PER_S: f64 = 1e9;

/// The golden ratio's fraction: multiples of it, taken modulo 1, stay as far apart as numbers can, so
/// uniform streams of one rate never fire at the same instant.
const PHASE_STEP: f64 = 0.618_033_988_749_894_9;

/// The times at which a stream's attempts are due, nanoseconds after the start of the load: rising, all
/// below `duration_ns`.
///
/// Uniform: every `1/rate` seconds, beginning at a fraction of that which depends on the stream's index.
/// Poisson: exponential gaps with the mean `1/rate`. Nothing is due before its connection can be opened.
pub fn arrivals(
    stream: &StreamPlan,
    stream_index: usize,
    seed: u64,
    duration_ns: u64,
) -> impl Iterator<Item = u64> + use<> {
    let (arrival, gap_ns) = (stream.arrival, NS_PER_S / stream.rate);
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
        .map(whole_ns)
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
    arrivals(stream, index, seed, load.duration_ns).map(|_| 1).sum()
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
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::{RequestPicker, arrivals, planned};
    use crate::plan::{Arrival, Client, ConnectionMode, LoadPlan, Op, Pace, RequestPlan, StreamPlan};

    const SECOND_NS: u64 = 1_000_000_000;

    fn stream(rate: f64, arrival: Arrival, weights: &[u32]) -> StreamPlan {
        let request =
            |weight: &u32| RequestPlan { name: format!("w{weight}"), weight: *weight, op: Op::List };
        let requests = weights.iter().map(request).collect();
        StreamPlan {
            name: "s".to_owned(),
            client: Client::Http1,
            pace: Pace::default(),
            connection: ConnectionMode::New,
            rate,
            arrival,
            requests,
        }
    }

    fn times(stream: &StreamPlan, index: usize, seed: u64, duration_ns: u64) -> Vec<u64> {
        arrivals(stream, index, seed, duration_ns).collect()
    }

    proptest! {
        /// The same seed gives the same times, rising and below the duration.
        #[test]
        fn times_repeat_rise_and_end(
            rate in 0.1_f64..5_000.0,
            seed: u64,
            index in 0_usize..50,
            duration_ns in 0..SECOND_NS,
            poisson: bool,
        ) {
            let arrival = if poisson { Arrival::Poisson } else { Arrival::Uniform };
            let stream = stream(rate, arrival, &[1]);
            let first = times(&stream, index, seed, duration_ns);
            prop_assert_eq!(&first, &times(&stream, index, seed, duration_ns));
            prop_assert!(first.is_sorted());
            prop_assert!(first.iter().all(|due_ns| *due_ns < duration_ns));
        }

        /// A uniform stream holds its rate to within one attempt, with even gaps.
        #[test]
        fn uniform_holds_its_rate(rate in 0.1_f64..5_000.0, index in 0_usize..50, duration_ns in 0..SECOND_NS) {
            let times = times(&stream(rate, Arrival::Uniform, &[1]), index, 0, duration_ns);
            let expected = rate * duration_ns as f64 / 1e9;
            prop_assert!((times.len() as f64 - expected).abs() <= 1.0, "{} for {expected}", times.len());
            for pair in times.windows(2) {
                prop_assert!(((pair[1] - pair[0]) as f64 - 1e9 / rate).abs() <= 2.0);
            }
        }

        /// A Poisson stream's count lies within six standard deviations of its mean.
        #[test]
        fn poisson_counts_are_near_the_mean(rate in 100.0_f64..5_000.0, seed: u64, index in 0_usize..50) {
            let times = times(&stream(rate, Arrival::Poisson, &[1]), index, seed, SECOND_NS);
            prop_assert!((times.len() as f64 - rate).abs() <= 6.0 * rate.sqrt(), "{} for {rate}", times.len());
        }

        /// Every pick is an index of a request, the same for the same seed, with the frequency of its weight.
        #[test]
        fn picks_follow_the_weights(
            weights in proptest::collection::vec(1_u32..20, 1..6),
            seed: u64,
            index in 0_usize..50,
        ) {
            const PICKS: usize = 4_000;
            let stream = stream(1.0, Arrival::Uniform, &weights);
            let mut picker = RequestPicker::new(&stream, index, seed);
            let mut again = picker.clone();
            let mut counts = vec![0_usize; weights.len()];
            for _ in 0..PICKS {
                let picked = picker.next();
                prop_assert_eq!(picked, again.next());
                counts[picked] += 1;
            }
            let total: u32 = weights.iter().sum();
            for (count, weight) in counts.iter().zip(&weights) {
                let share = f64::from(*weight) / f64::from(total);
                let deviation = (PICKS as f64 * share * (1.0 - share)).sqrt();
                prop_assert!((*count as f64 - PICKS as f64 * share).abs() <= 6.0 * deviation + 1.0);
            }
        }
    }

    #[test]
    fn streams_of_one_rate_do_not_fire_together() {
        let stream = stream(1_000.0, Arrival::Uniform, &[1]);
        let firsts: Vec<u64> = (0..16).map(|index| times(&stream, index, 0, SECOND_NS)[0]).collect();
        for (a, first) in firsts.iter().enumerate() {
            for second in &firsts[a + 1..] {
                assert!(first.abs_diff(*second) > 10_000, "{firsts:?}");
            }
        }
    }

    #[test]
    fn seeds_and_streams_differ() {
        let stream = stream(1_000.0, Arrival::Poisson, &[1, 1]);
        assert_ne!(times(&stream, 0, 1, SECOND_NS), times(&stream, 0, 2, SECOND_NS));
        assert_ne!(times(&stream, 0, 1, SECOND_NS), times(&stream, 1, 1, SECOND_NS));
    }

    /// The numbers themselves are part of the contract: a recorded plan must mean the same run for ever.
    #[test]
    fn the_drawn_numbers_stay_as_they_are() {
        let stream = stream(1_000.0, Arrival::Poisson, &[6, 2, 2, 1]);
        let mut picker = RequestPicker::new(&stream, 3, 42);
        let picks: Vec<usize> = (0..16).map(|_| picker.next()).collect();
        insta::assert_snapshot!(format!("{picks:?}"), @"[0, 1, 3, 2, 2, 0, 0, 1, 2, 2, 1, 1, 2, 1, 0, 0]");
        insta::assert_snapshot!(format!("{:?}", &times(&stream, 3, 42, SECOND_NS)[..4]), @"[1945483, 3131258, 3294222, 3446487]");
    }

    #[test]
    fn planned_counts_what_arrivals_yields() {
        let streams = vec![stream(500.0, Arrival::Uniform, &[1]), stream(250.0, Arrival::Poisson, &[1])];
        let expected: usize = streams
            .iter()
            .enumerate()
            .map(|(index, stream)| times(stream, index, 7, 2 * SECOND_NS).len())
            .sum();
        let load = LoadPlan {
            duration_ns: 2 * SECOND_NS,
            warmup_ns: 0,
            timeout_ns: 1,
            slow_ns: 1,
            in_flight_max: 1,
            stages: Vec::new(),
            control_rate: 0.0,
            streams,
        };
        assert_eq!(planned(&load, 7), expected as u64);
    }
}
