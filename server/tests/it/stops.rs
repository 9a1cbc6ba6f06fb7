//! Who is left when a server is told to stop during an upgrade, or when a handover breaks off: one process, or none,
//! and each that goes says why.

use std::{
    path::Path,
    process::Child,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};

use crate::{
    client::Client,
    kept::generation,
    scripted::{PROTOCOL, Scripted},
    server::{BINARY, Server, end_of, eventually, signal_to},
};

/// What remains of a server that has stopped as a whole.
fn nobody_is_left(server: &mut Server) {
    assert!(server.end().success(), "{}", server.log());
    assert!(Client::try_connect(server.public).is_err());
    assert!(!server.path(".pid").exists() && !server.path(".seckill.sock").exists());
}

/// The process that came later has gone, and said why.
fn has_left(server: &Server, mut process: Child, reason: &str) {
    assert_eq!(end_of(&mut process).code(), Some(1), "{}", server.log());
    let log = server.log();
    assert!(log.contains("seckill: failed to take over") && log.contains(reason), "{reason}: {log}");
}

/// It has said so to the old process.
fn serves(server: &Server) {
    eventually("the line of who serves", || server.log().contains("serves: taken over").then_some(()));
}

fn serves_alone(server: &Server, generation: u32) {
    for _ in 0..20 {
        assert_eq!(Client::connect(server.public).get("/event/list").process(), generation);
    }
    assert!(server.path(".seckill.sock").exists(), "the next one finds who serves");
}

#[test]
fn a_stop_before_the_commit_sends_away_who_came_by_himself() {
    for strategy in ["handoff-live", "handoff", "reuseport", "stop-start"] {
        let mut server = Server::start(strategy);
        let mut successor = Scripted::welcomed_under(&server, strategy);
        server.signal(Signal::TERM);
        let told = successor.until("refuse")["reason"].to_string();
        assert!(told.contains("told to stop"), "{strategy}: {told}");
        // It holds the listening sockets.
        drop(successor);
        nobody_is_left(&mut server);
    }
}

#[test]
fn a_process_started_by_hand_leaves_with_a_server_that_is_told_to_stop() {
    let mut server = Server::start_with("handoff-live", "probation_ms = 60000");
    let beside = server.launch_beside();
    eventually("the upgrade", || {
        (server.upgrade_to(Path::new("/nowhere")).json()["error"]["kind"] == "busy").then_some(())
    });
    server.signal(Signal::TERM);
    has_left(&server, beside, "the process that serves now refuses: it was told to stop");
    nobody_is_left(&mut server);
}

#[test]
fn who_comes_while_a_server_stops_is_told() {
    let mut server = Server::start("handoff-live");
    let mut stuck = server.stuck();
    server.signal(Signal::TERM);
    eventually("the drain", || server.log().contains("draining").then_some(()));
    let told = Scripted::connect(&server).greet(PROTOCOL, "handoff-live");
    assert!(told["reason"].to_string().contains("told to stop"), "{told}");
    has_left(&server, server.launch_beside(), "the process that serves now refuses: it was told to stop");
    stuck.send("56789");
    assert_eq!(stuck.answer().unwrap().header("connection"), Some("close"));
    nobody_is_left(&mut server);
}

#[test]
fn a_stop_after_the_commit_is_remembered_when_the_handover_fails() {
    let mut server = Server::start("handoff-live");
    let mut successor = Scripted::welcomed(&server);
    successor.until_commit();
    server.signal(Signal::TERM);
    eventually("the log", || server.log().contains("if that fails, this process stops").then_some(()));
    drop(successor);
    nobody_is_left(&mut server);
}

#[test]
fn a_stop_while_connections_move_is_remembered_when_the_new_process_dies() {
    let mut server = Server::start("handoff-live");
    let old = server.pid();
    let mut stuck = server.stuck();
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| server.upgrade_to(Path::new(BINARY)));
        server.until_process(2);
        let new = eventually("its pid", || Some(server.pid()).filter(|pid| *pid != old));
        signal_to(old, Signal::TERM);
        eventually("the log", || server.log().contains("if that fails, this process stops").then_some(()));
        signal_to(new, Signal::KILL);
        assert_eq!(upgrade.join().unwrap().status, 502);
    });
    stuck.send("56789");
    assert_eq!(stuck.answer().unwrap().process(), 1, "what is in flight is answered");
    nobody_is_left(&mut server);
}

/// One that goes before it has everything leaves the server to the process before it, with all that has a path.
#[test]
fn a_process_that_is_told_twice_to_stop_leaves_the_server_to_the_one_before() {
    let server = Server::start("handoff-live");
    let old = server.pid();
    let mut stuck = server.stuck();
    let beside = server.launch_beside();
    server.until_process(2);
    serves(&server);
    let new = server.pid();
    // Two of one kind at once would be one.
    for signal in [Signal::TERM, Signal::INT] {
        signal_to(new, signal);
    }
    has_left(&server, beside, "this process was told twice to stop");
    eventually("the old process", || (server.pid() == old).then_some(()));
    stuck.send("56789");
    assert_eq!(stuck.answer().unwrap().process(), 1);
    serves_alone(&server, 1);
    server.upgrade();
    serves_alone(&server, 2);
}

/// So that it cannot take another descriptor.
fn without_descriptors(process: u32) {
    let pid = Pid::from_raw(i32::try_from(process).unwrap());
    let maximum = getrlimit(Resource::Nofile).maximum;
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(3), maximum }).unwrap();
}

/// A process that cannot take what it is sent asks who serves. It was started by hand, so nobody can kill it.
#[test]
fn of_two_whose_handover_breaks_off_one_serves() {
    let server = Server::start("handoff-live");
    let old = server.pid();
    let mut client = server.stuck();
    let beside = server.launch_beside();
    server.until_process(2);
    serves(&server);
    without_descriptors(beside.id());
    client.send("56789");
    assert_eq!(client.answer().unwrap().process(), 1);
    has_left(&server, beside, "the process that serves now refuses: ");
    assert!(server.log().contains("too few descriptors left"), "{}", server.log());
    assert_eq!(client.get("/event/list").process(), 1, "it was not acknowledged, so it was taken back");
    serves_alone(&server, 1);
    assert_eq!(server.pid(), old);
    server.upgrade();
    assert_eq!(client.get("/event/list").process(), 2);
}

/// Its end of the channel is full when the old process gives up, so it can be told only when it goes on.
#[test]
fn a_stopped_process_that_cannot_be_told_leaves_when_it_can() {
    let server = Server::start_with("handoff-live", "transfer_timeout_ms = 300");
    let old = server.pid();
    let mut clients: Vec<Client> = (0..60).map(|_| server.stuck()).collect();
    let beside = server.launch_beside();
    server.until_process(2);
    serves(&server);
    signal_to(beside.id(), Signal::STOP);
    for client in &mut clients {
        client.send(&format!("56789GET /event/list HTTP/1.1\r\nhost: test\r\nx: {}", "x".repeat(16_000)));
        assert_eq!(client.answer().unwrap().process(), 1);
    }
    eventually("the old process", || (server.pid() == old).then_some(()));
    signal_to(beside.id(), Signal::CONT);
    for client in &mut clients {
        client.send("\r\n\r\n");
        assert_eq!(client.answer().unwrap().process(), 1, "nobody else has it");
    }
    has_left(&server, beside, "the process that serves now refuses: ");
    for client in &mut clients {
        assert_eq!(client.get("/event/list").process(), 1);
    }
    serves_alone(&server, 1);
}

/// The other side of the same rule: if the old process is dead, the new one serves.
#[test]
fn of_two_whose_handover_breaks_off_the_new_one_serves_if_the_old_one_is_dead() {
    let server = Server::start("handoff-live");
    let old = server.pid();
    let mut client = server.stuck();
    let mut beside = server.launch_beside();
    server.until_process(2);
    serves(&server);
    signal_to(old, Signal::KILL);
    assert!(client.is_ended());
    eventually("the log", || server.log().contains("ended before everything was handed over").then_some(()));
    serves_alone(&server, 2);
    assert!(beside.try_wait().unwrap().is_none());
    eventually("another upgrade", || (server.upgrade_to(Path::new(BINARY)).status == 200).then_some(()));
    server.until_process(3);
}

/// Changes are published as soon as it is certain that the old process begins no request any more, whatever holds it up.
#[cfg(debug_assertions)]
#[test]
fn an_old_process_that_says_nothing_holds_up_changes_for_a_limited_time() {
    let times = "commit_timeout_ms = 300\ntransfer_timeout_ms = 300\ndrain_ms = 200\nfarewell_ms = 200";
    let server = Server::start_broken("handoff-live", times, "hang-stopped");
    let old = server.pid();
    let mut idle = Client::connect(server.public);
    let before = generation(&idle.get("/event/list"));
    server.start_beside();
    server.until_process(2);
    serves(&server);
    eventually("a push", || {
        let answer = server.admin_request("PUT /config/blacklist 1\n2\n3\n");
        if answer.status == 503 {
            assert!(answer.header("retry-after").is_some(), "{}", answer.body);
            return None;
        }
        assert_eq!((answer.status, answer.process()), (200, 2), "{}", answer.body);
        Some(())
    });
    idle.send("GET /event/list HTTP/1.1\r\nhost: test\r\n\r\n");
    for _ in 0..100 {
        let answer = Client::connect(server.public).get("/event/list");
        assert!(answer.process() == 2 && generation(&answer) > before, "{answer:?}");
    }
    let refused = server.upgrade_to(Path::new(BINARY));
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert!(refused.body.contains("has not handed everything over"), "{}", refused.body);
    assert_eq!(server.admin_request("POST /drain").status, 409);
    signal_to(old, Signal::KILL);
    assert!(idle.answer().is_err(), "the old process answers nothing that was asked after the push");
    eventually("another upgrade", || (server.upgrade_to(Path::new(BINARY)).status == 200).then_some(()));
    server.until_process(3);
    let status = server.admin_request("GET /status").json();
    assert_eq!(status["snapshot"]["blacklisted"], 3, "what was acknowledged is there");
}

/// One that was stopped reads what came meanwhile before it calls anything late, and gives away what it has.
#[test]
fn an_old_process_that_was_stopped_at_the_commit_goes_on_and_loses_nothing() {
    let server = Server::start_with("handoff-live", "commit_timeout_ms = 200\ntransfer_timeout_ms = 200");
    let old = server.pid();
    let mut idle = Client::connect(server.public);
    let before = generation(&idle.get("/event/list"));
    let mut successor = Scripted::welcomed(&server);
    successor.until_commit();
    signal_to(old, Signal::STOP);
    let stopped = Instant::now();
    successor.say(&serde_json::json!({ "is": "committed" }));
    idle.send("GET /event/list HTTP/1.1\r\nhost: test\r\n\r\n");
    let limits = Duration::from_millis(500);
    eventually("the end of all limits", || (stopped.elapsed() > limits).then_some(()));
    signal_to(old, Signal::CONT);
    assert_eq!(successor.until("stopped")["is"], "stopped", "{}", server.log());
    assert_eq!(successor.until("connection")["is"], "connection", "{}", server.log());
    drop(successor);
    let answer = idle.answer().unwrap();
    assert_eq!((answer.process(), generation(&answer)), (1, before), "it is taken back, with its request");
}
