//! The streams that do not speak HTTP/1.1 by hand, against scripted targets with known faults.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

use harness::{
    observe::{Attempt, BuyOutcome, Cause, ClosedBy, Observations, Phase},
    plan::{Client, ConnectionMode, ExternalPlan, Op, Plan, RequestPlan, StreamPlan, TargetPlan, TlsPlan},
    tls,
};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    load::{Run, get, plan, stream, wait_until},
    scripted_http2::{Act, Counts, INTERNAL_ERROR, REFUSED_STREAM, Request, ScriptedHttp2},
    scripted_target::{self, ScriptedTarget},
};

const MS: u64 = 1_000_000;
const REUSED: ConnectionMode = ConnectionMode::Reused { connections: 2 };
const SERVED: (Phase, Cause) = (Phase::Done, Cause::None);

fn of(client: Client, connection: ConnectionMode, rate: f64, op: Op) -> StreamPlan {
    StreamPlan { client, ..stream(connection, rate, op) }
}

fn endings(seen: &Observations) -> HashMap<(Phase, Cause), usize> {
    let mut endings = HashMap::new();
    for attempt in &seen.attempts {
        *endings.entry((attempt.phase, attempt.cause)).or_default() += 1;
    }
    endings
}

fn closed_by(seen: &Observations, side: ClosedBy) -> usize {
    seen.connections.iter().filter(|connection| connection.closed_by == side).count()
}

/// Runs 300 requests over HTTP/2 against a script.
fn run(
    connection: ConnectionMode,
    script: impl Fn(&Request) -> Act + Send + Sync + 'static,
) -> (Observations, Arc<Counts>) {
    run_plan(plan(300, vec![of(Client::Http2, connection, 1_000.0, get())]), script)
}

fn run_plan(
    plan: Plan,
    script: impl Fn(&Request) -> Act + Send + Sync + 'static,
) -> (Observations, Arc<Counts>) {
    let target = ScriptedHttp2::start(0, script);
    let seen = Run::start_at(plan, target.address).finish();
    check_books(&seen);
    (seen, Arc::clone(&target.counts))
}

/// What holds in every run over HTTP/2, whatever the target does.
fn check_books(seen: &Observations) {
    assert_eq!(seen.attempts.len() as u64, seen.instrument.planned);
    let mut carried = HashMap::new();
    for attempt in &seen.attempts {
        assert!(attempt.intended_ns <= attempt.sent_ns && attempt.sent_ns <= attempt.ended_ns, "{attempt:?}");
        if attempt.phase > Phase::Tls || attempt.ok() {
            *carried.entry(attempt.connection).or_default() += 1;
        }
    }
    for connection in &seen.connections {
        assert_eq!(carried.remove(&connection.id).unwrap_or(0), connection.requests, "{connection:?}");
        assert!(connection.opened_ns <= connection.closed_ns);
    }
    assert!(carried.is_empty(), "attempts on connections without a record: {carried:?}");
}

#[test]
fn many_requests_share_a_connection_or_have_one_each() {
    for (connection, connections) in [(REUSED, 2), (ConnectionMode::New, 300)] {
        let (seen, counts) = run(connection, |_| Act::Answer(5));
        assert_eq!(endings(&seen), HashMap::from([(SERVED, 300)]));
        assert_eq!(Counts::of(&counts.requests), 300);
        assert_eq!(Counts::of(&counts.connections), connections);
        assert_eq!(closed_by(&seen, ClosedBy::Client), connections);
        assert!(seen.attempts.iter().all(|attempt| attempt.process == 3 && attempt.first_byte_ns > 0));
        let fresh = seen.attempts.iter().filter(|attempt| !attempt.reused()).count();
        assert_eq!(fresh, connections);
    }
}

/// What the server does to one request in five, and what the client must say of it. Each is told to nobody
/// but that request, so exactly those fail.
#[test]
fn every_fault_of_a_request_is_found_and_none_is_made_up() {
    let check = |connection, act, phase, cause, closed| {
        let (seen, counts) = run(connection, move |request| match request.at_server % 5 {
            0 => act,
            _ => Act::Answer(5),
        });
        let spoiled = Counts::of(&counts.spoiled);
        assert_eq!(spoiled, 60);
        assert_eq!(endings(&seen), HashMap::from([(SERVED, 240), ((phase, cause), 60)]), "{act:?}");
        assert_eq!(Counts::of(&counts.requests), 300, "nothing was tried twice");
        assert_eq!(closed_by(&seen, ClosedBy::Server), closed, "{act:?}");
    };
    for connection in [REUSED, ConnectionMode::New] {
        check(connection, Act::Error, Phase::Validate, Cause::BadStatus, 0);
        check(connection, Act::ShortBody, Phase::Body, Cause::ShortBody, 0);
        check(connection, Act::ResetStream(REFUSED_STREAM), Phase::Wait, Cause::RefusedStream, 0);
        check(connection, Act::ResetStream(INTERNAL_ERROR), Phase::Wait, Cause::StreamReset, 0);
    }
    check(ConnectionMode::New, Act::Abandon, Phase::Wait, Cause::Goaway, 60);
    check(ConnectionMode::New, Act::Fin, Phase::Wait, Cause::Eof, 60);
    check(ConnectionMode::New, Act::Reset, Phase::Wait, Cause::Reset, 60);
    check(ConnectionMode::New, Act::Garbage, Phase::Wait, Cause::Parse, 60);
}

/// The streams after the last one that the server names are lost, those before it are not.
#[test]
fn an_abandoned_connection_fails_what_came_after() {
    let (seen, counts) = run(REUSED, |request| match request.on_connection {
        20 => Act::Abandon,
        _ => Act::Answer(5),
    });
    let spoiled = Counts::of(&counts.spoiled);
    assert!(spoiled > 0);
    let goaway = (Phase::Wait, Cause::Goaway);
    assert_eq!(endings(&seen), HashMap::from([(SERVED, 300 - spoiled), (goaway, spoiled)]));
}

/// A server that leaves in two steps answers all that was sent before its second one: nobody may fail. The
/// requests come in one burst, so that many are begun when the client learns of it.
#[test]
fn a_server_that_leaves_in_order_fails_nobody() {
    let burst = plan(20, vec![of(Client::Http2, REUSED, 100_000.0, get())]);
    let (seen, counts) = run_plan(burst, |request| match request.on_connection {
        10 => Act::AnswerAndLeave,
        _ => Act::Answer(5),
    });
    assert_eq!(endings(&seen), HashMap::from([(SERVED, 2_000)]));
    assert_eq!(Counts::of(&counts.requests), 2_000);
    assert!(closed_by(&seen, ClosedBy::Server) > 0);
}

#[test]
fn a_full_connection_has_another_beside_it() {
    let target = ScriptedHttp2::start(10, |_| Act::Silence);
    let mut plan = plan(100, vec![of(Client::Http2, REUSED, 1_000.0, get())]);
    plan.load.timeout_ns = 500 * MS;
    let seen = Run::start_at(plan, target.address).finish();
    check_books(&seen);
    assert_eq!(endings(&seen), HashMap::from([((Phase::Wait, Cause::Timeout), 100)]));
    assert_eq!(Counts::of(&target.counts.requests), 100, "sending never waits for answers");
    assert_eq!(seen.instrument.in_flight_max, 100);
    assert!(seen.attempts.iter().all(|attempt| attempt.ended_ns - attempt.sent_ns >= 500 * MS));
}

#[test]
fn attempts_beyond_the_limit_in_flight_are_the_instruments_fault() {
    let target = ScriptedHttp2::start(0, |_| Act::Silence);
    let mut plan = plan(100, vec![of(Client::Http2, REUSED, 1_000.0, get())]);
    plan.load.timeout_ns = 2_000 * MS;
    plan.load.in_flight_max = 5;
    let seen = Run::start_at(plan, target.address).finish();
    let unsent = (Phase::Send, Cause::InFlightMax);
    assert_eq!(endings(&seen), HashMap::from([(unsent, 95), ((Phase::Wait, Cause::Timeout), 5)]));
    assert_eq!((seen.instrument.planned, seen.instrument.sent, seen.instrument.in_flight_max), (100, 5, 5));
}

#[test]
fn nobody_listens() {
    let target = ScriptedTarget::start(|_| scripted_target::Act::Silence);
    let address = target.address;
    drop(target);
    for (client, connection) in
        [(Client::Http2, REUSED), (Client::Http2, ConnectionMode::New), (Client::Reqwest, REUSED)]
    {
        let seen = Run::start_at(plan(100, vec![of(client, connection, 1_000.0, get())]), address).finish();
        assert_eq!(endings(&seen), HashMap::from([((Phase::Connect, Cause::Refused), 100)]), "{client:?}");
    }
}

#[test]
fn large_bodies_go_both_ways() {
    let body = "y".repeat(300_000);
    let sha256 = Sha256::digest(vec![b'x'; 400_000]).iter().map(|byte| format!("{byte:02x}")).collect();
    let upload = |sha256| Op::Http {
        method: "POST".to_owned(),
        path: "/upload".to_owned(),
        headers: Vec::new(),
        body: body.clone(),
        accept: Vec::new(),
        sha256: Some(sha256),
    };
    let streams = vec![
        of(Client::Http2, REUSED, 100.0, upload(sha256)),
        of(Client::Http2, REUSED, 100.0, upload("00".repeat(32))),
    ];
    let (seen, _) = run_plan(plan(200, streams), |request| match request.body_bytes {
        300_000 => Act::Answer(400_000),
        _ => Act::Error,
    });
    let wrong = (Phase::Validate, Cause::WrongDigest);
    assert_eq!(endings(&seen), HashMap::from([(SERVED, 20), (wrong, 20)]));
}

#[test]
fn a_load_can_be_cut_short() {
    let target = ScriptedHttp2::start(0, |_| Act::Silence);
    let run = Run::start_at(plan(3_600_000, vec![of(Client::Http2, REUSED, 1_000.0, get())]), target.address);
    wait_until(|| Counts::of(&target.counts.requests) >= 20);
    run.load.stop();
    let seen = run.finish();
    check_books(&seen);
    assert!(seen.instrument.interrupted);
    assert!(seen.attempts.iter().all(|attempt| attempt.cause == Cause::Timeout));
    assert_eq!(seen.instrument.sent, Counts::of(&target.counts.requests) as u64);
}

/// One schedule for streams of every client: each has its attempts, on the same clock and in the same log.
#[test]
fn clients_of_every_kind_in_one_run() {
    let target = ScriptedTarget::start(|request| {
        scripted_target::Act::Answer(match request.head.starts_with("POST /orders ") {
            true => scripted_target::answer(201, "location: /orders/id-1\r\n", "{}"),
            false => scripted_target::answer(200, "x-seckill-process: 3\r\n", "hello"),
        })
    });
    let requests = [("buy", Op::Buy), ("order", Op::Order), ("info", Op::Info), ("list", Op::List)]
        .map(|(name, op)| RequestPlan { name: name.to_owned(), weight: 1, op });
    let streams =
        [(Client::Http1, REUSED), (Client::Reqwest, REUSED), (Client::Reqwest, ConnectionMode::New)];
    let streams = streams.map(|(client, connection)| StreamPlan {
        requests: requests.to_vec(),
        ..of(client, connection, 500.0, get())
    });
    let seen = Run::start_at(plan(400, streams.to_vec()), target.address).finish();
    assert_eq!(endings(&seen), HashMap::from([(SERVED, 600)]));
    for stream in 0..3 {
        let attempts: Vec<&Attempt> =
            seen.attempts.iter().filter(|attempt| attempt.stream == stream).collect();
        assert_eq!(attempts.len(), 200);
        assert!(attempts.iter().any(|attempt| attempt.process == 3));
    }
    assert_eq!((seen.instrument.planned, seen.instrument.sent), (600, 600));
    assert!(seen.buys.len() > 100);
    let acknowledged = |outcome: &BuyOutcome| matches!(outcome, BuyOutcome::Acknowledged { .. });
    assert!(seen.buys.iter().all(|buy| acknowledged(&buy.outcome)));
}

/// What is left after the library's own retries is told as what it is.
#[test]
fn faults_that_a_library_does_not_hide() {
    use scripted_target::{Act, answer};
    let check = |act: fn() -> Act, phase, cause| {
        let target = ScriptedTarget::start(move |_| act());
        let streams = vec![of(Client::Reqwest, ConnectionMode::New, 500.0, get())];
        let seen = Run::start_at(plan(100, streams), target.address).finish();
        assert_eq!(endings(&seen), HashMap::from([((phase, cause), 50)]));
        assert!(seen.attempts.iter().all(|attempt| attempt.connection == 0), "it does not tell");
    };
    check(|| Act::Fin, Phase::Wait, Cause::Eof);
    check(|| Act::Reset, Phase::Wait, Cause::Reset);
    check(|| Act::Answer(answer(503, "", "")), Phase::Validate, Cause::BadStatus);
    check(|| Act::Answer(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()), Phase::Wait, Cause::Parse);
    let short = || Act::AnswerAndFin(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello".to_vec());
    check(short, Phase::Body, Cause::ShortBody);
}

/// A server of HTTPS that refuses every twentieth stream of HTTP/2, and with it the choice of who retries.
struct Refusing {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    over: CancellationToken,
    thread: JoinHandle<()>,
    ca: TempDir,
}

impl Refusing {
    fn start(alpn: &str) -> Self {
        tls::provide();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])
            .expect("the scripted server must serve");
        let ca = tempfile::tempdir().expect("the scripted server must serve");
        fs::write(ca.path().join("ca.pem"), made.cert.pem()).expect("the scripted server must serve");
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let config = ServerConfig::builder().with_no_client_auth();
        let mut config = config
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("the scripted server must serve");
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("the scripted server must serve");
        listener.set_nonblocking(true).expect("the scripted server must serve");
        let (address, requests) =
            (listener.local_addr().expect("the scripted server must serve"), Arc::new(AtomicUsize::new(0)));
        let over = CancellationToken::new();
        let (acceptor, counted, stop) =
            (TlsAcceptor::from(Arc::new(config)), Arc::clone(&requests), over.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("the scripted server must serve");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("the scripted server must serve");
                let mut connections = JoinSet::new();
                while let Some(Ok((socket, _))) = stop.run_until_cancelled(listener.accept()).await {
                    connections.spawn(refuse(acceptor.clone(), socket, Arc::clone(&counted)));
                }
            });
        });
        Self { address, requests, over, thread, ca }
    }

    /// What a client sees of it in 200 requests.
    fn load(&self, client: Client, ca: Option<&Path>) -> Observations {
        let mut plan = plan(200, vec![of(client, REUSED, 1_000.0, get())]);
        plan.target = TargetPlan::External(ExternalPlan {
            url: "https://localhost".to_owned(),
            tls: Some(TlsPlan { ca: ca.map(Path::to_owned) }),
            process_header: None,
            config_header: None,
        });
        Run::start_as(plan, self.address, &format!("localhost:{}", self.address.port())).finish()
    }
}

async fn refuse(acceptor: TlsAcceptor, socket: TcpStream, requests: Arc<AtomicUsize>) {
    // Whoever does not trust us goes away here.
    let Ok(stream) = acceptor.accept(socket).await else { return };
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        if (requests.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(20) {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
        } else {
            respond.send_response(http::Response::new(()), true).expect("the scripted server must serve");
        }
    }
}

/// The strict client tells every refusal; the library repeats the request by itself, and its user sees none.
#[test]
fn a_library_hides_what_a_strict_client_tells() {
    let server = Refusing::start("h2");
    let ca = server.ca.path().join("ca.pem");
    let requests = || server.requests.swap(0, Ordering::SeqCst);
    let refused = (Phase::Wait, Cause::RefusedStream);
    let strict = server.load(Client::Http2, Some(&ca));
    assert_eq!(endings(&strict), HashMap::from([(SERVED, 190), (refused, 10)]));
    assert_eq!(requests(), 200, "nothing was tried twice");
    let library = server.load(Client::Reqwest, Some(&ca));
    assert_eq!(endings(&library), HashMap::from([(SERVED, 200)]));
    assert_eq!(requests(), 210);
    // No check of the certificate when none is wanted, and no connection when it is another.
    let anyone = server.load(Client::Http2, None);
    assert_eq!(endings(&anyone)[&SERVED], 190);
    let other = Refusing::start("h2");
    for client in [Client::Http2, Client::Reqwest] {
        let seen = server.load(client, Some(&other.ca.path().join("ca.pem")));
        assert_eq!(endings(&seen), HashMap::from([((Phase::Tls, Cause::Tls), 200)]), "{client:?}");
    }
    let old = Refusing::start("http/1.1");
    let seen = old.load(Client::Http2, None);
    assert_eq!(endings(&seen), HashMap::from([((Phase::Tls, Cause::Tls), 200)]), "nobody speaks h2");
    for server in [server, other, old] {
        server.over.cancel();
        server.thread.join().unwrap();
    }
}
