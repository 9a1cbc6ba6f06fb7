//! Each gate fails once, and a run that measured nothing never passes.

mod control;

use proptest::{
    collection::vec,
    prelude::{Just, any, prop_assert, prop_oneof, proptest},
};
use serde_json::json;

use super::{Outcome, Verdict, judge};
use crate::{
    analyze::{
        analyze,
        fixture::{Log, MS, NEW, REUSED, upgrade},
    },
    exit::ExitCode,
    observe::{BuyOutcome, Cause, ClosedBy, EventOutcome, Held, Holding},
    plan::{ExternalPlan, Gate, TargetPlan},
};

fn verdict(log: &Log) -> Verdict {
    let observations = log.finish();
    judge(&observations.plan, &analyze(&observations))
}

/// A run that passes.
fn sound(gates: &[Gate]) -> Log {
    let mut log = Log::new();
    log.observations.plan.gates = gates.to_vec();
    log.steady(NEW, 0, 1_000).steady(REUSED, 0, 1_000).bought("o1", "k1").event(upgrade(1, 200, 300));
    for (number, gate) in (2..).zip(gates) {
        if matches!(gate, Gate::RecoveryMsMax(_)) {
            recovers(&mut log, number, Some(40));
        }
        if gate.is_of_contention() {
            contend(&mut log);
        }
        if gate.is_of_rest() {
            log.observations.environment.held = Some(Held { before: HOLDING, after: HOLDING });
        }
        if matches!(gate, Gate::MemoryGrowthKbMax(_)) {
            for times in 0..20 {
                remembers(&mut log, times, 5_000);
            }
        }
        if let Some((_, by)) = super::gates::name(*gate).split_once("propagation_p99_ms_max.") {
            changed(&mut log, number, by, 600);
            for attempt in &mut log.observations.attempts {
                attempt.config = if attempt.sent_ns >= 600 * MS { 5 } else { 1 };
            }
        }
    }
    log
}

/// Sells the only good out, to a user who may have all of it, by two processes at once.
fn contend(log: &mut Log) {
    let TargetPlan::Reference(reference) = &mut log.observations.plan.target else { return };
    reference.limit_per_user = 10;
    for number in log.observations.orders.len()..10 {
        log.bought(&format!("c{number}"), &format!("c{number}"));
    }
    let stored = &mut log.observations.background.orders;
    for (number, (buy, order)) in (0..).zip(log.observations.background.buys.iter_mut().zip(stored)) {
        let process = if number % 2 == 0 { 2 } else { 1 };
        (buy.ended_ns, buy.process, order.process) = ((1 + number) * MS, process, process);
    }
}

/// The older process has answered before the newer one does.
fn sell_in_turn(log: &mut Log) {
    let background = &mut log.observations.background;
    for buy in &mut background.buys {
        buy.ended_ns += u64::from(buy.process) * 100 * MS;
    }
}

const HOLDING: Holding = Holding { processes: 1, descriptors: 30, threads: 6, memory_kb: 5_000 };

/// What the server holds after the load.
fn after(log: &mut Log) -> &mut Holding {
    &mut log.observations.environment.held.as_mut().unwrap().after
}

/// An upgrade of a process with so much memory.
fn remembers(log: &mut Log, times: u64, memory_kb: u64) {
    let mut swap = upgrade(100 + times, 210 + times, 211 + times);
    swap.detail = json!({ "memory_kb": memory_kb });
    log.event(swap);
}

/// 16 KB and a little more with each of many upgrades.
fn grows(log: &mut Log) {
    let swaps = log.observations.events.iter_mut().filter(|event| event.detail.get("memory_kb").is_some());
    for (swap, times) in swaps.zip(0..) {
        swap.detail = json!({ "memory_kb": 5_000 + 17 * times });
    }
}

/// A change by a mechanism, made at a time and acknowledged a millisecond later, that is number 5.
fn changed(log: &mut Log, number: u64, by: &str, made_ms: u64) {
    let mut change = upgrade(number, made_ms - 10, made_ms + 1);
    change.kind = "reload".to_owned();
    change.detail = json!({ "by": by, "made_ns": made_ms * MS, "generation": 5 });
    log.event(change);
}

/// A change that was made 50 ms before anybody saw it.
fn shown_late(log: &mut Log, by: &str) {
    changed(log, 6, by, 550);
    log.observations.events.last_mut().unwrap().acked_ns = 600 * MS;
}

/// A gate as a sound run keeps it, what spoils a run for it, and how that ends.
type Proof = (Gate, fn(&mut Log), ExitCode);

const PROOFS: [Proof; 25] = [
    (Gate::FailedMax(0), one_fails, ExitCode::GateFailed),
    (Gate::UnforeseenMax(0), one_fails, ExitCode::GateFailed),
    (Gate::AvailabilityMin(1.0), one_fails, ExitCode::GateFailed),
    (Gate::HardDowntimeMsMax(0.0), one_fails, ExitCode::GateFailed),
    (Gate::BrownoutMsMax(0.0), |log| _ = log.good(1_000, 1_201), ExitCode::GateFailed),
    (Gate::LatencyP99MsMax(1.0), many_are_slow, ExitCode::GateFailed),
    (Gate::UpgradesMin(1), |log| log.observations.events[0].kind = "exec".to_owned(), ExitCode::GateFailed),
    (Gate::EventsFailedMax(0), |log| log.observations.events[0].as_expected = false, ExitCode::GateFailed),
    (Gate::ClosedByServerMax(0), |log| _ = log.connection(1, 0, ClosedBy::Server), ExitCode::GateFailed),
    (Gate::StaleMsMax(0.0), old_configuration_after_a_change, ExitCode::GateFailed),
    (Gate::PushP99MsMax(2.0), |log| shown_late(log, "push"), ExitCode::GateFailed),
    (Gate::FileP99MsMax(20.0), |log| shown_late(log, "file"), ExitCode::GateFailed),
    (Gate::EtcdP99MsMax(20.0), |log| shown_late(log, "etcd"), ExitCode::GateFailed),
    (Gate::TimerP99MsMax(20.0), |log| shown_late(log, "timer"), ExitCode::GateFailed),
    (Gate::RecoveryMsMax(40.0), |log| recovers(log, 8, Some(41)), ExitCode::GateFailed),
    (Gate::RecoveryMsMax(40.0), |log| recovers(log, 8, None), ExitCode::GateFailed),
    (Gate::TransferP50MsMax(2.0), moves_slowly, ExitCode::GateFailed),
    (Gate::ProcessesLeftMax(0), |log| after(log).processes = 2, ExitCode::GateFailed),
    (Gate::DescriptorsLeftMax(0), |log| after(log).descriptors += 1, ExitCode::GateFailed),
    (Gate::MemoryGrowthKbMax(16.0), grows, ExitCode::GateFailed),
    (Gate::GoodsContendedMin(1), sell_in_turn, ExitCode::Inconclusive),
    (Gate::LimitsContendedMin(1), sell_in_turn, ExitCode::Inconclusive),
    (Gate::LatenessP99UsMax(0), many_are_sent_late, ExitCode::Inconclusive),
    (Gate::UnsentMax(0), |log| _ = log.bad(1_000, 1_000, Cause::NoPorts), ExitCode::Inconclusive),
    (Gate::BlindMsMax(0.0), stands_still, ExitCode::Inconclusive),
];

/// A fault after which a new order arrives after some milliseconds, or never.
fn recovers(log: &mut Log, number: u64, after_ms: Option<u64>) {
    let mut fault = upgrade(number, 700, 800);
    fault.kind = "fault".to_owned();
    fault.detail = json!({ "of": "mysql", "recovered_ms": after_ms });
    log.event(fault);
}

fn moves_slowly(log: &mut Log) {
    log.observations.events[0].detail["phases_ms"]["transfer"] = json!(2.5);
}

fn one_fails(log: &mut Log) {
    log.bad(1_100, 1_101, Cause::Reset);
}

fn many_are_slow(log: &mut Log) {
    for number in 0..30 {
        log.good(1_000 + number, 1_050 + number);
    }
}

fn many_are_sent_late(log: &mut Log) {
    for number in 0..30 {
        log.good(1_000 + number, 1_001 + number).late_by(2);
    }
}

/// Nothing leaves for a while, and then what was due leaves at once.
fn stands_still(log: &mut Log) {
    for number in 0..10 {
        log.good(1_000 + number, 1_011 + number).late_by(10 - number);
    }
}

fn old_configuration_after_a_change(log: &mut Log) {
    let mut reload = upgrade(2, 400, 450);
    reload.kind = "http".to_owned();
    reload.detail = json!({ "generation": 2 });
    log.event(reload).good(1_000, 1_001).last().config = 1;
}

/// A gate that cannot fail is no gate, and one without a proof has no place here.
#[test]
fn every_gate_is_proven_able_to_fail() {
    // serde knows all of them, and says so when it is asked for another one.
    let unknown = serde_json::from_value::<Gate>(json!({ "gate": "", "limit": 0 })).unwrap_err().to_string();
    let mut known: Vec<&str> =
        unknown.split('`').skip(1).step_by(2).filter(|name| !name.is_empty()).collect();
    let mut proven: Vec<&str> = PROOFS.map(|(gate, ..)| super::gates::name(gate)).into();
    known.sort_unstable();
    proven.sort_unstable();
    proven.dedup();
    assert_eq!(proven, known);
    for (gate, spoil, exit_code) in PROOFS {
        let mut log = sound(&[gate]);
        check(&log, ExitCode::Pass, &[]);
        spoil(&mut log);
        let verdict = verdict(&log);
        assert_eq!(verdict.exit_code, exit_code, "{gate:?}: {:?}", verdict.reasons);
        let failed: Vec<&str> =
            verdict.gates.iter().filter(|gate| gate.outcome != Outcome::Pass).map(|gate| gate.name).collect();
        assert_eq!(failed, [super::gates::name(gate)]);
    }
}

#[track_caller]
fn check(log: &Log, exit_code: ExitCode, reasons: &[&str]) {
    let verdict = verdict(log);
    assert_eq!((verdict.exit_code, verdict.reasons.as_slice()), (exit_code, own(reasons).as_slice()));
    let outcome = match exit_code {
        ExitCode::Pass => Outcome::Pass,
        ExitCode::Inconclusive => Outcome::Inconclusive,
        _ => Outcome::Fail,
    };
    assert_eq!(verdict.outcome, outcome);
}

fn own(reasons: &[&str]) -> Vec<String> {
    reasons.iter().map(|&reason| reason.to_owned()).collect()
}

/// Gates that a sound run keeps, each at its very limit where it has one.
const KEPT: [Gate; 24] = [
    Gate::FailedMax(0),
    Gate::UnforeseenMax(0),
    Gate::AvailabilityMin(1.0),
    Gate::HardDowntimeMsMax(0.0),
    Gate::BrownoutMsMax(0.0),
    Gate::LatencyP99MsMax(1.0),
    Gate::UpgradesMin(1),
    Gate::EventsFailedMax(0),
    Gate::ClosedByServerMax(0),
    Gate::StaleMsMax(0.0),
    Gate::PushP99MsMax(0.0),
    Gate::FileP99MsMax(0.0),
    Gate::EtcdP99MsMax(0.0),
    Gate::TimerP99MsMax(0.0),
    Gate::RecoveryMsMax(40.0),
    Gate::TransferP50MsMax(2.0),
    Gate::ProcessesLeftMax(0),
    Gate::DescriptorsLeftMax(0),
    Gate::MemoryGrowthKbMax(0.0),
    Gate::GoodsContendedMin(1),
    Gate::LimitsContendedMin(1),
    Gate::LatenessP99UsMax(0),
    Gate::UnsentMax(0),
    Gate::BlindMsMax(0.0),
];

#[test]
fn a_sound_run_passes_every_gate() {
    check(&sound(&KEPT), ExitCode::Pass, &[]);
    let gates = verdict(&sound(&KEPT)).gates;
    assert_eq!(gates.len(), KEPT.len());
    assert!(gates.iter().all(|gate| gate.outcome == Outcome::Pass && gate.actual.is_some()));
}

#[test]
fn every_gate_fails_when_it_should() {
    let failed_1 = |log: &mut Log| {
        log.bad(1_100, 1_101, Cause::Reset);
    };
    check_gate(Gate::FailedMax(0), failed_1, "1 request failed; the limit is 0.");
    check_gate(
        Gate::AvailabilityMin(0.9999),
        failed_1,
        "The availability was 99.950025 %; the limit is 99.99 %.",
    );
    check_gate(
        Gate::HardDowntimeMsMax(5.0),
        |log| {
            log.outage(NEW, 1_000, 1_100).steady(NEW, 1_100, 1_200);
        },
        "The service was down for up to 102.000 ms; the limit is 5 ms.",
    );
    check_gate(
        Gate::BrownoutMsMax(200.0),
        |log| {
            log.good(1_000, 1_201);
        },
        "The service was slow for up to 201.000 ms; the limit is 200 ms.",
    );
    check_gate(
        Gate::LatencyP99MsMax(1.0),
        |log| {
            for number in 0..30 {
                log.good(1_000 + number, 1_050 + number);
            }
        },
        "99 % of the requests were served within 50.000 ms; the limit is 1 ms.",
    );
    check_gate(
        Gate::LatencyP99MsMax(1.0),
        |log| {
            log.outage(NEW, 1_000, 1_050);
        },
        "More than 1 % of the requests were never served, so no latency holds for 99 %.",
    );
    check_gate(
        Gate::StaleMsMax(500.0),
        old_configuration_after_a_change,
        "An answer from before a change came to a request sent 550.000 ms after its acknowledgement; the limit \
         is 500 ms.",
    );
    check_gate(
        Gate::FileP99MsMax(20.0),
        |log| shown_late(log, "file"),
        "99 % of the changes by file had their effect within 50.000 ms; the limit is 20 ms.",
    );
    let never_shown = |log: &mut Log| {
        changed(log, 6, "etcd", 700);
        log.observations.events.last_mut().unwrap().detail["generation"] = 6.into();
    };
    check_gate(
        Gate::EtcdP99MsMax(20.0),
        never_shown,
        "A change by etcd never came to be seen; the limit is 20 ms.",
    );
    check_gate(Gate::UpgradesMin(2), |_| {}, "1 upgrade ended well; the least is 2.");
    check_gate(
        Gate::ClosedByServerMax(0),
        |log| {
            log.connection(1, 0, ClosedBy::Server);
        },
        "The server closed 1 kept-alive connection; the limit is 0.",
    );
}

#[track_caller]
fn check_gate(gate: Gate, spoil: impl Fn(&mut Log), reason: &str) {
    let mut log = sound(&[gate]);
    spoil(&mut log);
    check(&log, ExitCode::GateFailed, &[reason]);
    // The same run without the gate passes: it was this gate that failed.
    log.observations.plan.gates.clear();
    check(&log, ExitCode::Pass, &[]);
}

/// A change that nobody could see is no change that came at once.
#[test]
fn staleness_without_an_answer_is_inconclusive() {
    let mut log = sound(&[Gate::StaleMsMax(1_000.0)]);
    log.observations.events.clear();
    log.observations.plan.events.clear();
    let reason = "No answer to a request sent after an acknowledged change told its generation.";
    check(&log, ExitCode::Inconclusive, &[reason]);
}

/// A mechanism that brought nothing is no fast one.
#[test]
fn propagation_without_a_change_is_inconclusive() {
    let mut log = sound(&[Gate::TimerP99MsMax(1_000.0)]);
    log.observations.events.truncate(1);
    log.observations.plan.events.truncate(1);
    let reason = "No change by timer was acknowledged, so nothing could spread.";
    check(&log, ExitCode::Inconclusive, &[reason]);
}

/// A run of which nobody can tell who sold proves nothing of two processes.
#[test]
fn contention_without_the_store_is_inconclusive() {
    let mut log = sound(&[Gate::GoodsContendedMin(1)]);
    log.observations.environment.store_read = false;
    let verdict = verdict(&log);
    assert_eq!(verdict.exit_code, ExitCode::Inconclusive);
    let reason = "Which processes sold the last pieces was not seen.".to_owned();
    assert!(verdict.reasons.contains(&reason), "{:?}", verdict.reasons);
}

#[test]
fn slow_moves_of_connections_are_told_in_milliseconds() {
    check_gate(
        Gate::TransferP50MsMax(2.0),
        moves_slowly,
        "Half of the upgrades moved their connections within 2.500 ms; the limit is 2 ms.",
    );
}

/// A strategy that moves nothing, or a server that does not tell, is no fast one.
#[test]
fn a_time_of_moving_that_nobody_told_is_inconclusive() {
    let mut log = sound(&[Gate::TransferP50MsMax(1_000.0)]);
    log.observations.events[0].detail = json!({});
    let reason = "No upgrade that ended well told how long its connections took to move.";
    check(&log, ExitCode::Inconclusive, &[reason]);
}

#[test]
fn recovery_without_a_fault_is_inconclusive() {
    let mut log = sound(&[Gate::RecoveryMsMax(1_000.0)]);
    log.observations.events.truncate(1);
    log.observations.plan.events.truncate(1);
    let reason = "No fault ended after which orders had a way into MySQL.";
    check(&log, ExitCode::Inconclusive, &[reason]);
}

/// An event that fails, or that never ran, fails the run without being asked to.
#[test]
fn events_must_end_as_planned() {
    let mut log = sound(&[]);
    log.observations.events[0].as_expected = false;
    log.observations.events[0].outcome = EventOutcome::Failed;
    let reason = "1 event did not end as planned, or did not run; the limit is 0.";
    check(&log, ExitCode::GateFailed, &[reason]);
    let mut missing = sound(&[Gate::EventsFailedMax(0)]);
    missing.event(upgrade(2, 500, 600)).observations.events.truncate(1);
    check(&missing, ExitCode::GateFailed, &[reason]);
    missing.observations.plan.gates = vec![Gate::EventsFailedMax(1)];
    check(&missing, ExitCode::Pass, &[]);
}

#[test]
fn an_instrument_that_cannot_vouch_is_inconclusive() {
    let unsent = "The generator could not send 1 of 2001 requests (no port was free: 1); the limit is 0.";
    let mut log = sound(&[]);
    log.bad(1_000, 1_000, Cause::NoPorts);
    check(&log, ExitCode::Inconclusive, &[unsent]);
    log.observations.plan.gates = vec![Gate::UnsentMax(1)];
    check(&log, ExitCode::Pass, &[]);

    let mut late = sound(&[Gate::LatenessP99UsMax(1_000)]);
    for number in 0..30 {
        late.good(1_000 + number, 1_001 + number).late_by(2);
    }
    let reason = "The generator sent 1 % of the requests 2000 us late or later; the limit is 1000 us.";
    check(&late, ExitCode::Inconclusive, &[reason]);
    late.observations.plan.gates = vec![];
    check(&late, ExitCode::Pass, &[]);
    late.observations.plan.load.slow_ns = MS;
    let reason = "The generator sent 1 % of the requests 2000 us late or later; the limit is 1000 us.";
    check(&late, ExitCode::Inconclusive, &[reason]);

    let mut interrupted = sound(&[]);
    interrupted.observations.instrument.interrupted = true;
    interrupted.observations.instrument.gaps.push("a sending thread panicked".to_owned());
    check(
        &interrupted,
        ExitCode::Inconclusive,
        &["The run was interrupted.", "The observations have a gap: a sending thread panicked."],
    );
}

#[test]
fn a_log_that_lacks_attempts_is_inconclusive() {
    let mut observations = sound(&[]).finish();
    observations.attempts.pop();
    let verdict = judge(&observations.plan, &analyze(&observations));
    assert_eq!(verdict.exit_code, ExitCode::Inconclusive);
    assert_eq!(verdict.reasons, own(&["The log lacks 1 of the 2000 requests that the generator sent."]));
}

/// A run that measured nothing never passes, whatever its gates.
#[test]
fn nothing_measured_is_inconclusive() {
    let mut log = Log::new();
    check(
        &log,
        ExitCode::Inconclusive,
        &[
            "No request was sent after the warm-up, so nothing was measured.",
            "Nothing was sent, so the generator's lateness is unknown.",
            "Nothing was due, so nobody knows whether the generator stood still.",
        ],
    );
    for gate in KEPT {
        log.observations.plan.gates = vec![gate];
        let verdict = verdict(&log);
        assert_eq!(verdict.exit_code, ExitCode::Inconclusive, "{gate:?}");
        assert_ne!(verdict.outcome, Outcome::Pass, "{gate:?}");
    }
    let mut no_events = sound(&[]);
    no_events.observations.events.clear();
    check(
        &no_events,
        ExitCode::Inconclusive,
        &[
            "None of the 1 planned events ran.",
            "1 event did not end as planned, or did not run; the limit is 0.",
        ],
    );
    let mut no_store = sound(&[]);
    no_store.observations.environment.store_read = false;
    let reason = "The target's store was not read, so no order could be checked.";
    check(&no_store, ExitCode::Inconclusive, &[reason]);
    let mut no_buys = sound(&[]);
    no_buys.observations.buys.clear();
    no_buys.observations.orders.clear();
    no_buys.observations.stock[0].left = 10;
    let reason = "No buying request was answered, so the orders prove nothing.";
    check(&no_buys, ExitCode::Inconclusive, &[reason]);
}

/// A server of somebody else has no store to read, and that is no doubt about the rest.
#[test]
fn an_external_target_passes_without_a_store() {
    let mut log = sound(&[Gate::FailedMax(0)]);
    log.observations.environment.store_read = false;
    log.observations.plan.target = TargetPlan::External(ExternalPlan {
        url: "http://127.0.0.1:1".to_owned(),
        tls: None,
        process_header: None,
        config_header: None,
    });
    check(&log, ExitCode::Pass, &[]);
}

#[test]
fn the_gravest_wins_and_every_reason_is_told() {
    let mut log = sound(&[Gate::FailedMax(0)]);
    log.bad(1_100, 1_101, Cause::Reset).bad(1_200, 1_200, Cause::NoPorts);
    log.buy("k2", BuyOutcome::Acknowledged { order: "o2".into() });
    check(
        &log,
        ExitCode::Incorrect,
        &[
            "The invariant acknowledged-orders-stored is violated: order o2 (user 1 event 1 goods 1 key k2) \
             was acknowledged but is not stored: attempt 2002, sent at 0 us, acknowledged as o2 by \
             process 1 at 1000 us.",
            "The generator could not send 1 of 2002 requests (no port was free: 1); the limit is 0.",
            "1 request failed; the limit is 0.",
        ],
    );
    log.observations.buys.pop();
    assert_eq!(verdict(&log).exit_code, ExitCode::Inconclusive);
}

proptest! {
    /// A success that becomes a failure, or a failure more, never improves a verdict: what did not pass does
    /// not pass then, and neither does a gate of it.
    #[test]
    fn a_failure_never_improves_a_verdict(
        bad in vec(0_usize..400, 0..8),
        chosen in 0_usize..400,
        limit in 0_u64..6,
        cause in prop_oneof![Just(Cause::Eof), Just(Cause::Timeout), Just(Cause::Refused)],
        adds in any::<bool>(),
        late_ms in 0_u64..3,
    ) {
        let gates = [
            Gate::FailedMax(limit),
            Gate::AvailabilityMin(0.99),
            Gate::HardDowntimeMsMax(12.0),
            Gate::BrownoutMsMax(3.0),
            Gate::LatencyP99MsMax(1.0),
            Gate::UpgradesMin(1),
            Gate::EventsFailedMax(0),
            Gate::ClosedByServerMax(0),
            Gate::LatenessP99UsMax(1_000),
            Gate::UnsentMax(0),
        ];
        let mut log = Log::new();
        log.observations.plan.gates = gates.to_vec();
        log.observations.plan.load.slow_ns = MS;
        log.steady(NEW, 0, 200).steady(REUSED, 0, 200).bought("o1", "k1").event(upgrade(1, 50, 60));
        for index in bad {
            log.observations.attempts[index].cause = Cause::Reset;
        }
        let before = verdict(&log);
        if adds {
            // Sent no earlier after its intended time than any other: lateness is the generator's, not the
            // target's, and one that was in time would speak for it.
            let sent_ms = chosen as u64 / 2;
            log.push(REUSED, sent_ms, sent_ms, cause).late_by(late_ms);
        } else {
            log.observations.attempts[chosen].cause = cause;
        }
        let after = verdict(&log);
        prop_assert!(before.outcome == Outcome::Pass || after.outcome != Outcome::Pass);
        for (before, after) in before.gates.iter().zip(&after.gates) {
            prop_assert!(before.outcome == Outcome::Pass || after.outcome != Outcome::Pass, "{before:?} {after:?}");
        }
    }
}
