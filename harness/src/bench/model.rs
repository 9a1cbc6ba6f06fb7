//! The format of `bench.json`. The comment of each field is its description in the JSON Schema.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use super::ReloadFigures;
use crate::{
    analyze::binomial::upper_bound_95,
    compare::Comparison,
    report::{Attempted, Bounds, Environment, OutcomeWord},
};

/// What a bench found out.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct BenchReport {
    /// Version of this format.
    pub schema_version: u32,
    /// Name of the bench's folder.
    pub id: String,
    /// RFC 3339, the start of the first run's load; `null` when no run was finished.
    pub started_at: Option<String>,
    pub command: Vec<String>,
    /// What is done in different ways: `upgrade` or `reload`.
    pub subject: String,
    /// Scenario of every run.
    pub scenario: String,
    pub seed: u64,
    /// Attempts per second, all streams together.
    pub rate: f64,
    /// Planned length of each run's load with its warm-up, seconds.
    pub duration_s: f64,
    /// Events of each run.
    pub events_per_run: u64,
    pub rounds_planned: u32,
    /// Rounds in which every arm was finished.
    pub rounds_finished: u32,
    /// Where the first run took place; `null` when no run was finished.
    pub environment: Option<Environment>,
    /// 0: every arm was measured; 1: a change of the configuration was missed; 3: the environment failed; 4: a run is inconclusive; 130: interrupted.
    pub exit_code: u8,
    /// In the order in which they ran.
    pub runs: Vec<RunEntry>,
    /// In the order in which they were asked for.
    pub arms: Vec<ArmFigures>,
    /// Every other arm against the first one.
    pub comparisons: Vec<Against>,
}

/// A finished run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RunEntry {
    pub arm: String,
    /// From 1.
    pub round: u32,
    /// Below the bench's folder.
    pub folder: String,
    /// By the gates of the scenario.
    pub outcome: OutcomeWord,
    pub exit_code: u8,
}

/// All runs of an arm together.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ArmFigures {
    pub name: String,
    /// What it changes in the scenario.
    pub settings: BTreeMap<String, String>,
    /// Finished ones.
    pub runs: u64,
    /// Runs that the instrument cannot vouch for.
    pub runs_inconclusive: u64,
    /// Invariants that did not hold in some run.
    pub violated: Vec<String>,
    /// Attempts after the warm-up.
    pub requests: Attempted,
    /// On fresh connections.
    pub new: Attempted,
    /// On connections that had carried another attempt.
    pub reused: Attempted,
    /// Kept-alive connections that the server closed, warm-up included.
    pub closed_by_server: u64,
    /// Events that lost a request or did not end as planned.
    pub events_bad: Trials,
    /// Events that lost a request on a fresh connection.
    pub events_bad_new: Trials,
    /// Events that lost a request on a reused connection.
    pub events_bad_reused: Trials,
    pub per_event: PerEvent,
    pub latency_ms: Latencies,
    /// In the order in which they happen.
    pub phases: Vec<Phase>,
    /// What the changes of the configuration came to; `null` when the bench is not about them.
    pub reload: Option<ReloadFigures>,
    pub daily: Vec<Daily>,
}

/// Bad ones among independent trials.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Trials {
    pub trials: u64,
    pub bad: u64,
    /// Exact one-sided bound of the rate (Clopper-Pearson); `null` without a trial.
    pub upper_bound_95: Option<f64>,
}

impl Trials {
    #[must_use]
    pub(super) fn new(trials: u64, bad: u64) -> Self {
        Self { trials, bad, upper_bound_95: upper_bound_95(bad, trials) }
    }
}

/// Means over the events; `null` without an event.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct PerEvent {
    /// Failed attempts that belong to an event.
    pub failed: Option<f64>,
    /// Kept-alive connections that the server closed.
    pub closed_by_server: Option<f64>,
    /// Hard downtime, milliseconds.
    pub hard_ms: Bounds,
    /// Upper bound of the event with the longest hard downtime, milliseconds.
    pub hard_ms_max: Option<f64>,
    /// Milliseconds.
    pub brownout_ms: Option<f64>,
}

/// Latency from the intended time: medians over the runs, milliseconds; `null` when nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Latencies {
    /// Near events, 99th percentile.
    pub near_p99: Option<f64>,
    /// Near events, 99.9th percentile.
    pub near_p999: Option<f64>,
    /// Away from events.
    pub quiet_p99: Option<f64>,
    /// Away from events.
    pub quiet_p999: Option<f64>,
}

/// How long a step of the events took, by the target's own word.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Phase {
    /// `whole` is from the start of an event to its end, as seen from outside.
    pub name: String,
    /// Median over all events that have it, milliseconds.
    pub p50_ms: f64,
}

/// Availability of a day with so many events, by time, rounded down.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Daily {
    pub events_per_day: u32,
    /// Each as long as the mean of the upper bounds.
    pub availability: f64,
    /// Each as long as the longest, or as what may have gone unseen.
    pub availability_worst: f64,
}

/// An arm compared with the first one.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Against {
    /// A in the comparison.
    pub first: String,
    /// B in the comparison.
    pub arm: String,
    /// As `harness compare --json` prints it.
    pub comparison: Comparison,
}

/// The JSON Schema (2020-12) of a bench's report.
#[must_use]
pub fn schema() -> Schema {
    schema_for!(BenchReport)
}
