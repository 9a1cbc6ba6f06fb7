//! A true instrument is called right, and each way in which it could lie is caught.

use super::{Case, Finding, Judged, judge};
use crate::{
    analyze::{fixture::environment, intervals::Interval},
    calibrate::{
        cases::{LOSSES, Loss},
        pipe::{Trial, conclude},
        target::{Kills, Script, StepKind, TrueOutage, TrueStall, Truth},
    },
    observe::{Attempt, Background, Cause, Instrument, Observations, Phase},
    plan::{Plan, arrivals},
};

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
/// What an answer takes when nothing happens.
const ANSWER_NS: u64 = 50 * US;
const STALLS: Case = Case::Stalls { rate_hz: 1_000.0, stall_ms: 20 };
const OUTAGE: Case = Case::Outage { away_ms: 200 };

/// A run as a faultless instrument would see it, with the truth about it.
struct Run {
    case: Case,
    observations: Observations,
    truth: Truth,
    shaken: Vec<Interval>,
}

impl Run {
    fn of(case: Case) -> Self {
        let (mut plan, script) = case.work();
        // The log of the echo is not what is compared.
        plan.load.control_rate = 0.0;
        let mut truth = truth(&script);
        let mut attempts = Vec::new();
        for (index, stream) in (0_u16..).zip(&plan.load.streams) {
            let reused = u32::from(stream.connection.keeps_alive());
            let due = arrivals(stream, usize::from(index), plan.seed, &plan.load);
            attempts.extend(due.enumerate().map(|(number, due_ns)| Attempt {
                id: (u64::from(index) << 48) + number as u64,
                stream: index,
                connection_requests: reused,
                ..good(due_ns)
            }));
        }
        for attempt in &mut attempts {
            meet(attempt, &script, &mut truth, case);
        }
        truth.requests = attempts.iter().filter(|attempt| attempt.phase != Phase::Connect).count() as u64;
        truth.answered = attempts.iter().filter(|attempt| attempt.ok()).count() as u64;
        Self { case, observations: observations(plan, attempts), truth, shaken: Vec::new() }
    }

    fn judge(self) -> Vec<Judged> {
        let report = conclude(&self.observations);
        let Self { case, observations, truth, shaken } = self;
        judge(&case, &Trial { plan: observations.background.plan, report, truth, shaken })
    }

    fn lie(mut self, lie: impl FnOnce(&mut Vec<Attempt>, &Truth)) -> Self {
        lie(&mut self.observations.attempts, &self.truth);
        self
    }
}

fn good(due_ns: u64) -> Attempt {
    Attempt {
        id: 0,
        stream: 0,
        request: 0,
        intended_ns: due_ns,
        sent_ns: due_ns,
        first_byte_ns: due_ns + ANSWER_NS,
        ended_ns: due_ns + ANSWER_NS,
        connection: 1,
        connection_requests: 0,
        idle_us: 0,
        status: 200,
        phase: Phase::Done,
        cause: Cause::None,
        process: 0,
        config: 0,
    }
}

/// What the script says, done to the nanosecond.
fn truth(script: &Script) -> Truth {
    let mut truth = Truth::default();
    for step in &script.steps {
        let (begun_ns, ended_ns) = (step.at_ns, step.at_ns + step.for_ns);
        match step.kind {
            StepKind::Stall => truth.stalls.push(TrueStall {
                silent_since_ns: begun_ns - 200 * US,
                begun_ns,
                ended_ns,
                answered_ns: ended_ns + 10 * US,
                held_max_ns: step.for_ns,
                held: 1,
            }),
            StepKind::Refuse | StepKind::Away => truth.outages.push(TrueOutage {
                down: Interval { from_ns: begun_ns, to_ns: begun_ns },
                up: Interval { from_ns: ended_ns, to_ns: ended_ns },
            }),
        }
    }
    truth
}

/// What the target does to an attempt.
fn meet(attempt: &mut Attempt, script: &Script, truth: &mut Truth, case: Case) {
    let due_ns = attempt.intended_ns;
    for step in &script.steps {
        let end_ns = step.at_ns + step.for_ns;
        if !(step.at_ns..end_ns).contains(&due_ns) {
            continue;
        }
        if step.kind == StepKind::Stall {
            attempt.ended_ns = end_ns + ANSWER_NS;
        } else {
            // A connection that is not made has carried nothing.
            *attempt =
                Attempt { phase: Phase::Connect, cause: Cause::Refused, connection_requests: 0, ..*attempt };
        }
    }
    if let (Some(Kills { every, count, .. }), Case::Losses { loss, .. }) = (script.kills, case)
        && (attempt.id + 1).is_multiple_of(every)
        && truth.killed < count
    {
        truth.killed += 1;
        (attempt.phase, attempt.cause) = (loss.phase, loss.cause);
    }
}

fn observations(plan: Plan, attempts: Vec<Attempt>) -> Observations {
    let sent = attempts.len() as u64;
    let instrument = Instrument { planned: sent, sent, in_flight_max: 1, ..Instrument::default() };
    let background = Background::new(plan, environment(), instrument);
    Observations { attempts, background }
}

#[track_caller]
fn right(run: Run) {
    let judged = run.judge();
    assert!(!judged.is_empty());
    assert!(judged.iter().all(|judged| *judged.finding() == Finding::Right), "{judged:#?}");
}

#[track_caller]
fn wrong(run: Run, says: &str) {
    let judged = run.judge();
    let is_said = |judged: &Judged| matches!(judged.finding(), Finding::Wrong(text) if text.contains(says));
    assert!(judged.iter().any(is_said), "{says:?} is not in {judged:#?}");
}

fn losses(name: &str, reused: bool) -> Case {
    let is_it = |loss: &&Loss| loss.name == name;
    Case::Losses { loss: *LOSSES.iter().find(is_it).expect("the table must hold it"), reused }
}

#[test]
fn a_true_instrument_is_right() {
    right(Run::of(STALLS));
    right(Run::of(Case::Stalls { rate_hz: 5_000.0, stall_ms: 1 }));
    right(Run::of(OUTAGE));
    right(Run::of(Case::Quiet));
    right(Run::of(losses("connection refused", false)));
    for loss in LOSSES.into_iter().skip(1) {
        right(Run::of(Case::Losses { loss, reused: false }));
        right(Run::of(Case::Losses { loss, reused: true }));
    }
}

/// A generator that waits for answers, and counts from the moment at which it sends: the fault that is
/// known as coordinated omission. One request still waits for the whole stall; all others never happened.
#[test]
fn counting_from_the_sending_is_caught() {
    let run = Run::of(STALLS).lie(|attempts, truth| {
        for stall in &truth.stalls {
            let inside =
                |attempt: &&mut Attempt| (stall.begun_ns..stall.ended_ns).contains(&attempt.intended_ns);
            for attempt in attempts.iter_mut().filter(inside).skip(1) {
                (attempt.intended_ns, attempt.sent_ns) = (stall.ended_ns, stall.ended_ns);
            }
        }
    });
    wrong(run, "the report knows 1 late requests of at least 14");
}

#[test]
fn a_stall_that_is_not_seen_is_caught() {
    let run = Run::of(STALLS).lie(|attempts, _| {
        attempts.iter_mut().for_each(|attempt| attempt.ended_ns = attempt.intended_ns + ANSWER_NS);
    });
    wrong(run, "is not in the report");
}

#[test]
fn a_shortened_window_is_caught() {
    let run = Run::of(STALLS).lie(|attempts, truth| {
        for stall in &truth.stalls {
            let inside =
                |attempt: &&mut Attempt| (stall.begun_ns..stall.ended_ns).contains(&attempt.intended_ns);
            attempts.iter_mut().filter(inside).for_each(|attempt| attempt.ended_ns -= MS);
        }
    });
    wrong(run, "but a request had waited for");
}

/// A wait may be longer than the stall where a thread did not get a processor, and nowhere else: what
/// happened in the middle of the stall, or elsewhere in the run, is no excuse.
#[test]
fn a_lengthened_window_needs_an_excuse() {
    let lengthened = || {
        Run::of(STALLS).lie(|attempts, truth| {
            let stall = truth.stalls[3];
            let inside =
                |attempt: &&mut Attempt| (stall.begun_ns..stall.ended_ns).contains(&attempt.intended_ns);
            attempts.iter_mut().filter(inside).for_each(|attempt| attempt.ended_ns += 3 * MS);
        })
    };
    let end_ns = Run::of(STALLS).truth.stalls[3].ended_ns;
    let finding = |from_ns: u64, length_ns: u64| {
        let mut run = lengthened();
        run.shaken = vec![Interval { from_ns, to_ns: from_ns + length_ns }];
        run.judge()[3].finding().clone()
    };
    assert_eq!(finding(end_ns, 3 * MS), Finding::Disturbed);
    for (from_ns, length_ns) in [(end_ns, MS / 4), (end_ns - 12 * MS, 3 * MS), (0, 3 * MS)] {
        assert!(matches!(finding(from_ns, length_ns), Finding::Wrong(_)), "{from_ns} {length_ns}");
    }
}

#[test]
fn every_lie_about_losses_is_caught() {
    type Lie = fn(&mut Attempt);
    let lies: [Lie; 4] = [
        // Hidden, swapped in class, in phase and in connection.
        |lost| (lost.phase, lost.cause) = (Phase::Done, Cause::None),
        |lost| lost.cause = Cause::Network,
        |lost| lost.phase = Phase::Write,
        |lost| lost.connection_requests = u32::from(lost.connection_requests == 0),
    ];
    for loss in LOSSES {
        for lie in lies {
            let run = Run::of(Case::Losses { loss, reused: false }).lie(|attempts, _| {
                lie(attempts.iter_mut().find(|attempt| !attempt.ok()).expect("something is lost"));
            });
            let judged = run.judge();
            assert!(matches!(judged[0].finding(), Finding::Wrong(_)), "{judged:?}");
        }
    }
    let unsent = Run::of(losses("closed, no answer", true)).lie(|attempts, _| {
        attempts.iter_mut().find(|attempt| !attempt.ok()).expect("something is lost").cause = Cause::Late;
    });
    assert_eq!(*unsent.judge()[0].finding(), Finding::Disturbed, "the generator says so itself");
    let made_up = Run::of(losses("closed, no answer", true)).lie(|attempts, _| {
        let good = attempts.iter_mut().find(|attempt| attempt.ok()).expect("most are good");
        (good.phase, good.cause) = (Phase::Wait, Cause::Eof);
    });
    wrong(made_up, "7 of \"closed, no answer\" on reused connections are reported as 8 failed");
}

#[test]
fn an_outage_outside_of_its_bounds_is_caught() {
    let shortened = Run::of(OUTAGE).lie(|attempts, truth| {
        let middle_ns = truth.outages[0].down.from_ns + 100 * MS;
        let later = |attempt: &&mut Attempt| !attempt.ok() && attempt.intended_ns > middle_ns;
        attempts
            .iter_mut()
            .filter(later)
            .for_each(|lost| (lost.phase, lost.cause) = (Phase::Done, Cause::None));
    });
    wrong(shortened, "an outage of 200.000 ms is reported as");
    let lengthened = Run::of(OUTAGE).lie(|attempts, truth| {
        let up_ns = truth.outages[0].up.to_ns;
        let next = |attempt: &&mut Attempt| (up_ns..up_ns + 10 * MS).contains(&attempt.intended_ns);
        attempts
            .iter_mut()
            .filter(next)
            .for_each(|good| (good.phase, good.cause) = (Phase::Wait, Cause::Eof));
    });
    wrong(lengthened, "an outage of 200.000 ms is reported as");
    let not_seen = Run::of(OUTAGE).lie(|attempts, _| {
        attempts.iter_mut().for_each(|lost| (lost.phase, lost.cause) = (Phase::Done, Cause::None));
    });
    wrong(not_seen, "reported as 0.000 to 0.000 ms");
}

/// Due right before the target was back and sent right after it: no lie, on either stream.
#[test]
fn the_last_attempt_of_an_outage_may_be_served() {
    let mut run = Run::of(OUTAGE).lie(|attempts, truth| {
        let last = truth.outages[0].up.from_ns;
        for stream in [0, 1] {
            let of_it = attempts.iter_mut().filter(|attempt| attempt.stream == stream);
            let before = of_it.filter(|attempt| !attempt.ok() && attempt.intended_ns < last);
            let lost = before.max_by_key(|attempt| attempt.intended_ns).expect("both lost some");
            (lost.phase, lost.cause, lost.sent_ns) = (Phase::Done, Cause::None, truth.outages[0].up.to_ns);
            lost.ended_ns = lost.ended_ns.max(lost.sent_ns + 1);
        }
    });
    run.truth.answered += 2;
    let judged = run.judge();
    assert!(judged.iter().all(|judged| *judged.finding() == Finding::Right), "{judged:?}");
}

#[test]
fn nothing_must_stay_nothing() {
    let run = Run::of(Case::Quiet).lie(|attempts, _| {
        (attempts[7].phase, attempts[7].cause) = (Phase::Wait, Cause::Reset);
    });
    wrong(run, "nothing happened, and 1 requests failed in 1 windows");
    let unheard = Run::of(Case::Quiet).lie(|attempts, _| attempts.truncate(attempts.len() - 1));
    assert_eq!(*unheard.judge()[0].finding(), Finding::Disturbed, "the verdict is inconclusive by itself");
}
