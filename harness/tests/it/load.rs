//! The load against scripted targets with known faults: what the client says is what the server did.

mod arrivals;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use harness::{
    clock::RunClock,
    drive::load::{self, HeaderNames, LoadHandle, Workload},
    observe::{
        Attempt, Background, BuyOutcome, Cause, ClosedBy, EnvironmentRecord, Observations, Phase, RunDir,
    },
    plan::{
        Arrival, Client, ConnectionMode, ExternalPlan, LoadPlan, Op, PLAN_SCHEMA_VERSION, Pace, Plan,
        RequestPlan, StreamPlan, TargetPlan,
    },
};
use tempfile::TempDir;

use crate::scripted_target::{Act, Counts, Gathering, Request, ScriptedTarget, answer};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const REUSED: ConnectionMode = ConnectionMode::Reused { connections: 4 };

pub(crate) fn get() -> Op {
    Op::Http {
        method: "GET".to_owned(),
        path: "/".to_owned(),
        headers: Vec::new(),
        body: String::new(),
        accept: Vec::new(),
        sha256: None,
    }
}

pub(crate) fn stream(connection: ConnectionMode, rate: f64, op: Op) -> StreamPlan {
    let requests = vec![RequestPlan { name: "request".to_owned(), weight: 1, op }];
    StreamPlan {
        name: "stream".to_owned(),
        client: Client::Http1,
        pace: Pace::default(),
        connection,
        rate,
        arrival: Arrival::Uniform,
        requests,
    }
}

pub(crate) fn plan(duration_ms: u64, streams: Vec<StreamPlan>) -> Plan {
    let url = "http://127.0.0.1".to_owned();
    Plan {
        schema_version: PLAN_SCHEMA_VERSION,
        scenario: "scripted".to_owned(),
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
            // Far beyond what a busy machine makes of an answer.
            timeout_ns: 10_000 * MS,
            slow_ns: 100 * MS,
            in_flight_max: 10_000,
            coalesce_ns: 0,
            stages: Vec::new(),
            control_rate: 0.0,
            streams,
        },
        events: Vec::new(),
        gates: Vec::new(),
    }
}

/// A run under way, with its folder.
pub(crate) struct Run {
    pub(crate) folder: TempDir,
    pub(crate) plan: Plan,
    pub(crate) load: LoadHandle,
}

impl Run {
    pub(crate) fn start(plan: Plan, target: &ScriptedTarget) -> Self {
        Self::start_at(plan, target.address)
    }

    pub(crate) fn start_at(plan: Plan, target: SocketAddr) -> Self {
        Self::start_as(plan, target, "target.test")
    }

    pub(crate) fn start_as(plan: Plan, target: SocketAddr, host: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder must be had");
        let workload = Workload {
            run_id: "run".to_owned(),
            tokens: vec!["token-1".to_owned(), "token-2".to_owned()],
            sale_events: 3,
            some_listed: false,
            headers: HeaderNames::reference(),
        };
        let run_dir = RunDir::new(folder.path());
        let clock = RunClock::starting_in(Duration::from_millis(50));
        let load = load::start(&plan, target, host, workload, &run_dir, clock).expect("the load must start");
        Self { folder, plan, load }
    }

    /// Waits for the end and reads everything back from disk.
    pub(crate) fn finish(self) -> Observations {
        let run_dir = RunDir::new(self.folder.path());
        let instrument = self.load.join().expect("the load must end");
        assert_eq!(instrument.gaps, Vec::<String>::new());
        run_dir.write_instrument(&instrument).expect("the instrument must be written");
        run_dir.write_plan(&self.plan).expect("the plan must be written");
        run_dir.write_events(&[]).expect("the events must be written");
        run_dir.write_environment(&environment()).expect("the environment must be written");
        run_dir.load().expect("the run must be readable")
    }
}

/// Of a run against a target that is not ours.
pub(crate) fn environment() -> EnvironmentRecord {
    EnvironmentRecord {
        run_id: "run".to_owned(),
        started_at: "2026-08-01T00:00:00Z".to_owned(),
        command: Vec::new(),
        kernel: String::new(),
        cpus: 1,
        sysctls: BTreeMap::new(),
        services: BTreeMap::new(),
        target: "external".to_owned(),
        strategy: None,
        old: None,
        new: None,
        store_read: false,
        held: None,
    }
}

/// Runs 600 requests of one stream against a script.
pub(crate) fn run(
    connection: ConnectionMode,
    script: impl Fn(&Request) -> Act + Send + Sync + 'static,
) -> Seen {
    run_plan(plan(300, vec![stream(connection, 2_000.0, get())]), script)
}

pub(crate) fn run_plan(plan: Plan, script: impl Fn(&Request) -> Act + Send + Sync + 'static) -> Seen {
    let target = ScriptedTarget::start(script);
    let observations = Run::start(plan, &target).finish();
    let counts = Arc::clone(&target.counts);
    drop(target);
    Seen { observations, counts }
}

/// What both sides saw.
pub(crate) struct Seen {
    pub(crate) observations: Observations,
    pub(crate) counts: Arc<Counts>,
}

impl Seen {
    pub(crate) fn failed(&self) -> Vec<Attempt> {
        self.observations.attempts.iter().copied().filter(|attempt| !attempt.ok()).collect()
    }

    /// How often each pair of phase and cause came, served ones included.
    pub(crate) fn endings(&self) -> HashMap<(Phase, Cause), usize> {
        let mut endings = HashMap::new();
        for attempt in &self.observations.attempts {
            *endings.entry((attempt.phase, attempt.cause)).or_default() += 1;
        }
        endings
    }

    pub(crate) fn closed_by(&self, side: ClosedBy) -> usize {
        self.observations.connections.iter().filter(|connection| connection.closed_by == side).count()
    }

    /// Every reset of the target was found, and nothing else failed; how many there were.
    #[track_caller]
    pub(crate) fn check_resets(&self) -> usize {
        self.check_books();
        let resets = Counts::of(&self.counts.resets);
        assert!(resets > 0);
        assert_eq!(self.endings().get(&(Phase::Wait, Cause::Reset)), Some(&resets));
        assert_eq!(self.failed().len(), resets);
        resets
    }

    /// What holds in every run, whatever the target does.
    pub(crate) fn check_books(&self) {
        let Observations { attempts, background } = &self.observations;
        let Background { connections, instrument, .. } = background;
        assert_eq!(attempts.len() as u64, instrument.planned);
        let ids: HashSet<u64> = attempts.iter().map(|attempt| attempt.id).collect();
        assert_eq!(ids.len(), attempts.len(), "every attempt has one record");
        for attempt in attempts.iter().filter(|attempt| attempt.sent_ns > 0) {
            assert!(attempt.intended_ns <= attempt.sent_ns, "{attempt:?}");
            assert!(attempt.sent_ns <= attempt.ended_ns, "{attempt:?}");
            let connection = connections.iter().find(|connection| connection.id == attempt.connection);
            let opened_ns = connection.map(|connection| connection.opened_ns);
            assert!(opened_ns.is_some_and(|opened_ns| opened_ns <= attempt.sent_ns), "{attempt:?}");
        }
        let carried: u64 = connections.iter().map(|connection| u64::from(connection.requests)).sum();
        let refused = attempts.iter().filter(|attempt| attempt.phase == Phase::Connect).count() as u64;
        assert!(carried <= instrument.sent && instrument.sent <= carried + refused);
    }
}

pub(crate) fn hello() -> Vec<u8> {
    answer(200, "x-seckill-process: 3\r\nx-config-generation: 7\r\n", "hello")
}

#[test]
fn nothing_wrong_is_nothing_failed() {
    for connection in [REUSED, ConnectionMode::New] {
        let seen = run(connection, |_| Act::Answer(hello()));
        seen.check_books();
        assert_eq!(seen.endings(), HashMap::from([((Phase::Done, Cause::None), 600)]));
        assert_eq!(Counts::of(&seen.counts.requests), 600);
        assert_eq!(Counts::of(&seen.counts.connections), seen.observations.connections.len());
        assert_eq!(seen.closed_by(ClosedBy::Client), seen.observations.connections.len());
        assert!(seen.observations.attempts.iter().all(|seen| (seen.process, seen.config) == (3, 7)));
    }
}

#[test]
fn a_new_connection_carries_one_attempt() {
    let seen = run(ConnectionMode::New, |_| Act::Answer(hello()));
    assert_eq!(Counts::of(&seen.counts.connections), 600);
    assert!(seen.observations.connections.iter().all(|connection| connection.requests == 1));
    assert!(seen.observations.attempts.iter().all(|attempt| !attempt.reused()));
}

/// The fault that most generators hide: the request is read, and the kept-alive connection reset.
#[test]
fn every_reset_is_found_and_none_is_made_up() {
    let seen = run(REUSED, |request| match request.on_connection {
        5 => Act::Reset,
        _ => Act::Answer(hello()),
    });
    let resets = seen.check_resets();
    assert!(seen.failed().iter().all(|attempt| attempt.connection_requests == 4));
    assert_eq!(Counts::of(&seen.counts.requests), 600, "nothing was tried twice");
    assert_eq!(seen.closed_by(ClosedBy::Server), resets);
}

#[test]
fn an_end_instead_of_an_answer() {
    let seen = run(REUSED, |request| match request.on_connection {
        5 => Act::Fin,
        _ => Act::Answer(hello()),
    });
    seen.check_books();
    let fins = Counts::of(&seen.counts.fins);
    assert!(fins > 0);
    assert_eq!(seen.endings().get(&(Phase::Wait, Cause::Eof)), Some(&fins));
    assert_eq!(seen.failed().len(), fins);
    assert!(seen.failed().iter().all(Attempt::reused));
}

/// The answer is in the socket before the reset, so it counts, whichever of them the client sees first.
/// (On a kept-alive connection the next request may come between the two, and be lost in earnest.)
#[test]
fn an_answer_with_a_reset_behind_it_is_read() {
    let seen = run(ConnectionMode::New, |_| Act::AnswerAndReset(hello()));
    seen.check_books();
    assert_eq!(seen.failed(), []);
    assert_eq!(Counts::of(&seen.counts.resets), 600);
}

#[test]
fn a_connection_closed_between_requests_fails_nobody() {
    let seen = run(REUSED, |request| match request.on_connection {
        3 => Act::AnswerAndFin(hello()),
        _ => Act::Answer(hello()),
    });
    seen.check_books();
    assert_eq!(seen.failed(), []);
    let fins = Counts::of(&seen.counts.fins);
    assert!(fins > 0);
    assert_eq!(seen.closed_by(ClosedBy::Server), fins);
}

#[test]
fn an_announced_close_is_the_servers() {
    let seen = run(REUSED, |_| Act::Answer(answer(200, "connection: close\r\n", "bye")));
    seen.check_books();
    assert_eq!(seen.failed(), []);
    assert_eq!(seen.closed_by(ClosedBy::Server), 600);
    assert!(seen.observations.attempts.iter().all(|attempt| !attempt.reused()));
}

/// Answers that are wrong in themselves: what the client must say of each.
#[test]
fn wrong_answers() {
    let check = |act: fn() -> Act, phase, cause, status| {
        for connection in [REUSED, ConnectionMode::New] {
            let seen = run(connection, move |_| act());
            seen.check_books();
            assert_eq!(seen.endings(), HashMap::from([((phase, cause), 600)]));
            assert!(seen.observations.attempts.iter().all(|attempt| attempt.status == status));
        }
    };
    let short = || Act::AnswerAndFin(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello".to_vec());
    check(short, Phase::Body, Cause::ShortBody, 200);
    let half_a_head = || Act::AnswerAndFin(b"HTTP/1.1 200 OK\r\ncont".to_vec());
    check(half_a_head, Phase::Body, Cause::Eof, 0);
    let half_a_body = || Act::AnswerAndReset(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello".to_vec());
    check(half_a_body, Phase::Body, Cause::Reset, 200);
    let not_http = || Act::Answer(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec());
    check(not_http, Phase::Body, Cause::Parse, 0);
    let server_error = || Act::Answer(answer(500, "", "oh no"));
    check(server_error, Phase::Validate, Cause::BadStatus, 500);
    let too_much = || Act::Answer([hello(), b"more".to_vec()].concat());
    check(too_much, Phase::Validate, Cause::Surplus, 200);
}

#[test]
fn answers_in_every_shape_are_read() {
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec();
    let until_end = b"HTTP/1.1 200 OK\r\n\r\nall of it".to_vec();
    let in_pieces = |bytes: &[u8]| Act::Pieces(bytes.chunks(7).map(<[u8]>::to_vec).collect());
    let large = answer(200, "", &"x".repeat(300_000));
    let seen = run(REUSED, move |request| match request.on_connection % 5 {
        1 => Act::Answer(chunked.clone()),
        2 => in_pieces(&chunked),
        3 => in_pieces(&hello()),
        4 if request.at_server.is_multiple_of(10) => Act::Answer(large.clone()),
        _ if request.at_server.is_multiple_of(25) => Act::AnswerAndFin(until_end.clone()),
        _ => Act::Answer(hello()),
    });
    seen.check_books();
    assert_eq!(seen.failed(), []);
}

/// What nobody asked for spoils the answer that it came behind, also when that was whole already.
#[test]
fn bytes_on_an_idle_connection_are_the_fault_of_the_attempt_before() {
    let twice = || Act::Pieces(vec![hello(), hello()]);
    let seen = run_plan(plan(300, vec![stream(REUSED, 100.0, get())]), move |_| twice());
    seen.check_books();
    // The last ones may find that the load is over.
    let surplus = seen.endings()[&(Phase::Validate, Cause::Surplus)];
    assert!(surplus > 20);
    assert_eq!(seen.failed().len(), surplus);
    assert_eq!(seen.closed_by(ClosedBy::Server), surplus);
}

/// A server may say so before it closes a connection that nobody uses (RFC 9110 section 15.5.9).
#[test]
fn a_farewell_on_an_idle_connection_fails_nobody() {
    let farewell = answer(408, "connection: close\r\n", "");
    let seen =
        run_plan(plan(300, vec![stream(REUSED, 100.0, get())]), move |request| match request.at_server % 2 {
            0 => Act::Pieces(vec![hello(), farewell.clone()]),
            _ => Act::Answer(hello()),
        });
    seen.check_books();
    assert!(seen.closed_by(ClosedBy::Server) > 10);
    let together = seen.endings().get(&(Phase::Validate, Cause::Surplus)).copied().unwrap_or_default();
    assert_eq!(seen.failed().len(), together);
}

#[test]
fn silence_beyond_the_time_limit() {
    let mut plan = plan(100, vec![stream(REUSED, 500.0, get())]);
    plan.load.timeout_ns = 50 * MS;
    let seen = run_plan(plan, |_| Act::Silence);
    seen.check_books();
    assert_eq!(seen.endings(), HashMap::from([((Phase::Wait, Cause::Timeout), 50)]));
    assert_eq!(seen.closed_by(ClosedBy::Client), seen.observations.connections.len());
    assert!(seen.observations.attempts.iter().all(|attempt| attempt.ended_ns - attempt.sent_ns >= 50 * MS));
}

/// The server answers nobody until all have asked. A client that waited for an answer before it sent the
/// next request would never get there.
#[test]
fn sending_never_waits_for_answers() {
    let gathering = Gathering::default();
    let seen = run(REUSED, move |_| {
        gathering.wait_for(600);
        Act::Answer(hello())
    });
    seen.check_books();
    assert_eq!(seen.failed(), []);
    assert_eq!(seen.observations.instrument.in_flight_max, 600);
    assert_eq!(seen.observations.connections.len(), 600, "one more for each attempt beyond the pool");
}

#[test]
fn attempts_beyond_the_limit_in_flight_are_the_instruments_fault() {
    let mut plan = plan(300, vec![stream(REUSED, 2_000.0, get())]);
    plan.load.in_flight_max = 5;
    let gathering = Arc::new(Gathering::default());
    let at_server = Arc::clone(&gathering);
    let target = ScriptedTarget::start(move |_| {
        at_server.wait_for(6);
        Act::Answer(hello())
    });
    let run = Run::start(plan, &target);
    // Five wait at the server; with the five hundred after them unsent, the sixth lets them go.
    wait_until(|| run.load.progress().failed >= 500);
    gathering.wait_for(6);
    let seen = Seen { observations: run.finish(), counts: Arc::clone(&target.counts) };
    seen.check_books();
    let unsent = seen.endings()[&(Phase::Send, Cause::InFlightMax)];
    assert_eq!(seen.failed().len(), unsent);
    assert_eq!(seen.observations.instrument.in_flight_max, 5);
    assert_eq!(seen.observations.instrument.sent, Counts::of(&target.counts.requests) as u64);
    assert_eq!(seen.observations.instrument.planned, 600);
}

#[test]
fn a_server_that_goes_away_refuses_and_comes_back() {
    for connection in [REUSED, ConnectionMode::New] {
        let target = ScriptedTarget::start(|_| Act::Answer(hello()));
        let address = target.address;
        let run = Run::start(plan(60_000, vec![stream(connection, 1_000.0, get())]), &target);
        wait_until(|| run.load.progress().ok >= 50);
        drop(target);
        wait_until(|| run.load.progress().failed >= 100);
        let target = ScriptedTarget::start_at(address, |_| Act::Answer(hello()));
        let ok = run.load.progress().ok;
        wait_until(|| run.load.progress().ok >= ok + 50);
        run.load.stop();
        let seen = Seen { observations: run.finish(), counts: Arc::clone(&target.counts) };
        seen.check_books();
        let refused = seen.endings()[&(Phase::Connect, Cause::Refused)];
        assert!(refused > 0);
        assert_eq!(seen.closed_by(ClosedBy::Unopened), refused);
        // What was under way when the server left was cut off; what was when the load was cut short has
        // half a second, which a busy machine may need.
        let ends = [Cause::Refused, Cause::Reset, Cause::Eof, Cause::Timeout];
        let other = seen.failed().into_iter().find(|attempt| !ends.contains(&attempt.cause));
        assert_eq!(other, None);
    }
}

/// A load without any target: every attempt is one record, refused on a fresh connection.
#[test]
fn nobody_listens() {
    let target = ScriptedTarget::start(|_| Act::Silence);
    let address = target.address;
    drop(target);
    let folder = tempfile::tempdir().expect("a folder must be had");
    let workload = Workload { run_id: "run".to_owned(), ..Workload::default() };
    let plan = plan(100, vec![stream(REUSED, 1_000.0, get()), stream(ConnectionMode::New, 1_000.0, get())]);
    let clock = RunClock::starting_in(Duration::ZERO);
    let load = load::start(&plan, address, "x", workload, &RunDir::new(folder.path()), clock)
        .expect("the load must start");
    let run = Run { folder, plan, load };
    let seen = Seen { observations: run.finish(), counts: Arc::default() };
    seen.check_books();
    assert_eq!(seen.endings(), HashMap::from([((Phase::Connect, Cause::Refused), 200)]));
}

#[test]
fn purchases_are_a_history() {
    let order = |request: &Request| format!("location: /orders/id-{}\r\n", request.at_server);
    let requests = [("buy", Op::Buy), ("order", Op::Order), ("info", Op::Info), ("list", Op::List)]
        .map(|(name, op)| RequestPlan { name: name.to_owned(), weight: 1, op });
    let mixed = StreamPlan { requests: requests.to_vec(), ..stream(REUSED, 1_000.0, get()) };
    let seen = run_plan(plan(400, vec![mixed]), move |request| {
        let buys = request.head.starts_with("POST /orders ");
        Act::Answer(match request.at_server % 5 {
            _ if buys != request.body.starts_with("{\"event\":") => answer(400, "", "{}"),
            0 if buys => answer(410, "", "{}"),
            1 if buys => answer(500, "", "{}"),
            _ if buys => answer(201, &order(request), "{}"),
            2 if request.head.starts_with("GET /orders/") => answer(404, "", "{}"),
            _ => answer(200, "", "{}"),
        })
    });
    seen.check_books();
    let attempts: HashMap<u64, &Attempt> =
        seen.observations.attempts.iter().map(|attempt| (attempt.id, attempt)).collect();
    let buys = &seen.observations.buys;
    assert!(buys.len() >= 60, "{}", buys.len());
    let keys: HashSet<&str> = buys.iter().map(|buy| buy.key.as_str()).collect();
    assert_eq!(keys.len(), buys.len(), "every key is used once");
    for buy in buys {
        let attempt = attempts[&buy.attempt];
        assert_eq!((attempt.sent_ns, attempt.ended_ns), (buy.invoked_ns, buy.ended_ns));
        match (&buy.outcome, attempt.status) {
            (BuyOutcome::Acknowledged { order }, 201) => {
                assert!(order.to_string().starts_with("id-"), "{order}");
            }
            (BuyOutcome::Rejected { status: 410 }, 410) => assert!(attempt.ok()),
            (BuyOutcome::Unknown, 500) => assert_eq!(attempt.cause, Cause::BadStatus),
            other => panic!("{other:?} of {attempt:?}"),
        }
    }
    let not_found = seen.failed().iter().filter(|attempt| attempt.status == 404).count();
    assert!(not_found > 0, "a 404 for an acknowledged order is a failure");
}

#[test]
fn a_load_can_be_cut_short() {
    let target = ScriptedTarget::start(|_| Act::Answer(hello()));
    let run = Run::start(plan(3_600_000, vec![stream(REUSED, 1_000.0, get())]), &target);
    wait_until(|| run.load.progress().ok >= 50);
    run.load.stop();
    let seen = Seen { observations: run.finish(), counts: Arc::clone(&target.counts) };
    seen.check_books();
    // A busy machine may need longer than the half second for what was under way.
    assert!(seen.failed().iter().all(|attempt| attempt.cause == Cause::Timeout));
    assert!(seen.observations.instrument.interrupted);
    assert_eq!(seen.observations.instrument.sent, Counts::of(&target.counts.requests) as u64);
}

/// Waits for a condition, and fails when it does not come about in half a minute.
pub(crate) fn wait_until(mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(30), "the condition did not come about");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}
