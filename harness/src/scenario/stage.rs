//! `[[load.stage]]`: steps and ramps of all streams' rates.

use std::ops::RangeInclusive;

use tomlcheck::Section;

use super::duration::{LONGEST_NS, POSITIVE, duration, show_ns};
use crate::plan::Stage;

/// Stages of one load.
const STAGES_MAX: usize = 100;

/// Factor of the streams' rates: 0 is a pause.
const FACTOR: RangeInclusive<f64> = 0.0..=1_000.0;

/// The stages of a load and the length of it: theirs together, or `duration` when there are none.
pub(super) fn read(load: &Section<'_>) -> (Vec<Stage>, Option<u64>) {
    let sections = load.sections("stage");
    if sections.is_empty() {
        load.require("duration", "write duration = \"30s\"");
        return (Vec::new(), duration(load, "duration", &POSITIVE));
    }
    if sections.len() > STAGES_MAX {
        load.fault_at("stage", "there are too many stages", format!("write at most {STAGES_MAX}"));
    }
    let stages: Option<Vec<Stage>> = sections.into_iter().map(read_one).collect();
    let declared_ns = duration(load, "duration", &POSITIVE);
    let Some(stages) = stages else { return (Vec::new(), declared_ns) };
    let length_ns: u64 = stages.iter().map(|stage| stage.duration_ns).sum();
    if length_ns > LONGEST_NS {
        let hint = format!("stay within {} together", show_ns(LONGEST_NS));
        load.fault_at("stage", format!("the stages last {}", show_ns(length_ns)), hint);
    }
    if stages.iter().all(|stage| stage.from + stage.to <= 0.0) {
        load.fault_at("stage", "every stage is a pause", "write rate = 1.0 in one of them");
    }
    if let Some(declared_ns) = declared_ns.filter(|declared_ns| *declared_ns != length_ns) {
        load.fault_at(
            "duration",
            format!("the stages add up to {}, not to {}", show_ns(length_ns), show_ns(declared_ns)),
            "remove it, or change a stage",
        );
    }
    (stages, Some(length_ns))
}

fn read_one(stage: Section<'_>) -> Option<Stage> {
    stage.require("duration", "write duration = \"10s\"");
    let duration_ns = duration(&stage, "duration", &POSITIVE);
    let [rate, from, to] =
        ["rate", "from", "to"].map(|key| stage.float(key, FACTOR).map(|factor| factor.value));
    let (step, ramp) = (stage.has("rate"), stage.has("from") || stage.has("to"));
    match (step, ramp) {
        (true, true) => {
            stage.fault_at("rate", "a stage has either a rate or a ramp", "remove the rate, or from and to");
        }
        (false, true) => {
            stage.require("from", "write the factor at the beginning, like from = 0.1");
            stage.require("to", "write the factor at the end, like to = 1.0");
        }
        (false, false) => stage.missing(
            "rate",
            "write the factor of all rates, like rate = 0.5, or a ramp: from = 0.1 and to = 1.0",
        ),
        (true, false) => {}
    }
    stage.finish();
    let (from, to) = if step { (rate?, rate?) } else { (from?, to?) };
    Some(Stage { duration_ns: duration_ns?, from, to })
}
