//! The queues of the listening sockets: how long they are, who has the say, and who is answered when one is full.

use std::{net::TcpStream, thread};

use rustix::process::Signal;
use socket2::{Domain, Socket, Type};

use crate::{
    client::Client,
    handover::is_gone,
    server::{BINARY, Server, eventually, signal_to},
};

const LIST: &str = "GET /event/list HTTP/1.1\r\nhost: test\r\n\r\n";

/// More than any queue here takes.
const MANY: usize = 40;

/// So many connect to the public side, and wait for nothing.
fn connecting(server: &Server) -> Vec<TcpStream> {
    let connect = |_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let begun = socket.connect(&server.public.into());
        assert!(begun.is_ok() || begun.unwrap_err().raw_os_error() == Some(115), "EINPROGRESS");
        socket.set_nonblocking(false).unwrap();
        socket.into()
    };
    (0..MANY).map(connect).collect()
}

/// How many wait to be accepted at the public side, and how many there would like to, by `/proc/net/tcp`.
fn waiting(server: &Server) -> (usize, usize) {
    let port = format!(":{:04X}", server.public.port());
    let (mut queued, mut turned_away) = (0, 0);
    for line in std::fs::read_to_string("/proc/net/tcp").unwrap().lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        // TCP_LISTEN, whose second queue is that of who waits, and TCP_SYN_SENT.
        if words[1].ends_with(&port) && words[3] == "0A" {
            queued += usize::from_str_radix(words[4].split_once(':').unwrap().1, 16).unwrap();
        } else if words[2].ends_with(&port) && words[3] == "02" {
            turned_away += 1;
        }
    }
    (queued, turned_away)
}

/// How many places the queue of the public side has, while process `pid`, which alone accepts, stands still.
fn places(server: &Server, pid: u32) -> usize {
    signal_to(pid, Signal::STOP);
    eventually("the stop", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.contains(") T ").then_some(())
    });
    let clients = connecting(server);
    let places = eventually("everybody's place", || {
        let (queued, turned_away) = waiting(server);
        (queued + turned_away == clients.len()).then_some(queued)
    });
    signal_to(pid, Signal::CONT);
    drop(clients);
    eventually("an empty queue", || (waiting(server) == (0, 0)).then_some(()));
    places
}

fn configure(server: &Server, strategy: &str, backlog: usize) {
    let sides = format!("[api]\nbind = \"{}\"\n[admin]\nbind = \"{}\"\n", server.public, server.admin);
    server.configure(&sides, &format!("strategy = \"{strategy}\"\n[limits]\nlisten_backlog = {backlog}"));
}

/// E5: the old and the new process want queues of another length, in one socket or in two of one port. That of who
/// serves holds. The kernel has a place more than it was asked for.
#[test]
fn two_processes_that_want_other_queues_take_over_from_each_other() {
    for strategy in ["handoff-live", "handoff", "inherit", "reuseport-drain", "reuseport"] {
        let server = Server::start_with(strategy, "[limits]\nlisten_backlog = 8");
        assert_eq!(places(&server, server.pid()), 9, "{strategy}");
        configure(&server, strategy, 20);
        let refused = server.upgrade_to(&server.script("#!/bin/sh\nexit 7\n"));
        assert_eq!(refused.status, 502, "{}", refused.body);
        assert_eq!(places(&server, server.pid()), 9, "{strategy}: the new one has not served");
        for (process, backlog) in [(2, 20), (3, 4)] {
            configure(&server, strategy, backlog);
            let report = server.upgrade();
            server.until_process(process);
            let pid = |which: &str| u32::try_from(report[which]["pid"].as_u64().unwrap()).unwrap();
            // The end of its parent wakes a process that stands still (exit_notify of the kernel).
            eventually("the end of the old process", || is_gone(pid("old")).then_some(()));
            assert_eq!(places(&server, pid("new")), backlog + 1, "{strategy}");
        }
    }
}

/// A new process that dies after it has changed the queue leaves it as it was.
#[test]
fn who_serves_again_has_the_queue_that_it_had() {
    let server = Server::start_with("handoff-live", "[limits]\nlisten_backlog = 8");
    let old = server.pid();
    configure(&server, "handoff-live", 20);
    let mut stuck = server.stuck();
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| server.upgrade_to(BINARY.as_ref()));
        let new = eventually("the new process", || Some(server.pid()).filter(|pid| *pid != old));
        server.until_process(2);
        signal_to(new, Signal::KILL);
        assert_eq!(upgrade.join().unwrap().status, 502);
    });
    stuck.send("56789");
    assert_eq!(stuck.answer().unwrap().process(), 1);
    assert_eq!(places(&server, old), 9);
}

/// E1: more come than the queue has places, while nobody accepts. They knock again until there is room.
#[test]
fn who_finds_no_place_in_the_queue_is_answered_in_the_end() {
    let server = Server::start_with("handoff-live", "[limits]\nconnections_max = 2\nlisten_backlog = 8");
    let mut idle: Vec<Client> = (0..2).map(|_| Client::connect(server.public)).collect();
    for client in &mut idle {
        assert_eq!(client.get("/event/list").process(), 1);
    }
    let clients = connecting(&server);
    eventually("a full queue", || (waiting(&server) == (9, MANY - 9)).then_some(()));
    thread::scope(|scope| {
        let asking = clients.into_iter().map(|client| {
            scope.spawn(|| {
                let mut client = Client::over(client).unwrap();
                client.send(LIST);
                client.answer().unwrap()
            })
        });
        let asking: Vec<_> = asking.collect();
        let report = server.upgrade();
        assert_eq!((&report["connections"]["cut"], &report["connections"]["closed"]), (&0.into(), &0.into()));
        for client in &mut idle {
            assert_eq!(client.get("/event/list").process(), 2);
        }
        // There is room for the others.
        drop(idle);
        for client in asking {
            let answer = client.join().unwrap();
            assert_eq!(answer.status, 200);
            assert!((1..=2).contains(&answer.process()), "{answer:?}");
        }
    });
}
