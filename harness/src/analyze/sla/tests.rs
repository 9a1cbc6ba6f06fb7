//! The arithmetic of days, budgets and alerts against known values.

use super::{Alert, Sla, daily, mean_up};
use crate::{
    analyze::{
        analyze,
        fixture::{Log, NEW, upgrade},
    },
    observe::Cause::{NoPorts, Refused},
};

const S: u64 = 1_000_000_000;

fn sla(log: &Log) -> Sla {
    analyze(&log.finish()).sla
}

#[track_caller]
fn check_day(mean_ns: u64, worst_ns: u64, expected: [&str; 4]) {
    let days: Vec<_> = daily(mean_ns, worst_ns)
        .iter()
        .map(|day| format!("{} {:.3} {:.3}", day.events_per_day, day.availability * 100.0, day.worst * 100.0))
        .collect();
    assert_eq!(days, expected);
}

/// The seed's own example: five seconds once a day are 99.994 %, two such restarts 99.988 %.
#[test]
fn five_seconds_a_day() {
    check_day(5 * S, 5 * S, ["1 99.994 99.994", "2 99.988 99.988", "10 99.942 99.942", "50 99.711 99.711"]);
    check_day(5 * S, 10 * S, ["1 99.994 99.988", "2 99.988 99.977", "10 99.942 99.884", "50 99.711 99.421"]);
    check_day(0, S, ["1 100.000 99.999", "2 100.000 99.998", "10 100.000 99.988", "50 100.000 99.942"]);
    assert_eq!((mean_up(vec![0, 1]), mean_up(Vec::new())), (Some(1), None));
}

/// A run of ten seconds at 100 a second; one upgrade with an outage of 50 ms or so, five attempts long.
fn outage() -> Log {
    let mut log = Log::new();
    for sent_ms in (0..10_000).step_by(10) {
        if (5_000..5_050).contains(&sent_ms) {
            log.bad(sent_ms, sent_ms, Refused);
        } else {
            log.good(sent_ms, sent_ms + 1);
        }
    }
    log.event(upgrade(1, 4_990, 5_060));
    log
}

#[test]
fn budgets_in_requests_and_time() {
    let budgets: Vec<_> = sla(&outage())
        .budgets
        .iter()
        .map(|budget| {
            format!(
                "{} {} s {} requests, {:.4} {:.4}, {:.1}x, {:?}",
                budget.target_ppm,
                budget.daily_ns as f64 / 1e9,
                budget.daily_requests.unwrap(),
                budget.used_by_time,
                budget.used_by_request,
                budget.burn_rate,
                budget.events_per_day_max,
            )
        })
        .collect();
    // The window reaches from the attempt at 4,990 to the end of that at 5,050 ms: 61 ms.
    assert_eq!(
        budgets,
        [
            "999000 86.4 s 8640 requests, 0.0007 0.0006, 5.0x, Some(1416)",
            "999500 43.2 s 4320 requests, 0.0014 0.0012, 10.0x, Some(708)",
            "999900 8.64 s 864 requests, 0.0071 0.0058, 50.0x, Some(141)",
            "999950 4.32 s 432 requests, 0.0141 0.0116, 100.0x, Some(70)",
            "999990 0.864 s 86 requests, 0.0706 0.0579, 500.0x, Some(14)",
        ]
    );
}

/// What the load would not have met cannot be ruled out, and one that failed meets nothing else.
#[test]
fn the_worst_is_what_cannot_be_ruled_out() {
    let found = sla(&outage());
    assert_eq!(
        (found.mean_ns, found.max_ns, found.worst_ns),
        (Some(61_000_000), Some(61_000_000), Some(61_000_000))
    );
    let mut quiet = Log::new();
    quiet.steady(NEW, 0, 10_000).event(upgrade(1, 5_000, 5_100));
    let found = sla(&quiet);
    assert_eq!((found.max_ns, found.worst_ns), (Some(0), Some(950_000)));
    let mut nothing_but_failures = Log::new();
    nothing_but_failures.outage(NEW, 0, 100).event(upgrade(1, 5_000, 5_100));
    assert_eq!(sla(&nothing_but_failures).worst_ns, Some(10 * S));
}

/// An outage in the time of two events: it belongs to the first, but either may have caused it.
#[test]
fn a_window_counts_for_each_event_that_may_have_caused_it() {
    let mut log = Log::new();
    log.steady(NEW, 0, 1_000).outage(NEW, 1_000, 1_100).steady(NEW, 1_100, 1_200);
    log.outage(NEW, 1_200, 1_300).steady(NEW, 1_300, 1_400);
    log.event(upgrade(1, 990, 1_000)).event(upgrade(2, 1_050, 1_060));
    let found = sla(&log);
    assert_eq!((found.mean_ns, found.max_ns), (Some(102_000_000), Some(204_000_000)));
}

#[test]
fn without_events_or_attempts_there_is_no_figure() {
    let mut no_events = Log::new();
    no_events.steady(NEW, 0, 100);
    let found = sla(&no_events);
    assert!(found.daily.is_empty() && found.worst_ns.is_none());
    assert_eq!(found.budgets[0].events_per_day_max, None);
    let mut nothing_sent = Log::new();
    nothing_sent.bad(0, 0, NoPorts).event(upgrade(1, 10, 20));
    let found = sla(&nothing_sent);
    assert!(found.daily.is_empty() && found.worst_ns.is_none() && found.budgets.is_empty());
}

/// An hour with 2 % of errors in its last half: 20 times the budget of 99.9 %, and the first alert calls
/// for it; the longer ones say nothing about an hour.
#[test]
fn an_alert_needs_both_windows() {
    let mut log = Log::new();
    log.observations.plan.load.duration_ns = 3_600 * S;
    for second in 0..3_600 {
        for number in 0..10 {
            let at_ms = second * 1_000 + number * 100;
            let fails = number == 0 && second >= 1_800 && second % 2 == 0;
            if fails {
                log.bad(at_ms, at_ms, Refused);
            } else {
                log.good(at_ms, at_ms + 1);
            }
        }
    }
    let alerts = sla(&log).alerts;
    let [Alert { error_rate, calls_ppm, .. }, day, days] = alerts.as_slice() else { panic!("{alerts:?}") };
    assert_eq!(
        (*error_rate, calls_ppm.as_slice()),
        (Some(0.025), [999_000, 999_500, 999_900, 999_950, 999_990].as_slice())
    );
    assert_eq!((day.error_rate, days.error_rate), (None, None));
}
