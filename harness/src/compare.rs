//! What sets two runs, or two sets of runs, apart: a pure function of what was measured.
//!
//! A is the one to compare with, B the one in question. First what was different about the runs, then a
//! table, figure by figure: the means, a bootstrap interval of their difference, and the Mann-Whitney test
//! with Holm's correction over the rows. Every figure is one of which less is better.
//!
//! The unit matters more than the test. Requests are lost together, so they are no independent trials: of
//! two single runs the events (and for what no event explains, the seconds) are compared, of two sets the
//! runs. Too few of them end in "not enough", never in "no difference". Runs of different work are refused.
//! Deliberately absent: files, clocks, and chance; the bootstrap draws from a generator with a fixed seed.

mod bootstrap;
mod difference;
mod figure;
mod model;
mod ranks;
mod sample;
mod text;

use std::collections::BTreeSet;

use crate::exit::ExitCode;

use self::figure::Figure;

pub use self::{
    bootstrap::mean,
    difference::{Difference, first_difference},
    model::{Between, Comparison, Needed, Row, RowOutcome, Side, Summary, Unit, schema},
    ranks::{Ranks, mann_whitney, median},
    sample::{EventFigures, Sample, SecondFigures},
    text::render,
};

/// Version of what `harness compare --json` prints.
pub const SCHEMA_VERSION: u32 = 1;

/// The chance that a comparison of two equal things calls any row different.
const SIGNIFICANCE: f64 = 0.05;

/// Units that a row needs on each side, whatever the correction asks for.
const UNITS_MIN: u64 = 5;

/// Why two samples cannot be compared.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("compare nothing: {side} has no run")]
    Empty { side: &'static str },
    #[error(
        "compare different work: {}; compare runs of the same load and the same events",
        list(differences)
    )]
    DifferentWork { differences: Vec<Difference> },
}

/// Compares the runs of A with those of B.
///
/// # Errors
/// When a side is empty, or when load or events are not the same in all runs.
pub fn compare(a: &[Sample], b: &[Sample]) -> Result<Comparison, Error> {
    let unit = if a.len() == 1 && b.len() == 1 { Unit::Event } else { Unit::Run };
    compare_by(unit, a, b)
}

/// The same with a unit of one's choice: a run each is a set too, if a small one.
///
/// # Errors
/// As [`compare`].
pub fn compare_by(unit: Unit, a: &[Sample], b: &[Sample]) -> Result<Comparison, Error> {
    for (side, samples) in [("A", a), ("B", b)] {
        if samples.is_empty() {
            return Err(Error::Empty { side });
        }
    }
    let different_work = difference::of_work(a, b);
    if !different_work.is_empty() {
        return Err(Error::DifferentWork { differences: different_work });
    }
    let mut rows: Vec<Row> = Figure::ALL.map(|figure| row(figure, a, b, unit)).into();
    judge(&mut rows);

    let violated_anew: Vec<String> = violated(b).difference(&violated(a)).cloned().collect();
    let doubts: Vec<String> = [a, b].into_iter().flatten().flat_map(Sample::doubts).collect();
    let has = |outcome| rows.iter().any(|row| row.outcome == outcome);
    // Where events follow each other closely there is no quiet time; that alone hinders no conclusion.
    let lacking = Figure::ALL
        .iter()
        .zip(&rows)
        .any(|(figure, row)| *figure != Figure::LatencyQuiet && row.outcome == RowOutcome::NotEnough);
    let exit_code = if !doubts.is_empty() {
        ExitCode::Inconclusive
    } else if has(RowOutcome::Worse) || !violated_anew.is_empty() {
        // What is proven stays proven, however little the other rows say.
        ExitCode::GateFailed
    } else if lacking {
        ExitCode::Inconclusive
    } else {
        ExitCode::Pass
    };
    Ok(Comparison {
        schema_version: SCHEMA_VERSION,
        exit_code,
        unit,
        a: side(a),
        b: side(b),
        differences: difference::of_surroundings(a, b),
        doubts,
        violated_anew,
        rows,
    })
}

fn side(samples: &[Sample]) -> Side {
    let sum = |pick: fn(&Sample) -> u64| samples.iter().map(pick).sum();
    Side {
        runs: samples.iter().map(|sample| sample.name.clone()).collect(),
        requests: sum(|sample| sample.requests),
        failed: sum(|sample| sample.failed),
        events: sum(|sample| sample.events.len() as u64),
        violated: violated(samples).into_iter().collect(),
    }
}

fn violated(samples: &[Sample]) -> BTreeSet<String> {
    samples.iter().flat_map(|sample| sample.violated.iter().cloned()).collect()
}

/// A row with everything but the judgement, which needs the other rows.
fn row(figure: Figure, a: &[Sample], b: &[Sample], unit: Unit) -> Row {
    let (of, a, b) = (figure.unit(unit), figure.values(a, unit), figure.values(b, unit));
    // Whether anything was lost outside of events has to be known in any case.
    let measured = figure == Figure::FailedInAll || !a.is_empty() || !b.is_empty();
    let ranks = mann_whitney(&a, &b);
    Row {
        name: figure.name().to_owned(),
        of,
        a: Summary::of(&a),
        b: Summary::of(&b),
        difference: bootstrap::difference_of_means(&a, &b),
        superiority: ranks.map(|ranks| ranks.superiority),
        p: ranks.map(|ranks| ranks.p),
        exact: ranks.map(|ranks| ranks.exact),
        p_holm: None,
        outcome: if measured { RowOutcome::NotEnough } else { RowOutcome::NotMeasured },
        needed: None,
    }
}

/// Judges the rows together: which have enough, and which of those differ.
fn judge(rows: &mut [Row]) {
    let measured = rows.iter().filter(|row| row.outcome != RowOutcome::NotMeasured).count();
    let mut judged = Vec::new();
    for (index, row) in rows.iter_mut().enumerate() {
        if row.outcome == RowOutcome::NotMeasured {
            continue;
        }
        row.needed = needed(row.a.n, row.b.n, measured);
        if let (None, Some(p)) = (row.needed, row.p) {
            judged.push((index, p));
        }
    }
    for (index, p_holm) in holm(&judged) {
        let row = &mut rows[index];
        row.p_holm = Some(p_holm);
        let larger = row.superiority.is_some_and(|superiority| superiority > 0.5);
        row.outcome = match (p_holm <= SIGNIFICANCE, larger) {
            (false, _) => RowOutcome::Alike,
            (true, true) => RowOutcome::Worse,
            (true, false) => RowOutcome::Better,
        };
    }
}

/// How many units are missing on each side; `None` when there are enough: [`UNITS_MIN`], and so many that the
/// most extreme outcome would be called different after the correction over so many rows. Three on each
/// side give 0.1 at the least, four 0.029, five 0.008, six 0.002.
fn needed(a: u64, b: u64, rows: usize) -> Option<Needed> {
    let enough = |a: u64, b: u64| ranks::smallest_p(a, b) * as_f64(rows) <= SIGNIFICANCE;
    let least = (UNITS_MIN..).find(|&least| enough(a.max(least), b.max(least)))?;
    let needed = Needed { a: least.saturating_sub(a), b: least.saturating_sub(b) };
    (needed.a > 0 || needed.b > 0).then_some(needed)
}

/// Corrects the p-values of several tests, so that the chance of one false finding among all of them stays
/// what it is for one test: S. Holm, "A simple sequentially rejective multiple test procedure",
/// Scandinavian Journal of Statistics 6 (1979) 65-70.
fn holm(tests: &[(usize, f64)]) -> Vec<(usize, f64)> {
    let mut tests = tests.to_vec();
    tests.sort_by(|(_, one), (_, other)| one.total_cmp(other));
    let mut largest = 0.0_f64;
    let count = tests.len();
    for (rank, (_, p)) in tests.iter_mut().enumerate() {
        largest = largest.max(*p * as_f64(count - rank)).min(1.0);
        *p = largest;
    }
    tests
}

fn list(differences: &[Difference]) -> String {
    let shown = differences.iter().take(3).map(|Difference { field, a, b }| {
        let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        format!("{field} is {} in A and {} in B", or_none(a), or_none(b))
    });
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if let Some(more) = differences.len().checked_sub(3).filter(|&more| more > 0) {
        text.push_str(&format!(", and {more} more"));
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "counts of runs, events and seconds stay below 2^53")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
pub(crate) mod tests;
