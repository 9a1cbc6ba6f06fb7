//! Thousands of connections, and what an upgrade makes of them.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;

use crate::{
    client::Client,
    server::{BINARY, Server, eventually},
};

/// The test has one end of each connection, and so needs as many descriptors.
fn raise_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

fn descriptors(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

/// Resident memory of the process that serves, in KiB.
fn memory_kib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Connections of which each has had an answer.
fn used(server: &Server, count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..count).map(|_| Client::connect(server.public)).collect();
    for client in &mut clients {
        assert_eq!(client.get("/version").status, 200);
    }
    clients
}

fn handed_over(server: &Server, clients: &mut [Client], process: u32) -> Value {
    let report = server.upgrade();
    let counts = &report["connections"];
    assert_eq!((&counts["closed"], &counts["cut"]), (&0.into(), &0.into()), "{report}");
    assert_eq!(counts["handed_over"], clients.len(), "{report}");
    for client in clients {
        let answer = client.get("/version");
        assert_eq!((answer.process(), answer.header("connection")), (process, None));
    }
    report
}

#[test]
fn thousands_of_connections_go_on_and_give_their_descriptors_back() {
    raise_limit();
    let server = Server::start("handoff-live");
    server.upgrade();
    let before = descriptors(&server);
    let mut clients = used(&server, 3000);
    handed_over(&server, &mut clients, 3);
    handed_over(&server, &mut clients, 4);
    assert!(descriptors(&server) >= 3000);
    drop(clients);
    eventually("their descriptors", || (descriptors(&server) <= before + 2).then_some(()));
}

/// Says how long 5,000 connections take, and what they cost: `cargo test --test it -- --ignored --nocapture five`.
#[test]
#[ignore = "it measures, and judges nothing"]
fn five_thousand_connections_are_measured() {
    raise_limit();
    let server = Server::start("handoff-live");
    let mut clients = used(&server, 5000);
    for process in 2..12 {
        let report = handed_over(&server, &mut clients, process);
        eprintln!(
            "transfer {} ms, total {} ms",
            report["phases_ms"]["transfer"], report["phases_ms"]["total"]
        );
        eprintln!("resident {} KiB, descriptors {}", memory_kib(&server), descriptors(&server));
    }
}

/// Says what a hundred upgrades leave behind.
#[test]
#[ignore = "it measures, and judges nothing"]
fn a_hundred_upgrades_are_measured() {
    let server = Server::start("handoff-live");
    let mut clients = used(&server, 50);
    for process in 2..102 {
        handed_over(&server, &mut clients, process);
        if process % 10 == 2 {
            eprintln!(
                "{process}: resident {} KiB, descriptors {}",
                memory_kib(&server),
                descriptors(&server)
            );
        }
    }
}

/// A process that cannot have enough descriptors does not get any.
#[test]
fn a_process_without_room_for_the_connections_does_not_take_over() {
    raise_limit();
    let server = Server::start("handoff-live");
    assert!(!server.log().contains("too few descriptors"), "there are enough for this one");
    let mut clients = used(&server, 400);
    let few = server.script(&format!("#!/bin/sh\nulimit -n 300\nexec {BINARY} \"$@\"\n"));
    let refused = server.upgrade_to(&few);
    assert_eq!(refused.status, 502, "{}", refused.body);
    assert!(refused.body.contains("may have 300 descriptors, and 40"), "{}", refused.body);
    for client in &mut clients {
        assert_eq!(client.get("/version").process(), 1);
    }
    let low = Server::start_under(&["sh", "-c", "ulimit -n 500; exec \"$0\" \"$@\""], "");
    assert!(low.log().contains("too few descriptors for limits.connections_max"), "{}", low.log());
}
