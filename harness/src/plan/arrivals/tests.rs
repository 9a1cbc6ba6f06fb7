//! The schedule holds its rates, repeats, and never changes by itself.

use proptest::{
    collection,
    prelude::{Just, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest},
};

use super::{RequestPicker, arrivals, planned};
use crate::plan::{Arrival, Client, ConnectionMode, LoadPlan, Op, Pace, RequestPlan, Stage, StreamPlan};

const SECOND_NS: u64 = 1_000_000_000;

fn stream(rate: f64, arrival: Arrival, weights: &[u32]) -> StreamPlan {
    let request = |weight: &u32| RequestPlan { name: format!("w{weight}"), weight: *weight, op: Op::List };
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

fn load(duration_ns: u64, stages: Vec<Stage>, streams: Vec<StreamPlan>) -> LoadPlan {
    LoadPlan {
        duration_ns,
        warmup_ns: 0,
        timeout_ns: 1,
        slow_ns: 1,
        in_flight_max: 1,
        coalesce_ns: 0,
        stages,
        control_rate: 0.0,
        streams,
    }
}

fn times(stream: &StreamPlan, index: usize, seed: u64, duration_ns: u64) -> Vec<u64> {
    arrivals(stream, index, seed, &load(duration_ns, Vec::new(), Vec::new())).collect()
}

/// Up to five stages of up to 200 ms.
fn any_stages() -> impl Strategy<Value = Vec<Stage>> {
    let factor = prop_oneof![Just(0.0), Just(1.0), 0.0..3.0_f64];
    let stage = (1_000_u64..200_000_000, factor.clone(), factor).prop_map(|(duration_ns, from, to)| Stage {
        duration_ns,
        from,
        to,
    });
    collection::vec(stage, 1..6)
}

/// Due attempts of a stream of rate 1 per second until `at_ns`.
fn integral(stages: &[Stage], at_ns: u64) -> f64 {
    let (mut begins_ns, mut sum) = (0, 0.0);
    for stage in stages {
        let inside = at_ns.saturating_sub(begins_ns).min(stage.duration_ns) as f64;
        let reached = stage.from + (stage.to - stage.from) * inside / stage.duration_ns as f64;
        sum += f64::midpoint(stage.from, reached) * inside / 1e9;
        begins_ns += stage.duration_ns;
    }
    sum
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

    /// Under stages a schedule repeats, rises and ends as well, and at any moment a uniform stream has sent
    /// the integral of its rate to within one attempt.
    #[test]
    fn stages_are_followed(
        stages in any_stages(),
        rate in 1.0_f64..20_000.0,
        seed: u64,
        index in 0_usize..50,
        poisson: bool,
        per_mille in 0_u64..1_000,
    ) {
        let duration_ns = stages.iter().map(|stage| stage.duration_ns).sum();
        let load = load(duration_ns, stages.clone(), Vec::new());
        let stream = stream(rate, if poisson { Arrival::Poisson } else { Arrival::Uniform }, &[1]);
        let times: Vec<u64> = arrivals(&stream, index, seed, &load).collect();
        prop_assert!(arrivals(&stream, index, seed, &load).eq(times.iter().copied()));
        prop_assert!(times.is_sorted());
        prop_assert!(times.iter().all(|due_ns| *due_ns < duration_ns));
        for at_ns in [duration_ns, duration_ns / 1_000 * per_mille] {
            let sent = times.iter().filter(|due_ns| **due_ns < at_ns).count() as f64;
            let expected = rate * integral(&stages, at_ns);
            let allowed = if poisson { 6.0 * expected.sqrt() + 6.0 } else { 1.0 + 1e-6 };
            prop_assert!((sent - expected).abs() <= allowed, "{sent} for {expected} at {at_ns}");
        }
    }

    /// One stage at factor 1 is no stage, to the nanosecond.
    #[test]
    fn a_level_stage_changes_nothing(rate in 1.0_f64..5_000.0, seed: u64, poisson: bool) {
        let stream = stream(rate, if poisson { Arrival::Poisson } else { Arrival::Uniform }, &[1]);
        let level = vec![Stage { duration_ns: SECOND_NS, from: 1.0, to: 1.0 }];
        let staged: Vec<u64> = arrivals(&stream, 0, seed, &load(SECOND_NS, level, Vec::new())).collect();
        prop_assert_eq!(staged, times(&stream, 0, seed, SECOND_NS));
    }

    /// Every pick is an index of a request, the same for the same seed, with the frequency of its weight.
    #[test]
    fn picks_follow_the_weights(
        weights in collection::vec(1_u32..20, 1..6),
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
    let expected: usize =
        streams.iter().enumerate().map(|(index, stream)| times(stream, index, 7, 2 * SECOND_NS).len()).sum();
    let load = load(2 * SECOND_NS, Vec::new(), streams);
    assert_eq!(planned(&load, 7), expected as u64);
}

#[test]
fn a_closed_loop_has_no_schedule() {
    assert_eq!(times(&stream(0.0, Arrival::Closed, &[1]), 0, 1, SECOND_NS), Vec::<u64>::new());
}
