//! `report.json` and its schema.

use schemars::{Schema, schema_for};

use super::Report;

/// The report as indented JSON with a newline at its end. The same report gives the same bytes.
#[must_use]
pub fn render(report: &Report) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(report).expect("a report must be expressible in JSON");
    bytes.push(b'\n');
    bytes
}

/// The JSON Schema (2020-12) of what [`render`] writes.
#[must_use]
pub fn schema() -> Schema {
    schema_for!(Report)
}
