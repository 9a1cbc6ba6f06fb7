//! Availability and its bounds against known values.

use super::Fraction;
use crate::{
    analyze::{
        analyze,
        fixture::{BUY, Log, MS, NEW, REUSED, upgrade},
    },
    observe::Cause::{self, Eof, Refused, Reset, Timeout},
    plan::Op,
};

/// Attempts that one retry saves, when `log` is followed by good attempts on fresh connections.
#[track_caller]
fn check_rescued(log: &mut Log, expected: u64) {
    log.steady(NEW, 5_000, 5_010);
    let availability = analyze(&log.finish()).availability;
    assert_eq!(availability.after_safe_retry.part - availability.by_request.part, expected);
}

#[test]
fn http_permits_to_retry_only_what_cannot_run_twice() {
    for (stream, cause, expected) in [
        (REUSED, Reset, 1),
        (REUSED, Eof, 1),
        // Nothing says that the first one is over.
        (REUSED, Timeout, 0),
        // A fresh connection did not go stale: the server took the request and dropped it.
        (NEW, Reset, 0),
        // Never written.
        (NEW, Refused, 1),
        (REUSED, Cause::ShortBody, 0),
        (REUSED, Cause::BadStatus, 0),
    ] {
        let mut log = Log::new();
        log.push(stream, 10, 11, cause);
        check_rescued(&mut log, expected);
    }
}

#[test]
fn an_answer_that_had_begun_and_a_buying_request_are_not_repeated() {
    let mut log = Log::new();
    log.push(REUSED, 10, 11, Reset).last().first_byte_ns = 10 * MS + 1;
    log.push(REUSED, 10, 11, Reset).last().request = BUY;
    // A request that the plan does not know is taken for one that is not idempotent.
    log.push(REUSED, 10, 11, Reset).last().request = 77;
    check_rescued(&mut log, 0);
    let mut never_written = Log::new();
    never_written.push(REUSED, 10, 11, Refused).last().request = BUY;
    check_rescued(&mut never_written, 1);
}

#[test]
fn the_method_decides_for_other_servers() {
    for (method, expected) in [("GET", 1), ("PUT", 1), ("DELETE", 1), ("POST", 0), ("PATCH", 0)] {
        let mut log = Log::new();
        log.observations.plan.load.streams[usize::from(REUSED)].requests[0].op = Op::Http {
            method: method.to_owned(),
            path: "/".to_owned(),
            headers: Vec::new(),
            body: String::new(),
            accept: Vec::new(),
            sha256: None,
        };
        log.push(REUSED, 10, 11, Reset);
        check_rescued(&mut log, expected);
    }
}

/// The retry meets the fate of the next attempt on a fresh connection, so nobody is rescued in an outage.
#[test]
fn a_retry_into_an_outage_fails() {
    let mut log = Log::new();
    // Reset at 10, when the outage begins, and at 20, when it ends.
    log.push(REUSED, 9, 10, Reset).push(REUSED, 19, 20, Reset);
    for sent_ms in 10..20 {
        log.bad(sent_ms, sent_ms, Timeout);
    }
    check_rescued(&mut log, 1);
    let mut nobody_else = Log::new();
    nobody_else.push(REUSED, 9, 10, Reset);
    let availability = analyze(&nobody_else.finish()).availability;
    assert_eq!(availability.after_safe_retry, Fraction { part: 0, whole: 1 });
}

#[test]
fn the_trial_is_the_event() {
    let mut log = Log::new();
    log.steady(NEW, 0, 1_000).bad(1_050, 1_051, Reset).bad(1_060, 1_061, Reset).steady(NEW, 1_100, 9_000);
    for number in 1..=3 {
        log.event(upgrade(number, number * 1_000, number * 1_000 + 100));
    }
    log.observations.events[2].as_expected = false;
    // An event of another kind is no trial among upgrades.
    let mut signal = upgrade(9, 8_000, 8_010);
    signal.kind = "signal".to_owned();
    log.event(signal);
    let availability = analyze(&log.finish()).availability;
    assert_eq!((availability.per_event.bad, availability.per_event.trials), (2, 3));
    assert_eq!((availability.per_request.bad, availability.per_request.trials), (2, 8_902));
}

#[test]
fn nothing_sent_is_no_availability() {
    let mut log = Log::new();
    log.bad(10, 10, Cause::NoDescriptors);
    let availability = analyze(&log.finish()).availability;
    assert_eq!(availability.by_request.value(), None);
    assert_eq!(availability.by_time.value(), None);
    assert_eq!(availability.per_request.upper_bound_95, None);
}

#[test]
fn by_time_takes_the_upper_bound() {
    let mut log = Log::new();
    log.steady(NEW, 0, 100).outage(NEW, 100, 2_098).steady(NEW, 2_098, 9_999);
    let availability = analyze(&log.finish()).availability;
    assert_eq!(availability.by_time, Fraction { part: 8_000 * MS, whole: 10_000 * MS });
}
