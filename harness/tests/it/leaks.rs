//! A server that leaves something behind with every upgrade is caught by the gate that should, and by no other;
//! without its fault the same server passes, and everything that the gates hold was read.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use harness::{
    exit::ExitCode,
    plan::{Plan, TargetPlan},
    scenario::load,
};
use serde_json::Value;

use crate::broken::reported;

/// Each leak and the gate that must catch it.
const CASES: [(&str, &str); 3] = [
    ("descriptor", "descriptors_left_max"),
    ("memory", "memory_growth_kb_max"),
    ("process", "processes_left_max"),
];

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate must lie in the project").to_owned()
}

fn plan(name: &str) -> Plan {
    load(&format!("must-fail/leaks/{name}"), &project(), &[]).expect("the scenario must be valid").plan(1)
}

/// The same without its fault.
fn healthy(name: &str) -> Plan {
    let mut plan = plan(name);
    let taken = match &mut plan.target {
        TargetPlan::Reference(reference) => std::mem::take(&mut reference.faults),
        TargetPlan::Command(_) | TargetPlan::External(_) => Vec::new(),
    };
    assert_eq!(taken.len(), 1, "{name}");
    Plan { scenario: String::new(), description: String::new(), ..plan }
}

/// The exit code, the gates that were not kept, and the report.
fn find(plan: &Plan) -> (ExitCode, BTreeSet<String>, Value) {
    let (code, report) = reported(plan);
    let gates = report["verdict"]["gates"].as_array().expect("it must be a list");
    let broken = gates.iter().filter(|gate| gate["outcome"] != "pass");
    let names = broken.map(|gate| gate["name"].as_str().unwrap_or_default().to_owned()).collect();
    (code, names, report)
}

#[test]
fn every_leak_is_caught() {
    let mut blind = Vec::new();
    for (name, gate) in CASES {
        let (code, broken, report) = find(&plan(name));
        if code != ExitCode::GateFailed || broken != BTreeSet::from([gate.to_owned()]) {
            blind.push(format!(
                "{name}: {code:?} by {broken:?}: {} {}",
                report["verdict"]["reasons"], report["held"]
            ));
        }
    }
    assert!(blind.is_empty(), "{}", blind.join("\n"));
}

#[test]
fn the_same_server_without_a_leak_passes() {
    for (name, _) in CASES {
        assert_eq!(healthy(name), healthy("descriptor"), "{name}");
    }
    let (code, _, report) = find(&healthy("descriptor"));
    let held = &report["held"];
    assert_eq!(code, ExitCode::Pass, "{} {held}", report["verdict"]["reasons"]);
    assert_eq!((&held["processes"]["before"], &held["processes"]["after"]), (&1.into(), &1.into()), "{held}");
    assert!(held["descriptors"]["before"].as_u64() >= Some(10), "{held}");
    assert!(held["memory_growth_upper_kb"].is_number(), "{held}");
}
