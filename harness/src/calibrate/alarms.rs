//! False alarms: how often the whole pipe calls something a failure when nothing happened.
//!
//! The trial is the run. An inconclusive one is no alarm: it says that the instrument could not tell. How
//! many those are stands beside it.

use std::{collections::BTreeMap, fs, path::Path};

use serde::Serialize;

use super::{
    Error,
    cases::quiet,
    pipe::{self, Trial},
    target::Script,
};
use crate::{analyze::binomial::upper_bound_95, exit::ExitCode, report::OutcomeWord};

/// More are too many.
pub(super) const RATE_LIMIT: f64 = 0.01;

const RUN_MS: u64 = 200;
const NS_PER_MS: u64 = 1_000_000;
/// Of each of the two streams.
const RATE_HZ: f64 = 500.0;
/// Reasons of alarms that are told.
const REASONS_MAX: usize = 10;

/// What came of many runs to which nothing happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alarms {
    pub command: Vec<String>,
    pub runs: u64,
    pub run_ms: u64,
    pub requests: u64,
    pub duration_s: f64,
    pub passed: u64,
    /// False alarms: a gate failed, or an invariant was called violated.
    pub failed: u64,
    pub inconclusive: u64,
    /// False alarms of all runs.
    pub rate: f64,
    /// The highest rate under which so few would be seen with a chance of 5 % (Clopper-Pearson).
    pub rate_upper_bound_95: f64,
    /// Why runs did not pass, and how often.
    pub reasons: Vec<String>,
    #[serde(serialize_with = "super::model::as_number")]
    pub exit_code: ExitCode,
}

impl Alarms {
    /// A count as a share of all runs.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    pub fn share(&self, count: u64) -> f64 {
        if self.runs == 0 { 0.0 } else { count as f64 / self.runs as f64 }
    }
}

/// Makes that many runs; `step` is told after each.
///
/// # Errors
/// When a run could not take place.
pub(super) fn measure(
    runs: u64,
    folder: &Path,
    command: &[String],
    step: impl Fn(),
) -> Result<Alarms, Error> {
    let mut reasons = BTreeMap::new();
    let mut alarms = Alarms::none_of(runs, command.to_vec());
    for _ in 0..runs {
        let trial = pipe::run(quiet(RUN_MS * NS_PER_MS, RATE_HZ), Script::default(), folder, command)?;
        alarms.take(&trial, &mut reasons);
        fs::remove_dir_all(folder).map_err(Error::Folder)?;
        step();
    }
    Ok(alarms.conclude(reasons))
}

impl Alarms {
    pub(super) fn none_of(runs: u64, command: Vec<String>) -> Self {
        Self {
            command,
            runs,
            run_ms: RUN_MS,
            requests: 0,
            duration_s: 0.0,
            passed: 0,
            failed: 0,
            inconclusive: 0,
            rate: 0.0,
            rate_upper_bound_95: 1.0,
            reasons: Vec::new(),
            exit_code: ExitCode::Inconclusive,
        }
    }

    fn take(&mut self, trial: &Trial, reasons: &mut BTreeMap<String, u64>) {
        self.requests += trial.report.requests.total;
        match trial.report.verdict.outcome {
            OutcomeWord::Pass => self.passed += 1,
            OutcomeWord::Fail => self.failed += 1,
            OutcomeWord::Inconclusive => self.inconclusive += 1,
        }
        // By gate, because each run would have a sentence of its own.
        let verdict = &trial.report.verdict;
        let gates = verdict.gates.iter().filter(|gate| gate.outcome != OutcomeWord::Pass);
        let mut names: Vec<String> = gates.map(|gate| format!("the gate {}.", gate.name)).collect();
        if names.is_empty() {
            names.clone_from(&verdict.reasons);
        }
        for name in names {
            *reasons.entry(name).or_default() += 1;
        }
    }

    pub(super) fn conclude(mut self, reasons: BTreeMap<String, u64>) -> Self {
        self.rate = self.share(self.failed);
        self.rate_upper_bound_95 = upper_bound_95(self.failed, self.runs).unwrap_or(1.0);
        let mut reasons: Vec<(String, u64)> = reasons.into_iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let runs = self.runs;
        self.reasons = reasons
            .into_iter()
            .take(REASONS_MAX)
            .map(|(reason, count)| format!("In {count} of {runs} runs: {reason}"))
            .collect();
        self.exit_code = if self.rate >= RATE_LIMIT {
            ExitCode::GateFailed
        } else if self.passed == 0 {
            ExitCode::Inconclusive
        } else {
            ExitCode::Pass
        };
        self
    }
}
