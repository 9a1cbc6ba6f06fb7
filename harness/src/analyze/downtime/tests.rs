//! Windows of constructed logs whose outages are known.

use super::{Downtime, Window, WindowKind};
use crate::{
    analyze::{
        analyze,
        fixture::{Log, MS, NEW, REUSED, upgrade},
    },
    observe::Cause::{self, Refused, Reset, Timeout},
    plan::{Arrival, Stage},
};

fn downtime(log: &Log) -> Downtime {
    analyze(&log.finish()).downtime
}

/// A window in one line: its borders, its bounds, how many attempts, and what else there is to say.
fn line(window: &Window) -> String {
    let ms = |ns: u64| ns / MS;
    let mut line = format!(
        "{}..{} [{}, {}] {} attempts",
        ms(window.interval.from_ns),
        ms(window.interval.to_ns),
        ms(window.bounds.lower_ns),
        ms(window.bounds.upper_ns),
        window.attempts,
    );
    for (is_so, word) in [(window.open_start, " open-start"), (window.open_end, " open-end")] {
        line.push_str(if is_so { word } else { "" });
    }
    if window.flaps > 0 {
        line.push_str(&format!(" {} flaps", window.flaps));
    }
    line
}

#[track_caller]
fn check(log: &Log, expected: &[&str]) {
    let downtime = downtime(log);
    let hard = downtime.windows.iter().filter(|window| window.kind == WindowKind::Hard);
    assert_eq!(hard.map(line).collect::<Vec<_>>(), expected);
    for window in &downtime.windows {
        assert!(window.bounds.lower_ns <= window.bounds.upper_ns, "{window:?}");
    }
}

#[test]
fn nothing_failed() {
    check(Log::new().steady(NEW, 0, 100), &[]);
}

/// The service is gone from 100 to 2,100 ms: two seconds, and the bounds hold them.
#[test]
fn two_seconds_of_refusals() {
    let mut log = Log::new();
    log.steady(NEW, 0, 100).outage(NEW, 100, 2_100).steady(NEW, 2_100, 3_000);
    check(&log, &["99..2101 [1999, 2002] 2000 attempts"]);
}

/// One failure proves a moment, not a duration.
#[test]
fn a_single_failure() {
    let mut log = Log::new();
    log.steady(NEW, 0, 100).bad(100, 101, Reset).steady(NEW, 101, 200);
    check(&log, &["99..102 [0, 3] 1 attempts"]);
}

/// Requests in flight when the service dies at 100 fail with it; one that was sent before and answered in
/// time, and one that spans the whole outage in another process, say nothing against it.
#[test]
fn requests_in_flight() {
    let mut log = Log::new();
    log.steady(NEW, 0, 90).bad(90, 100, Reset).bad(95, 100, Reset).good(85, 99).good(80, 1_000);
    log.outage(NEW, 100, 300).steady(NEW, 300, 400);
    check(&log, &["89..301 [199, 212] 202 attempts"]);
}

/// A black hole from 100 to 2,100 ms shows itself only by timeouts of 500 ms. Those sent in its last half
/// second are answered late. Two seconds lie within the bounds.
#[test]
fn a_black_hole() {
    let mut log = Log::new();
    log.steady(NEW, 0, 100);
    for sent_ms in (100..1_600).step_by(10) {
        log.bad(sent_ms, sent_ms + 500, Timeout);
    }
    for sent_ms in (1_600..2_100).step_by(10) {
        log.good(sent_ms, 2_100);
    }
    log.steady(NEW, 2_100, 3_000);
    check(&log, &["99..2100 [990, 2001] 150 attempts"]);
}

/// Streams see one outage with their own resolution; together they are one window.
#[test]
fn interleaved_streams() {
    let mut log = Log::new();
    log.steady(NEW, 0, 100).outage(NEW, 100, 200).steady(NEW, 200, 300);
    for sent_ms in (0..300).step_by(20) {
        let cause = if (100..200).contains(&sent_ms) { Refused } else { Cause::None };
        log.push(REUSED, sent_ms, sent_ms + 1, cause);
    }
    check(&log, &["80..201 [99, 121] 105 attempts"]);
    let downtime = downtime(&log);
    let streams: Vec<_> = downtime.streams.iter().map(|stream| line(&stream.windows[0])).collect();
    assert_eq!(streams, ["99..201 [99, 102] 100 attempts", "80..201 [79, 121] 5 attempts"]);
    assert_eq!(downtime.windows[0].streams, [NEW, REUSED]);
}

/// A stream without failures does not shorten the outage of another: its users were not served.
#[test]
fn one_stream_is_down_while_the_other_works() {
    let mut log = Log::new();
    log.steady(NEW, 0, 100).outage(NEW, 100, 200).steady(NEW, 200, 300).steady(REUSED, 0, 300);
    check(&log, &["99..201 [99, 102] 100 attempts"]);
}

/// Too few good answers in a row are no recovery: one window, whose lower bound leaves them out.
#[test]
fn flapping() {
    let mut log = Log::new();
    log.steady(NEW, 0, 100);
    for from_ms in (100..200).step_by(10) {
        log.outage(NEW, from_ms, from_ms + 6).steady(NEW, from_ms + 6, from_ms + 10);
    }
    log.steady(NEW, 200, 300);
    check(&log, &["99..197 [50, 98] 60 attempts 9 flaps"]);
}

/// Five good answers in a row are a recovery.
#[test]
fn two_outages() {
    let mut log = Log::new();
    log.steady(NEW, 0, 100).outage(NEW, 100, 110).steady(NEW, 110, 115);
    log.outage(NEW, 115, 125).steady(NEW, 125, 200);
    check(&log, &["99..111 [9, 12] 10 attempts", "114..126 [9, 12] 10 attempts"]);
}

/// The window lasts to the end of the measured ten seconds and says that it is open.
#[test]
fn it_never_recovers() {
    let mut log = Log::new();
    log.steady(NEW, 0, 9_000).outage(NEW, 9_000, 10_000);
    check(&log, &["8999..10000 [999, 1001] 1000 attempts open-end"]);
}

#[test]
fn it_was_never_up() {
    let mut log = Log::new();
    log.outage(NEW, 0, 10_000);
    check(&log, &["0..10000 [9999, 10000] 10000 attempts open-start open-end"]);
}

/// Late answers, and failures that came late, are a brownout from the intended time on.
#[test]
fn a_stall_is_a_brownout() {
    let mut log = Log::new();
    log.steady(NEW, 0, 1_000);
    for sent_ms in 1_000..3_900 {
        log.good(sent_ms, 4_000);
    }
    log.steady(NEW, 3_900, 5_000).bad(6_000, 6_150, Reset);
    let downtime = downtime(&log);
    let late = downtime.windows.iter().filter(|window| window.kind == WindowKind::Brownout);
    assert_eq!(
        late.map(line).collect::<Vec<_>>(),
        ["1000..4000 [3000, 3000] 2900 attempts", "6000..6150 [150, 150] 1 attempts"]
    );
    assert_eq!(downtime.brownout_ns, 3_150 * MS);
}

#[test]
fn windows_belong_to_events() {
    let mut log = Log::new();
    log.steady(NEW, 0, 1_000).outage(NEW, 1_000, 1_200).steady(NEW, 1_200, 5_000);
    log.outage(NEW, 5_000, 5_010).steady(NEW, 5_010, 5_100);
    log.event(upgrade(1, 950, 1_250)).event(upgrade(2, 3_000, 3_100));
    let downtime = downtime(&log);
    let events: Vec<_> = downtime.windows.iter().map(|window| window.event).collect();
    assert_eq!(events, [Some(0), None]);
    let by_event = downtime.by_event(2);
    assert_eq!((by_event[0].lower_ns, by_event[0].upper_ns), (199 * MS, 202 * MS));
    assert_eq!((by_event[1].lower_ns, by_event[1].upper_ns), (0, 0));
}

/// What the warm-up and the harness's own faults leave in the log is no downtime.
#[test]
fn only_counted_attempts_make_windows() {
    let mut log = Log::new();
    log.observations.plan.load.warmup_ns = 500 * MS;
    log.outage(NEW, 0, 100).steady(NEW, 500, 600).bad(600, 600, Cause::NoPorts).steady(NEW, 601, 700);
    check(&log, &[]);
}

/// An outage may come where the stages are lowest, so what is certain there is what is promised.
#[test]
fn stages_and_closed_loops_promise_less() {
    let shortest = |stages: &[(u64, f64)], arrival: Arrival| {
        let mut log = Log::new();
        log.steady(REUSED, 0, 100);
        let load = &mut log.observations.plan.load;
        load.duration_ns = 100 * MS;
        load.streams[usize::from(REUSED)].arrival = arrival;
        let stage = |&(ms, factor): &(u64, f64)| Stage { duration_ns: ms * MS, from: factor, to: factor };
        load.stages = stages.iter().map(stage).collect();
        downtime(&log).min_detectable_ns
    };
    // 1,000 a second on average; the lower half has a third of the mean.
    assert_eq!(shortest(&[], Arrival::Uniform), Some(950_000));
    assert_eq!(shortest(&[(50, 0.2), (50, 1.0)], Arrival::Uniform), Some(2_850_000));
    assert_eq!(shortest(&[(50, 0.0), (50, 1.0)], Arrival::Uniform), Some(100 * MS), "all of it");
    assert_eq!(shortest(&[], Arrival::Closed), None);
}
