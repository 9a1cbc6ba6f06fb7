//! The load over TLS: what is lost is found as without it, and what goes wrong in a handshake is told apart.

use std::{
    collections::HashMap,
    fs,
    io::Write as _,
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use harness::{
    observe::{Cause, ClosedBy, Phase},
    plan::{ConnectionMode, Pace, Plan, StreamPlan, TargetPlan, TlsPlan},
    tls,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use socket2::SockRef;
use tempfile::TempDir;

use crate::{
    load::{MS, REUSED, Run, Seen, get, hello, plan, stream},
    scripted_target::{Act, Counts, Request, ScriptedTarget, answer},
};

/// A server's certificate for the name that the load asks for, and the file that trusts it.
struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    folder: TempDir,
}

impl Identity {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["target.test".to_owned()])
            .expect("a certificate must be made");
        let folder = tempfile::tempdir().expect("a folder must be had");
        fs::write(folder.path().join("ca.pem"), made.cert.pem()).expect("a file must be written");
        Self {
            certificate: made.cert.der().clone(),
            key: PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into(),
            folder,
        }
    }

    fn server(&self) -> ServerConfig {
        tls::provide();
        let builder = ServerConfig::builder().with_no_client_auth();
        let mut config = builder
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .expect("the key must fit");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    }

    fn trusted(&self) -> TlsPlan {
        TlsPlan { ca: Some(self.folder.path().join("ca.pem")) }
    }
}

fn plan_with(tls: TlsPlan, duration_ms: u64, streams: Vec<StreamPlan>) -> Plan {
    let mut plan = plan(duration_ms, streams);
    if let TargetPlan::External(external) = &mut plan.target {
        external.tls = Some(tls);
    }
    plan
}

/// Sixty attempts over TLS.
fn run(connection: ConnectionMode, script: impl Fn(&Request) -> Act + Send + Sync + 'static) -> Seen {
    run_for(300, connection, script)
}

/// Two hundred attempts a second.
fn run_for(
    duration_ms: u64,
    connection: ConnectionMode,
    script: impl Fn(&Request) -> Act + Send + Sync + 'static,
) -> Seen {
    let identity = Identity::new();
    let target = ScriptedTarget::start_tls(identity.server(), script);
    let plan = plan_with(identity.trusted(), duration_ms, vec![stream(connection, 200.0, get())]);
    let observations = Run::start(plan, &target).finish();
    let counts = Arc::clone(&target.counts);
    drop(target);
    let seen = Seen { observations, counts };
    seen.check_books();
    seen
}

#[test]
fn every_way_of_using_a_connection_works() {
    let pipelined = ConnectionMode::Pipelined { connections: 2, depth: 4 };
    let idle = ConnectionMode::Idle { connections: 12, wait_ns: 50 * MS };
    let connect_wait = ConnectionMode::ConnectWait { wait_ns: 50 * MS };
    for connection in [REUSED, ConnectionMode::New, pipelined, idle, connect_wait] {
        let seen = run(connection, |request| {
            let expected = Some(("target.test".to_owned(), "http/1.1".to_owned()));
            Act::Answer(if request.tls == expected { hello() } else { answer(400, "", "") })
        });
        assert_eq!(seen.failed(), [], "{connection:?}");
        assert_eq!(Counts::of(&seen.counts.requests), seen.observations.attempts.len());
        assert_eq!(seen.closed_by(ClosedBy::Client), seen.observations.connections.len());
    }
}

#[test]
fn large_and_slow_bodies_pass() {
    let identity = Identity::new();
    let large = answer(200, "", &"x".repeat(300_000));
    let target = ScriptedTarget::start_tls(identity.server(), move |_| Act::Answer(large.clone()));
    let slow = StreamPlan {
        pace: Pace { upload_ns: 0, download_ns: 100 * MS },
        ..stream(ConnectionMode::New, 50.0, get())
    };
    let plan = plan_with(identity.trusted(), 300, vec![stream(REUSED, 100.0, get()), slow]);
    let seen = Seen { observations: Run::start(plan, &target).finish(), counts: Arc::clone(&target.counts) };
    assert_eq!(seen.failed(), []);
    let slow = seen.observations.attempts.iter().filter(|attempt| attempt.stream == 1);
    assert!(slow.clone().count() == 15);
    assert!(slow.clone().all(|attempt| attempt.ended_ns - attempt.first_byte_ns >= 100 * MS));
}

#[test]
fn losses_are_found_as_without_tls() {
    let check = |act: fn() -> Act, phase, cause| {
        // After a standstill of the machine, what was due meanwhile has a connection each.
        let seen = run_for(1_000, REUSED, move |request| match request.on_connection {
            3 => act(),
            _ => Act::Answer(hello()),
        });
        let lost = seen.failed().len();
        assert!(lost > 5, "{lost}");
        assert_eq!(seen.endings().get(&(phase, cause)), Some(&lost), "{:?}", seen.endings());
    };
    check(|| Act::Reset, Phase::Wait, Cause::Reset);
    check(|| Act::Fin, Phase::Wait, Cause::Eof);
    let cut = || Act::AnswerAndFin(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello".to_vec());
    check(cut, Phase::Body, Cause::ShortBody);
    let twice = || Act::Answer(hello().repeat(2));
    check(twice, Phase::Validate, Cause::Surplus);
}

/// A body that ends with the connection is whole only when the server said so: anybody can cut TCP.
#[test]
fn an_end_has_to_be_announced() {
    let until_end = || b"HTTP/1.1 200 OK\r\n\r\nall of it".to_vec();
    let seen = run(REUSED, move |_| Act::AnswerAndGoodbye(until_end()));
    assert_eq!(seen.endings(), HashMap::from([((Phase::Done, Cause::None), 60)]));
    let seen = run(REUSED, move |_| Act::AnswerAndFin(until_end()));
    assert_eq!(seen.endings(), HashMap::from([((Phase::Body, Cause::ShortBody), 60)]));
}

#[test]
fn whoever_is_not_trusted_is_not_asked() {
    let identity = Identity::new();
    let check = |tls: TlsPlan, expected| {
        let target = ScriptedTarget::start_tls(identity.server(), |_| Act::Answer(hello()));
        let plan = plan_with(tls, 100, vec![stream(ConnectionMode::New, 200.0, get())]);
        let seen =
            Seen { observations: Run::start(plan, &target).finish(), counts: Arc::clone(&target.counts) };
        assert_eq!(seen.endings(), HashMap::from([(expected, 20)]));
        let asked = if expected == (Phase::Done, Cause::None) { 20 } else { 0 };
        assert_eq!(Counts::of(&seen.counts.requests), asked);
    };
    check(identity.trusted(), (Phase::Done, Cause::None));
    check(Identity::new().trusted(), (Phase::Tls, Cause::Tls));
    check(TlsPlan { ca: None }, (Phase::Done, Cause::None));
}

/// Does something to a connection that is no TLS, and may keep it.
type NotTls = fn(TcpStream) -> Option<TcpStream>;

/// Takes connections and does that to each.
struct NoTls {
    listener: TcpListener,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NoTls {
    fn start(act: NotTls) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port must be free");
        let (taker, over) =
            (listener.try_clone().expect("a listener must be clonable"), Arc::new(AtomicBool::new(false)));
        let is_over = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let mut kept = Vec::new();
            for stream in taker.incoming().take_while(|_| !is_over.load(Ordering::SeqCst)) {
                let stream = stream.expect("accepting must work");
                // The client's hello; to close with it unread would be a reset.
                stream.peek(&mut [0; 1]).ok();
                kept.extend(act(stream));
            }
        });
        Self { listener, over, thread: Some(thread) }
    }
}

impl Drop for NoTls {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.listener.local_addr().expect("it must have an address")));
        self.thread.take().into_iter().for_each(|thread| thread.join().expect("it must not panic"));
    }
}

#[test]
fn what_goes_wrong_in_a_handshake_is_told_apart() {
    let end = |stream: TcpStream| stream.shutdown(Shutdown::Write).map(|()| stream).ok();
    let reset = |stream: TcpStream| {
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        None
    };
    let plain = |mut stream: TcpStream| {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        Some(stream)
    };
    let cases: [(NotTls, Cause); 4] =
        [(end, Cause::Eof), (reset, Cause::Reset), (plain, Cause::Tls), (Some, Cause::Timeout)];
    for (act, cause) in cases {
        for connection in [ConnectionMode::New, ConnectionMode::ConnectWait { wait_ns: 20 * MS }] {
            let server = NoTls::start(act);
            let mut plan = plan_with(TlsPlan { ca: None }, 120, vec![stream(connection, 100.0, get())]);
            if cause == Cause::Timeout {
                // Shorter, a standstill of the instrument would make them late.
                plan.load.timeout_ns = 1_000 * MS;
            }
            let run = Run::start_at(plan, server.listener.local_addr().unwrap());
            let seen = Seen { observations: run.finish(), counts: Arc::default() };
            let attempts = seen.observations.attempts.len();
            assert_eq!(seen.endings(), HashMap::from([((Phase::Tls, cause), attempts)]), "{connection:?}");
            assert_eq!(seen.closed_by(ClosedBy::Unopened), attempts);
        }
    }
}
