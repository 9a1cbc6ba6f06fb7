//! `handoff-live`: every connection goes on in the new process, whatever state it is in.

use std::{path::Path, thread};

use crate::{
    client::Client,
    server::{BINARY, Server},
};

const HEAD: &str = "GET /event/list HTTP/1.1\r\nhost: test\r\n\r\n";

#[test]
fn idle_fresh_and_half_sent_connections_go_on() {
    let server = Server::start("handoff-live");
    let mut idle: Vec<Client> = (0..50).map(|_| Client::connect(server.public)).collect();
    for client in &mut idle {
        assert_eq!(client.get("/event/list").process(), 1);
    }
    let mut fresh = Client::connect(server.public);
    let mut first_half = Client::connect(server.public);
    first_half.send(&HEAD[..20]);
    let mut second_half = Client::connect(server.public);
    second_half.get("/event/list");
    second_half.send(&HEAD[..20]);
    let mut preface_like = Client::connect(server.public);
    preface_like.send("P");

    let report = server.upgrade();
    assert_eq!(report["outcome"], "ok");
    assert_eq!(report["sockets"], 2);
    assert_eq!(report["connections"]["closed"], 0);
    assert_eq!(report["connections"]["cut"], 0);
    assert_eq!(report["connections"]["handed_over"], 54);
    assert_ne!(report["old"]["pid"], report["new"]["pid"]);

    for client in &mut idle {
        let answer = client.get("/event/list");
        assert_eq!((answer.status, answer.process()), (200, 2));
        assert_eq!(answer.header("connection"), None);
    }
    assert_eq!(fresh.get("/event/list").process(), 2);
    for client in [&mut first_half, &mut second_half] {
        client.send(&HEAD[20..]);
        assert_eq!(client.answer().unwrap().process(), 2);
    }
    preface_like.send("OST /orders HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(preface_like.answer().unwrap().process(), 2);
}

#[test]
fn a_request_in_flight_is_answered_by_the_old_process_and_its_connection_goes_on() {
    let server = Server::start("handoff-live");
    let mut client = server.stuck();
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| server.upgrade());
        server.until_process(2);
        assert!(!upgrade.is_finished(), "the upgrade is not over while a request is in flight");
        // The rest of the body, and with it a further request.
        client.send(&format!("56789{HEAD}"));
        let answer = client.answer().unwrap();
        assert_eq!((answer.status, answer.process()), (401, 1));
        assert_eq!(answer.header("connection"), None);
        let report = upgrade.join().unwrap();
        assert_eq!(report["connections"]["cut"], 0);
    });
    assert_eq!(client.answer().unwrap().status, 200);
    assert_eq!(client.get("/event/list").process(), 2);
}

/// A request whose answer is not ready yet holds the end of the upgrade up, and nothing else.
#[test]
fn a_request_that_waits_in_the_handler_is_answered_by_the_old_process() {
    let server = Server::start("handoff-live");
    let mut client = Client::connect(server.public);
    client.send("GET /event/info?id=1 HTTP/1.1\r\nhost: test\r\nprefer: wait=3\r\n\r\n");
    // It is in flight once the old process has handled something that came after it.
    assert_eq!(Client::connect(server.public).get("/event/list").process(), 1);
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| server.upgrade());
        server.until_process(2);
        let answer = client.answer().unwrap();
        assert_eq!((answer.status, answer.process()), (200, 1));
        assert_eq!(answer.header("preference-applied"), Some("wait=3"));
        assert_eq!(answer.header("connection"), None);
        assert_eq!(upgrade.join().unwrap()["connections"]["cut"], 0);
    });
    assert_eq!(client.get("/event/list").process(), 2);
}

#[test]
fn pipelined_requests_are_all_answered_in_order() {
    let server = Server::start("handoff-live");
    let mut client = Client::connect(server.public);
    let mut last = 1;
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| server.upgrade());
        let mut is_over = false;
        while !is_over {
            // Looked at before, so that the last of them are asked after the upgrade, whatever came of it.
            is_over = upgrade.is_finished();
            client.send(&HEAD.repeat(40));
            for _ in 0..40 {
                let process = client.answer().unwrap().process();
                assert!(process >= last, "process {process} answered after process {last}");
                last = process;
            }
        }
    });
    assert_eq!(last, 2);
}

#[test]
fn what_is_in_flight_at_the_end_of_the_drain_time_is_cut_and_counted() {
    let server = Server::start_with("handoff-live", "drain_ms = 200");
    let mut stuck = server.stuck();
    let mut waiting = Client::connect(server.public);
    waiting.send("GET /event/info?id=1 HTTP/1.1\r\nhost: test\r\nprefer: wait=30\r\n\r\n");
    assert_eq!(Client::connect(server.public).get("/event/list").process(), 1);
    let report = server.upgrade();
    assert_eq!(report["connections"]["cut"], 2, "{report}");
    assert!(stuck.is_ended() && waiting.is_ended());
    server.until_process(2);
}

#[test]
fn the_connection_that_asked_goes_on_too() {
    let server = Server::start("handoff-live");
    let mut admin = Client::connect(server.admin);
    for generation in 1..=5 {
        let body = serde_json::json!({ "binary": BINARY });
        let answer = server.ask(&mut admin, &format!("POST /upgrade {body}"));
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.process(), generation);
        assert_eq!(answer.json()["new"]["process"], generation + 1);
    }
}

#[test]
fn a_chain_of_upgrades_leaves_descriptors_and_processes_where_they_were() {
    let server = Server::start("handoff-live");
    let mut idle: Vec<Client> = (0..20).map(|_| Client::connect(server.public)).collect();
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
    server.upgrade();
    let mut previous = server.pid();
    let before = descriptors();
    for generation in 3..=12 {
        let report = server.upgrade();
        assert_eq!(report["connections"]["closed"], 0);
        assert_eq!(u64::from(server.pid()), report["new"]["pid"].as_u64().unwrap());
        crate::server::eventually("the end of the old process", || is_gone(previous).then_some(()));
        previous = server.pid();
        for client in &mut idle {
            assert_eq!(client.get("/event/list").process(), generation);
        }
    }
    // The connection that asked last may not be closed yet, nor may it have been at the start.
    crate::server::eventually("no more descriptors", || (descriptors() <= before).then_some(()));
}

/// Ended, with every thread; a zombie holds nothing any more and is its parent's to bury.
pub(crate) fn is_gone(pid: u32) -> bool {
    let folder = Path::new("/proc").join(pid.to_string());
    let is_zombie = |stat: String| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z"));
    let threads = std::fs::read_dir(folder.join("task")).map_or(0, Iterator::count);
    threads <= 1 && std::fs::read_to_string(folder.join("stat")).map_or(true, is_zombie)
}
