//! Runs against an external server: pass, failed gate, nobody there, and Ctrl-C.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
};

use harness::{
    cli::RunOptions,
    exit::ExitCode,
    observe::{EventOutcome, RunDir},
    plan::{
        Action, Arrival, Client, ConnectionMode, EventPlan, ExternalPlan, Gate, LoadPlan, Op,
        PLAN_SCHEMA_VERSION, Pace, Plan, RequestPlan, StreamPlan, TargetPlan,
    },
    run::run,
};

use crate::scripted_target::{Act, Counts, ScriptedTarget, answer};

const SECOND: u64 = 1_000_000_000;

fn plan(url: &str, exec: Option<String>) -> Plan {
    let stream = |name: &str, connection| StreamPlan {
        name: name.to_owned(),
        client: Client::Http1,
        pace: Pace::default(),
        connection,
        rate: 100.0,
        arrival: Arrival::Uniform,
        requests: vec![RequestPlan {
            name: "get".to_owned(),
            weight: 1,
            op: Op::Http {
                method: "GET".to_owned(),
                path: "/".to_owned(),
                headers: Vec::new(),
                body: String::new(),
                accept: Vec::new(),
                sha256: None,
            },
        }],
    };
    let event = |command| EventPlan {
        id: "exec-1".to_owned(),
        at_ns: SECOND / 4,
        action: Action::Exec { command, timeout_ms: 10_000 },
    };
    Plan {
        schema_version: PLAN_SCHEMA_VERSION,
        scenario: "test/external".to_owned(),
        description: "a server in the test's process".to_owned(),
        seed: 1,
        target: TargetPlan::External(ExternalPlan {
            url: url.to_owned(),
            tls: None,
            process_header: None,
            config_header: None,
        }),
        load: LoadPlan {
            duration_ns: SECOND,
            warmup_ns: 0,
            timeout_ns: 2 * SECOND,
            slow_ns: SECOND,
            in_flight_max: 1_000,
            coalesce_ns: 0,
            stages: Vec::new(),
            control_rate: 0.0,
            streams: vec![
                stream("new", ConnectionMode::New),
                stream("reused", ConnectionMode::Reused { connections: 4 }),
            ],
        },
        events: exec.into_iter().map(event).collect(),
        // The machine that runs the tests may be busy: this is not about the generator's lateness.
        gates: vec![Gate::FailedMax(0), Gate::LatenessP99UsMax(5_000_000)],
    }
}

/// Serves everybody, until a file appears.
fn server(broken_by: PathBuf) -> ScriptedTarget {
    ScriptedTarget::start(move |_| Act::Answer(answer(if broken_by.exists() { 500 } else { 200 }, "", "ok")))
}

fn url(server: &ScriptedTarget) -> String {
    format!("http://{}", server.address)
}

fn options(out: &Path) -> RunOptions {
    RunOptions { out: Some(out.to_owned()), quiet: true, command: vec!["test".to_owned()] }
}

#[test]
fn a_server_that_serves_passes() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path().join("broken"));
    let out = dir.path().join("run");
    assert_eq!(run(&plan(&url(&server), Some("echo hello".to_owned())), &options(&out)), ExitCode::Pass);

    let seen = RunDir::new(&out).load().unwrap();
    assert_eq!(seen.attempts.len(), 200);
    assert_eq!(Counts::of(&server.counts.answers), 200);
    assert!(seen.attempts.iter().all(|attempt| attempt.ok()));
    assert_eq!(seen.environment.target, "external");
    let [event] = seen.events.as_slice() else { panic!("one event must be recorded: {:?}", seen.events) };
    assert_eq!((event.outcome, &event.detail["output"]), (EventOutcome::Ok, &"hello".into()));
    assert!(event.at_ns <= event.started_ns && event.started_ns <= event.acked_ns);
    assert!(out.join("report.json").is_file() && out.join("plan.json").is_file());
}

#[test]
fn a_server_that_an_event_breaks_fails_the_gate() {
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken");
    let server = server(broken.clone());
    let out = dir.path().join("run");
    let command = format!("touch {}", broken.display());
    assert_eq!(run(&plan(&url(&server), Some(command)), &options(&out)), ExitCode::GateFailed);

    let seen = RunDir::new(&out).load().unwrap();
    let failed = seen.attempts.iter().filter(|attempt| attempt.status == 500).count();
    assert!(failed > 0 && failed < 200, "{failed} of 200 must have met the broken server");
    let event = &seen.events[0];
    assert!(seen.attempts.iter().all(|attempt| attempt.ok() || attempt.ended_ns >= event.started_ns));
}

#[test]
fn a_target_that_is_not_there_is_the_environment_s_fault() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let out = dir.path().join("run");
    assert_eq!(run(&plan(&format!("http://{nobody}"), None), &options(&out)), ExitCode::Environment);
    assert!(!fs::exists(out.join("report.json")).unwrap(), "what did not take place has no report");
}
