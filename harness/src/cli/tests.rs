//! What each subcommand prints, and with which code it ends.

use std::{ffi::OsString, fs, path::Path};

use tempfile::TempDir;

use crate::exit::ExitCode;

/// Runs a command line in `folder`; gives its code, output and errors.
fn run(folder: &Path, line: &str) -> (ExitCode, String, String) {
    let args = std::iter::once("harness").chain(line.split_whitespace()).map(OsString::from);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = super::run(args, folder, &mut out, &mut err).unwrap();
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

/// A project with a main scenario and one below a folder, and whatever else `files` names.
fn project(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let usual = ["scenarios/quick/quick.toml", "scenarios/must-fail/slow.toml"];
    let usual = usual.map(|path| (path, scenario(path)));
    let files = files.iter().map(|(path, source)| (*path, (*source).to_owned())).chain(usual);
    for (path, source) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, source).unwrap();
    }
    folder
}

fn scenario(path: &str) -> String {
    let name = if path.contains("quick") { "quick" } else { "must-fail/slow" };
    format!(
        r#"name = "{name}"
description = "A scenario with words enough to fill more than one line of a table."
[target]
kind = "reference"
[load]
rate = 100
duration = "1m30s"
[[load.stream]]
name = "busy"
connection = "reused"
[[event]]
every = "1s"
count = 3
action = "upgrade"
[[event]]
at = "10s"
action = "exec"
command = "true"
"#
    )
}

#[test]
fn list_shows_every_scenario_within_80_columns() {
    let project = project(&[("scenarios/bad.toml", "name = 1\n")]);
    let (code, out, err) = run(project.path(), "list");
    insta::assert_snapshot!(out, @r"
    name                target       time  what
    scenarios/bad.toml  -               -  has faults: see `harness check`
    must-fail/slow      reference  1m 30s  A scenario with words enough to fill more
                                           than one line of a table.
    quick               reference  1m 30s  A scenario with words enough to fill more
                                           than one line of a table.
    ");
    assert_eq!((code, err.as_str()), (ExitCode::Usage, ""));
    assert!(out.lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn the_folder_is_found_from_below() {
    let project = project(&[("deep/below/x", "")]);
    let (code, _, _) = run(&project.path().join("deep/below"), "plan quick");
    assert_eq!(code, ExitCode::Pass);
}

#[test]
fn check_prints_all_faults_of_all_files() {
    let project = project(&[
        ("scenarios/bad.toml", "nam = \"x\"\n[load]\nrate = \"x\"\n"),
        ("scenarios/worse.toml", "name = \n"),
        ("scenarios/README.md", "not a scenario"),
    ]);
    let (code, out, err) = run(project.path(), "check");
    insta::assert_snapshot!(err, @r#"
    scenarios/bad.toml:1:1: description: missing key
      hint: say in a sentence what the scenario shows
    scenarios/bad.toml:1:1: nam: unknown key
      hint: did you mean `name`?
    scenarios/bad.toml:1:1: name: missing key
      hint: write name = "bad", its path under scenarios/
    scenarios/bad.toml:1:1: target: missing key
      hint: write [target] with kind = "reference"
    scenarios/bad.toml:2:1: load.duration: missing key
      hint: write duration = "30s"
    scenarios/bad.toml:2:1: load.stream: there is no stream
      hint: write at least one [[load.stream]]
    scenarios/bad.toml:3:8: load.rate: expected a number, found the string "x"
    scenarios/worse.toml:1:8: string values must be quoted, expected literal string
    2 of 4 scenarios have faults
    "#);
    assert_eq!((code, out.as_str()), (ExitCode::Usage, ""));
    let (code, out, err) = run(project.path(), "check quick scenarios/must-fail");
    assert_eq!((code, out.as_str(), err.as_str()), (ExitCode::Pass, "2 scenarios without a fault\n", ""));
}

#[test]
fn plan_shows_what_would_happen() {
    let project = project(&[]);
    let (code, out, err) = run(project.path(), "plan must-fail/slow --seed 7 --set load.stream.busy.share=2");
    insta::assert_snapshot!(out, @"
    must-fail/slow
    A scenario with words enough to fill more than one line of a table.

    target       reference, strategy handoff-live; 500 users, 10 sale events,
                 1000000 of each good in stock, 1000000 per user
    load         1m 30s, without warm-up; failed after 5s, slow after 250ms; at most
                 4096 in flight; 50/s to the control target
    seed         7
    fingerprint  fd8f8bfdbe0e4ad7a9f64cdead28efaf09889b049d41527b314f38fcb56873c2

    stream  connection  rate/s  arrival  planned  requests
    busy    16 reused      100  uniform     9000  list 6, info 2, buy 2, order 1
    total                  100              9000

    events                  first  every  action
    upgrade-1 to upgrade-3  1s     1s     upgrade
    exec-1                  10s    once   exec `true` within 30s

    gate                 limit
    failed_max               0
    lateness_p99_us_max  50000
    unsent_max               0
    blind_ms_max          1000
    ");
    assert_eq!((code, err.as_str()), (ExitCode::Pass, ""));
    assert!(out.lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn plan_prints_the_same_json_for_the_same_seed() {
    let project = project(&[]);
    let (_, first, _) = run(project.path(), "plan quick --json --old a --strategy reuseport");
    let (_, second, _) = run(project.path(), "plan quick --old a --json --strategy reuseport --seed 1");
    let (_, other, _) = run(project.path(), "plan quick --json");
    assert_eq!(first, second);
    assert_ne!(first, other);
    let plan: crate::plan::Plan = serde_json::from_str(&first).unwrap();
    assert_eq!(plan.scenario, "quick");
}

#[test]
fn what_is_wrong_is_said_with_exit_code_2() {
    let project = project(&[("scenarios/quick.toml", &scenario("quick"))]);
    let complaint = |line: &str| {
        let (code, out, err) = run(project.path(), line);
        assert_eq!((code, out.as_str()), (ExitCode::Usage, ""), "{line}");
        err.replace(&project.path().display().to_string(), "DIR")
    };
    insta::assert_snapshot!(complaint("plan must-fail/slo"), @"error: failed to find the scenario `must-fail/slo`: did you mean `must-fail/slow`?");
    insta::assert_snapshot!(complaint("plan must-fail"), @"error: failed to find the scenario `must-fail`: it is a folder with must-fail/slow");
    insta::assert_snapshot!(complaint("plan zzzzzzzz"), @"error: failed to find the scenario `zzzzzzzz`: there are must-fail/slow, quick, quick");
    insta::assert_snapshot!(complaint("plan quick"), @"error: failed to tell which scenario `quick` is: DIR/scenarios/quick/quick.toml and DIR/scenarios/quick.toml; give the path of one");
    insta::assert_snapshot!(complaint("plan nowhere.toml"), @"error: failed to read nowhere.toml: see that it exists and may be read: No such file or directory (os error 2)");
    insta::assert_snapshot!(complaint("plan must-fail/slow --set load.rate"), @r"
    error: invalid value 'load.rate' for '--set <KEY=VALUE>': there is no `=`; write it like load.rate=500

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(complaint("scenario must-fail/slow --strategy hope --services embedded"), @r#"
    --strategy hope: target.strategy: unknown word "hope"
      hint: one of "handoff-live", "handoff", "inherit", "activate", "reuseport-drain", "reuseport", "stop-start"
    "#);
    insta::assert_snapshot!(complaint("scenario must-fail/slow --services nonsense"), @"
    error: invalid value 'nonsense' for '--services <KIND>'
      [possible values: auto, containers, processes, embedded, external]

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(complaint("scenari"), @r"
    error: unrecognized subcommand 'scenari'

      tip: a similar subcommand exists: 'scenario'

    Usage: harness <COMMAND>

    For more information, try '--help'.
    ");
}

#[test]
fn help_and_version_pass() {
    let project = project(&[]);
    for line in ["--help", "scenario --help", "plan --help", "check --help", "list --help"] {
        let (code, out, err) = run(project.path(), line);
        assert_eq!((code, err.as_str()), (ExitCode::Pass, ""), "{line}");
        assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
    }
    assert!(run(project.path(), "--help").1.contains("Exit codes: 0 pass"));
    assert_eq!(run(project.path(), "--version").0, ExitCode::Pass);
}

#[test]
fn without_a_scenarios_folder_it_says_so() {
    let folder = tempfile::tempdir().unwrap();
    for line in ["list", "check", "plan quick"] {
        let (code, _, err) = run(folder.path(), line);
        assert_eq!(code, ExitCode::Usage);
        assert!(err.starts_with("error: failed to find a folder `scenarios` in "), "{err}");
    }
}

#[test]
fn a_command_line_is_kept_without_passwords() {
    let args = [
        "harness",
        "scenario",
        "upgrade",
        "--set",
        "services.mysql_password=secret",
        "--set=services.redis_auth=s",
        "--set",
        "load.rate=5",
    ];
    let kept = super::typed(&args.map(OsString::from)).join(" ");
    let expected = "harness scenario upgrade --set services.mysql_password=*** --set=services.redis_auth=*** --set load.rate=5";
    assert_eq!(kept, expected);
}
