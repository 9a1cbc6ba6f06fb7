//! Every failure that the raw engine can have, against a server that makes it happen: where it ended, why,
//! and whose fault it is.
//!
//! `resolve` is not among them: the target's name is looked up once, before the load, and a run without an
//! address does not begin. The failures of a TLS handshake are in `tls`, of lost pipelines in `modes`.

use std::{
    collections::HashMap,
    fs,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use harness::{
    clock::RunClock,
    drive::load::{self, Workload},
    observe::{Blame, Cause, Phase, RunDir},
    plan::{ConnectionMode, Op, Plan},
};

use crate::{
    load::{MS, REUSED, Run, Seen, hello, plan, stream},
    scripted_target::{Act, ScriptedTarget, answer},
};

/// SHA-256 of `hello`.
const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

fn op(body: &str, sha256: Option<&str>) -> Op {
    Op::Http {
        method: "POST".to_owned(),
        path: "/".to_owned(),
        headers: Vec::new(),
        body: body.to_owned(),
        accept: Vec::new(),
        sha256: sha256.map(str::to_owned),
    }
}

/// Twenty attempts, each of which ends in the same way.
fn small(connection: ConnectionMode, op: Op) -> Plan {
    plan(100, vec![stream(connection, 200.0, op)])
}

/// The same for those that run into the limit, or that have to be late. Shorter, a standstill of the instrument would
/// make all of them late.
fn hasty(connection: ConnectionMode, op: Op) -> Plan {
    let mut plan = small(connection, op);
    plan.load.timeout_ns = 1_000 * MS;
    plan
}

struct Case {
    /// Done to a connection before anything is read.
    welcome: Option<fn() -> Act>,
    /// Done with a request.
    act: fn() -> Act,
    op: Op,
    ends: (Phase, Cause),
    blame: Blame,
}

fn case(act: fn() -> Act, phase: Phase, cause: Cause) -> Case {
    Case { welcome: None, act, op: op("", Some(HELLO)), ends: (phase, cause), blame: Blame::Target }
}

fn half(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len() - 3].to_vec()
}

#[test]
fn every_failure_has_its_place_and_its_cause() {
    let chunked = || b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec();
    let until_end = || b"HTTP/1.1 200 OK\r\n\r\nhello".to_vec();
    let interim = || [b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".to_vec(), hello()].concat();
    let large = "x".repeat(20_000_000);
    let cases = [
        Case {
            welcome: Some(|| Act::Reset),
            op: op(&large, None),
            ..case(|| Act::Silence, Phase::Write, Cause::Reset)
        },
        case(|| Act::Reset, Phase::Wait, Cause::Reset),
        case(|| Act::Fin, Phase::Wait, Cause::Eof),
        case(|| Act::Silence, Phase::Wait, Cause::Timeout),
        case(|| Act::AnswerAndFin(b"HTTP/1.1 200 OK\r\nx".to_vec()), Phase::Body, Cause::Eof),
        case(|| Act::AnswerAndFin(b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec()), Phase::Body, Cause::Eof),
        case(|| Act::AnswerAndReset(half(&hello())), Phase::Body, Cause::Reset),
        case(|| Act::Answer(half(&hello())), Phase::Body, Cause::Timeout),
        case(|| Act::Answer(b"HTTP/1.1 200 OK\r\n".to_vec()), Phase::Body, Cause::Timeout),
        case(|| Act::AnswerAndFin(half(&hello())), Phase::Body, Cause::ShortBody),
        case(|| Act::Answer(b"220 mail.test ESMTP\r\n".to_vec()), Phase::Body, Cause::Parse),
        case(|| Act::Answer(answer(503, "", "hello")), Phase::Validate, Cause::BadStatus),
        case(|| Act::Answer(answer(200, "", "Hello")), Phase::Validate, Cause::WrongDigest),
        case(|| Act::Answer(answer(200, "", "")), Phase::Validate, Cause::WrongDigest),
        case(|| Act::Answer(hello().repeat(2)), Phase::Validate, Cause::Surplus),
        case(|| Act::Answer(hello()), Phase::Done, Cause::None),
    ];
    for case in cases {
        check(&case);
    }
    for bytes in [chunked as fn() -> Vec<u8>, interim] {
        check_bytes(bytes, Act::Answer);
    }
    check_bytes(until_end, Act::AnswerAndFin);
}

#[track_caller]
fn check(Case { welcome, act, op, ends, blame }: &Case) {
    for connection in [REUSED, ConnectionMode::New] {
        let (welcome, act) = (*welcome, *act);
        let welcome = move |_| welcome.map(|act| act());
        let target = ScriptedTarget::start_welcoming(welcome, move |_| act());
        let plan = if ends.1 == Cause::Timeout { hasty } else { small };
        let run = Run::start(plan(connection, op.clone()), &target);
        let seen = Seen { observations: run.finish(), counts: Arc::clone(&target.counts) };
        seen.check_books();
        // A pool that the server resets before it is used is replaced by connections that are used at once.
        assert_eq!(seen.endings(), HashMap::from([(*ends, 20)]), "on {connection:?}");
        assert_eq!(ends.1.blame(), *blame);
    }
}

/// The digest holds in every framing, and whatever interim answers come before.
#[track_caller]
fn check_bytes(bytes: fn() -> Vec<u8>, act: fn(Vec<u8>) -> Act) {
    let target = ScriptedTarget::start(move |_| act(bytes()));
    let run = Run::start(small(REUSED, op("", Some(HELLO))), &target);
    let seen = Seen { observations: run.finish(), counts: Arc::clone(&target.counts) };
    assert_eq!(seen.endings(), HashMap::from([((Phase::Done, Cause::None), 20)]));
}

/// What comes too late to be sent is the instrument's fault, and connections opened ahead are not waited
/// for.
#[test]
fn attempts_whose_turn_never_came_are_late() {
    for connection in [REUSED, ConnectionMode::ConnectWait { wait_ns: MS }] {
        let target = ScriptedTarget::start(|_| Act::Answer(hello()));
        let plan = hasty(connection, op("", None));
        let folder = tempfile::tempdir().unwrap();
        let clock = RunClock::starting_in(Duration::ZERO);
        let over_ns = plan.load.duration_ns + plan.load.timeout_ns;
        while clock.now_ns() <= over_ns {
            thread::park_timeout(clock.until(over_ns + MS));
        }
        let workload = Workload { run_id: "run".to_owned(), ..Workload::default() };
        let run_dir = RunDir::new(folder.path());
        let load = load::start(&plan, target.address, "x", workload, &run_dir, clock).unwrap();
        let seen =
            Seen { observations: Run { folder, plan, load }.finish(), counts: Arc::clone(&target.counts) };
        seen.check_books();
        let planned = seen.observations.attempts.len();
        assert_eq!(seen.endings(), HashMap::from([((Phase::Send, Cause::Late), planned)]));
        assert_eq!(Cause::Late.blame(), Blame::Harness);
        assert_eq!(seen.observations.instrument.sent, 0);
    }
}

/// A harness of its own, because the limit of descriptors is the process's.
#[test]
fn a_harness_without_descriptors_says_so_and_does_not_blame_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let target = ScriptedTarget::start(|_| Act::Silence);
    let scenario = format!(
        "name = \"few\"\ndescription = \"Too few descriptors.\"\n[target]\nkind = \"external\"\n\
         url = \"http://{}\"\n[load]\nduration = \"1s\"\ntimeout = \"2s\"\nrate = 200\n[[load.stream]]\n\
         name = \"new\"\nconnection = \"new\"\n[gate]\nfailed_max = 1000\n",
        target.address
    );
    fs::write(folder.path().join("few.toml"), scenario).unwrap();
    let status = Command::new("sh")
        .args(["-c", "ulimit -n 64; exec \"$0\" scenario few.toml --quiet --out run"])
        .arg(env!("CARGO_BIN_EXE_harness"))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(4), "inconclusive");
    let seen = RunDir::new(folder.path().join("run")).load().unwrap();
    let ends = |phase, cause| {
        let of_kind = |attempt: &&harness::observe::Attempt| (attempt.phase, attempt.cause) == (phase, cause);
        seen.attempts.iter().filter(of_kind).count()
    };
    let (unsent, silent) = (ends(Phase::Send, Cause::NoDescriptors), ends(Phase::Wait, Cause::Timeout));
    assert_eq!((unsent + silent, seen.attempts.len()), (200, 200));
    assert!(unsent >= 136, "no more than 64 can be open at once: {unsent}");
    assert_eq!(seen.instrument.sent, silent as u64);
}
