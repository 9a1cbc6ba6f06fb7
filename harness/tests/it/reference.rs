//! Whole runs against our own server, built by the harness itself: swapped, refused, killed.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use harness::{
    cli::RunOptions,
    exit::ExitCode,
    observe::{EventOutcome, Observations, RunDir},
    plan::{
        Action, Arrival, Client, ConnectionMode, EventPlan, Feeds, Gate, LoadPlan, Op, PLAN_SCHEMA_VERSION,
        Pace, Plan, ReferencePlan, RequestPlan, ServicesPlan, StreamPlan, TargetPlan,
    },
    run::run,
};

const MS: u64 = 1_000_000;

fn plan(duration_ms: u64, events: Vec<(u64, Action)>) -> Plan {
    let request = |name: &str, op| RequestPlan { name: name.to_owned(), weight: 1, op };
    let stream = |name: &str, client, connection| StreamPlan {
        name: name.to_owned(),
        client,
        pace: Pace::default(),
        connection,
        rate: 100.0,
        arrival: Arrival::Uniform,
        requests: vec![
            request("list", Op::List),
            request("buy", Op::Buy),
            request("order", Op::Order),
            request("long", Op::Long),
        ],
    };
    let event =
        |(index, (at_ms, action))| EventPlan { id: format!("event-{index}"), at_ns: at_ms * MS, action };
    Plan {
        schema_version: PLAN_SCHEMA_VERSION,
        scenario: "test/reference".to_owned(),
        description: "our own server".to_owned(),
        seed: 1,
        target: TargetPlan::Reference(ReferencePlan {
            strategy: "handoff-live".to_owned(),
            old: None,
            new: None,
            users: 20,
            sale_events: 2,
            stock: 100_000,
            limit_per_user: 100_000,
            faults: Vec::new(),
            // Short, for the binary that never becomes ready.
            upgrade: BTreeMap::from([("start_timeout_ms".to_owned(), 3_000)]),
            blacklist: 2,
            listed: 0,
            reload: Feeds::new(),
            services: ServicesPlan::default(),
        }),
        load: LoadPlan {
            duration_ns: duration_ms * MS,
            warmup_ns: 0,
            timeout_ns: 5_000 * MS,
            // The machine that runs the tests may be busy: this is not about being on time.
            slow_ns: 4_000 * MS,
            in_flight_max: 1_000,
            coalesce_ns: 0,
            stages: Vec::new(),
            control_rate: 0.0,
            streams: vec![
                stream("new", Client::Http1, ConnectionMode::New),
                stream("reused", Client::Http1, ConnectionMode::Reused { connections: 4 }),
                stream("http2", Client::Http2, ConnectionMode::Reused { connections: 2 }),
                stream("library", Client::Reqwest, ConnectionMode::Reused { connections: 4 }),
            ],
        },
        events: events.into_iter().enumerate().map(event).collect(),
        gates: vec![Gate::FailedMax(0), Gate::LatenessP99UsMax(4_000_000)],
    }
}

fn run_in(folder: &Path, plan: &Plan) -> (ExitCode, Observations) {
    let out = folder.join("run");
    let options = RunOptions { out: Some(out.clone()), quiet: true, command: vec!["test".to_owned()] };
    let code = run(plan, &options);
    (code, RunDir::new(out).load().expect("the run must be readable"))
}

/// No process of this machine works in, or runs from, the folder of the run.
fn assert_nothing_left(folder: &Path) {
    let folder = folder.canonicalize().expect("the folder must exist");
    for entry in fs::read_dir("/proc").expect("/proc must be readable").flatten() {
        for link in ["exe", "cwd"] {
            let path = fs::read_link(entry.path().join(link)).unwrap_or_default();
            assert!(!path.starts_with(&folder), "{:?} is left: {link} is {path:?}", entry.file_name());
        }
    }
}

/// A file that is executable, whatever is in it.
fn executable(path: PathBuf, content: &str) -> Option<PathBuf> {
    fs::write(&path, content).expect("the file must be written");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("its mode must be set");
    Some(path)
}

#[test]
fn swaps_and_bad_binaries_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let upgrade = || Action::Upgrade { binary: None, expect_ok: true };
    let bad = |binary| Action::Upgrade { binary, expect_ok: false };
    let events = vec![
        (200, upgrade()),
        (600, bad(Some(at("missing")))),
        (700, bad(executable(at("garbage"), "not a program"))),
        (800, bad(executable(at("exits"), "#!/bin/sh\nexit 3\n"))),
        (900, bad(executable(at("hangs"), "#!/bin/sh\nexec sleep 600\n"))),
        (4_200, upgrade()),
    ];
    let (code, seen) = run_in(dir.path(), &plan(5_500, events));

    let outcomes: Vec<_> = seen.events.iter().map(|event| (event.outcome, event.as_expected)).collect();
    let (ok, failed) = ((EventOutcome::Ok, true), (EventOutcome::Failed, true));
    assert_eq!(outcomes, [ok, failed, failed, failed, failed, ok], "{:#?}", seen.events);
    assert_eq!(seen.attempts.iter().filter(|attempt| !attempt.ok()).count(), 0);
    assert_eq!(code, ExitCode::Pass);
    // Two swaps: the answers name three processes, and the orders of all of them are stored.
    assert_eq!(seen.attempts.iter().map(|attempt| attempt.process).max(), Some(3));
    assert!(seen.environment.store_read && !seen.orders.is_empty() && seen.stock.len() == 2);
    let last = &seen.events[5].detail;
    assert!(last["serving"]["version"] == "7" && last["serving"]["pid"].is_u64(), "{last}");
    assert!(at("run/server.log").is_file() && !at("run/work").exists());
    assert_nothing_left(dir.path());
}

#[test]
fn a_killed_server_is_its_own_fault_and_its_orders_are_still_read() {
    let dir = tempfile::tempdir().unwrap();
    let kill = Action::Signal { signal: "KILL".to_owned(), pid_file: None };
    let (code, seen) = run_in(dir.path(), &plan(1_500, vec![(500, kill)]));
    assert_eq!(seen.events[0].outcome, EventOutcome::Ok, "{:?}", seen.events[0].detail);
    assert!(seen.attempts.iter().any(|attempt| !attempt.ok()));
    assert!(seen.environment.store_read && !seen.orders.is_empty());
    assert_eq!(code, ExitCode::GateFailed);
    assert_nothing_left(dir.path());
}

/// The scenario of this repository: standing still is slow, from each request's intended time, and nothing
/// else. The truth is in the events: between the two signals the process did not run.
#[test]
fn a_frozen_server_is_a_brownout_and_loses_nothing() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let plan = harness::scenario::load("fault/frozen", project, &[]).unwrap().plan(1);
    let dir = tempfile::tempdir().unwrap();
    let (code, seen) = run_in(dir.path(), &plan);
    let [stop, go_on] = seen.events.as_slice() else { panic!("two events: {:?}", seen.events) };
    assert!(stop.outcome == EventOutcome::Ok && go_on.outcome == EventOutcome::Ok, "{:?}", seen.events);
    let stood_ns = go_on.started_ns - stop.acked_ns;
    let gap_ns = 1_000 * MS / 100;
    let analysis = harness::analyze::analyze(&seen);
    assert_eq!((analysis.requests.all.failed, analysis.connections.reused.closed_by_server), (0, 0));
    // A signal takes a moment to arrive; nothing but the slow limit is asked of it.
    assert!(analysis.downtime.brownout_ns + gap_ns + plan.load.slow_ns >= stood_ns, "{stood_ns}");
    // A machine that others use may make the harness doubt itself, and nothing else.
    assert!([ExitCode::Pass, ExitCode::Inconclusive].contains(&code), "{code:?}");
    assert_nothing_left(dir.path());
}
