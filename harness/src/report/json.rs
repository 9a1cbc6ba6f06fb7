//! Reports as JSON, and the schema of `report.json`.

use schemars::{Schema, schema_for};
use serde::Serialize;

use super::Report;

/// A report of any kind as indented JSON with a newline at its end. The same report gives the same bytes.
#[must_use]
pub fn render(report: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(report).expect("a report must be expressible in JSON");
    bytes.push(b'\n');
    bytes
}

/// The JSON Schema (2020-12) of a run's report.
#[must_use]
pub fn schema() -> Schema {
    schema_for!(Report)
}
