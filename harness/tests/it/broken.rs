//! A server that is broken on purpose is caught by the gate or the invariant that should, with the exit code
//! that fits, and by no other invariant; without its fault the same server passes.
//!
//! Each case is a scenario of `scenarios/must-fail/broken`; all of them ask for the same but for the fault.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use harness::{
    cli::RunOptions,
    exit::ExitCode,
    plan::{Action, Plan, TargetPlan},
    run::run,
    scenario::{Override, load},
};
use serde_json::Value;

/// The scenario with everything in it: the others lack its upgrade, which a broken server may not survive.
const WHOLE: &str = "reset-on-drain";

/// How each fault must end, which gates and invariants must catch it, and which others may: whether a request is
/// in flight when its connection is reset, or a lost order is asked for, is chance.
const CASES: [(&str, ExitCode, &[&str], &[&str]); 11] = [
    ("drop", ExitCode::GateFailed, &["failed_max"], &["closed_by_server_max"]),
    ("reset-on-drain", ExitCode::GateFailed, &["closed_by_server_max"], &["failed_max"]),
    ("shut-down", ExitCode::GateFailed, &["failed_max", "events_failed_max"], &["closed_by_server_max"]),
    ("answer-twice", ExitCode::GateFailed, &["failed_max"], &["closed_by_server_max"]),
    ("truncate-body", ExitCode::GateFailed, &["failed_max"], &["closed_by_server_max"]),
    ("wrong-body", ExitCode::GateFailed, &["failed_max"], &[]),
    ("oversell", ExitCode::Incorrect, &["not-oversold"], &[]),
    ("lose-order", ExitCode::Incorrect, &["acknowledged-orders-stored"], &["failed_max"]),
    ("store-twice", ExitCode::Incorrect, &["no-unasked-order"], &[]),
    ("stale-config", ExitCode::GateFailed, &["stale_ms_max"], &[]),
    ("generation-back", ExitCode::Incorrect, &["config-generation-never-goes-back"], &["stale_ms_max"]),
];

/// How a run ended.
struct Found {
    code: ExitCode,
    /// The gates and invariants that do not hold.
    caught_by: BTreeSet<String>,
    report: Value,
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate must lie in the project").to_owned()
}

fn plan(name: &str, overrides: &[Override]) -> Plan {
    let name = format!("must-fail/broken/{name}");
    load(&name, &project(), overrides).expect("the scenario must be valid").plan(1)
}

fn healthy() -> Plan {
    plan(
        WHOLE,
        &[Override {
            path: "target.faults".to_owned(),
            value: "[]".to_owned(),
            is_text: false,
            blame: "this test".to_owned(),
        }],
    )
}

/// Runs a plan; its exit code and its report.
pub(crate) fn reported(plan: &Plan) -> (ExitCode, Value) {
    let dir = tempfile::tempdir().expect("a folder must be had");
    let out = dir.path().join("run");
    let options = RunOptions { out: Some(out.clone()), quiet: true, command: vec!["test".to_owned()] };
    let code = run(plan, &options);
    let report = fs::read_to_string(out.join("report.json")).expect("the run must have a report");
    (code, serde_json::from_str(&report).expect("the report must be JSON"))
}

fn find(plan: &Plan) -> Found {
    let (code, report) = reported(plan);
    let lists = [&report["verdict"]["gates"], &report["invariants"]];
    let entries = lists.into_iter().flat_map(|list| list.as_array().expect("it must be a list"));
    let caught_by = entries
        .filter(|entry| entry["outcome"] == "fail" || entry["outcome"] == "inconclusive")
        .map(|entry| entry["name"].as_str().unwrap_or_default().to_owned())
        .collect();
    Found { code, caught_by, report }
}

#[test]
fn every_broken_server_is_caught() {
    let mut blind = Vec::new();
    for (name, code, must, may) in CASES {
        let found = find(&plan(name, &[]));
        let has = |wanted: &&str| found.caught_by.contains(*wanted);
        let is_known = |found: &String| must.iter().chain(may).any(|known| known == found);
        if found.code != code || !must.iter().all(has) || !found.caught_by.iter().all(is_known) {
            let reasons = &found.report["verdict"]["reasons"];
            blind.push(format!("{name}: {:?} by {:?}: {reasons}", found.code, found.caught_by));
        }
    }
    assert!(blind.is_empty(), "{}", blind.join("\n"));
}

#[test]
fn the_same_server_without_a_fault_passes() {
    let Found { code, report, .. } = find(&healthy());
    assert_eq!(code, ExitCode::Pass, "{}", report["verdict"]["reasons"]);
    // Everything that the faults are found by was looked at.
    for invariant in report["invariants"].as_array().unwrap() {
        assert_eq!(invariant["outcome"], "pass", "{invariant}");
    }
    let changes: Vec<&str> = report["propagation"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["mechanism"].as_str().unwrap())
        .collect();
    assert_eq!(changes, ["push", "push", "upgrade"]);
    for change in report["propagation"].as_array().unwrap() {
        assert_eq!((&change["stale_after_ack"], &change["stale_ms"]), (&0.into(), &0.0.into()), "{change}");
    }
}

/// So that the run without a fault stands for all of them.
#[test]
fn the_scenarios_differ_in_their_fault_alone() {
    let folder = fs::read_dir(project().join("scenarios/must-fail/broken")).unwrap();
    let files: BTreeSet<String> =
        folder.map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(files, CASES.map(|(name, ..)| name.to_owned()).into());
    let common = |mut plan: Plan| {
        let TargetPlan::Reference(reference) = &mut plan.target else { panic!("{:?}", plan.target) };
        let faults = std::mem::take(&mut reference.faults);
        plan.events.retain(|event| !matches!(event.action, Action::Upgrade { .. }));
        (faults, Plan { scenario: String::new(), description: String::new(), ..plan })
    };
    let (none, whole) = common(healthy());
    assert!(none.is_empty());
    for (name, ..) in CASES {
        let (faults, rest) = common(plan(name, &[]));
        assert_eq!(rest, whole, "{name}");
        assert!(faults.len() == 1 && faults[0].starts_with(name), "{name}: {faults:?}");
    }
}
