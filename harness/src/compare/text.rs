//! A comparison for a terminal of 80 columns: the outcome first, then what is different, then the table.

use super::{Between, Comparison, Row, RowOutcome, SIGNIFICANCE, Side, Unit};
use crate::{
    exit::ExitCode,
    report::terminal::text::{counted, cut, figure, grouped, wrapped},
};

/// Differences that the screen shows.
const DIFFERENCES_SHOWN: usize = 12;
/// Folders of a set that the screen shows.
const RUNS_SHOWN: usize = 3;

/// The comparison as text with a newline at its end.
#[must_use]
pub fn render(comparison: &Comparison) -> String {
    let mut lines = headline(comparison);
    lines.extend(side("A", &comparison.a));
    lines.extend(side("B", &comparison.b));
    lines.push(String::new());
    lines.extend(differences(comparison));
    lines.push(String::new());
    lines
        .push(format!("{:<26}{:>9}{:>9}{:>19}{:>8} B is", "FIGURES", "A mean", "B mean", "B - A, 95 %", "p"));
    lines.extend(comparison.rows.iter().map(row));
    lines.push(String::new());
    lines.extend(notes(comparison));
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn headline(comparison: &Comparison) -> Vec<String> {
    let has = |outcome| comparison.rows.iter().any(|row| row.outcome == outcome);
    let code = comparison.exit_code;
    let (said, why) = match code {
        ExitCode::Pass if has(RowOutcome::Better) => {
            ("NO WORSE", "B is better in some figure and shown to be worse in none.")
        }
        ExitCode::Pass => ("NO WORSE", "No difference is shown, which is no proof that there is none."),
        ExitCode::GateFailed => ("WORSE", "B is shown to be worse."),
        _ if !comparison.doubts.is_empty() => ("INCONCLUSIVE", "The instrument cannot vouch for every run."),
        _ => ("INCONCLUSIVE", "Too little was measured."),
    };
    let mut lines = vec![format!("{said} (exit code {})  B against A", code.number())];
    lines.extend(wrapped("", why));
    let violated = comparison.violated_anew.iter().map(|name| format!("B violates the invariant {name}."));
    for reason in violated.chain(comparison.doubts.iter().cloned()) {
        lines.extend(wrapped("  - ", &reason));
    }
    lines
}

fn side(name: &str, side: &Side) -> Vec<String> {
    let mut text = format!(
        "{} of {} failed around {}",
        grouped(side.failed),
        counted(side.requests, "request"),
        counted(side.events, "event"),
    );
    if side.runs.len() > 1 {
        text.push_str(&format!(" in {}", counted(side.runs.len() as u64, "run")));
    }
    let mut lines = wrapped(&format!("  {name}  "), &text);
    // A path must stay whole, so that it can be copied.
    lines.extend(side.runs.iter().take(RUNS_SHOWN).map(|run| format!("     {run}")));
    lines.extend(more("     ", side.runs.len(), RUNS_SHOWN));
    lines
}

fn differences(comparison: &Comparison) -> Vec<String> {
    if comparison.differences.is_empty() {
        return vec!["Plan and surroundings are the same.".to_owned()];
    }
    let mut lines = vec![format!("{:<34}{:<23}{}", "DIFFERENT", "A", "B")];
    for different in comparison.differences.iter().take(DIFFERENCES_SHOWN) {
        let [a, b] = [&different.a, &different.b]
            .map(|value| cut(value.as_deref().unwrap_or("-").trim_matches('"'), 22));
        lines.push(format!("  {:<31} {a:<22} {b}", cut(&different.field, 31)));
    }
    lines.extend(more("  ", comparison.differences.len(), DIFFERENCES_SHOWN));
    lines
}

fn more(indent: &str, all: usize, shown: usize) -> Option<String> {
    let more = all.checked_sub(shown).filter(|&more| more > 0)?;
    Some(format!("{indent}and {more} more with --json"))
}

fn row(row: &Row) -> String {
    let between = row.difference.map_or_else(
        || "-".to_owned(),
        |Between { lower, upper, .. }| format!("{} to {}", figure(Some(lower)), figure(Some(upper))),
    );
    let [a, b] = [row.a.mean, row.b.mean].map(figure);
    format!("  {:<24}{a:>9}{b:>9}{between:>19}{:>8} {}", row.name, chance(row.p_holm), row.outcome.word())
}

/// A p-value with three decimals.
fn chance(p: Option<f64>) -> String {
    match p {
        None => "-".to_owned(),
        Some(p) if p < 0.001 => "<0.001".to_owned(),
        Some(p) => format!("{p:.3}"),
    }
}

fn notes(comparison: &Comparison) -> Vec<String> {
    let mut notes = Vec::new();
    let missing: Vec<&Row> = comparison.rows.iter().filter(|row| row.needed.is_some()).collect();
    for (index, row) in missing.iter().enumerate() {
        let (Some(needed), unit) = (row.needed, row.of) else { continue };
        // Rows of one unit usually lack the same.
        if missing[..index].iter().any(|before| before.needed == row.needed && before.of == unit) {
            continue;
        }
        let lack = [(needed.a, "A"), (needed.b, "B")]
            .into_iter()
            .filter(|&(count, _)| count > 0)
            .map(|(count, side)| format!("{} of {side}", counted(count, unit.word())));
        notes.push(format!(
            "Not enough: a row by {} needs {} more to show any difference.",
            unit.word(),
            lack.collect::<Vec<_>>().join(" and ")
        ));
    }
    notes.push(match comparison.unit {
        Unit::Run => "Each value is a run's; of a figure per event, its mean over the events.".to_owned(),
        Unit::Event | Unit::Second => {
            "Each value is that of an event, or of a second. Events of one run have \
                                       much in common: to tell a change from the luck of a run, compare \
                                       sets of runs."
                .to_owned()
        }
    });
    notes.push(format!(
        "p by Mann and Whitney, two-sided, after Holm's correction over the rows; \"worse\" and \"better\" up \
         to {SIGNIFICANCE}. Interval of the difference of the means by bootstrap. Less is better in every row. A bad event lost a request or did not end as planned."
    ));
    notes.iter().flat_map(|note| wrapped("  ", note)).collect()
}
