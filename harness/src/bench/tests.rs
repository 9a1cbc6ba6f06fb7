//! Benches of runs written by hand.

use std::convert::Infallible;

use super::{Arm, BenchReport, Finished, ReloadSample, Setup, Turn, order, render, schema, summarize};
use crate::{
    analyze::{analyze, fixture::Log},
    bench::reload::tests::good,
    compare::{
        RowOutcome, Unit,
        tests::{log, sample_of},
    },
    exit::ExitCode,
    plan::Plan,
    report::{
        build, json,
        tests::{check_manual, check_schema},
    },
    verdict::judge,
};

fn finished(turn: Turn, log: &Log) -> Finished {
    let observations = log.finish();
    let analysis = analyze(&observations);
    let verdict = judge(&observations.plan, &analysis);
    let folder = format!("arm-{}/round-{}", turn.arm, turn.round);
    let sample = sample_of(&folder, &observations, &analysis, &verdict);
    let attempts = observations.attempts.iter().copied().map(Ok);
    let Ok(reload) = ReloadSample::new::<Infallible>(&observations.background, attempts, &analysis);
    Finished { turn, folder, report: build(&observations, &analysis, &verdict), sample, reload }
}

/// The arms lose a request in so many of their six upgrades.
fn runs(bad: &[u64], rounds: u32) -> Vec<Finished> {
    let run = |turn: Turn| finished(turn, &log(6, bad[turn.arm], u64::from(turn.round)));
    order(bad.len(), rounds).map(run).collect()
}

fn arms(count: usize) -> Vec<(Arm, Plan)> {
    let names = ["handoff-live", "handoff", "reuseport", "stop-start", "reuseport-drain"];
    let plan = log(6, 0, 1).finish().plan.clone();
    names[..count].iter().map(|name| (Arm::of_strategy(name), plan.clone())).collect()
}

fn setup(arms: &[(Arm, Plan)], rounds: u32) -> Setup<'_> {
    Setup { id: "bench-1", command: &[], subject: "upgrade", rounds, arms }
}

#[test]
fn the_published_schema_is_fresh_and_the_manual_describes_it() {
    check_schema("bench", &schema());
    let ours = ["ReloadFigures", "Times", "Trials"];
    let shapes = ["Attempted", "Bounds", "Comparison", "ReloadFigures", "Times", "Trials"];
    check_manual("Fields of bench.json\n", &schema(), &shapes, &ours);
}

#[test]
fn the_runs_of_an_arm_are_added_up_and_compared_with_the_first() {
    let arms = arms(2);
    let (report, code) = summarize(&setup(&arms, 6), &runs(&[0, 3], 6), ExitCode::Pass).unwrap();
    assert_eq!((code, report.rounds_finished, report.runs.len()), (ExitCode::Pass, 6, 12));
    let [good, bad] = report.arms.as_slice() else { panic!("{:?}", report.arms) };
    assert_eq!((good.events_bad.trials, good.events_bad.bad, good.requests.failed), (36, 0, 0));
    // 1 - 0.05^(1/36)
    assert!((good.events_bad.upper_bound_95.unwrap() - 0.079_847).abs() < 1e-6, "{good:?}");
    assert_eq!((bad.events_bad.bad, bad.events_bad_new.bad, bad.events_bad_reused.bad), (18, 0, 18));
    assert_eq!(
        (bad.requests.failed, bad.reused.failed, bad.new.failed, bad.closed_by_server),
        (18, 18, 0, 18)
    );
    assert!((bad.per_event.failed.unwrap() - 0.5).abs() < 1e-12);
    assert!(bad.daily[2].availability < good.daily[2].availability, "{bad:?}");
    let [against] = report.comparisons.as_slice() else { panic!("{:?}", report.comparisons) };
    assert_eq!((against.first.as_str(), against.arm.as_str()), ("handoff-live", "handoff"));
    assert_eq!(against.comparison.unit, Unit::Run);
    assert_eq!(against.comparison.rows[0].outcome, RowOutcome::Worse);
    assert_eq!(json::render(&report), json::render(&report));
}

#[test]
fn what_was_finished_is_reported() {
    let arms = arms(3);
    let mut some = runs(&[0, 1, 2], 2);
    some.truncate(4);
    let (report, code) = summarize(&setup(&arms, 2), &some, ExitCode::Interrupted).unwrap();
    assert_eq!((code, report.exit_code, report.rounds_finished), (ExitCode::Interrupted, 130, 1));
    assert_eq!(report.arms.iter().map(|arm| arm.runs).collect::<Vec<_>>(), [1, 1, 2]);
    some.truncate(1);
    let (report, _) = summarize(&setup(&arms, 2), &some, ExitCode::Environment).unwrap();
    assert_eq!((report.exit_code, report.comparisons.len(), report.arms[1].runs), (3, 0, 0));
    assert_eq!(report.arms[1].per_event.failed, None);
}

#[test]
fn one_inconclusive_run_is_said() {
    let arms = arms(2);
    let mut some = runs(&[0, 0], 1);
    let mut shaken = log(6, 0, 1);
    shaken.observations.instrument.gaps.push("a thread panicked".to_owned());
    some[1] = finished(some[1].turn, &shaken);
    let (report, code) = summarize(&setup(&arms, 1), &some, ExitCode::Pass).unwrap();
    assert_eq!((code, report.arms[1].runs_inconclusive), (ExitCode::Inconclusive, 1));
    assert!(render(&report, "runs/x").contains("arm-1/round-1 is inconclusive"));
}

/// A bench of two mechanisms, a run each.
fn reloads(samples: [ReloadSample; 2]) -> (BenchReport, ExitCode) {
    let plan = log(6, 0, 1).finish().plan.clone();
    let arms = ["file", "timer"].map(|name| (Arm::of_mechanism(name, "cluster", 100), plan.clone()));
    let mut some = runs(&[0, 0], 1);
    for (run, sample) in some.iter_mut().zip(samples) {
        run.reload = sample;
    }
    summarize(&Setup { subject: "reload", ..setup(&arms, 1) }, &some, ExitCode::Pass).unwrap()
}

#[test]
fn a_change_that_never_arrives_fails_a_bench_and_one_that_was_not_made_measures_nothing() {
    let mut missed = good();
    missed.change(2_400, None, None);
    let mut unmade = good();
    unmade.change(2_400, None, None).log.observations.background.events.pop();
    for (other, expected) in
        [(good(), ExitCode::Pass), (missed, ExitCode::GateFailed), (unmade, ExitCode::Inconclusive)]
    {
        let (report, code) = reloads([good().sample(), other.sample()]);
        assert_eq!((code, report.exit_code), (expected, expected.number()));
        assert!(report.arms.iter().all(|arm| arm.reload.is_some()));
    }
    let (report, _) = summarize(&setup(&arms(1), 1), &runs(&[0], 1), ExitCode::Pass).unwrap();
    assert_eq!(report.arms[0].reload, None, "upgrades are no changes");
}

#[test]
#[expect(clippy::too_many_lines, reason = "most of them are the table")]
fn the_table_of_mechanisms_fits_80_columns() {
    let mut missed = good();
    missed.pause(&[(2_500, 1.0), (7_500, 0.0)]).change(2_400, None, None).change(3_000, Some(6), None);
    let (report, _) = reloads([good().sample(), missed.sample()]);
    assert_eq!(report.arms[1].settings["target.reload.cluster.every_ms"], "100");
    let text = render(&report, "reports/runs/bench-1");
    assert!(text.lines().all(|line| line.len() <= 80 && line.is_ascii()), "{text}");
    insta::assert_snapshot!(text, @"
    BENCH reload (exit code 1)
    1 rounds, each arm once in each: 6 reloads in 10.00 s at 2000 requests/s.

                                      file         timer
    changes                              2             3
      missed                             0             1
      at most, 95 %                   78 %          87 %
      could not be made                  0             0
    first answer, p50 ms             3.000         8.000
      p99                            8.000             -
      max                            8.000             -
    effect, p50 ms                   2.000         7.000
      p99                            7.000             -
      max                            7.000             -
    begun to effect, p50 ms          4.000         9.000
      p99                            9.000             -
      max                            9.000             -
    changes in storms                   10            10
      made a second                   5000          5000
      published                          2             2
      seen in answers                    1             1
      coalesced                          8             8
    storms                               1             1
      last change missed                 0             0
      last to effect, p50 ms         2.000         2.000
      max                            2.000         2.000
    CPU idle, ms/s                       -         10.00
      under load alone               10.00         10.00
      and single changes             50.00         50.00
      and a storm                    50.00         50.00
    CPU of a change, ms                  -         0.400
      of one in a storm              0.040         0.040
    p99 quiet, ms                    1.000         1.000
      around changes                 1.000         1.000
      times the quiet one            1.000         1.000
      in storms                      1.000         1.000
    requests                        10,029        10,029
      failed                             0             0
    closed by server                     0             0
    runs inconclusive                    0             0
    invariants violated                  0             0

    AGAINST file                     timer
      bad events, share            unknown
      failed / event               unknown
      hard / event, ms             unknown
      brownout / event, ms         unknown
      closed / event               unknown
      p99 near events, ms          unknown
      p99 quiet, ms                unknown
      failed / second              unknown

      Not enough rounds to call arms different: 5 more are needed.
      A value of a comparison is a run's; p by Mann and Whitney after Holm's
      correction. Each arm has its own, so among many arms a false finding is
      likelier.
      timer missed 1 change, and the last one of 0 storms.
      From a change (the writer's last system call; the answer of etcd, or of the
      server to a push) to the first answer that shows it, and to its effect: it was
      seen, and nobody who asked later was answered without it. Begun: from the
      writer's first step, so that of a push it holds the whole request.
      Storm: one writer, one change after the other as fast as it can. Coalesced:
      not published, because a later one had overtaken it.
      CPU is the server's process alone. Idle: no load, between changes. With single
      changes: for 120 ms from each. Of a change: made without load, what is more
      than idle; of one in a storm: what is more than under load alone.
      p99: medians over runs; around a change means in flight from its first step to
      50 ms after its effect, quiet at no such time.
      reports/runs/bench-1
    ");
}

#[test]
fn the_table_fits_80_columns() {
    let arms = arms(5);
    let (report, _) = summarize(&setup(&arms, 1), &runs(&[0, 0, 1, 2, 6], 1), ExitCode::Pass).unwrap();
    let text = render(&report, "reports/runs/bench-1");
    assert!(text.lines().all(|line| line.len() <= 80 && line.is_ascii()), "{text}");
    let small = setup(&arms[..2], 6);
    let (report, _) = summarize(&small, &runs(&[0, 3], 6), ExitCode::Pass).unwrap();
    insta::assert_snapshot!(render(&report, "reports/runs/bench-1"), @r#"
    BENCH upgrade (exit code 0)
    6 rounds, each arm once in each: 6 upgrades in 10.00 s at 2000 requests/s.

                              handoff-live       handoff
    upgrades                            36            36
      bad                                0            18
      at most, 95 %                    8 %          65 %
      on new, at most                  8 %           8 %
      on reused, at most               8 %          65 %
    requests                        60,174        60,192
      failed                             0            18
      on new connections                 0             0
      on reused connections              0            18
      failed each                        0         0.500
    closed by server                     0            18
    hard each, at least ms               0             0
      at most ms                         0         149.8
      longest ms                         0         902.0
    brownout each, ms                    0             0
    p99 near, ms                     3.500         3.500
      quiet                          1.000         1.000
    p99.9 near, ms                   3.500         3.500
      quiet                          1.000         1.000
    p50 of a whole one, ms           66.00         66.00
      phase start                    12.50         12.50
      phase transfer                 2.000         2.000
    1 a day, available           100.000 %  99.9998266 %
      at worst                99.9999989 %   99.998956 %
    10 a day, available          100.000 %  99.9982667 %
      at worst                 99.999989 %  99.9895601 %
    50 a day, available          100.000 %  99.9913339 %
      at worst                 99.999945 %  99.9478009 %
    runs inconclusive                    0             0
    invariants violated                  0             0

    AGAINST handoff-live           handoff
      bad events, share        worse 0.017
      failed / event           worse 0.017
      hard / event, ms         worse 0.017
      brownout / event, ms     alike 1.000
      closed / event           worse 0.017
      p99 near events, ms      alike 1.000
      p99 quiet, ms            alike 1.000
      failed / second          worse 0.017

      A value of a comparison is a run's; p by Mann and Whitney after Holm's
      correction. Each arm has its own, so among many arms a false finding is
      likelier.
      "bad": lost a request or did not end as planned; "each": mean over all;
      latencies: medians over runs.
      reports/runs/bench-1
    "#);
}
