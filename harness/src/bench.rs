//! Several ways of doing the same, side by side on the same load: arms that take turns, and one table.
//!
//! An [`Arm`] is a name and what it changes in the scenario. In every round each arm runs once, and every
//! other round goes backwards, so that whatever drifts (a machine that warms up, a neighbour that comes)
//! falls on all arms alike. Each of these runs is a normal run with a folder of its own, so it can be
//! replayed, and two arms are compared as two sets of runs ([`crate::compare`]).
//!
//! A bench judges nothing that can be compared: an arm that loses requests is a result. Only a change of the
//! configuration that never arrives is a failure, because no mechanism may lose one. Deliberately absent: running anything
//! (`run`), and every clock.

mod arm;
mod model;
mod order;
mod reload;
mod summary;
mod text;

pub use self::{
    arm::Arm,
    model::{Against, ArmFigures, BenchReport, Daily, Latencies, PerEvent, Phase, RunEntry, Trials, schema},
    order::{Turn, order},
    reload::{ChangeLatencies, ReloadCpu, ReloadFigures, ReloadSample, StormFigures, Times},
    summary::{Finished, Setup, summarize},
    text::render,
};

/// Version of `bench.json`.
pub const SCHEMA_VERSION: u32 = 1;

#[cfg(test)]
mod tests;
