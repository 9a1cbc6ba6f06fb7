//! Properties of the whole analysis.

use std::collections::BTreeMap;

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest},
};

use super::{
    Analysis, Partial, analyze,
    availability::Fraction,
    fixture::{BUY, LIST, Log, MS, NEW, REUSED, upgrade},
};
use crate::{
    observe::{Attempt, Cause, Observations},
    report::{build, json},
    verdict::judge,
};

/// Attempts on a coarse grid, so that they meet, overlap, enclose and touch each other often.
fn attempts() -> impl Strategy<Value = Observations> {
    let cause = prop_oneof![
        4 => Just(Cause::None),
        1 => Just(Cause::Refused),
        1 => Just(Cause::Reset),
        1 => Just(Cause::Timeout),
    ];
    let attempt = (0_u64..60, 0_u64..12, cause, any::<bool>(), any::<bool>());
    vec(attempt, 1..60).prop_map(|attempts| {
        let mut log = Log::new();
        log.observations.plan.load.duration_ns = 80 * MS;
        log.observations.plan.load.slow_ns = 8 * MS;
        for (sent_ms, took_ms, cause, reused, buys) in attempts {
            let stream = if reused { REUSED } else { NEW };
            log.push(stream, sent_ms, sent_ms + took_ms, cause);
            log.last().request = if buys { BUY } else { LIST };
        }
        log.event(upgrade(1, 20, 25)).event(upgrade(2, 40, 45));
        log.finish()
    })
}

/// As [`attempts`], but over six minutes, so that contract windows are filled too.
fn long_attempts() -> impl Strategy<Value = Observations> {
    let cause = prop_oneof![3 => Just(Cause::None), 1 => Just(Cause::Refused), 1 => Just(Cause::Reset)];
    let attempt = (0_u64..380, 0_u64..3, cause, any::<bool>());
    vec(attempt, 1..60).prop_map(|attempts| {
        let mut log = Log::new();
        log.observations.plan.load.duration_ns = 370_000 * MS;
        for (sent_s, took_s, cause, reused) in attempts {
            let stream = if reused { REUSED } else { NEW };
            log.push(stream, sent_s * 1_000, (sent_s + took_s) * 1_000, cause);
        }
        log.event(upgrade(1, 60_000, 65_000)).event(upgrade(2, 180_000, 190_000));
        log.finish()
    })
}

fn any_attempts() -> impl Strategy<Value = Observations> {
    prop_oneof![attempts(), long_attempts()]
}

/// Every figure of which more is worse; `None` where nothing was measured.
fn badness(analysis: &Analysis) -> Vec<(String, Option<f64>)> {
    let Analysis { downtime, availability, requests, sla, latency, .. } = analysis;
    let ns = |ns: u64| Some(ns as f64);
    let lost = |fraction: Fraction| fraction.value().map(|value| 1.0 - value);
    let mut figures = vec![
        ("failed".to_owned(), ns(requests.all.failed)),
        ("hard lower".to_owned(), ns(downtime.hard.lower_ns)),
        ("hard upper".to_owned(), ns(downtime.hard.upper_ns)),
        ("brownout".to_owned(), ns(downtime.brownout_ns)),
        ("min detectable".to_owned(), downtime.min_detectable_ns.and_then(ns)),
        ("by request".to_owned(), lost(availability.by_request)),
        ("by time".to_owned(), lost(availability.by_time)),
        ("by time at best".to_owned(), lost(availability.by_time_at_best)),
        ("per request".to_owned(), availability.per_request.upper_bound_95),
        ("per event".to_owned(), availability.per_event.upper_bound_95),
        ("bad events".to_owned(), ns(availability.per_event.bad)),
        ("served within".to_owned(), Some(latency.served_within.p90.map_or(f64::INFINITY, |ns| ns as f64))),
        ("minutes all failed".to_owned(), lost(sla.contract.minutes_all_failed)),
        ("minutes over ten percent".to_owned(), lost(sla.contract.minutes_over_ten_percent)),
        ("five-minute average".to_owned(), lost(sla.contract.five_minute_average)),
        ("mean of an event".to_owned(), sla.mean_ns.and_then(ns)),
        ("most of an event".to_owned(), sla.max_ns.and_then(ns)),
        ("worst of an event".to_owned(), sla.worst_ns.and_then(ns)),
    ];
    for day in &sla.daily {
        figures.push((format!("{} a day", day.events_per_day), Some(1.0 - day.availability)));
        figures.push((format!("{} a day at worst", day.events_per_day), Some(1.0 - day.worst)));
    }
    for budget in &sla.budgets {
        let target = budget.target_ppm;
        figures.push((format!("{target} used by request"), Some(budget.used_by_request)));
        figures.push((format!("{target} used by time"), Some(budget.used_by_time)));
        figures.push((format!("{target} burn rate"), Some(budget.burn_rate)));
        let fits = budget.events_per_day_max.map(|fits| -(fits as f64));
        figures.push((format!("{target} room for events"), fits));
    }
    for (number, stream) in downtime.streams.iter().enumerate() {
        figures.push((format!("stream {number} lower"), ns(stream.hard.lower_ns)));
        figures.push((format!("stream {number} upper"), ns(stream.hard.upper_ns)));
        figures.push((format!("stream {number} min detectable"), stream.min_detectable_ns.and_then(ns)));
    }
    figures
}

fn is_no_better(before: &Analysis, after: &Analysis) -> Result<(), String> {
    let after: BTreeMap<_, _> = badness(after).into_iter().collect();
    for (name, before) in badness(before) {
        let Some(before) = before else { continue };
        // A figure that was there must not disappear either.
        let after = after[&name].unwrap_or(f64::NEG_INFINITY);
        // The binomial bound is found by bisection, so its last bits may differ; so may those of sums.
        if after < before - before.abs().max(1.0) * 1e-12 {
            return Err(format!("{name} improved from {before} to {after}"));
        }
    }
    Ok(())
}

fn report(observations: &Observations) -> Vec<u8> {
    let analysis = analyze(observations);
    let verdict = judge(&observations.plan, &analysis);
    json::render(&build(observations, &analysis, &verdict))
}

proptest! {
    /// The order of every log is of no account, to the byte of the report.
    #[test]
    fn shuffling_changes_nothing(observations in any_attempts(), seed in any::<u64>()) {
        let mut shuffled = observations.clone();
        let key = |attempt: &Attempt| (attempt.id ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        shuffled.attempts.sort_by_key(key);
        prop_assert_eq!(analyze(&observations), analyze(&shuffled));
        prop_assert_eq!(report(&observations), report(&shuffled));
    }

    /// However a log is parted, its parts merged are the whole: in any order, with any number of parts.
    #[test]
    fn merging_two_logs_equals_analysing_them_together(
        observations in any_attempts(),
        parts in vec(0_usize..3, 60),
        backwards in any::<bool>(),
    ) {
        let mut partials = [(); 3].map(|()| Partial::new(&observations.background));
        for (attempt, part) in observations.attempts.iter().zip(parts) {
            partials[part].add(attempt);
        }
        if backwards {
            partials.reverse();
        }
        let merged = partials.into_iter().reduce(Partial::merge).unwrap().finish();
        prop_assert_eq!(merged, analyze(&observations));
    }

    /// A success that becomes a failure improves nothing.
    #[test]
    fn turning_a_success_into_a_failure_never_helps(observations in any_attempts(), chosen in any::<usize>()) {
        let good: Vec<_> =
            (0..observations.attempts.len()).filter(|&index| observations.attempts[index].ok()).collect();
        if good.is_empty() {
            return Ok(());
        }
        let mut worse = observations.clone();
        worse.attempts[good[chosen % good.len()]].cause = Cause::Timeout;
        let (before, after) = (analyze(&observations), analyze(&worse));
        prop_assert_eq!(is_no_better(&before, &after), Ok(()));
        let (retry_before, retry_after) =
            (before.availability.after_safe_retry, after.availability.after_safe_retry);
        prop_assert!(retry_after.value() <= retry_before.value());
        prop_assert_eq!(before.load, after.load);
    }

    /// A failure more improves nothing.
    #[test]
    fn adding_a_failure_never_helps(
        observations in any_attempts(),
        (at, took_ms, reused) in (0_u64..60, 0_u64..12, any::<bool>()),
    ) {
        let mut log = Log::new();
        log.observations = observations.clone();
        let unit_ms = if observations.plan.load.duration_ns > 60_000 * MS { 6_500 } else { 1 };
        let sent_ms = at * unit_ms;
        log.push(if reused { REUSED } else { NEW }, sent_ms, sent_ms + took_ms, Cause::Reset);
        let (before, after) = (analyze(&observations), analyze(&log.finish()));
        prop_assert_eq!(is_no_better(&before, &after), Ok(()));
        // One that a retry would have saved is one more request, served in the end.
        let lost = |analysis: &Analysis| {
            let Fraction { part, whole } = analysis.availability.after_safe_retry;
            whole - part
        };
        prop_assert!(lost(&after) >= lost(&before));
    }

    /// An outage that is put into a steady log lies within the bounds, whatever its place and length, and
    /// the bounds are as close as the load allows.
    #[test]
    fn a_known_outage_is_bracketed(
        from_us in 1_000_u64..50_000,
        length_us in 2_000_u64..40_000,
        every_us in 100_u64..2_000,
        takes_us in 50_u64..5_000,
    ) {
        let to_us = from_us + length_us;
        let mut log = Log::new();
        log.observations.plan.load.duration_ns = 100 * MS;
        for sent_us in (0..100_000).step_by(usize::try_from(every_us).unwrap()) {
            let done_us = sent_us + takes_us;
            // Sent during the outage: refused at once. Under way when it began: reset by it.
            let (ended_us, cause) = match sent_us {
                _ if (from_us..to_us).contains(&sent_us) => (sent_us, Cause::Refused),
                _ if sent_us < from_us && done_us > from_us => (from_us, Cause::Reset),
                _ => (done_us, Cause::None),
            };
            log.push(NEW, 0, 0, cause);
            let attempt = log.last();
            (attempt.intended_ns, attempt.sent_ns, attempt.ended_ns) =
                (sent_us * 1_000, sent_us * 1_000, ended_us * 1_000);
        }
        let hard = analyze(&log.finish()).downtime.hard;
        prop_assert!(hard.lower_ns <= length_us * 1_000 && length_us * 1_000 <= hard.upper_ns, "{hard:?}");
        // The first failure was under way when the outage began, and the last good answer before that
        // was over by its sending: two service times and a spacing. The other end costs one of each, and
        // the lower bound misses a spacing at both.
        let resolution_ns = (4 * every_us + 3 * takes_us) * 1_000;
        prop_assert!(hard.upper_ns - hard.lower_ns <= resolution_ns, "{hard:?}");
    }
}

#[test]
fn counts_are_kept_apart() {
    let mut log = Log::new();
    log.observations.plan.load.warmup_ns = 100 * MS;
    log.good(0, 1).bad(50, 51, Cause::Reset);
    log.steady(NEW, 100, 110).bad(110, 111, Cause::Reset).bad(111, 111, Cause::Refused);
    log.push(REUSED, 120, 121, Cause::BadStatus).last().status = 503;
    log.push(REUSED, 130, 130, Cause::InFlightMax);
    log.event(upgrade(1, 105, 110));
    let analysis = analyze(&log.finish());
    let requests = &analysis.requests;
    assert_eq!((requests.all.total, requests.all.ok(), requests.all.failed), (13, 10, 3));
    assert_eq!((requests.warmup.total, requests.warmup.failed), (2, 1));
    assert_eq!((requests.new.failed, requests.reused.failed), (2, 1));
    assert_eq!(requests.by_class.values().sum::<u64>(), 3);
    assert_eq!(requests.by_status.iter().next(), Some((&503, &1)));
    assert_eq!((requests.by_event.as_slice(), requests.unattributed), ([3].as_slice(), 0));
    assert_eq!((analysis.load.planned, analysis.load.sent, analysis.load.unsent), (16, 15, 1));
    assert_eq!(analysis.load.lost, 0);
}

/// An outage of 3 s after an event that was over at once: every failure in it is the event's.
#[test]
fn an_outage_belongs_to_its_event_to_the_end() {
    let mut log = Log::new();
    log.steady(NEW, 0, 1_000);
    log.event(upgrade(0, 1_000, 1_010));
    for at_ms in (1_000..4_000).step_by(10) {
        log.bad(at_ms, at_ms + 1, Cause::Refused);
    }
    log.steady(NEW, 4_000, 5_000);
    let analysis = analyze(&log.finish());
    assert_eq!(
        (analysis.requests.by_event.as_slice(), analysis.requests.unattributed),
        ([300].as_slice(), 0)
    );
}
