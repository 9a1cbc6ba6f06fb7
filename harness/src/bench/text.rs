//! A bench for a terminal of 80 columns: a column for each arm, then what is shown to differ.

mod reload;

use super::{ArmFigures, BenchReport, Daily, Trials};
use crate::{
    compare::{self, RowOutcome},
    report::terminal::text::{chance, cut, figure, grouped, percent, wrapped},
};

/// Arms that fit beside each other; more of them make another table.
const ARMS_BESIDE: usize = 4;
/// Columns of a row's name and of each arm.
const NAME: usize = 24;
const ARM: usize = 14;

/// Makes a line of a name and a cell for each arm.
type Row<'a> = dyn Fn(&str, &dyn Fn(&ArmFigures) -> String) -> String + 'a;

/// The table as text with a newline at its end. `folder` is printed as the place to look further.
#[must_use]
pub fn render(report: &BenchReport, folder: &str) -> String {
    let mut lines = vec![format!("BENCH {} (exit code {})", report.subject, report.exit_code)];
    lines.extend(wrapped("", &headline(report)));
    for arms in report.arms.chunks(ARMS_BESIDE) {
        lines.push(String::new());
        lines.extend(table(&report.subject, arms));
    }
    for against in report.comparisons.chunks(ARMS_BESIDE) {
        let first = &against[0].first;
        lines.push(String::new());
        let names: Vec<String> = against.iter().map(|against| against.arm.clone()).collect();
        lines.push(line(&format!("AGAINST {first}"), names));
        let rows = &against[0].comparison.rows;
        for (index, row) in rows.iter().enumerate() {
            let cells = against.iter().filter_map(|against| against.comparison.rows.get(index)).map(judged);
            lines.push(line(&format!("  {}", row.name), cells.collect()));
        }
    }
    lines.push(String::new());
    lines.extend(notes(report).iter().flat_map(|note| wrapped("  ", note)));
    // A path must stay whole, so that it can be copied.
    lines.push(format!("  {folder}"));
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn headline(report: &BenchReport) -> String {
    let (finished, planned) = (report.rounds_finished, report.rounds_planned);
    let rounds = if finished == planned {
        format!("{planned} rounds")
    } else {
        format!("{finished} of {planned} rounds were finished")
    };
    let seconds = figure(Some(report.duration_s));
    format!(
        "{rounds}, each arm once in each: {} {}s in {seconds} s at {} requests/s.",
        report.events_per_run,
        report.subject,
        figure(Some(report.rate)),
    )
}

fn table(subject: &str, arms: &[ArmFigures]) -> Vec<String> {
    let row = |name: &str, cell: &dyn Fn(&ArmFigures) -> String| line(name, arms.iter().map(cell).collect());
    let mut lines = vec![row("", &|arm| arm.name.clone())];
    if arms.iter().any(|arm| arm.reload.is_some()) {
        lines.extend(reload::rows(&row));
        lines.extend([
            row("requests", &|arm| grouped(arm.requests.total)),
            row("  failed", &|arm| grouped(arm.requests.failed)),
            row("closed by server", &|arm| grouped(arm.closed_by_server)),
        ]);
    } else {
        lines.extend(losses(subject, arms, &row));
    }
    lines.push(row("runs inconclusive", &|arm| grouped(arm.runs_inconclusive)));
    lines.push(row("invariants violated", &|arm| grouped(arm.violated.len() as u64)));
    lines
}

/// What events cost in requests and time.
fn losses(subject: &str, arms: &[ArmFigures], row: &Row<'_>) -> Vec<String> {
    let day = |arm: &ArmFigures, events: u32, pick: fn(&Daily) -> f64| {
        percent(arm.daily.iter().find(|day| day.events_per_day == events).map(pick))
    };
    let mut lines = vec![
        row(&format!("{subject}s"), &|arm| grouped(arm.events_bad.trials)),
        row("  bad", &|arm| grouped(arm.events_bad.bad)),
        row("  at most, 95 %", &|arm| bound(arm.events_bad)),
        row("  on new, at most", &|arm| bound(arm.events_bad_new)),
        row("  on reused, at most", &|arm| bound(arm.events_bad_reused)),
        row("requests", &|arm| grouped(arm.requests.total)),
        row("  failed", &|arm| grouped(arm.requests.failed)),
        row("  on new connections", &|arm| grouped(arm.new.failed)),
        row("  on reused connections", &|arm| grouped(arm.reused.failed)),
        row("  failed each", &|arm| figure(arm.per_event.failed)),
        row("closed by server", &|arm| grouped(arm.closed_by_server)),
        row("hard each, at least ms", &|arm| figure(arm.per_event.hard_ms.lower)),
        row("  at most ms", &|arm| figure(arm.per_event.hard_ms.upper)),
        row("  longest ms", &|arm| figure(arm.per_event.hard_ms_max)),
        row("brownout each, ms", &|arm| figure(arm.per_event.brownout_ms)),
        row("p99 near, ms", &|arm| figure(arm.latency_ms.near_p99)),
        row("  quiet", &|arm| figure(arm.latency_ms.quiet_p99)),
        row("p99.9 near, ms", &|arm| figure(arm.latency_ms.near_p999)),
        row("  quiet", &|arm| figure(arm.latency_ms.quiet_p999)),
    ];
    for name in steps(arms) {
        let shown =
            if name == "whole" { "p50 of a whole one, ms".to_owned() } else { format!("  phase {name}") };
        lines.push(row(&shown, &|arm| {
            figure(arm.phases.iter().find(|phase| phase.name == name).map(|phase| phase.p50_ms))
        }));
    }
    for events in [1, 10, 50] {
        lines.push(row(&format!("{events} a day, available"), &|arm| {
            day(arm, events, |day| day.availability)
        }));
        lines.push(row("  at worst", &|arm| day(arm, events, |day| day.availability_worst)));
    }
    lines
}

/// The steps that any of the arms has, those of the one with most of them first.
fn steps(arms: &[ArmFigures]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut arms: Vec<&ArmFigures> = arms.iter().collect();
    arms.sort_by_key(|arm| std::cmp::Reverse(arm.phases.len()));
    for phase in arms.into_iter().flat_map(|arm| &arm.phases) {
        if !names.contains(&phase.name) {
            names.push(phase.name.clone());
        }
    }
    names
}

fn bound(trials: Trials) -> String {
    chance(trials.upper_bound_95)
}

fn line(name: &str, cells: Vec<String>) -> String {
    let cells = cells.into_iter().map(|cell| format!("{:>ARM$}", cut(&cell, ARM - 1)));
    format!("{:<NAME$}{}", cut(name, NAME), cells.collect::<String>())
}

fn judged(row: &compare::Row) -> String {
    let word = row.outcome.word();
    match (row.outcome, row.p_holm) {
        (RowOutcome::NotEnough | RowOutcome::NotMeasured, _) | (_, None) => word.to_owned(),
        (_, Some(p)) => format!("{word} {p:.3}"),
    }
}

fn notes(report: &BenchReport) -> Vec<String> {
    let mut notes = Vec::new();
    let needed = report
        .comparisons
        .iter()
        .flat_map(|against| &against.comparison.rows)
        .filter_map(|row| row.needed.map(|needed| needed.a.max(needed.b)))
        .max();
    if let Some(more) = needed {
        notes.push(format!("Not enough rounds to call arms different: {more} more are needed."));
    }
    for arm in report.arms.iter().filter(|arm| !arm.violated.is_empty()) {
        notes.push(format!("{} violated {}.", arm.name, arm.violated.join(", ")));
    }
    for run in report.runs.iter().filter(|run| run.exit_code == 4) {
        notes.push(format!("{} is inconclusive; its report says why.", run.folder));
    }
    if !report.comparisons.is_empty() {
        notes.push(
            "A value of a comparison is a run's; p by Mann and Whitney after Holm's correction. Each arm has \
             its own, so among many arms a false finding is likelier."
                .to_owned(),
        );
    }
    if report.arms.iter().any(|arm| arm.reload.is_some()) {
        notes.extend(reload::notes(report));
    } else {
        let how = "\"bad\": lost a request or did not end as planned; \"each\": mean over all; latencies: medians over runs.";
        notes.push(how.to_owned());
    }
    notes
}
