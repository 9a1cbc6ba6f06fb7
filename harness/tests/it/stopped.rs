//! What is stopped or killed for a known time, and what the instrument makes of it: a target shows up as
//! brownout or as downtime, and the harness itself as a run that nobody can vouch for.
//!
//! The tests measure the truth themselves, on the run's own clock, and compare it with what the load saw:
//! a process is known to stand still from the moment its parent is told so until it is told to go on.

use std::{
    env, fs,
    io::Read as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use harness::{
    analyze::{
        Analysis, analyze,
        downtime::{Window, WindowKind},
    },
    clock::RunClock,
    drive::load::{self, LoadHandle, Workload},
    exit::ExitCode,
    observe::{Observations, RunDir},
    plan::{
        Arrival, Client, ConnectionMode, ExternalPlan, Gate, LoadPlan, Op, PLAN_SCHEMA_VERSION, Pace, Plan,
        RequestPlan, StreamPlan, TargetPlan,
    },
    verdict::judge,
};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tempfile::TempDir;

use crate::load::environment;
use crate::patience::until;
use crate::scripted_target::{Act, Counts, ScriptedTarget, answer};

const MS: u64 = 1_000_000;
/// For the target's process: where to listen, and the file that says where it does.
const LISTEN_AT: &str = "HARNESS_TEST_LISTEN_AT";
const READY_FILE: &str = "HARNESS_TEST_READY_FILE";
/// Attempts per second of each of the two streams.
const RATE: f64 = 50.0;
const GAP_NS: u64 = 20 * MS;

/// Not a test: the process that the tests stop and kill. It serves until its standard input ends.
#[test]
fn target_process() {
    let (Ok(listen_at), Some(ready)) = (env::var(LISTEN_AT), env::var_os(READY_FILE)) else { return };
    let address: SocketAddr = listen_at.parse().unwrap();
    let target = ScriptedTarget::start_at(address, |_| Act::Answer(answer(200, "", "ok")));
    let (part, ready) = (Path::new(&ready).with_extension("part"), PathBuf::from(&ready));
    fs::write(&part, target.address.to_string()).unwrap();
    fs::rename(part, ready).unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// A process that is gone with its owner, even a stopped one.
struct Process(Child);

impl Process {
    /// Starts a target and waits until it listens; where it does.
    fn target(listen_at: SocketAddr, folder: &Path) -> (Self, SocketAddr) {
        let ready = folder.join(format!("ready-{}", RunClock::starting_in(Duration::ZERO).anchor()));
        let child = Command::new(env::current_exe().expect("a test must know its program"))
            .args(["--exact", "stopped::target_process"])
            .env(LISTEN_AT, listen_at.to_string())
            .env(READY_FILE, &ready)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        let process = Self(child.expect("the target must start"));
        until("the target listens", || ready.is_file());
        let address = fs::read_to_string(ready).expect("the file must be readable");
        (process, address.parse().expect("the file must hold an address"))
    }

    fn pid(&self) -> Pid {
        i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).expect("a child must have a pid")
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the process must still run");
    }

    /// Stops it, and returns when it stands still.
    fn stop(&self) {
        self.signal(Signal::STOP);
        let status = waitpid(Some(self.pid()), WaitOptions::UNTRACED).expect("a child must be waited for");
        assert!(status.is_some_and(|(_, status)| status.stopped()), "{status:?}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already is as good.
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn stream(name: &str, connection: ConnectionMode) -> StreamPlan {
    let op = Op::Http {
        method: "GET".to_owned(),
        path: "/".to_owned(),
        headers: Vec::new(),
        body: String::new(),
        accept: Vec::new(),
        sha256: None,
    };
    StreamPlan {
        name: name.to_owned(),
        client: Client::Http1,
        pace: Pace::default(),
        connection,
        rate: RATE,
        arrival: Arrival::Uniform,
        requests: vec![RequestPlan { name: "get".to_owned(), weight: 1, op }],
    }
}

fn plan(duration_ms: u64, gates: Vec<Gate>) -> Plan {
    let url = "http://127.0.0.1".to_owned();
    Plan {
        schema_version: PLAN_SCHEMA_VERSION,
        scenario: "stopped".to_owned(),
        description: String::new(),
        seed: 1,
        target: TargetPlan::External(ExternalPlan {
            url,
            tls: None,
            process_header: None,
            config_header: None,
        }),
        load: LoadPlan {
            duration_ns: duration_ms * MS,
            warmup_ns: 0,
            timeout_ns: 30_000 * MS,
            slow_ns: 100 * MS,
            in_flight_max: 10_000,
            coalesce_ns: 0,
            stages: Vec::new(),
            control_rate: 100.0,
            streams: vec![
                stream("new", ConnectionMode::New),
                stream("reused", ConnectionMode::Reused { connections: 4 }),
            ],
        },
        events: Vec::new(),
        // How late the generator was on a machine that others use is no matter here.
        gates: gates.into_iter().chain([Gate::LatenessP99UsMax(5_000_000)]).collect(),
    }
}

/// A load under way in this process, so that the test has its clock.
struct Run {
    folder: TempDir,
    plan: Plan,
    clock: RunClock,
    load: LoadHandle,
}

impl Run {
    fn start(plan: Plan, target: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder must be had");
        let clock = RunClock::starting_in(Duration::from_millis(100));
        let workload = Workload { run_id: "run".to_owned(), ..Workload::default() };
        let load = load::start(&plan, target, "target.test", workload, &RunDir::new(folder.path()), clock)
            .expect("the load must start");
        Self { folder, plan, clock, load }
    }

    fn wait_until(&self, at_ms: u64) {
        until("the time has come", || self.clock.now_ns() >= at_ms * MS);
    }

    fn finish(self) -> (Observations, Analysis) {
        let run_dir = RunDir::new(self.folder.path());
        let instrument = self.load.join().expect("the load must end");
        assert_eq!(instrument.gaps, Vec::<String>::new());
        run_dir.write_instrument(&instrument).expect("the run must be writable");
        run_dir.write_plan(&self.plan).expect("the run must be writable");
        run_dir.write_events(&[]).expect("the run must be writable");
        run_dir.write_environment(&environment()).expect("the run must be writable");
        let seen = run_dir.load().expect("the run must be readable");
        let analysis = analyze(&seen);
        (seen, analysis)
    }
}

/// The run's verdict is this one, or a doubt: never a third.
#[track_caller]
fn check_verdict(seen: &Observations, analysis: &Analysis, expected: ExitCode) {
    let verdict = judge(&seen.plan, analysis);
    let codes = [expected, ExitCode::Inconclusive];
    assert!(codes.contains(&verdict.exit_code), "{:?}", verdict.reasons);
    assert_eq!(verdict.exit_code == ExitCode::Pass, verdict.reasons.is_empty());
}

fn windows(analysis: &Analysis, kind: WindowKind) -> impl Iterator<Item = &Window> {
    analysis.downtime.windows.iter().filter(move |window| window.kind == kind)
}

fn a_stopped_target_is_a_brownout(stop_ms: u64) {
    let folder = tempfile::tempdir().expect("a folder must be had");
    let (target, address) = Process::target(SocketAddr::from(([127, 0, 0, 1], 0)), folder.path());
    let run = Run::start(plan(stop_ms + 1_500, vec![Gate::FailedMax(0), Gate::BrownoutMsMax(0.0)]), address);
    run.wait_until(500);
    target.stop();
    let stopped_ns = run.clock.now_ns();
    run.wait_until(500 + stop_ms);
    let goes_on_ns = run.clock.now_ns();
    target.signal(Signal::CONT);
    let (seen, analysis) = run.finish();

    let requests = &analysis.requests.all;
    assert_eq!((requests.failed, analysis.load.unsent), (0, 0), "late is not lost");
    // Nobody can have been answered by a process that stood still.
    let during = |at_ns| (stopped_ns..goes_on_ns).contains(&at_ns);
    let caught: Vec<_> = seen.attempts.iter().filter(|attempt| during(attempt.intended_ns)).collect();
    assert!(caught.len() as u64 >= (goes_on_ns - stopped_ns) / GAP_NS);
    for attempt in caught {
        assert!(attempt.ended_ns >= goes_on_ns, "{attempt:?} within {stopped_ns}..{goes_on_ns}");
    }
    let shown = windows(&analysis, WindowKind::Brownout)
        .find(|window| window.interval.from_ns <= stopped_ns + GAP_NS && window.interval.to_ns >= goes_on_ns);
    assert!(shown.is_some(), "{stopped_ns}..{goes_on_ns}: {:?}", analysis.downtime.windows);
    assert!(analysis.downtime.brownout_ns >= goes_on_ns - stopped_ns - GAP_NS);
    assert!(analysis.downtime.hard.upper_ns == 0);
    check_verdict(&seen, &analysis, ExitCode::GateFailed);
}

#[test]
fn a_target_that_is_stopped_for_a_second_is_a_brownout_of_a_second() {
    a_stopped_target_is_a_brownout(1_000);
}

#[test]
fn a_target_that_is_stopped_for_three_seconds_is_a_brownout_of_three_seconds() {
    a_stopped_target_is_a_brownout(3_000);
}

#[test]
fn a_target_that_is_killed_for_three_seconds_is_down_for_three_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let (mut target, address) = Process::target(SocketAddr::from(([127, 0, 0, 1], 0)), folder.path());
    let run = Run::start(plan(4_500, vec![Gate::FailedMax(0)]), address);
    run.wait_until(500);
    let served_until_ns = run.clock.now_ns();
    target.0.kill().unwrap();
    target.0.wait().unwrap();
    let dead_ns = run.clock.now_ns();
    run.wait_until(3_500);
    let restarted_ns = run.clock.now_ns();
    let (_target, _) = Process::target(address, folder.path());
    let serves_ns = run.clock.now_ns();
    let (seen, analysis) = run.finish();

    // The outage lasted from some moment of served_until..dead to some moment of restarted..serves.
    let shown: Vec<&Window> = windows(&analysis, WindowKind::Hard).collect();
    let [window] = shown[..] else { panic!("one outage is one window: {shown:?}") };
    assert!(window.interval.from_ns <= dead_ns && window.interval.to_ns >= restarted_ns, "{window:?}");
    assert!(window.bounds.lower_ns <= serves_ns - served_until_ns, "{window:?}");
    assert!(window.bounds.upper_ns >= restarted_ns - dead_ns, "{window:?}");
    // The lower bound lacks one probe at each end, however late these were.
    let failed = seen.attempts.iter().filter(|attempt| !attempt.ok());
    let slowest_ns = failed.map(|attempt| attempt.ended_ns - attempt.intended_ns).max().unwrap();
    assert!(window.bounds.lower_ns + 2 * (GAP_NS + slowest_ns) >= restarted_ns - dead_ns, "{window:?}");
    check_verdict(&seen, &analysis, ExitCode::GateFailed);
}

/// The target served all the time, so none of it may be its fault; the p99 of the lateness would not tell
/// in a longer run, and is let be here.
#[test]
fn a_harness_that_is_stopped_vouches_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let target = ScriptedTarget::start(|_| Act::Answer(answer(200, "", "ok")));
    let scenario = format!(
        "name = \"stopped\"\ndescription = \"The harness is stopped.\"\n[target]\nkind = \"external\"\n\
         url = \"http://{}\"\n[load]\nduration = \"5s\"\nrate = 100\n[[load.stream]]\nname = \"busy\"\n\
         connection = \"reused\"\n[gate]\nlateness_p99_us_max = 10000000\nbrownout_ms_max = 0\n",
        target.address
    );
    fs::write(folder.path().join("stopped.toml"), scenario).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_harness"))
        .args(["scenario", "stopped.toml", "--quiet", "--out", "run"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut harness = Process(child);
    until("the load is served", || Counts::of(&target.counts.answers) > 20);
    harness.stop();
    let stopped = Instant::now();
    until("three seconds are over", || stopped.elapsed() >= Duration::from_secs(3));
    let stood = stopped.elapsed();
    harness.signal(Signal::CONT);
    assert_eq!(harness.0.wait().unwrap().code(), Some(4));

    let report = fs::read(folder.path().join("run/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    let blind_ms = report["load"]["blind_ms"].as_f64().unwrap();
    assert!(blind_ms + 10.0 >= stood.as_secs_f64() * 1e3, "{blind_ms} of {stood:?}");
    let reasons = report["verdict"]["reasons"].as_array().unwrap();
    let told = reasons.iter().filter_map(|reason| reason.as_str());
    assert!(told.clone().any(|reason| reason.starts_with("The generator stood still for ")), "{reasons:?}");
    // What was slow by that is said to be the harness's.
    let slow: Vec<&str> = told.filter(|reason| reason.starts_with("The service was slow")).collect();
    assert!(slow.iter().all(|reason| reason.contains("the harness itself was kept waiting")), "{slow:?}");
    assert_eq!((slow.len(), &report["requests"]["failed"]), (1, &0.into()));
}
