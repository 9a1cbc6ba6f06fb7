//! Comparisons of runs written by hand.

use std::convert::Infallible;

use super::{Comparison, Error, RowOutcome, Sample, Unit, compare, holm, needed, render, schema};
use crate::{
    analyze::{
        Analysis, analyze,
        fixture::{Log, MS, NEW, REUSED, upgrade},
    },
    exit::ExitCode,
    observe::{Cause, ClosedBy, Observations},
    report::{
        json,
        tests::{check_manual, check_schema},
    },
    verdict::{Verdict, judge},
};

/// A run of ten seconds with this many upgrades, 300 ms apart. The first `bad` lose a request each, and the
/// connection that it was on; a request near each upgrade takes `slow_ms`.
pub(crate) fn log(upgrades: u64, bad: u64, slow_ms: u64) -> Log {
    let mut log = Log::new();
    log.steady(NEW, 0, 9_999).bought("o0", "k0");
    for number in 1..=upgrades {
        let at_ms = number * 300;
        log.event(upgrade(number, at_ms, at_ms + 66));
        for offset_ms in 0..5 {
            log.push(REUSED, at_ms + offset_ms, at_ms + offset_ms + slow_ms, Cause::None);
        }
        if number <= bad {
            log.push(REUSED, at_ms + 10, at_ms + 11, Cause::Reset);
            let id = u32::try_from(number).unwrap();
            log.connection(id, 0, ClosedBy::Server);
            log.observations.connections.last_mut().unwrap().closed_ns = (at_ms + 11) * MS;
        }
    }
    log
}

fn sample(name: &str, log: &Log) -> Sample {
    let observations = log.finish();
    let analysis = analyze(&observations);
    let verdict = judge(&observations.plan, &analysis);
    sample_of(name, &observations, &analysis, &verdict)
}

/// What a run gives to a comparison whose attempts are in memory.
pub(crate) fn sample_of(
    name: &str,
    observations: &Observations,
    analysis: &Analysis,
    verdict: &Verdict,
) -> Sample {
    let attempts = observations.attempts.iter().copied().map(Ok);
    let Ok(sample) =
        Sample::new::<Infallible>(name.to_owned(), &observations.background, attempts, analysis, verdict);
    sample
}

fn single(a: &Log, b: &Log) -> Comparison {
    compare(&[sample("runs/a", a)], &[sample("runs/b", b)]).unwrap()
}

fn outcome(comparison: &Comparison, name: &str) -> RowOutcome {
    comparison.rows.iter().find(|row| row.name == name).unwrap().outcome
}

#[test]
fn the_published_schema_is_fresh_and_the_manual_describes_it() {
    check_schema("compare", &schema());
    let shapes = ["Side", "Summary", "Between", "Needed"];
    check_manual("Fields of a comparison\n", &schema(), &shapes, &shapes);
}

#[test]
fn the_figures_are_those_of_each_event_and_second() {
    let sample = sample("x", &log(3, 1, 150));
    let [first, second, _] = sample.events.as_slice() else { panic!("{:?}", sample.events) };
    assert_eq!((first.failed, first.failed_new, first.failed_reused), (1, 0, 1));
    assert_eq!((first.bad, first.closed_by_server), (true, 1));
    assert_eq!((second.failed, second.bad, second.closed_by_server), (0, false, 0));
    // Ten milliseconds between the good answers around the failed one; 150 ms are beyond `slow`.
    assert!(first.hard.upper_ns > 0 && second.hard.upper_ns == 0, "{first:?}");
    assert!(first.brownout_ns >= 150 * MS && second.p99_ns >= Some(MS), "{first:?} {second:?}");
    assert_eq!((sample.seconds.len(), sample.seconds[0].failed, sample.seconds[1].failed), (10, 1, 0));
    // Upgrades until 966 ms, and a second more.
    assert_eq!(sample.seconds[1].p99_quiet_ns, Some(MS));
    assert_eq!((sample.requests, sample.failed), (9_999 + 16, 1));
}

#[test]
fn a_loss_at_every_event_is_worse_and_the_other_way_round_better() {
    let (good, bad) = (log(20, 0, 1), log(20, 15, 1));
    let worse = single(&good, &bad);
    assert_eq!((worse.exit_code.number(), worse.unit), (1, Unit::Event));
    for name in ["bad events, share", "failed / event", "closed / event", "hard / event, ms"] {
        assert_eq!(outcome(&worse, name), RowOutcome::Worse, "{name}");
        assert_eq!(outcome(&single(&bad, &good), name), RowOutcome::Better, "{name}");
    }
    assert_eq!(single(&bad, &good).exit_code, ExitCode::Pass);
    let alike = single(&bad, &bad);
    assert_eq!(alike.exit_code, ExitCode::Pass);
    // There are three quiet seconds.
    assert_eq!(outcome(&alike, "p99 quiet, ms"), RowOutcome::NotEnough);
    let others = alike.rows.iter().filter(|row| row.name != "p99 quiet, ms");
    assert_eq!(others.filter(|row| row.outcome == RowOutcome::Alike).count(), 7);
}

/// Losses that no event explains are found in the seconds.
#[test]
fn a_loss_without_an_event_counts() {
    let (mut a, mut b) = (Log::new(), Log::new());
    for log in [&mut a, &mut b] {
        log.steady(NEW, 0, 9_999).bought("o0", "k0");
    }
    for second in 0..10 {
        b.push(REUSED, second * 1_000 + 500, second * 1_000 + 501, Cause::Eof);
    }
    let found = single(&a, &b);
    assert_eq!((found.exit_code.number(), outcome(&found, "failed / second")), (1, RowOutcome::Worse));
    assert_eq!(outcome(&found, "failed / event"), RowOutcome::NotMeasured);
}

#[test]
fn too_few_are_never_alike() {
    let found = single(&log(4, 0, 1), &log(4, 0, 1));
    assert_eq!((found.exit_code.number(), outcome(&found, "failed / event")), (4, RowOutcome::NotEnough));
    assert_eq!(outcome(&found, "failed / second"), RowOutcome::Alike);
    for (a, b, rows, expected) in [
        (5, 5, 1, None),
        (4, 9, 1, Some((1, 0))),
        (3, 3, 1, Some((2, 2))),
        // Five on each side give 0.0079 at the least: not below 0.05 / 8.
        (5, 5, 8, Some((1, 1))),
        (6, 6, 8, None),
        (5, 60, 8, None),
        (0, 6, 8, Some((5, 0))),
    ] {
        let found = needed(a, b, rows).map(|needed| (needed.a, needed.b));
        assert_eq!(found, expected, "{a} and {b} over {rows} rows");
    }
}

/// Holm's own example has p 0.01, 0.02, 0.03; of 0.01, 0.04, 0.03, 0.005 R's `p.adjust` makes these.
#[test]
fn the_correction_is_holms() {
    let adjusted = holm(&[(0, 0.01), (1, 0.04), (2, 0.03), (3, 0.005)]);
    let mut adjusted: Vec<(usize, String)> =
        adjusted.into_iter().map(|(index, p)| (index, format!("{p:.3}"))).collect();
    adjusted.sort();
    let texts: Vec<&str> = adjusted.iter().map(|(_, p)| p.as_str()).collect();
    assert_eq!(texts, ["0.030", "0.060", "0.060", "0.020"]);
    assert_eq!(holm(&[(0, 0.7), (1, 0.6)]), [(1, 1.0), (0, 1.0)]);
}

#[test]
fn different_work_is_refused_and_other_differences_are_listed() {
    let (a, mut b) = (log(8, 0, 1), log(8, 0, 1));
    b.observations.environment.kernel = "6.2.0".to_owned();
    b.observations.plan.seed = 2;
    let listed: Vec<String> =
        single(&a, &b).differences.into_iter().map(|different| different.field).collect();
    assert_eq!(listed, ["environment.kernel", "plan.fingerprint", "plan.seed"]);

    b.observations.plan.load.streams[0].rate = 2_000.0;
    let refused = compare(&[sample("a", &a)], &[sample("b", &b)]).unwrap_err();
    insta::assert_snapshot!(refused, @"compare different work: load.streams.0.rate is 1000.0 in A and 2000.0 in B; compare runs of the same load and the same events");
    let refused = compare(&[sample("a", &a)], &[sample("b", &log(9, 0, 1))]).unwrap_err();
    insta::assert_snapshot!(refused, @"compare different work: event_count is 8 in A and 9 in B, events_at_ns.upgrade-9 is nothing in A and 2700000000 in B; compare runs of the same load and the same events");
    // Within one side too.
    let [one, other] = [sample("a", &a), sample("b", &b)];
    assert!(matches!(compare(&[one.clone(), other], &[one]), Err(Error::DifferentWork { .. })));
    assert_eq!(compare(&[], &[]).unwrap_err(), Error::Empty { side: "A" });
}

#[test]
fn a_run_without_a_verdict_has_no_comparison_and_a_new_violation_is_worse() {
    let (good, mut shaken) = (log(8, 0, 1), log(8, 8, 1));
    shaken.observations.instrument.gaps.push("a thread panicked".to_owned());
    let found = single(&good, &shaken);
    assert_eq!((found.exit_code.number(), found.doubts.len()), (4, 1), "{:?}", found.doubts);

    let mut lost = log(8, 0, 1);
    lost.observations.orders.clear();
    lost.observations.stock[0].left = 10;
    let found = single(&good, &lost);
    assert_eq!(
        (found.exit_code.number(), found.violated_anew),
        (1, vec!["acknowledged-orders-stored".to_owned()])
    );
    assert_eq!(single(&lost, &lost).exit_code, ExitCode::Pass);
}

#[test]
fn of_sets_the_runs_are_compared() {
    let set = |count: u64, bad: u64| -> Vec<Sample> {
        (0..count).map(|number| sample(&format!("run-{number}"), &log(6, bad, 1 + number))).collect()
    };
    let found = compare(&set(6, 0), &set(6, 3)).unwrap();
    assert_eq!((found.exit_code.number(), found.unit), (1, Unit::Run));
    assert_eq!(outcome(&found, "failed / event"), RowOutcome::Worse);
    assert!(found.rows.iter().all(|row| row.of == Unit::Run && row.a.n == 6), "{:#?}", found.rows);
    let found = compare(&set(4, 0), &set(6, 3)).unwrap();
    assert_eq!((found.exit_code.number(), outcome(&found, "failed / event")), (4, RowOutcome::NotEnough));
}

#[test]
fn the_text_fits_and_the_same_runs_give_the_same_bytes() {
    let (good, mut bad) = (log(20, 0, 1), log(20, 15, 1));
    bad.observations.environment.strategy = Some("reuseport".to_owned());
    let text = render(&single(&good, &bad));
    assert!(text.lines().all(|line| line.len() <= 80 && line.is_ascii()), "{text}");
    insta::assert_snapshot!(text, @r#"
    WORSE (exit code 1)  B against A
    B is shown to be worse.
      A  0 of 10,099 requests failed around 20 events
         runs/a
      B  15 of 10,114 requests failed around 20 events
         runs/b

    DIFFERENT                         A                      B
      environment.strategy            handoff-live           reuseport

    FIGURES                      A mean   B mean        B - A, 95 %       p B is
      bad events, share               0    0.750     0.550 to 0.950  <0.001 worse
      failed / event                  0    0.750     0.550 to 0.950  <0.001 worse
      hard / event, ms                0    222.8     163.3 to 282.1  <0.001 worse
      brownout / event, ms            0        0             0 to 0   1.000 alike
      closed / event                  0    0.750     0.550 to 0.950  <0.001 worse
      p99 near events, ms         1.000    1.000             0 to 0   1.000 alike
      p99 quiet, ms               1.000    1.000             0 to 0       - unknown
      failed / second                 0    1.500     0.500 to 2.500   0.098 alike

      Not enough: a row by second needs 2 seconds of A and 2 seconds of B more to
      show any difference.
      Each value is that of an event, or of a second. Events of one run have much in
      common: to tell a change from the luck of a run, compare sets of runs.
      p by Mann and Whitney, two-sided, after Holm's correction over the rows;
      "worse" and "better" up to 0.05. Interval of the difference of the means by
      bootstrap. Less is better in every row. A bad event lost a request or did not
      end as planned.
    "#);
    let few = render(&compare(&[sample("a", &good)], &[sample("b", &good), sample("c", &good)]).unwrap());
    assert!(few.lines().all(|line| line.len() <= 80), "{few}");
    insta::assert_snapshot!(few, @r#"
    INCONCLUSIVE (exit code 4)  B against A
    Too little was measured.
      A  0 of 10,099 requests failed around 20 events
         a
      B  0 of 20,198 requests failed around 40 events in 2 runs
         b
         c

    Plan and surroundings are the same.

    FIGURES                      A mean   B mean        B - A, 95 %       p B is
      bad events, share               0        0             0 to 0       - unknown
      failed / event                  0        0             0 to 0       - unknown
      hard / event, ms                0        0             0 to 0       - unknown
      brownout / event, ms            0        0             0 to 0       - unknown
      closed / event                  0        0             0 to 0       - unknown
      p99 near events, ms         1.000    1.000             0 to 0       - unknown
      p99 quiet, ms               1.000    1.000             0 to 0       - unknown
      failed / second                 0        0             0 to 0       - unknown

      Not enough: a row by run needs 5 runs of A and 4 runs of B more to show any
      difference.
      Each value is a run's; of a figure per event, its mean over the events.
      p by Mann and Whitney, two-sided, after Holm's correction over the rows;
      "worse" and "better" up to 0.05. Interval of the difference of the means by
      bootstrap. Less is better in every row. A bad event lost a request or did not
      end as planned.
    "#);
    assert_eq!(json::render(&single(&good, &bad)), json::render(&single(&good, &bad)));
}
