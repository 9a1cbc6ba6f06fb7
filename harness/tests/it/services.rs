//! Runs that start services: nothing of them is left, however a run ends, and what is missing is said.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{patience::until_within, programs::are_here};

/// Far longer than any of it takes; only a bug gets there.
const PATIENCE: Duration = Duration::from_secs(120);
const PROGRAMS: [&str; 3] = ["etcd", "redis-server", "mariadbd"];

fn harness(arguments: &[&str]) -> Command {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate must lie in the project");
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    command.args(arguments).current_dir(project).stdin(Stdio::null());
    command
}

/// A process works in the folder or below it.
fn somebody_works_in(folder: &Path) -> bool {
    let folder = folder.canonicalize().expect("the folder must be there");
    let works_there = |entry: fs::DirEntry| {
        fs::read_link(entry.path().join("cwd")).is_ok_and(|path| path.starts_with(&folder))
    };
    fs::read_dir("/proc").expect("there must be a /proc").flatten().any(works_there)
}

/// A process that works in the folder is stopped (proc_pid_stat(5), field 3).
fn somebody_stands_still_in(folder: &Path) -> bool {
    let Ok(folder) = folder.canonicalize() else { return false };
    let stands_still = |entry: fs::DirEntry| {
        let works_there = fs::read_link(entry.path().join("cwd")).is_ok_and(|path| path.starts_with(&folder));
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        works_there && stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    };
    fs::read_dir("/proc").expect("there must be a /proc").flatten().any(stands_still)
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a child must have a pid");
    kill_process(pid, signal).expect("the harness must still run");
}

/// Ctrl-C and SIGTERM in the middle of a fault, and a kill, after which the services go with the harness.
#[test]
fn no_service_outlives_a_run_that_is_ended() {
    if !are_here(&PROGRAMS) {
        return;
    }
    for (number, exit_code) in [(Signal::INT, Some(130)), (Signal::TERM, Some(130)), (Signal::KILL, None)] {
        let dir = tempfile::tempdir().expect("there must be room");
        let scenario = dir.path().join("away.toml");
        let text = r#"
            name = "away"
            description = "Redis stands still until somebody ends the run."
            [target]
            kind = "reference"
            [services]
            kind = "processes"
            store = "redis-mysql"
            [load]
            rate = 20
            duration = "10m"
            [[load.stream]]
            name = "all"
            connection = "reused"
            mix = { list = 1 }
            [[event]]
            action = "fault"
            of = "redis"
            fault = "pause"
            for = "9m"
            at = "10ms"
            "#;
        fs::write(&scenario, text).expect("the scenario must be written");
        let run = dir.path().join("run");
        let out = run.display().to_string();
        let scenario = scenario.display().to_string();
        let mut child = harness(&["scenario", &scenario, "--quiet", "--out", &out]);
        let mut child = child.stdout(Stdio::null()).spawn().expect("the harness must start");
        let services = ["etcd", "mysql", "redis"].map(|name| run.join(name));
        until_within(PATIENCE, "the fault has begun", || somebody_stands_still_in(&services[2]));
        assert!(services.iter().all(|folder| somebody_works_in(folder)));
        signal(&child, number);
        assert_eq!(child.wait().expect("it must end").code(), exit_code, "{number:?}");
        if exit_code.is_some() {
            assert!(!somebody_works_in(dir.path()), "{number:?}");
            assert!(services.iter().all(|folder| !folder.exists()), "their data are gone too");
        } else {
            until_within(PATIENCE, "the services are gone", || {
                !services.iter().any(|folder| somebody_works_in(folder))
            });
            // The server outlives a killed harness, as ARCHITECTURE.md says.
            end_all_in(dir.path());
        }
    }
}

fn end_all_in(folder: &Path) {
    let folder = folder.canonicalize().expect("the folder must be there");
    for entry in fs::read_dir("/proc").expect("there must be a /proc").flatten() {
        let works_there = fs::read_link(entry.path().join("cwd")).is_ok_and(|path| path.starts_with(&folder));
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        if let (true, Some(pid)) = (works_there, pid) {
            let _gone = kill_process(pid, Signal::KILL);
        }
    }
}

/// One message that says what is missing and what helps, and exit 3; nothing is skipped.
#[test]
fn what_is_missing_is_said_with_exit_code_3() {
    let dir = tempfile::tempdir().expect("there must be room");
    let start = |kind: &str, more: &[&str]| {
        let out = dir.path().join(kind).display().to_string();
        let mut arguments = vec!["scenario", "smoke", "--quiet", "--out", &out, "--services", kind];
        arguments.extend(more);
        let said = harness(&arguments).env("PATH", dir.path()).env("DOCKER_HOST", "unix:///nowhere").output();
        let Output { status, stderr, .. } = said.expect("the harness must start");
        (status.code(), String::from_utf8_lossy(&stderr).into_owned())
    };
    // A server that is at hand, so that nothing has to be built without a PATH.
    let server = ["--old", env!("CARGO_BIN_EXE_harness")];
    let (code, said) = start("processes", &server);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("`apt-get install etcd-server") && said.contains("as processes"), "{said}");
    let (code, said) = start("containers", &server);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("failed to use containers: ") && said.contains("`--services processes`"), "{said}");
    let (code, said) = start("auto", &[&server[..], &["--set", "services.store=redis-mysql"]].concat());
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("nothing works. As processes: ") && said.contains("As containers: "), "{said}");
    let away = ["--set", "services.redis=127.0.0.1:9", "--set", "services.mysql=127.0.0.1:9"];
    let (code, said) = start("external", &[&server[..], &away].concat());
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("start it, or name another with services."), "{said}");
}

/// The report of a run through Redis and MySQL, and how it ended.
fn run(scenario: &str, more: &[&str]) -> (Option<i32>, Value) {
    let dir = tempfile::tempdir().expect("there must be room");
    let out = dir.path().join("run").display().to_string();
    let arguments = [&["scenario", scenario, "--quiet", "--services", "processes", "--out", &out][..], more];
    let Output { status, stderr, .. } =
        harness(&arguments.concat()).output().expect("the harness must start");
    let report = fs::read_to_string(dir.path().join("run/report.json")).unwrap_or_default();
    assert!(!report.is_empty(), "no report: {}", String::from_utf8_lossy(&stderr));
    (status.code(), serde_json::from_str(&report).expect("the report must be JSON"))
}

/// The invariants with this outcome.
fn invariants(report: &Value, outcome: &str) -> Vec<String> {
    let all = report["invariants"].as_array().expect("it must be a list");
    let with_it = all.iter().filter(|one| one["outcome"] == outcome);
    with_it.map(|one| one["name"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Each fault of a server that buys through Redis and MySQL, and the invariant that has to find it.
#[test]
fn every_broken_store_is_caught() {
    if !are_here(&PROGRAMS) {
        return;
    }
    for (name, caught_by) in [
        ("answer-first", "acknowledged-orders-stored"),
        ("forget-limit", "limit-per-user"),
        ("write-twice", "stores-agree"),
    ] {
        let (code, report) = run(&format!("must-fail/stores/{name}"), &[]);
        let failed = invariants(&report, "fail");
        let is_caught = failed.iter().any(|found| found == caught_by);
        assert!(code == Some(5) && is_caught, "{name}: {code:?} by {failed:?}: {}", report["verdict"]);
    }
}

#[test]
fn the_same_store_without_a_fault_passes() {
    if !are_here(&PROGRAMS) {
        return;
    }
    let (code, report) = run("must-fail/stores/answer-first", &["--set", "target.faults=[]"]);
    assert_eq!(code, Some(0), "{}", report["verdict"]);
    assert!(
        invariants(&report, "pass").iter().any(|name| name == "stores-agree"),
        "{}",
        report["invariants"]
    );
    for service in ["etcd", "mysql", "redis"] {
        assert_eq!(report["environment"]["services"][service], "process");
    }
}
