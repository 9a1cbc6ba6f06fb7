//! The report of a run: one value, and renderers that turn it into bytes.
//!
//! [`Report`] is the published format: its fields, their names and their units are a contract
//! (`reports/README.md`), its JSON Schema lies in `reports/schema/`. Everything in it comes from the
//! observations, the analysis and the verdict, so the same run gives the same bytes. What was not
//! measured is `null`. Deliberately absent: files, clocks, and any arithmetic but rounding.
//!
//! Rounding is to the side that promises less: availabilities and lower bounds down, upper bounds up.

mod build;
pub mod json;
mod model;
pub(crate) mod phases;
pub(crate) mod round;
pub mod terminal;

pub use build::build;
pub use model::{
    Alert, Attempted, Availability, Bounds, Budget, ByConnection, ConnectionCounts, Connections, Control,
    Daily, Definition, Downtime, Environment, Event, FailureBound, FailureBounds, FailureClass, GateEntry,
    Held, Invariant, InvariantWord, Latency, LatencyGroup, Load, Machine, Orders, OutcomeWord, Propagation,
    PropagationOfProcess, Quantiles, Report, Requests, Rest, Run, ServedWithin, Sla, Spread, Stream, Target,
    VerdictSection, Window,
};

/// Version of `report.json`. It rises when a field goes or changes its meaning; new fields may come.
pub const SCHEMA_VERSION: u32 = 1;

#[cfg(test)]
pub(crate) mod tests;
