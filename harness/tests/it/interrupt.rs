//! Ctrl-C and SIGTERM: the run is over at once, still reported, and leaves nothing behind.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use harness::observe::RunDir;
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    patience::until,
    scripted_target::{Act, Counts, ScriptedTarget, answer},
};

/// The harness under load against `url`, with an event that never ends by itself.
fn start(folder: &Path, url: &str) -> Child {
    let scenario = folder.join("endless.toml");
    let text = format!(
        r#"
        name = "endless"
        description = "Ten minutes, unless somebody stops it."
        [target]
        kind = "external"
        url = "{url}"
        [load]
        duration = "10m"
        rate = 50
        [[load.stream]]
        name = "all"
        connection = "reused"
        [[event]]
        at = "10ms"
        action = "exec"
        command = "sleep 500 & echo $! >pid; wait"
        timeout = "9m"
        "#
    );
    fs::write(&scenario, text).expect("the scenario must be written");
    Command::new(env!("CARGO_BIN_EXE_harness"))
        .args(["scenario", "endless.toml", "--quiet", "--out", "run"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the harness must start")
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a child must have a pid");
    kill_process(pid, signal).expect("the harness must still run");
}

#[test]
fn a_signal_ends_the_run_and_all_that_it_started() {
    for number in [Signal::INT, Signal::TERM] {
        let dir = tempfile::tempdir().unwrap();
        let target = ScriptedTarget::start(|_| Act::Answer(answer(200, "", "ok")));
        let mut child = start(dir.path(), &format!("http://{}", target.address));
        let pid_file = dir.path().join("pid");
        let pid = || fs::read_to_string(&pid_file).ok()?.trim().parse::<u32>().ok();
        until("the load is served", || Counts::of(&target.counts.answers) > 10);
        until("the event has begun", || pid().is_some());

        signal(&child, number);
        assert_eq!(child.wait().unwrap().code(), Some(130), "{number:?}");
        let event = pid().unwrap();
        // Whoever inherits the killed process reaps it.
        until("the event's process is gone", || {
            fs::read_to_string(format!("/proc/{event}/stat")).map_or(true, |stat| stat.contains(") Z "))
        });
        let seen = RunDir::new(dir.path().join("run")).load().unwrap();
        assert!(seen.instrument.interrupted && seen.attempts.len() > 10);
        assert_eq!(seen.events.len(), 1);
        assert!(dir.path().join("run/report.json").is_file());
    }
}
