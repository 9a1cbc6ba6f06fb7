//! The ways of using a connection and the slow peers: the server sees what was asked for in just that form,
//! and every loss is found.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use harness::{
    observe::{Attempt, Cause, ClosedBy, Phase},
    plan::{ConnectionMode, Op, Pace, StreamPlan},
};

use crate::{
    load::{MS, Run, Seen, get, hello, plan, run, run_plan, stream},
    scripted_target::{Act, Counts, ScriptedTarget, answer},
};

const IDLE: ConnectionMode = ConnectionMode::Idle { connections: 20, wait_ns: 50 * MS };
const PIPELINED: ConnectionMode = ConnectionMode::Pipelined { connections: 2, depth: 4 };

fn connect_wait(wait_ms: u64) -> ConnectionMode {
    ConnectionMode::ConnectWait { wait_ns: wait_ms * MS }
}

fn post(body: &str) -> Op {
    Op::Http {
        method: "POST".to_owned(),
        path: "/".to_owned(),
        headers: Vec::new(),
        body: body.to_owned(),
        accept: Vec::new(),
        sha256: None,
    }
}

fn all_served(seen: &Seen) {
    seen.check_books();
    assert_eq!(seen.failed(), []);
    assert_eq!(Counts::of(&seen.counts.requests), seen.observations.attempts.len());
}

#[test]
fn an_idle_connection_rests_before_it_is_used_again() {
    // Long enough that most of it is between the moments at which a busy machine stands still.
    let seen = run_plan(plan(1_000, vec![stream(IDLE, 2_000.0, get())]), |_| Act::Answer(hello()));
    all_served(&seen);
    let attempts = &seen.observations.attempts;
    let reused: Vec<&Attempt> = attempts.iter().filter(|attempt| attempt.reused()).collect();
    assert!(reused.len() > 200, "{}", reused.len());
    assert!(reused.iter().all(|attempt| attempt.idle_us >= 50_000));
    // 2,000 a second times 50 ms: twenty connections cannot be enough, and nobody waits for them.
    assert!(seen.observations.connections.len() >= 100);
}

/// What a server forgets of a connection that rests, for example in an upgrade.
#[test]
fn a_loss_on_a_rested_connection_is_found() {
    let seen = run(IDLE, |request| match request.on_connection {
        2 => Act::Reset,
        _ => Act::Answer(hello()),
    });
    seen.check_resets();
    assert!(seen.failed().iter().all(|attempt| attempt.reused() && attempt.idle_us >= 50_000));
}

#[test]
fn a_connection_is_opened_a_while_before_its_attempt() {
    let ahead_max = Arc::new(AtomicU64::new(0));
    let at_server = Arc::clone(&ahead_max);
    let seen = run_plan(plan(1_000, vec![stream(connect_wait(200), 100.0, get())]), move |request| {
        at_server.fetch_max(request.connections - request.at_server, Ordering::SeqCst);
        Act::Answer(hello())
    });
    all_served(&seen);
    // Nothing is due before its connection can be opened; the server sees the connections of 200 ms.
    assert_eq!(seen.observations.attempts.len(), 80);
    assert!(ahead_max.load(Ordering::SeqCst) >= 15, "{ahead_max:?}");
    let opened: HashMap<u32, u64> = seen
        .observations
        .connections
        .iter()
        .map(|connection| (connection.id, connection.opened_ns))
        .collect();
    for attempt in &seen.observations.attempts {
        assert!(!attempt.reused());
        assert!(opened[&attempt.connection] + 200 * MS >= attempt.intended_ns, "{attempt:?}");
    }
    assert_eq!(opened.len(), 80);
    assert!(seen.observations.connections.iter().all(|connection| connection.requests == 1));
}

/// Accepted, and then closed before anything was asked: what a draining server and a lost queue do.
#[test]
fn a_connection_lost_in_the_wait_is_a_failed_attempt() {
    let farewell = answer(408, "connection: close\r\n", "");
    let check = |act: fn() -> Act, bytes: Vec<u8>, cause| {
        let welcome = move |number: u64| match number % 3 {
            0 if bytes.is_empty() => Some(act()),
            0 => Some(Act::AnswerAndFin(bytes.clone())),
            _ => None,
        };
        let target = ScriptedTarget::start_welcoming(welcome, |_| Act::Answer(hello()));
        // A wait longer than a busy machine stands still: else there is nothing to take that was opened ahead.
        let run = Run::start(plan(1_300, vec![stream(connect_wait(1_000), 200.0, get())]), &target);
        let seen = Seen { observations: run.finish(), counts: Arc::clone(&target.counts) };
        seen.check_books();
        let lost = seen.observations.attempts.len() / 3;
        assert_eq!(lost, 20);
        assert_eq!(seen.endings().get(&(Phase::Connect, cause)), Some(&lost), "{:?}", seen.endings());
        assert_eq!(seen.failed().len(), lost);
        assert!(seen.failed().iter().all(|attempt| !attempt.reused()));
        assert_eq!(seen.closed_by(ClosedBy::Server), lost);
    };
    check(|| Act::Fin, Vec::new(), Cause::Eof);
    check(|| Act::Reset, Vec::new(), Cause::Reset);
    check(|| Act::Fin, farewell, Cause::Eof);
    check(|| Act::Fin, hello(), Cause::Surplus);
}

/// The server answers nobody before it has read four requests. A client that waited for an answer would
/// never get there.
#[test]
fn a_pipeline_sends_before_it_is_answered() {
    let seen = run(PIPELINED, |request| match request.on_connection % 4 {
        0 => Act::Answer(hello().repeat(4)),
        _ => Act::Silence,
    });
    all_served(&seen);
    assert_eq!(seen.observations.attempts.len(), 600);
    assert!(seen.observations.instrument.in_flight_max >= 4);
    assert!(seen.observations.connections.len() < 50, "a further one only when all are full");
}

#[test]
fn the_answers_of_a_pipeline_are_told_apart_in_any_pieces() {
    let seen = run(PIPELINED, |request| {
        let body = if request.at_server % 2 == 0 { "even" } else { "odd, and longer" };
        let bytes = answer(200, "", body);
        Act::Pieces(bytes.chunks(9).map(<[u8]>::to_vec).collect())
    });
    all_served(&seen);
}

/// When a connection dies, all that was under way on it has failed, each where it was.
#[test]
fn every_attempt_of_a_lost_pipeline_has_failed() {
    let check = |act: fn() -> Act, expected: &[((Phase, Cause), usize)]| {
        let seen = run(PIPELINED, move |request| match request.on_connection {
            4 => act(),
            _ => Act::Silence,
        });
        seen.check_books();
        assert_eq!(seen.endings(), expected.iter().copied().collect::<HashMap<_, _>>());
        assert_eq!(seen.observations.connections.len(), 150, "four on each");
        // The one in front may be begun; those behind have not a byte of an answer.
        for attempt in seen.failed() {
            assert_eq!(attempt.first_byte_ns > 0, attempt.phase == Phase::Body, "{attempt:?}");
        }
    };
    check(|| Act::Reset, &[((Phase::Wait, Cause::Reset), 600)]);
    check(|| Act::Fin, &[((Phase::Wait, Cause::Eof), 600)]);
    let two = || Act::AnswerAndFin(hello().repeat(2));
    check(two, &[((Phase::Done, Cause::None), 300), ((Phase::Wait, Cause::Eof), 300)]);
    let one_and_a_half = || Act::AnswerAndFin([hello(), hello()[..hello().len() - 2].to_vec()].concat());
    check(
        one_and_a_half,
        &[
            ((Phase::Done, Cause::None), 150),
            ((Phase::Body, Cause::ShortBody), 150),
            ((Phase::Wait, Cause::Eof), 300),
        ],
    );
    let last = || Act::Answer(answer(200, "connection: close\r\n", "bye"));
    check(last, &[((Phase::Done, Cause::None), 150), ((Phase::Wait, Cause::Eof), 450)]);
    let not_http = || Act::Answer(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec());
    check(not_http, &[((Phase::Body, Cause::Parse), 150), ((Phase::Wait, Cause::Parse), 450)]);
}

#[test]
fn a_pipeline_that_is_never_answered_times_out() {
    let mut plan = plan(100, vec![stream(PIPELINED, 400.0, get())]);
    plan.load.timeout_ns = 50 * MS;
    let seen = run_plan(plan, |_| Act::Silence);
    seen.check_books();
    assert_eq!(seen.endings(), HashMap::from([((Phase::Wait, Cause::Timeout), 40)]));
}

#[test]
fn one_answer_too_many_in_a_pipeline_is_surplus() {
    let seen = run(PIPELINED, |request| match request.on_connection % 4 {
        0 => Act::Answer(hello().repeat(5)),
        _ => Act::Silence,
    });
    seen.check_books();
    assert_eq!(
        seen.endings(),
        HashMap::from([((Phase::Done, Cause::None), 450), ((Phase::Validate, Cause::Surplus), 150)])
    );
}

fn slow(pace: Pace, connection: ConnectionMode, op: Op) -> StreamPlan {
    StreamPlan { pace, ..stream(connection, 50.0, op) }
}

const SLOW_UPLOAD: Pace = Pace { upload_ns: 100 * MS, download_ns: 0 };
const SLOW_DOWNLOAD: Pace = Pace { upload_ns: 0, download_ns: 100 * MS };
const REUSED: ConnectionMode = ConnectionMode::Reused { connections: 4 };

#[test]
fn a_slow_body_goes_out_in_pieces() {
    let body = "0123456789".repeat(10);
    for connection in [REUSED, ConnectionMode::New, connect_wait(20)] {
        let reads_max = Arc::new(AtomicU64::new(0));
        let (at_server, sent) = (Arc::clone(&reads_max), body.clone());
        let seen = run_plan(plan(400, vec![slow(SLOW_UPLOAD, connection, post(&body))]), move |request| {
            at_server.fetch_max(request.reads, Ordering::SeqCst);
            Act::Answer(if request.body == sent { hello() } else { answer(400, "", "") })
        });
        all_served(&seen);
        assert!(reads_max.load(Ordering::SeqCst) >= 8, "{reads_max:?}");
        for attempt in &seen.observations.attempts {
            assert!(attempt.first_byte_ns - attempt.sent_ns >= 100 * MS, "{attempt:?}");
        }
    }
}

/// Of one byte the server sees the head first, and the byte at the end of the time.
#[test]
fn a_body_of_one_byte_is_slow_as_well() {
    // A server that stands still for all of it finds both at once.
    let pace = Pace { upload_ns: 1_000 * MS, download_ns: 0 };
    let seen = run_plan(plan(300, vec![slow(pace, REUSED, post("x"))]), |request| {
        Act::Answer(if request.reads > 1 { hello() } else { answer(400, "", "") })
    });
    all_served(&seen);
}

/// The server is done with a request before it is whole: its answer counts, its connection is not used
/// again.
#[test]
fn a_slow_body_may_be_answered_before_it_is_over() {
    let welcome = |_| Some(Act::Answer(answer(413, "", "")));
    let target = ScriptedTarget::start_welcoming(welcome, |_| Act::Silence);
    let run = Run::start(plan(300, vec![slow(SLOW_UPLOAD, ConnectionMode::New, post("hello"))]), &target);
    let seen = Seen { observations: run.finish(), counts: Arc::clone(&target.counts) };
    seen.check_books();
    assert_eq!(seen.endings(), HashMap::from([((Phase::Validate, Cause::BadStatus), 15)]));
    assert!(seen.failed().iter().all(|attempt| attempt.status == 413));
}

#[test]
fn a_server_that_gives_a_slow_body_up_is_found() {
    let target = ScriptedTarget::start_welcoming(|_| Some(Act::Fin), |_| Act::Silence);
    let run = Run::start(plan(300, vec![slow(SLOW_UPLOAD, ConnectionMode::New, post("hello"))]), &target);
    let seen = Seen { observations: run.finish(), counts: Arc::clone(&target.counts) };
    seen.check_books();
    let ends = |attempt: &Attempt| {
        matches!(attempt.phase, Phase::Write) && matches!(attempt.cause, Cause::Eof | Cause::Reset)
    };
    assert!(seen.failed().iter().all(ends), "{:?}", seen.endings());
    assert_eq!(seen.failed().len(), 15);
}

#[test]
fn an_answer_is_read_slowly_whatever_its_length() {
    let large = answer(200, "", &"x".repeat(400_000));
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec();
    for connection in [REUSED, ConnectionMode::New] {
        let (large, chunked) = (large.clone(), chunked.clone());
        let seen = run_plan(plan(400, vec![slow(SLOW_DOWNLOAD, connection, get())]), move |request| {
            Act::Answer(match request.at_server % 3 {
                0 => large.clone(),
                1 => chunked.clone(),
                _ => hello(),
            })
        });
        all_served(&seen);
        for attempt in &seen.observations.attempts {
            assert!(attempt.ended_ns - attempt.first_byte_ns >= 100 * MS, "{attempt:?}");
        }
    }
}

/// What a server loses when it gives up those who read slowly.
#[test]
fn a_slow_reader_that_is_cut_off_has_failed() {
    let cut = || [b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n".to_vec(), vec![b'x'; 50_000]].concat();
    let check = |act: fn(Vec<u8>) -> Act, cause| {
        let seen = run_plan(plan(400, vec![slow(SLOW_DOWNLOAD, REUSED, get())]), move |_| act(cut()));
        seen.check_books();
        assert_eq!(seen.endings(), HashMap::from([((Phase::Body, cause), 20)]));
    };
    check(Act::AnswerAndFin, Cause::ShortBody);
    check(Act::AnswerAndReset, Cause::Reset);
}
