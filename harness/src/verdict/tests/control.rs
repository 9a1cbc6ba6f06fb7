//! The instrument's own troubles: never a plain failure by them, and no excuse for anything else.

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::{Log, MS, NEW, REUSED, check, judge, sound, verdict};
use crate::{
    analyze::analyze,
    exit::ExitCode,
    observe::{Attempt, Cause, MachineSample},
    plan::Gate,
};

/// Asks the control every 10 ms from 0 to 1,000 ms: each attempt takes 1 ms, or until the end of the pause
/// that it falls into.
fn with_control(mut log: Log, pauses: &[(u64, u64)]) -> Log {
    log.observations.plan.load.control_rate = 100.0;
    for number in 0..100 {
        let sent_ms = number * 10;
        let pause = pauses.iter().find(|(from_ms, to_ms)| (*from_ms..*to_ms).contains(&sent_ms));
        log.push(NEW, sent_ms, pause.map_or(sent_ms, |(_, to_ms)| *to_ms), Cause::None);
        let attempt = log.observations.attempts.pop().expect("an attempt was pushed");
        log.observations.control.push(attempt);
    }
    log
}

/// A run whose target answers one request only after so long.
fn slow(from_ms: u64, to_ms: u64) -> Log {
    let mut log = sound(&[Gate::BrownoutMsMax(0.0)]);
    log.good(from_ms, to_ms);
    log
}

const BROWNOUT_300: &str = "The service was slow for up to 300.000 ms; the limit is 0 ms.";

#[test]
fn a_control_that_loses_makes_the_run_inconclusive() {
    let mut log = with_control(sound(&[]), &[]);
    check(&log, ExitCode::Pass, &[]);
    for (cause, index) in [(Cause::Timeout, 30), (Cause::Timeout, 40), (Cause::NoPorts, 50)] {
        log.observations.control[index].cause = cause;
    }
    let reason = "The control target, an echo inside of the harness, lost 3 of 99 requests (timeout 2, no-ports \
                  1) between 0.300 and 0.500 s: it is the machine or the harness that loses them.";
    check(&log, ExitCode::Inconclusive, &[reason]);
    // Nothing of it is among the target's figures.
    assert_eq!(analyze(&log.finish()).requests.all.failed, 0);
    let mut early = log;
    early.observations.plan.load.warmup_ns = 600 * MS;
    check(&early, ExitCode::Pass, &[]);
}

#[test]
fn a_control_that_was_never_asked_vouches_for_nothing() {
    let mut log = sound(&[]);
    log.observations.plan.load.control_rate = 100.0;
    let reason = "The control target was never asked, so nobody vouches for the machine.";
    check(&log, ExitCode::Inconclusive, &[reason]);
}

/// The machine stood still: what was slow by that alone is no failure of the target's.
#[test]
fn a_pause_of_the_machine_is_no_brownout_of_the_target() {
    let reason = format!(
        "{BROWNOUT_300} Without the time for which the harness itself was kept waiting, up to 280 ms at once, \
         the limit would have been kept."
    );
    check(&with_control(slow(400, 700), &[(400, 680)]), ExitCode::Inconclusive, &[&reason]);
    // What changes no outcome is no alarm.
    let mut log = with_control(slow(400, 700), &[(400, 680)]);
    log.observations.plan.gates = vec![Gate::BrownoutMsMax(300.0)];
    check(&log, ExitCode::Pass, &[]);
}

#[test]
fn a_slow_target_is_not_excused_by_a_little_or_by_another_time() {
    check(&with_control(slow(400, 700), &[]), ExitCode::GateFailed, &[BROWNOUT_300]);
    check(&with_control(slow(400, 700), &[(0, 300)]), ExitCode::GateFailed, &[BROWNOUT_300]);
    check(&with_control(slow(400, 700), &[(400, 450)]), ExitCode::GateFailed, &[BROWNOUT_300]);
    // Every echo waits 10 ms, because the target keeps the processors busy: that explains 40 ms.
    let busy: Vec<(u64, u64)> = (0..100).map(|number| (number * 10, number * 10 + 10)).collect();
    check(&with_control(slow(400, 700), &busy), ExitCode::GateFailed, &[BROWNOUT_300]);
}

/// A change that nobody could see because nobody was asked is no slow mechanism; one that came late at another
/// time is.
#[test]
fn a_pause_of_the_machine_is_no_slow_change() {
    let check_pause = |pause: (u64, u64), exit_code| {
        let mut log = sound(&[Gate::FileP99MsMax(20.0)]);
        super::shown_late(&mut log, "file");
        let verdict = verdict(&with_control(log, &[pause]));
        assert_eq!(verdict.exit_code, exit_code, "{:?}", verdict.reasons);
        let reason = "99 % of the changes by file had their effect within 50.000 ms; the limit is 20 ms.";
        assert!(verdict.reasons[0].starts_with(reason), "{:?}", verdict.reasons);
    };
    check_pause((550, 598), ExitCode::Inconclusive);
    check_pause((100, 200), ExitCode::GateFailed);
}

/// One gate's excuse is none for another.
#[test]
fn an_excuse_does_not_outweigh_a_failure() {
    let mut log = with_control(slow(400, 700), &[(400, 680)]);
    log.observations.plan.gates.push(Gate::FailedMax(0));
    log.bad(900, 901, Cause::Reset);
    let verdict = verdict(&log);
    assert_eq!(verdict.exit_code, ExitCode::GateFailed);
    assert_eq!(verdict.reasons[0], "1 request failed; the limit is 0.");
    assert!(verdict.reasons[1].starts_with(BROWNOUT_300), "{:?}", verdict.reasons);
}

/// A time limit that ran out while the machine stood still is in doubt; a reset at that time is not.
#[test]
fn only_a_time_limit_can_be_the_machines_fault() {
    for (cause, exit_code) in [(Cause::Timeout, ExitCode::Inconclusive), (Cause::Reset, ExitCode::GateFailed)]
    {
        let mut log = sound(&[Gate::FailedMax(0), Gate::AvailabilityMin(1.0), Gate::HardDowntimeMsMax(0.0)]);
        log.observations.plan.load.timeout_ns = 500 * MS;
        log.bad(300, 800, cause);
        assert_eq!(verdict(&with_control(log, &[(310, 790)])).exit_code, exit_code, "{cause:?}");
    }
}

#[test]
fn a_latency_by_the_generators_own_lateness_is_in_doubt() {
    let mut log = sound(&[Gate::LatencyP99MsMax(5.0)]);
    for number in 0..30 {
        log.good(500 + number, 501 + number).late_by(20);
    }
    let figure = "99 % of the requests were served within 21.000 ms; the limit is 5 ms.";
    let reason = format!(
        "{figure} Without the time for which the harness itself was kept waiting, up to 20 ms at once, the \
         limit would have been kept."
    );
    check(&log, ExitCode::Inconclusive, &[&reason]);
    log.observations.plan.gates.clear();
    check(&log, ExitCode::Pass, &[]);
    // The target's own slowness is not.
    let mut slow = sound(&[Gate::LatencyP99MsMax(5.0)]);
    for number in 0..30 {
        slow.good(500 + number, 521 + number);
    }
    check(&slow, ExitCode::GateFailed, &[figure]);
}

/// A harness that was stopped: far too few are late for the p99.
#[test]
fn a_generator_that_stood_still_is_inconclusive() {
    let mut log = sound(&[Gate::BrownoutMsMax(0.0)]);
    log.steady(REUSED, 1_000, 4_000).good(500, 501).late_by(1_200);
    let verdict = verdict(&log);
    assert_eq!(verdict.exit_code, ExitCode::Inconclusive);
    assert_eq!(
        verdict.reasons[0],
        "The generator stood still for 1200 ms from 0.500 s on: requests were due and none was sent; the limit \
         is 1000 ms. What the target did meanwhile is unknown."
    );
    assert_eq!(verdict.reasons.len(), 2, "the brownout is the generator's: {:?}", verdict.reasons);
    log.observations.plan.gates = vec![Gate::BlindMsMax(1_200.0)];
    check(&log, ExitCode::Pass, &[]);
}

#[test]
fn a_reason_says_what_the_machine_did() {
    let mut log = with_control(slow(400, 700), &[(400, 680)]);
    for (at_ms, steal_ms) in [(0, 0), (300, 0), (800, 270), (900, 270)] {
        log.observations.machine.push(MachineSample {
            at_ns: at_ms * MS,
            steal_ms: Some(steal_ms),
            ..MachineSample::default()
        });
    }
    let reason = &verdict(&log).reasons[0];
    assert!(reason.ends_with(" In the 0.5 s around it the hypervisor took 270 ms."), "{reason}");
}

proptest! {
    /// Whatever the machine did, a success that turns into a failure improves nothing: no pass comes of it,
    /// and no doubt of a failure.
    #[test]
    fn a_failure_never_improves_a_verdict_of_a_noisy_machine(
        (from_ms, length_ms) in (0_u64..900, 1_u64..400),
        (slow_from_ms, slow_ms) in (0_u64..600, 90_u64..400),
        chosen in 0_usize..2_001,
        is_timeout in any::<bool>(),
        limit in 0_u64..2,
    ) {
        let mut log = slow(slow_from_ms, slow_from_ms + slow_ms);
        log.observations.plan.gates.extend([
            Gate::FailedMax(limit),
            Gate::LatencyP99MsMax(1.0),
            Gate::HardDowntimeMsMax(5.0),
        ]);
        let log = with_control(log, &[(from_ms, from_ms + length_ms)]);
        let mut observations = log.finish();
        let before = judge(&observations.plan, &analyze(&observations));
        let attempt: &mut Attempt = &mut observations.attempts[chosen];
        attempt.cause = if is_timeout { Cause::Timeout } else { Cause::Reset };
        let after = judge(&observations.plan, &analyze(&observations));
        let gravity = |code: ExitCode| match code {
            ExitCode::Pass => 0,
            ExitCode::Inconclusive => 1,
            _ => 2,
        };
        prop_assert!(gravity(before.exit_code) <= gravity(after.exit_code), "{before:?} {after:?}");
        for (before, after) in before.gates.iter().zip(&after.gates) {
            prop_assert_eq!(before.name, after.name);
            prop_assert!(before.excused || before.outcome == after.outcome
                || before.outcome == super::Outcome::Pass, "{before:?} {after:?}");
        }
    }
}
