//! When the load sends: closed loops, bunches and stages, against a scripted target.

use std::{collections::HashMap, sync::Arc};

use harness::{
    observe::{Attempt, Cause, ClosedBy, Phase},
    plan::{Arrival, ConnectionMode, Stage, StreamPlan, planned},
};

use super::{MS, REUSED, Run, Seen, get, hello, plan, run_plan, stream, wait_until};
use crate::scripted_target::{Act, Counts, ScriptedTarget};

fn closed(connection: ConnectionMode) -> StreamPlan {
    StreamPlan { arrival: Arrival::Closed, ..stream(connection, 0.0, get()) }
}

/// Each place has one attempt at a time, and the next one when that is over.
#[test]
fn a_closed_loop_sends_when_it_is_answered() {
    for (connection, places) in [(REUSED, 4), (ConnectionMode::New, 1)] {
        let seen = run_plan(plan(300, vec![closed(connection)]), |_| Act::Answer(hello()));
        seen.check_books();
        let instrument = &seen.observations.instrument;
        assert_eq!(seen.failed(), []);
        assert!(instrument.planned > u64::from(places), "{instrument:?}");
        assert_eq!(instrument.planned, instrument.sent);
        assert_eq!(instrument.sent, Counts::of(&seen.counts.requests) as u64);
        assert_eq!(instrument.in_flight_max, places);
        let attempts = &seen.observations.attempts;
        assert!(attempts.iter().all(|attempt| attempt.intended_ns == attempt.sent_ns));
        assert!(attempts.iter().all(|attempt| attempt.sent_ns < 300 * MS));
        if connection == REUSED {
            one_at_a_time(attempts);
        }
    }
}

fn one_at_a_time(attempts: &[Attempt]) {
    let mut ended_ns = HashMap::new();
    for attempt in attempts {
        let before_ns = ended_ns.insert(attempt.connection, attempt.ended_ns).unwrap_or(0);
        assert!(before_ns <= attempt.sent_ns, "{attempt:?}");
    }
}

/// A target that fails everything is not asked as fast as it can refuse: each place rests for 10 ms.
#[test]
fn a_closed_loop_rests_after_a_failure() {
    let seen = run_plan(plan(300, vec![closed(REUSED)]), |_| Act::Reset);
    seen.check_books();
    let resets = Counts::of(&seen.counts.resets);
    assert_eq!(seen.endings(), HashMap::from([((Phase::Wait, Cause::Reset), resets)]));
    assert!((4..=4 * 31).contains(&resets), "{resets}");
    assert!(seen.closed_by(ClosedBy::Server) == resets);
}

#[test]
fn a_closed_loop_can_be_cut_short() {
    let target = ScriptedTarget::start(|_| Act::Answer(hello()));
    let run = Run::start(plan(250_000, vec![closed(REUSED)]), &target);
    wait_until(|| run.load.progress().ok >= 50);
    run.load.stop();
    let seen = Seen { observations: run.finish(), counts: Arc::clone(&target.counts) };
    seen.check_books();
    assert!(seen.observations.instrument.interrupted);
}

/// A schedule is kept beside a closed loop.
#[test]
fn a_closed_loop_holds_up_nobody() {
    let streams = vec![closed(REUSED), stream(ConnectionMode::New, 500.0, get())];
    let plan = plan(300, streams);
    let scheduled = planned(&plan.load, plan.seed);
    let seen = run_plan(plan, |_| Act::Answer(hello()));
    seen.check_books();
    let of_schedule = seen.observations.attempts.iter().filter(|attempt| attempt.stream == 1);
    assert_eq!(of_schedule.count() as u64, scheduled);
}

#[test]
fn a_bunch_is_sent_together_and_counts_as_late() {
    let mut plan = plan(300, vec![stream(REUSED, 2_000.0, get())]);
    plan.load.coalesce_ns = 50 * MS;
    let seen = run_plan(plan, |_| Act::Answer(hello()));
    seen.check_books();
    assert_eq!(seen.failed(), []);
    let mut attempts = seen.observations.attempts.clone();
    assert_eq!(attempts.len(), 600);
    attempts.sort_by_key(|attempt| attempt.intended_ns);
    let late_ns = |attempt: &Attempt| attempt.sent_ns - attempt.intended_ns;
    assert!(late_ns(&attempts[0]) >= 50 * MS, "the first waits for the whole bunch");
    let bunches = attempts.chunk_by(|one, next| next.intended_ns <= one.sent_ns).count();
    assert!(bunches <= 6, "{bunches} bunches of at least 50 ms in 300 ms");
}

#[test]
fn stages_are_sent_as_planned() {
    let mut plan = plan(300, vec![stream(REUSED, 2_000.0, get())]);
    let stage = |duration_ms, from, to| Stage { duration_ns: duration_ms * MS, from, to };
    plan.load.stages = vec![stage(100, 0.0, 0.0), stage(200, 0.5, 1.5)];
    let expected = planned(&plan.load, plan.seed);
    let seen = run_plan(plan, |_| Act::Answer(hello()));
    seen.check_books();
    assert_eq!((expected, seen.observations.attempts.len()), (400, 400));
    assert!(seen.observations.attempts.iter().all(|attempt| attempt.intended_ns >= 100 * MS));
}
