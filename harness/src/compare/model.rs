//! What a comparison found: the format of `harness compare --json`. The comment of each field is its
//! description in the JSON Schema.

use schemars::{JsonSchema, Schema, schema_for};
use serde::{Serialize, Serializer};

use super::{Difference, bootstrap, ranks};
use crate::exit::ExitCode;

/// What sets B apart from A.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Comparison {
    /// Version of this format.
    pub schema_version: u32,
    /// 0: no row of B is shown to be worse; 1: one is; 4: too little was measured to say.
    #[serde(serialize_with = "as_number")]
    #[schemars(with = "u8")]
    pub exit_code: ExitCode,
    /// What counts as one observation: `event` of two single runs, `run` of two sets.
    pub unit: Unit,
    pub a: Side,
    pub b: Side,
    /// Settings and surroundings that are not the same.
    pub differences: Vec<Difference>,
    /// Why the instrument cannot vouch for a run.
    pub doubts: Vec<String>,
    /// Invariants that B violates and A does not.
    pub violated_anew: Vec<String>,
    pub rows: Vec<Row>,
}

/// One of the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Side {
    /// Folders of the runs.
    pub runs: Vec<String>,
    /// Attempts after the warm-up.
    pub requests: u64,
    /// Failed ones.
    pub failed: u64,
    /// The upgrades, or all events of runs without one.
    pub events: u64,
    /// Names of the invariants that do not hold.
    pub violated: Vec<String>,
}

/// One figure of both sides. Less is better.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Row {
    /// Its end is the unit.
    pub name: String,
    /// What one value stands for.
    pub of: Unit,
    pub a: Summary,
    pub b: Summary,
    /// Mean of B less mean of A, with a 95 % bootstrap interval; `null` when a side has no value.
    pub difference: Option<Between>,
    /// Chance that a value of B is larger than one of A, ties as a half.
    pub superiority: Option<f64>,
    /// Two-sided p of the Mann-Whitney test.
    pub p: Option<f64>,
    /// By the exact distribution, ties included, not by the normal one.
    pub exact: Option<bool>,
    /// After Holm's correction over the rows that have enough; `null` for the others.
    pub p_holm: Option<f64>,
    pub outcome: RowOutcome,
    /// What is missing before the row can be judged; `null` when nothing is.
    pub needed: Option<Needed>,
}

/// What one value of a row stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// An event of the one run.
    Event,
    /// A second of the one run's load.
    Second,
    /// A whole run.
    Run,
}

impl Unit {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Second => "second",
            Self::Run => "run",
        }
    }
}

/// Values of one side.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Summary {
    /// How many.
    pub n: u64,
    pub mean: Option<f64>,
    pub median: Option<f64>,
    pub max: Option<f64>,
}

impl Summary {
    pub(super) fn of(values: &[f64]) -> Self {
        Self {
            n: values.len() as u64,
            mean: bootstrap::mean(values),
            median: ranks::median(values.to_vec()),
            max: values.iter().copied().max_by(f64::total_cmp),
        }
    }
}

/// An estimate and the ends of its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Between {
    pub estimate: f64,
    pub lower: f64,
    pub upper: f64,
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RowOutcome {
    /// No difference is shown. That is no proof that there is none.
    Alike,
    /// B is smaller.
    Better,
    /// B is larger.
    Worse,
    /// Too few values to show any difference.
    NotEnough,
    /// Neither side has a value.
    NotMeasured,
}

impl RowOutcome {
    /// The word for it in a table.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Alike => "alike",
            Self::Better => "better",
            Self::Worse => "worse",
            Self::NotEnough => "unknown",
            Self::NotMeasured => "-",
        }
    }
}

/// Values that are missing on each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Needed {
    pub a: u64,
    pub b: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn as_number<S: Serializer>(code: &ExitCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(code.number())
}

/// The JSON Schema (2020-12) of a comparison.
#[must_use]
pub fn schema() -> Schema {
    schema_for!(Comparison)
}
