//! How long the steps of upgrades took, as the server tells it.

use std::collections::BTreeSet;

use super::model::Event;

/// The steps in the order in which they happen.
const IN_ORDER: [&str; 6] = ["start", "load", "probe", "probation", "transfer", "drain"];

/// What any of the events tells, without the total: known phases in the order they happen, then others; with the times of
/// all that have them, in milliseconds.
pub(crate) fn phases(events: &[&Event]) -> Vec<(String, Vec<f64>)> {
    let of = |event: &&Event| event.detail.get("phases_ms").and_then(|phases| phases.as_object().cloned());
    let told: Vec<_> = events.iter().filter_map(of).collect();
    let names: BTreeSet<&str> = told
        .iter()
        .flat_map(|phases| phases.keys().map(String::as_str))
        .filter(|&name| name != "total")
        .collect();
    let known = IN_ORDER.into_iter().filter(|name| names.contains(name));
    let others = names.iter().copied().filter(|name| !IN_ORDER.contains(name));
    let lasted = |name: &str| told.iter().filter_map(|phases| phases.get(name)?.as_f64()).collect();
    known.chain(others).map(|name| (name.to_owned(), lasted(name))).collect()
}
