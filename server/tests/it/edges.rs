//! Connections and requests at the edges of HTTP, while the process changes and while it does not.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    thread,
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    client::Client,
    server::{BINARY, Server, eventually, signal_to},
};

const POST: &str = "POST /orders HTTP/1.1\r\nhost: test\r\n";

/// A request that is in flight: its head and a part of its body have been read.
fn stuck(server: &Server, head: &str, part: &str) -> Client {
    let mut client = Client::connect(server.public);
    client.send(&format!("{head}\r\n{part}"));
    // The server has read it once it has handled something that came after it.
    Client::connect(server.public).get("/event/list");
    client
}

#[test]
fn the_rest_of_a_refused_body_is_never_taken_for_a_request() {
    let server = Server::start("handoff-live");
    let mut large = stuck(&server, &format!("{POST}content-length: 1000000\r\n"), "01234");
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| server.upgrade());
        server.until_process(2);
        large.send(&"x".repeat(17_000));
        let answer = large.answer().unwrap();
        assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));
        // It may be closed already.
        _ = large.try_send("GET /event/list HTTP/1.1\r\nhost: test\r\n\r\n");
        assert!(large.is_ended());
        assert_eq!(upgrade.join().unwrap()["connections"]["cut"], 0);
    });
}

#[test]
fn a_body_that_cannot_be_read_is_a_bad_request() {
    let server = Server::start("handoff-live");
    let mut client = Client::connect(server.public);
    client.send(&format!("{POST}transfer-encoding: chunked\r\n\r\nno number\r\n"));
    let answer = client.answer().unwrap();
    assert_eq!((answer.status, answer.process()), (400, 1));
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(client.is_ended());
}

#[test]
fn an_answer_to_what_is_no_request_is_not_destroyed_by_the_close() {
    let server = Server::start("handoff-live");
    let mut client = Client::connect(server.public);
    // More than the server reads of a head, so that some of it is unread when it closes.
    _ = client.try_send(&format!("GET / HTTP/1.1\r\nx: {}", "x".repeat(400_000)));
    assert_eq!(client.answer().unwrap().status, 431);
    assert_eq!(client.answer().unwrap_err().kind(), ErrorKind::UnexpectedEof, "no reset");
}

#[test]
fn chunks_trailers_and_expectations_survive_a_handover() {
    let server = Server::start("handoff-live");
    let mut chunked =
        stuck(&server, &format!("{POST}transfer-encoding: chunked\r\ntrailer: x-sum\r\n"), "5\r\n01234\r\n");
    let mut expects = Client::connect(server.public);
    expects.send(&format!("{POST}expect: 100-continue\r\ncontent-length: 5\r\n\r\n"));
    assert_eq!(expects.answer().unwrap().status, 100);
    let mut half_closed = Client::connect(server.public);
    half_closed.send("GET /event/list HTTP/1.1\r\nhost: test\r\n\r\n");
    half_closed.end_sending();
    let mut upgrades = Client::connect(server.public);
    upgrades
        .send("GET /event/list HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| server.upgrade());
        server.until_process(2);
        chunked.send("3\r\n567\r\n");
        chunked.send("0\r\nx-sum: 1\r\n\r\nHEAD /event/list HTTP/1.1\r\nhost: test\r\n\r\n");
        expects.send("01234");
        for client in [&mut chunked, &mut expects] {
            let answer = client.answer().unwrap();
            assert_eq!((answer.status, answer.process(), answer.header("connection")), (401, 1, None));
        }
        assert_eq!(upgrade.join().unwrap()["connections"]["cut"], 0);
    });
    assert_eq!(chunked.head_only().unwrap().status, 200);
    assert_eq!(chunked.get("/event/list").process(), 2);
    assert_eq!(expects.get("/event/list").process(), 2);
    assert_eq!(half_closed.answer().unwrap().status, 200);
    assert!(half_closed.is_ended());
    assert_eq!(upgrades.answer().unwrap().status, 200);
    assert_eq!(upgrades.get("/event/list").process(), 2);
}

#[test]
fn a_full_server_can_be_upgraded() {
    let server = Server::start_with("handoff-live", "start_timeout_ms = 3000\n[limits]\nconnections_max = 3");
    let mut idle: Vec<Client> = (0..3).map(|_| Client::connect(server.public)).collect();
    for client in &mut idle {
        assert_eq!(client.get("/event/list").process(), 1);
    }
    let mut waiting = Client::connect(server.public);
    let report = server.upgrade();
    assert_eq!(report["connections"]["cut"], 0);
    for client in &mut idle {
        assert_eq!(client.get("/event/list").process(), 2);
    }
    drop(idle);
    assert_eq!(waiting.get("/event/list").process(), 2);
}

#[test]
fn a_probation_longer_than_a_start_may_take() {
    let server = Server::start_with("handoff-live", "start_timeout_ms = 2000\nprobation_ms = 2100");
    server.upgrade();
    server.until_process(2);
}

/// Whether its connections have begun to go to the new one or stay with it.
#[test]
fn the_pid_file_names_the_old_process_again_when_the_new_one_dies() {
    for (strategy, step) in [("handoff-live", "transfer"), ("handoff", "drain"), ("inherit", "drain")] {
        let server = Server::start(strategy);
        let old = server.pid();
        let mut client = server.stuck();
        thread::scope(|scope| {
            let upgrade = scope.spawn(|| server.upgrade_to(Path::new(BINARY)));
            let new = eventually("the new process", || Some(server.pid()).filter(|pid| *pid != old));
            server.until_process(2);
            signal_to(new, Signal::KILL);
            let answer = upgrade.join().unwrap();
            let error = &answer.json()["error"];
            assert_eq!((answer.status, &error["kind"]), (502, &"died".into()), "{}", answer.body);
            // It serves a moment before the old process has heard that it does.
            assert!(error["step"] == step || error["step"] == "commit", "{strategy}: {}", answer.body);
            assert!(answer.body.contains("signal: 9"), "{}", answer.body);
        });
        server.until_process(1);
        client.send("56789");
        assert_eq!(client.answer().unwrap().process(), 1, "{strategy}");
        assert_eq!(server.pid(), old);
        server.upgrade();
        server.until_process(2);
    }
}

#[test]
fn connections_that_a_stopped_successor_does_not_take_are_served_again() {
    let server = Server::start("handoff-live");
    let old = server.pid();
    let mut client = server.stuck();
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| server.upgrade_to(Path::new(BINARY)));
        server.until_process(2);
        // The pid file may name the old one yet.
        let new = eventually("its pid", || Some(server.pid()).filter(|pid| *pid != old));
        signal_to(new, Signal::STOP);
        client.send("56789GET /event/list HTTP/1.1\r\nhost: test\r\n\r\n");
        assert_eq!(client.answer().unwrap().process(), 1);
        assert_eq!(client.answer().unwrap().process(), 1);
        let answer = upgrade.join().unwrap();
        assert_eq!((answer.status, &answer.json()["error"]["kind"]), (504, &"timeout".into()));
    });
    assert_eq!(client.get("/event/list").process(), 1);
    assert_eq!(server.pid(), old);
    server.upgrade();
    assert_eq!(client.get("/event/list").process(), 2);
}

/// One that was started by hand is nobody's child, and cannot be killed.
#[test]
fn a_process_started_by_hand_that_is_stopped_as_it_takes_over_leaves_when_it_goes_on() {
    let server = Server::start_with("handoff-live", "transfer_timeout_ms = 300");
    let old = server.pid();
    let mut client = server.stuck();
    server.start_beside();
    server.until_process(2);
    eventually("the line of who serves", || server.log().contains("serves: taken over").then_some(()));
    let new = eventually("its pid", || Some(server.pid()).filter(|pid| *pid != old));
    signal_to(new, Signal::STOP);
    client.send("56789");
    assert_eq!(client.answer().unwrap().process(), 1);
    eventually("the old process", || (server.pid() == old).then_some(()));
    signal_to(new, Signal::CONT);
    let reason = "failed to take over: the process that serves now refuses: ";
    eventually("its last line", || server.log().contains(reason).then_some(()));
    assert_eq!(client.get("/event/list").process(), 1);
    for _ in 0..20 {
        assert_eq!(Client::connect(server.public).get("/event/list").process(), 1);
    }
    server.upgrade();
    assert_eq!(client.get("/event/list").process(), 2);
}

#[test]
fn a_drain_is_refused_while_an_upgrade_goes_on() {
    let server = Server::start_with("handoff-live", "start_timeout_ms = 3000");
    let script = server.script("#!/bin/sh\ntouch started\nexec sleep 600\n");
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| server.upgrade_to(&script));
        eventually("the upgrade", || server.path("started").exists().then_some(()));
        let answer = server.admin_request("POST /drain");
        assert_eq!(answer.status, 409, "{}", answer.body);
        assert_eq!(upgrade.join().unwrap().status, 504);
    });
    assert_eq!(Client::connect(server.public).get("/event/list").process(), 1);
}

#[test]
fn a_half_sent_request_for_an_upgrade_is_cut_and_counted_like_any_other() {
    let server = Server::start_with("handoff-live", "drain_ms = 200");
    let mut half = Client::connect(server.admin);
    half.send("POST /upgrade HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\n01234");
    assert_eq!(Client::connect(server.admin).get("/version").process(), 1);
    let report = server.upgrade();
    assert_eq!(report["connections"]["cut"], 1, "{report}");
}

#[test]
fn a_stream_of_http2_in_flight_at_the_end_of_the_drain_time_is_counted_as_cut() {
    let server = Server::start_with("handoff-live", "drain_ms = 200");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let report = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(server.public).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut requests, connection) =
            hyper::client::conn::http2::handshake::<_, _, Unfinished>(executor, io).await.unwrap();
        let mut others = tokio::task::JoinSet::new();
        drop(others.spawn(connection));
        let uri = |path: &str| format!("http://{}{path}", server.public);
        let stuck = http::Request::post(uri("/orders")).body(Unfinished { ends: false }).unwrap();
        let in_flight = requests.send_request(stuck);
        drop(others.spawn(async { in_flight.await.map(drop) }));
        // Its answer is complete while the other stream is in flight.
        let whole = http::Request::get(uri("/event/list")).body(Unfinished { ends: true }).unwrap();
        assert_eq!(requests.send_request(whole).await.unwrap().status(), 200);
        tokio::task::spawn_blocking(move || server.upgrade()).await.unwrap()
    });
    assert_eq!((&report["connections"]["cut"], &report["connections"]["closed"]), (&1.into(), &0.into()));
}

/// A body without a byte, and perhaps without an end.
struct Unfinished {
    ends: bool,
}

impl http_body::Body for Unfinished {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        if self.ends { std::task::Poll::Ready(None) } else { std::task::Poll::Pending }
    }

    fn is_end_stream(&self) -> bool {
        self.ends
    }
}

#[test]
fn a_connection_of_http2_that_leaves_is_not_reset_while_its_client_still_sends() {
    let server = Server::start("handoff-live");
    let update = [0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let mut clients: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(server.public).unwrap()).collect();
    for client in &mut clients {
        client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
        assert_eq!(frame(client).unwrap().kind, 4, "settings");
    }
    thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| {
                while let Some(Frame { kind, flags, payload }) = frame(client) {
                    if (kind, flags) == (6, 0) {
                        let answer = [&[0, 0, 8, 6, 1, 0, 0, 0, 0], payload.as_slice()].concat();
                        client.write_all(&answer).unwrap();
                    }
                    client.write_all(&update).unwrap();
                }
                for _ in 0..2 {
                    client.write_all(&update).unwrap();
                }
            });
        }
        let connections = &server.upgrade()["connections"];
        assert_eq!((&connections["closed"], &connections["cut"]), (&0.into(), &0.into()), "{connections}");
        // One that asked whether the server is ready may be among them.
        assert!(connections["finished"].as_u64() >= Some(20), "{connections}");
    });
}

struct Frame {
    kind: u8,
    flags: u8,
    payload: Vec<u8>,
}

/// The next frame; `None`: the server has nothing more to say.
fn frame(stream: &mut TcpStream) -> Option<Frame> {
    let mut head = [0; 9];
    if stream.read(&mut head[..1]).unwrap() == 0 {
        return None;
    }
    stream.read_exact(&mut head[1..]).unwrap();
    let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
    stream.read_exact(&mut payload).unwrap();
    Some(Frame { kind: head[3], flags: head[4], payload })
}
