//! The other strategies, each held to what it promises and to what it cannot.

use rustix::process::Signal;

use crate::{
    client::Client,
    server::{Server, eventually, signal_to},
};

#[test]
fn a_connection_that_stays_is_answered_once_more_and_then_closed() {
    for strategy in ["handoff", "inherit", "reuseport-drain"] {
        answers_once_more_and_then_closes(&Server::start(strategy));
    }
}

fn answers_once_more_and_then_closes(server: &Server) {
    let mut used = Client::connect(server.public);
    used.get("/event/list");
    let mut unused = Client::connect(server.public);
    unused.get("/event/list");
    std::thread::scope(|scope| {
        let upgrade = scope.spawn(|| server.upgrade());
        server.until_process(2);
        // In its grace an idle connection of the old process gets one more answer, the last.
        let answer = eventually("the last answer", || {
            let answer = used.get("/event/list");
            answer.header("connection").is_some().then_some(answer)
        });
        assert_eq!((answer.process(), answer.header("connection")), (1, Some("close")));
        let report = upgrade.join().unwrap();
        assert_eq!(report["connections"]["handed_over"], 0);
        assert_eq!(report["connections"]["closed"], 1);
    });
    assert!(unused.is_ended());
}

/// Who stops the pid of the file stops the server, also when the old process still has connections to give away.
#[test]
fn a_stop_that_comes_while_a_process_takes_over_waits_until_it_has_everything() {
    let server = Server::start("handoff-live");
    let old = server.pid();
    let mut stuck = server.stuck();
    std::thread::scope(|scope| {
        let upgrade = scope.spawn(|| server.upgrade());
        server.until_process(2);
        let new = eventually("its pid", || Some(server.pid()).filter(|pid| *pid != old));
        signal_to(new, Signal::TERM);
        stuck.send("56789");
        assert_eq!(stuck.answer().unwrap().process(), 1);
        assert_eq!(upgrade.join().unwrap()["outcome"], "ok");
    });
    eventually("nobody who listens", || Client::try_connect(server.public).is_err().then_some(()));
}

#[test]
fn reuseport_has_the_old_process_leave_by_its_pid_file() {
    let server = Server::start("reuseport");
    let old = server.pid();
    let mut idle = Client::connect(server.public);
    idle.get("/event/list");
    let report = server.upgrade();
    assert_eq!(report["sockets"], 0);
    assert_eq!(report["connections"]["closed"], 1, "an idle connection is closed, as the seed does");
    assert!(idle.is_ended());
    server.until_process(2);
    eventually("the pid file of the new process", || (server.pid() != old).then_some(()));
}

/// Where both processes bind the port, the kernel resets who waits in the old one's queues, unless it is set not to.
#[test]
fn what_the_kernel_does_to_waiting_connections_is_told_where_it_matters() {
    let setting = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_migrate_req").unwrap_or_default();
    for (strategy, matters) in [("reuseport", true), ("reuseport-drain", true), ("handoff-live", false)] {
        let told = Server::start(strategy).log().contains("net.ipv4.tcp_migrate_req is 0");
        assert_eq!(told, matters && setting.trim() == "0", "{strategy}");
    }
}

#[test]
fn a_signal_upgrades_to_what_lies_at_the_old_place() {
    let server = Server::start("handoff-live");
    let mut idle = Client::connect(server.public);
    for process in 2..5 {
        server.signal(Signal::USR2);
        server.until_process(process);
        eventually("the idle connection in the new process", || {
            (idle.get("/event/list").process() == process).then_some(())
        });
        server.status_of(process);
    }
}

#[test]
fn a_process_started_by_hand_takes_over() {
    for strategy in ["handoff-live", "reuseport-drain", "reuseport"] {
        let server = Server::start(strategy);
        let mut idle = Client::connect(server.public);
        idle.get("/event/list");
        server.start_beside();
        server.until_process(2);
        if strategy == "handoff-live" {
            eventually("the idle connection in the new process", || {
                (idle.get("/event/list").process() == 2).then_some(())
            });
        }
        // Nobody asked, so the new process is told what became of it.
        let report = eventually("the report", || {
            let report = server.status_of(2)["taken_over"].clone();
            (!report.is_null()).then_some(report)
        });
        assert_eq!((&report["outcome"], &report["strategy"]), (&"ok".into(), &strategy.into()), "{report}");
        assert_eq!(
            (&report["old"]["process"], &report["new"]["process"]),
            (&1.into(), &2.into()),
            "{report}"
        );
        assert!(report["phases_ms"]["drain"].is_number(), "{report}");
    }
}

#[test]
fn stop_start_serves_again_with_the_new_process_or_with_the_old_one() {
    let server = Server::start("stop-start");
    let mut idle = Client::connect(server.public);
    idle.get("/event/list");
    server.upgrade();
    assert!(idle.is_ended());
    server.until_process(2);
    let failed = server.upgrade_to(&server.script("#!/bin/sh\nexit 7\n"));
    assert_eq!(failed.status, 502, "{}", failed.body);
    assert_eq!(Client::connect(server.public).get("/event/list").process(), 2);
    server.upgrade();
    server.until_process(3);
}
