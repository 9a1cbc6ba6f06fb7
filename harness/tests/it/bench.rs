//! Whole benches against our own server: two strategies, two mechanisms.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::programs::are_here;

#[test]
fn strategies_take_turns_and_each_run_can_be_judged_again() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("bench");
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate must lie in the project");
    let harness = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
        command.args(arguments).current_dir(project);
        command
    };
    let line = ["bench", "upgrade", "--strategies", "handoff-live,stop-start", "--upgrades", "2"];
    let ran = harness(&line).args(["--rounds", "2", "--rate", "200", "--out"]).arg(&out).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    // A machine that is busy with other tests may be late; what was lost is no business of the exit code.
    assert!(matches!(ran.status.code(), Some(0 | 4)), "{stderr}");
    assert!(stdout.starts_with("BENCH upgrade (exit code "), "{stdout}");

    let bench: Value = serde_json::from_slice(&fs::read(out.join("bench.json")).unwrap()).unwrap();
    assert_eq!(bench["exit_code"], ran.status.code().unwrap());
    let runs = bench["runs"].as_array().unwrap();
    let order: Vec<&str> = runs.iter().map(|run| run["arm"].as_str().unwrap()).collect();
    assert_eq!(order, ["handoff-live", "stop-start", "stop-start", "handoff-live"]);
    for arm in bench["arms"].as_array().unwrap() {
        assert_eq!((&arm["events_bad"]["trials"], &arm["runs"]), (&Value::from(4), &Value::from(2)));
    }
    // A restart closes every kept-alive connection, a handoff none.
    assert_eq!(bench["arms"][0]["closed_by_server"], 0, "{bench:#}");
    assert!(bench["arms"][1]["closed_by_server"].as_u64() > Some(0), "{bench:#}");
    let rows = bench["comparisons"][0]["comparison"]["rows"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["outcome"] == "not-enough"), "{rows:#?}");

    for run in runs {
        let folder = out.join(run["folder"].as_str().unwrap());
        let replayed = harness(&["replay", "--json"]).arg(&folder).output().unwrap();
        assert_eq!(Value::from(replayed.status.code()), run["exit_code"]);
        assert!(replayed.stdout == fs::read(folder.join("report.json")).unwrap());
    }
    let compared = harness(&["compare"]).args([out.join("handoff-live"), out.join("stop-start")]).output();
    assert_eq!(compared.unwrap().status.code(), Some(4));
}

#[test]
fn mechanisms_are_measured_by_their_changes() {
    let has_etcd = are_here(&["etcd"]);
    let first = if has_etcd { "etcd" } else { "timer" };
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("bench");
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate must lie in the project");
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    command.args(["bench", "reload", "--mechanisms", &format!("{first},push"), "--changes", "3"]);
    command.args(["--storm", "20", "--rounds", "1", "--rate", "200", "--data", "activities", "--out"]);
    let ran = command.arg(&out).current_dir(project).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    // A machine that is busy with other tests may be late; a change that is lost is lost on any machine.
    assert!(matches!(ran.status.code(), Some(0 | 4)), "{stdout}{stderr}");
    assert!(stdout.starts_with("BENCH reload (exit code "), "{stdout}");

    let bench: Value = serde_json::from_slice(&fs::read(out.join("bench.json")).unwrap()).unwrap();
    assert_eq!(bench["exit_code"], ran.status.code().unwrap());
    for (arm, name) in bench["arms"].as_array().unwrap().iter().zip([first, "push"]) {
        let reload = &arm["reload"];
        assert_eq!(
            (&arm["name"], &arm["settings"]["target.reload.activities.by"]),
            (&name.into(), &name.into())
        );
        assert_eq!(
            (&reload["changes"]["trials"], &reload["changes"]["bad"]),
            (&3.into(), &0.into()),
            "{arm:#}"
        );
        assert_eq!((&reload["unloaded"]["bad"], &reload["unmade"]), (&0.into(), &0.into()), "{arm:#}");
        let storm = &reload["storm"];
        assert_eq!((&storm["storms"]["trials"], &storm["storms"]["bad"]), (&1.into(), &0.into()), "{arm:#}");
        // Of the storm every change was published or overtaken, and the last one was published.
        let [published, coalesced] = ["published", "coalesced"].map(|key| storm[key].as_u64().unwrap());
        assert!(published >= 1 && published + coalesced == 20, "{arm:#}");
        let [effect, begun] =
            ["effect_ms", "begun_to_effect_ms"].map(|key| reload[key]["max"].as_f64().unwrap());
        assert!(begun >= effect && effect >= 0.0, "{arm:#}");
        for key in ["idle_per_s", "quiet_per_s", "reloading_per_s", "per_change", "storm_per_s"] {
            assert!(reload["cpu"][key].is_f64(), "{key}: {arm:#}");
        }
    }
    // Each push is answered before the next one is made.
    assert_eq!(bench["arms"][1]["reload"]["storm"]["published"], 20, "{bench:#}");
}

#[test]
fn a_missing_etcd_is_said_before_anything_is_measured() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate must lie in the project");
    let dir = tempfile::tempdir().unwrap();
    for (mechanisms, hint) in
        [("file,etcd,push", "leave it out: --mechanisms file,push"), ("etcd", "another one")]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
        command.args(["bench", "reload", "--mechanisms", mechanisms, "--out"]).arg(dir.path().join("bench"));
        let output = command.env("PATH", "/nowhere").current_dir(project).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        assert!(stderr.contains("apt-get install etcd-server") && stderr.contains(hint), "{stderr}");
        assert!(!dir.path().join("bench").exists());
    }
}

#[test]
fn what_makes_no_bench_is_said() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate must lie in the project");
    for (line, expected) in [
        ("upgrade --strategies handoff-live,hope", "unknown word \"hope\""),
        ("upgrade --strategies handoff,handoff", "name it once in --strategies"),
        ("reload --mechanisms file,pigeon", "unknown word \"pigeon\""),
        ("reload --mechanisms push,file,push", "name it once in --mechanisms"),
        ("reload --data orders", "invalid value 'orders'"),
        ("reload --timer-every-ms 500", "500 is not in 10..=100"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
        let output = command.arg("bench").args(line.split(' ')).current_dir(project).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(expected), "{output:?}");
    }
}
