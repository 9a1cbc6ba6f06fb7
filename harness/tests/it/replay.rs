//! A run's folder judged again: the same bytes, the same text, the same exit code; and compared with others.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

use crate::scripted_target::{Act, ScriptedTarget, answer};

fn harness(folder: &Path, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_harness"))
        .args(line.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("the harness must start")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("messages must be UTF-8")
}

/// A server that resets every so-manieth request on a connection, and a scenario against it: less than a second,
/// with events to lose requests at. All of them are begun before the load ends, also where one takes its time.
fn scenario(folder: &Path, resets_every: u64) -> ScriptedTarget {
    let target = ScriptedTarget::start(move |request| {
        let is_lost = request.on_connection.is_multiple_of(resets_every);
        if is_lost { Act::Reset } else { Act::Answer(answer(200, "", "ok")) }
    });
    let text = format!(
        r#"
        name = "short"
        description = "Less than a second against a server in the test's process."
        [target]
        kind = "external"
        url = "http://{}"
        [load]
        duration = "900ms"
        rate = 200
        slow = "4s"
        [[load.stream]]
        name = "all"
        connection = "reused"
        connections = 4
        [[event]]
        every = "60ms"
        count = 6
        action = "exec"
        command = "true"
        [gate]
        failed_max = 0
        events_failed_max = 6
        lateness_p99_us_max = 5000000
        blind_ms_max = 5000
        "#,
        target.address
    );
    fs::write(folder.join("short.toml"), text).expect("the scenario must be written");
    target
}

#[test]
fn a_replay_says_what_the_run_said() {
    let dir = tempfile::tempdir().unwrap();
    for (resets_every, code) in [(1_000, 0), (10, 1)] {
        let _target = scenario(dir.path(), resets_every);
        let run = format!("run-{resets_every}");
        let ran = harness(dir.path(), &format!("scenario short.toml --out {run}"));
        assert_eq!(ran.status.code(), Some(code), "{}", stderr(&ran));
        let stored = fs::read(dir.path().join(&run).join("report.json")).unwrap();

        let replayed = harness(dir.path(), &format!("replay {run}"));
        assert_eq!((replayed.status.code(), stderr(&replayed)), (Some(code), String::new()));
        assert!(replayed.stdout == ran.stdout, "{}", String::from_utf8_lossy(&replayed.stdout));
        let json = harness(dir.path(), &format!("replay {run} --json"));
        assert!(json.stdout == stored && json.status.code() == Some(code) && json.stderr.is_empty());

        // From elsewhere, at another time and under another name, the report is still the same.
        fs::rename(dir.path().join(&run), dir.path().join("moved")).unwrap();
        let moved = Command::new(env!("CARGO_BIN_EXE_harness"))
            .args(["replay", "--json"])
            .arg(dir.path().join("moved"))
            .env_clear()
            .current_dir("/")
            .output()
            .unwrap();
        assert!(moved.stdout == stored && moved.status.code() == Some(code));
        fs::rename(dir.path().join("moved"), dir.path().join(&run)).unwrap();
    }
}

#[test]
fn what_is_wrong_with_a_folder_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let _target = scenario(dir.path(), 1_000);
    assert_eq!(harness(dir.path(), "scenario short.toml --out run").status.code(), Some(0));
    let (run, report) = (dir.path().join("run"), dir.path().join("run/report.json"));

    // A report of somebody else is left alone, but not unmentioned.
    let stored = fs::read_to_string(&report).unwrap();
    let other = stored.replacen("\"failed\": 0", "\"failed\": 7", 1);
    fs::write(&report, &other).unwrap();
    let replayed = harness(dir.path(), "replay run");
    assert_eq!(replayed.status.code(), Some(0));
    let said = stderr(&replayed);
    assert!(said.contains("report.json differs from the report made now, first in"), "{said}");
    assert!(said.contains("failed: 7 there, 0 now"), "{said}");
    assert_eq!(fs::read_to_string(&report).unwrap(), other);
    fs::write(&report, stored.replace('\n', "\n\n")).unwrap();
    assert!(stderr(&harness(dir.path(), "replay run")).contains("written in another way"));
    fs::remove_file(&report).unwrap();
    assert!(stderr(&harness(dir.path(), "replay run")).contains("cannot be compared"));

    let refused = |expected: &str| {
        for command in ["replay run", "compare run run"] {
            let output = harness(dir.path(), command);
            let said = stderr(&output);
            assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{command}: {said}");
            assert!(said.starts_with("error: failed to ") && said.contains(expected), "{command}: {said}");
        }
    };
    let attempts = fs::read(run.join("attempts.bin")).unwrap();
    fs::write(run.join("attempts.bin"), &attempts[..attempts.len() - 1]).unwrap();
    refused("breaks off");
    fs::write(run.join("attempts.bin"), "something else altogether, long enough").unwrap();
    refused("it is no");
    fs::remove_file(run.join("attempts.bin")).unwrap();
    refused("is this the folder of a run?");
    fs::write(run.join("plan.json"), r#"{"schema_version": 1, "scenario": "short"}"#).unwrap();
    refused("its schema version is 1");
    fs::write(run.join("plan.json"), "{").unwrap();
    refused("plan.json at line 1");
    assert_eq!(harness(dir.path(), "replay nowhere").status.code(), Some(2));
}

#[test]
fn runs_and_sets_of_runs_are_compared() {
    let dir = tempfile::tempdir().unwrap();
    for (set, resets_every) in [("good", 1_000), ("bad", 2)] {
        let _target = scenario(dir.path(), resets_every);
        for number in 1..=6 {
            let run = harness(dir.path(), &format!("scenario short.toml --quiet --out {set}/{number}"));
            assert_eq!(run.status.code(), Some(i32::from(set == "bad")), "{}", stderr(&run));
        }
    }
    let compared = |line: &str| -> (Option<i32>, Value) {
        let output = harness(dir.path(), &format!("compare --json {line}"));
        let json = serde_json::from_slice(&output.stdout);
        (output.status.code(), json.unwrap_or_else(|_| panic!("{line}: {}", stderr(&output))))
    };
    let outcome = |json: &Value, name: &str| {
        let rows = json["rows"].as_array().expect("there must be rows");
        let row = rows.iter().find(|row| row["name"] == name).expect("the row must be there");
        row["outcome"].as_str().expect("it must be a word").to_owned()
    };
    // Folders of runs, and the same written out. The two servers have different ports.
    for line in ["good bad", "--a good/1 good/2 good/3 good/4 good/5 good/6 --b bad"] {
        let (code, json) = compared(line);
        assert_eq!((code, &json["unit"]), (Some(1), &Value::from("run")), "{json:#}");
        assert_eq!(outcome(&json, "failed / event"), "worse");
        assert_eq!(json["differences"][1]["field"], "plan.target.url", "{json:#}");
    }
    // One run has six events, which lose about as much in one as in the other, and less than a second of load.
    let (code, json) = compared("good/1 good/2");
    // On a machine that gets slower meanwhile the latencies may differ.
    assert!(matches!(code, Some(1 | 4)) && json["unit"] == "event", "{json:#}");
    assert_eq!(outcome(&json, "failed / event"), "alike");
    assert_eq!(outcome(&json, "failed / second"), "not-enough");
    // The same run in both hands, and too few.
    assert_eq!(compared("--a good/1 good/1 --b bad").0, Some(4));

    let text = harness(dir.path(), "compare good bad");
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.starts_with("WORSE (exit code 1)") && text.lines().all(|line| line.len() <= 80), "{text}");
    for (line, expected) in [
        ("compare good .", "neither it nor a folder in it has a plan.json"),
        ("compare good nowhere", "failed to look into"),
        ("compare good", "required arguments were not provided"),
        ("compare --a good", "required arguments were not provided"),
    ] {
        let output = harness(dir.path(), line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(stderr(&output).contains(expected), "{line}: {}", stderr(&output));
    }
}
