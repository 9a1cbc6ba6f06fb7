//! The finished runs of a bench added up by arm.

use std::collections::BTreeSet;

use super::{
    Against, Arm, ArmFigures, BenchReport, Daily, Latencies, PerEvent, Phase, ReloadFigures, ReloadSample,
    RunEntry, SCHEMA_VERSION, Trials, Turn, reload,
};
use crate::{
    compare::{self, EventFigures, Sample, Unit, compare_by, mean, median},
    exit::ExitCode,
    plan::Plan,
    report::{
        Attempted, Bounds, Event, OutcomeWord, Report,
        phases::phases,
        round::{availability_down, whole},
    },
};

/// Events a day for which the availability is given.
const EVENTS_PER_DAY: [u32; 3] = [1, 10, 50];
const DAY_MS: f64 = 86_400_000.0;

/// What was asked for.
#[derive(Debug)]
pub struct Setup<'a> {
    /// Name of the bench's folder.
    pub id: &'a str,
    pub command: &'a [String],
    /// What is done in different ways, for example `upgrade`.
    pub subject: &'a str,
    pub rounds: u32,
    /// Each with its plan; at least one.
    pub arms: &'a [(Arm, Plan)],
}

/// A run that has a report.
#[derive(Debug)]
pub struct Finished {
    pub turn: Turn,
    /// Below the bench's folder.
    pub folder: String,
    pub report: Report,
    pub sample: Sample,
    pub reload: ReloadSample,
}

/// Puts the report of a bench together, with its exit code. `ended` is how the last run ended: [`ExitCode::Pass`] when all of
/// them were finished.
///
/// # Errors
/// When the arms differ in more than their settings may: in load or events.
pub fn summarize(
    setup: &Setup<'_>,
    finished: &[Finished],
    ended: ExitCode,
) -> Result<(BenchReport, ExitCode), compare::Error> {
    let of = |arm: usize| finished.iter().filter(move |run| run.turn.arm == arm).collect::<Vec<_>>();
    let is_inconclusive = |run: &Finished| run.report.verdict.outcome == OutcomeWord::Inconclusive;
    let inconclusive = finished.iter().any(is_inconclusive).then_some(ExitCode::Inconclusive);
    let arms = setup.arms.iter().enumerate();
    let fewest = (0..setup.arms.len()).map(|arm| of(arm).len()).min().unwrap_or(0);
    let first = &setup.arms[0].1;
    let figures: Vec<ArmFigures> = arms.map(|(index, (arm, _))| figures(arm, &of(index))).collect();
    let of_changes = || figures.iter().filter_map(|arm| arm.reload.as_ref());
    let missed = of_changes().any(ReloadFigures::misses).then_some(ExitCode::GateFailed);
    // What was not made was not measured either.
    let unmade = of_changes().any(|of| of.unmade > 0).then_some(ExitCode::Inconclusive);
    let exit_code = ExitCode::gravest([inconclusive, unmade, missed].into_iter().flatten().chain([ended]));
    let report = BenchReport {
        schema_version: SCHEMA_VERSION,
        id: setup.id.to_owned(),
        started_at: finished.first().map(|run| run.report.run.started_at.clone()),
        command: setup.command.to_vec(),
        subject: setup.subject.to_owned(),
        scenario: first.scenario.clone(),
        seed: first.seed,
        rate: first.load.streams.iter().map(|stream| stream.rate).sum(),
        duration_s: seconds(first.load.duration_ns),
        events_per_run: first.events.len() as u64,
        rounds_planned: setup.rounds,
        rounds_finished: u32::try_from(fewest).unwrap_or(u32::MAX),
        environment: finished.first().map(|run| run.report.environment.clone()),
        exit_code: exit_code.number(),
        runs: finished.iter().map(|run| entry(setup, run)).collect(),
        arms: figures,
        comparisons: comparisons(setup, finished)?,
    };
    Ok((report, exit_code))
}

fn entry(setup: &Setup<'_>, run: &Finished) -> RunEntry {
    RunEntry {
        arm: setup.arms[run.turn.arm].0.name.clone(),
        round: run.turn.round,
        folder: run.folder.clone(),
        outcome: run.report.verdict.outcome,
        exit_code: run.report.verdict.exit_code,
    }
}

/// Every other arm against the first, as sets of runs. An arm without a finished run has no comparison.
fn comparisons(setup: &Setup<'_>, finished: &[Finished]) -> Result<Vec<Against>, compare::Error> {
    let samples = |arm: usize| -> Vec<Sample> {
        finished.iter().filter(|run| run.turn.arm == arm).map(|run| run.sample.clone()).collect()
    };
    let first = samples(0);
    let mut comparisons = Vec::new();
    for (index, (arm, _)) in setup.arms.iter().enumerate().skip(1) {
        let other = samples(index);
        if !first.is_empty() && !other.is_empty() {
            let comparison = compare_by(Unit::Run, &first, &other)?;
            comparisons.push(Against {
                first: setup.arms[0].0.name.clone(),
                arm: arm.name.clone(),
                comparison,
            });
        }
    }
    Ok(comparisons)
}

fn figures(arm: &Arm, runs: &[&Finished]) -> ArmFigures {
    let events: Vec<&EventFigures> = runs.iter().flat_map(|run| &run.sample.events).collect();
    let sum = |pick: fn(&Report) -> Attempted| {
        runs.iter().map(|run| pick(&run.report)).fold(
            Attempted { total: 0, ok: 0, failed: 0 },
            |sum, each| Attempted {
                total: sum.total + each.total,
                ok: sum.ok + each.ok,
                failed: sum.failed + each.failed,
            },
        )
    };
    let trials = |is_bad: fn(&EventFigures) -> bool| {
        Trials::new(events.len() as u64, events.iter().filter(|event| is_bad(event)).count() as u64)
    };
    let violated: BTreeSet<String> =
        runs.iter().flat_map(|run| run.sample.violated.iter().cloned()).collect();
    let middle =
        |pick: fn(&Report) -> Option<f64>| median(runs.iter().filter_map(|run| pick(&run.report)).collect());
    let inconclusive = runs.iter().filter(|run| run.report.verdict.outcome == OutcomeWord::Inconclusive);
    let unseen_ms = runs.iter().filter_map(|run| run.report.downtime.min_detectable_ms).fold(0.0, f64::max);
    let per_event = per_event(&events);
    ArmFigures {
        name: arm.name.clone(),
        settings: arm.settings.iter().map(|set| (set.path.clone(), set.value.clone())).collect(),
        runs: runs.len() as u64,
        runs_inconclusive: inconclusive.count() as u64,
        violated: violated.into_iter().collect(),
        requests: sum(|report| Attempted {
            total: report.requests.total,
            ok: report.requests.ok,
            failed: report.requests.failed,
        }),
        new: sum(|report| report.requests.by_connection.new),
        reused: sum(|report| report.requests.by_connection.reused),
        closed_by_server: runs.iter().map(|run| run.report.connections.reused.closed_by_server).sum(),
        events_bad: trials(|event| event.bad),
        events_bad_new: trials(|event| event.failed_new > 0),
        events_bad_reused: trials(|event| event.failed_reused > 0),
        per_event,
        latency_ms: Latencies {
            near_p99: middle(|report| report.latency_ms.around_events.intended.p99),
            near_p999: middle(|report| report.latency_ms.around_events.intended.p999),
            quiet_p99: middle(|report| report.latency_ms.quiet.intended.p99),
            quiet_p999: middle(|report| report.latency_ms.quiet.intended.p999),
        },
        phases: steps(&runs.iter().flat_map(|run| &run.report.events).collect::<Vec<_>>()),
        reload: reload::figures(&runs.iter().map(|run| &run.reload).collect::<Vec<_>>()),
        daily: daily(&per_event, unseen_ms),
    }
}

/// How long events took and their steps.
fn steps(events: &[&Event]) -> Vec<Phase> {
    let whole = events.iter().filter_map(|event| Some(event.ended_ms? - event.started_ms)).collect();
    let all = [("whole".to_owned(), whole)].into_iter().chain(phases(events));
    all.filter_map(|(name, lasted)| Some(Phase { name, p50_ms: median(lasted)? })).collect()
}

fn per_event(events: &[&EventFigures]) -> PerEvent {
    let of =
        |pick: fn(&EventFigures) -> u64| events.iter().map(|event| whole(pick(event))).collect::<Vec<_>>();
    let upper = of(|event| event.hard.upper_ns);
    PerEvent {
        failed: mean(&of(|event| event.failed)),
        closed_by_server: mean(&of(|event| event.closed_by_server)),
        hard_ms: Bounds {
            lower: mean(&of(|event| event.hard.lower_ns)).map(|ns| ns / 1e6),
            upper: mean(&upper).map(|ns| ns / 1e6),
        },
        hard_ms_max: upper.iter().copied().max_by(f64::total_cmp).map(|ns| ns / 1e6),
        brownout_ms: mean(&of(|event| event.brownout_ns)).map(|ns| ns / 1e6),
    }
}

/// A day with `k` events of `d` milliseconds is available for `1 - k d / 86,400,000` of its time.
fn daily(per_event: &PerEvent, unseen_ms: f64) -> Vec<Daily> {
    let (Some(mean_ms), Some(max_ms)) = (per_event.hard_ms.upper, per_event.hard_ms_max) else {
        return Vec::new();
    };
    let of =
        |events: u32, each_ms: f64| availability_down((1.0 - f64::from(events) * each_ms / DAY_MS).max(0.0));
    let day = |events_per_day| Daily {
        events_per_day,
        availability: of(events_per_day, mean_ms),
        availability_worst: of(events_per_day, max_ms.max(unseen_ms)),
    };
    EVENTS_PER_DAY.map(day).into()
}

fn seconds(ns: u64) -> f64 {
    whole(ns) / 1e9
}
