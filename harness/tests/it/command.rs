//! Targets that the harness starts with a command: a server, something that is none, and one that is in the way.

use std::{
    env, fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

use harness::observe::{EventOutcome, RunDir};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    patience::until,
    scripted_target::{Act, Counts, ScriptedTarget, answer},
};

/// Where the server of this file is asked to serve.
const SERVE_AT: &str = "HARNESS_TEST_SERVE_AT";

/// No test of its own, but the program that the others have started: this one, once more.
#[test]
fn a_server_for_the_other_tests() {
    let Some(address) = env::var(SERVE_AT).ok().and_then(|address| address.parse().ok()) else { return };
    let _server = ScriptedTarget::start_at(address, |_| Act::Answer(answer(200, "", "ok")));
    loop {
        thread::park();
    }
}

fn program() -> PathBuf {
    env::current_exe().expect("a process must know its program").canonicalize().expect("it must be there")
}

/// The command that serves at `address`. There is no `exec`: a shell may stay in front of it.
fn serve(address: SocketAddr) -> String {
    let test = "command::a_server_for_the_other_tests";
    format!("env {SERVE_AT}={address} {} --exact {test} --nocapture", program().display())
}

fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port must be free");
    listener.local_addr().expect("a bound listener must have an address")
}

/// The harness, with a scenario whose events are `events`. The machine may be busy: nothing is judged but the events.
fn harness(folder: &Path, address: SocketAddr, command: &str, events: &str) -> Command {
    let text = format!(
        r#"
        name = "commanded"
        description = "A server that the harness starts."
        [target]
        kind = "command"
        url = "http://{address}"
        command = '''{command}'''
        ready_path = "/ready"
        [load]
        duration = "6s"
        rate = 20
        control = false
        [[load.stream]]
        name = "all"
        connection = "new"
        {events}
        [gate]
        failed_max = 1000
        unsent_max = 1000
        events_failed_max = 0
        lateness_p99_us_max = 60_000_000
        blind_ms_max = 60_000
        "#
    );
    fs::write(folder.join("commanded.toml"), text).expect("the scenario must be written");
    let mut harness = Command::new(env!("CARGO_BIN_EXE_harness"));
    harness.args(["scenario", "commanded.toml", "--quiet", "--out", "run"]).current_dir(folder);
    harness.stdin(Stdio::null());
    harness
}

/// A pid that an event has written.
fn pid_in(path: &Path) -> Option<Pid> {
    Pid::from_raw(fs::read_to_string(path).ok()?.trim().parse().ok()?)
}

fn state(pid: Pid) -> Option<String> {
    fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()
}

/// Gone, or a zombie that its new parent has yet to look at.
fn is_gone(pid: Pid) -> bool {
    state(pid).is_none_or(|state| state.contains(") Z "))
}

#[test]
fn a_command_is_started_and_killed_and_started_again_and_gone_afterwards() {
    let dir = TempDir::new().unwrap();
    let address = free();
    let events = r#"
        [[event]]
        at = "200ms"
        action = "exec"
        command = "echo $TARGET_PID >first; readlink /proc/$TARGET_PID/exe"
        [[event]]
        at = "400ms"
        action = "fault"
        fault = "kill"
        for = "100ms"
        [[event]]
        at = "500ms"
        action = "fault"
        fault = "pause"
        for = "100ms"
        [[event]]
        at = "600ms"
        action = "signal"
        signal = "WINCH"
        [[event]]
        at = "700ms"
        action = "exec"
        command = "echo $TARGET_PID >second; sleep 600 & echo $! >left"
    "#;
    let Output { status, stderr, .. } =
        harness(dir.path(), address, &serve(address), events).output().unwrap();
    assert_eq!(status.code(), Some(0), "{}", String::from_utf8_lossy(&stderr));

    let seen = RunDir::new(dir.path().join("run")).load().unwrap();
    assert_eq!(seen.environment.target, "command");
    let outcomes: Vec<_> = seen.events.iter().map(|event| (&*event.kind, event.outcome)).collect();
    assert_eq!(outcomes, ["exec", "fault", "fault", "signal", "exec"].map(|kind| (kind, EventOutcome::Ok)));
    assert_eq!(seen.events[0].detail["output"], program().display().to_string());
    let [first, second, left] =
        ["first", "second", "left"].map(|name| pid_in(&dir.path().join(name)).expect("it must be written"));
    assert_ne!(first, second);
    assert_eq!(seen.events[3].detail["pid"], second.as_raw_pid());
    // What a command of an event has left in the same folder goes, too.
    for pid in [first, second, left] {
        assert!(is_gone(pid), "{pid:?} must be gone");
    }
    assert!(seen.attempts.iter().any(|attempt| attempt.ok()));
    assert!(fs::read_to_string(dir.path().join("run/server.log")).unwrap().contains("running 1 test"));
}

#[test]
fn a_command_is_gone_after_a_signal_even_if_it_stands_still() {
    let dir = TempDir::new().unwrap();
    let address = free();
    let events = r#"
        [[event]]
        at = "100ms"
        action = "exec"
        command = "echo $TARGET_PID >new; mv new pid"
        [[event]]
        at = "200ms"
        action = "fault"
        fault = "pause"
        for = "9m"
    "#;
    let mut child =
        harness(dir.path(), address, &serve(address), events).stdout(Stdio::null()).spawn().unwrap();
    let path = dir.path().join("pid");
    until("the event has told the pid", || pid_in(&path).is_some());
    let target = pid_in(&path).unwrap();
    until("the target stands still", || state(target).is_some_and(|state| state.contains(") T ")));
    let harness = i32::try_from(child.id()).ok().and_then(Pid::from_raw).unwrap();
    kill_process(harness, Signal::INT).expect("the harness must still run");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(is_gone(target));
}

#[test]
fn a_command_that_does_not_serve_is_told_with_its_end_and_its_last_words() {
    let address = free();
    let background = format!("{} & echo $! >pid", serve(address));
    for (command, limit, told) in [
        ("echo no such key >&2; exit 7", "60s", ["it exited with code 7;", "\nno such key"]),
        ("echo come later; sleep 600", "300ms", ["it was not after 0.3 s (GET /ready)", "\ncome later"]),
        (background.as_str(), "60s", ["it exited with code 0 (the server", "has to stay in the foreground)"]),
    ] {
        let dir = TempDir::new().unwrap();
        let mut harness = harness(dir.path(), address, command, "");
        let harness = harness.args(["--set", &format!("target.ready_timeout=\"{limit}\"")]);
        let Output { status, stderr, .. } = harness.output().unwrap();
        let said = String::from_utf8_lossy(&stderr);
        assert_eq!(status.code(), Some(3), "{said}");
        assert!(said.contains(command) && told.iter().all(|told| said.contains(told)), "{said}");
        assert!(pid_in(&dir.path().join("pid")).is_none_or(is_gone));
    }
}

#[test]
fn a_stranger_who_answers_already_is_not_measured() {
    let dir = TempDir::new().unwrap();
    let stranger = ScriptedTarget::start(|_| Act::Answer(answer(200, "", "ok")));
    let Output { status, stderr, .. } =
        harness(dir.path(), stranger.address, "touch started; sleep 600", "").output().unwrap();
    let said = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(3), "{said}");
    assert!(said.contains(&format!("somebody answers at http://{} already", stranger.address)), "{said}");
    assert_eq!(Counts::of(&stranger.counts.requests), 0);
    assert!(!dir.path().join("started").exists());
}
