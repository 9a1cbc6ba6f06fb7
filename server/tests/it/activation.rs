//! Sockets of a service manager, which outlive the server, and what the manager is told.

use std::{net::TcpListener, os::unix::net::UnixDatagram, path::Path, time::Duration};

use rustix::process::Signal;

use crate::{
    client::Client,
    scripted::Scripted,
    server::{BINARY, Server, eventually},
};

/// A service manager's sockets and the place where it hears of the service.
fn manager(folder: &Path) -> ([TcpListener; 2], UnixDatagram) {
    let told = UnixDatagram::bind(folder.join("notify")).unwrap();
    told.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    ([(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap()), told)
}

fn next(told: &UnixDatagram) -> String {
    let mut text = [0; 200];
    let length = told.recv(&mut text).unwrap();
    String::from_utf8_lossy(&text[..length]).into_owned()
}

#[test]
fn sockets_of_a_service_manager_outlive_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let (sockets, told) = manager(folder.path());
    let start = || Server::start_activated("handoff-live", &sockets, &folder.path().join("notify"));
    let mut early = Client::connect(sockets[0].local_addr().unwrap());
    early.send("GET /event/list HTTP/1.1\r\nhost: test\r\n\r\n");
    let mut server = start();
    assert_eq!(early.answer().unwrap().process(), 1, "who came before the server is answered by it");
    assert_eq!(next(&told), format!("READY=1\nMAINPID={}\n", server.pid()));
    server.signal(Signal::TERM);
    assert!(server.end().success());
    assert_eq!(next(&told), "STOPPING=1\n");
    let mut between = Client::connect(server.public);
    between.send("GET /event/list HTTP/1.1\r\nhost: test\r\n\r\n");
    drop(server);
    let _server = start();
    assert_eq!(between.answer().unwrap().status, 200, "who came in between waits in the queue");
}

#[test]
fn a_service_manager_follows_an_upgrade_to_the_new_process() {
    for strategy in ["handoff-live", "inherit"] {
        let folder = tempfile::tempdir().unwrap();
        let (sockets, told) = manager(folder.path());
        let server = Server::start_activated(strategy, &sockets, &folder.path().join("notify"));
        assert!(next(&told).starts_with("READY=1\n"));
        let new = server.upgrade()["new"]["pid"].clone();
        assert!(next(&told).starts_with("RELOADING=1\nMONOTONIC_USEC="), "{strategy}");
        assert_eq!(next(&told), format!("READY=1\nMAINPID={new}\n"), "{strategy}");
        let failed = server.upgrade_to(&server.script("#!/bin/sh\nexit 7\n"));
        assert_eq!(failed.status, 502, "{}", failed.body);
        assert!(next(&told).starts_with("RELOADING=1\n"), "{strategy}");
        assert_eq!(next(&told), format!("READY=1\nMAINPID={new}\n"), "{strategy}");
    }
}

#[test]
fn under_activate_the_service_manager_starts_the_next_process_beside_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let (sockets, told) = manager(folder.path());
    let notify = folder.path().join("notify");
    let server = Server::start_activated("activate", &sockets, &notify);
    assert!(next(&told).starts_with("READY=1\n"));
    for process in 2..5 {
        let mut used = Client::connect(server.public);
        used.get("/event/list");
        let old = server.pid();
        server.activate_beside(&sockets, &notify);
        assert!(next(&told).starts_with("RELOADING=1\n"), "the old one tells of it");
        let ready = next(&told);
        server.until_process(process);
        // In its grace an idle connection of the old process gets one more answer, the last.
        eventually("the last answer", || {
            used.get("/event/list").header("connection").is_some().then_some(())
        });
        eventually("the pid file of the new process", || (server.pid() != old).then_some(()));
        assert_eq!(ready, format!("READY=1\nMAINPID={}\n", server.pid()));
    }
    let refused = server.upgrade_to(&server.script("#!/bin/sh\nexit 7\n"));
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert!(refused.body.contains("the service manager starts the new process"), "{}", refused.body);
    server.until_process(4);
}

/// The instance that is stopped waits until it is certain who serves: the next one, or nobody.
#[test]
fn a_service_manager_may_stop_one_instance_while_the_next_one_takes_over() {
    for (takes_over, told_twice) in [(true, false), (false, false), (false, true)] {
        let folder = tempfile::tempdir().unwrap();
        let (sockets, _told) = manager(folder.path());
        let mut server = Server::start_activated("activate", &sockets, &folder.path().join("notify"));
        let mut next = Scripted::welcomed_under(&server, "activate");
        server.signal(Signal::TERM);
        eventually("the log", || server.log().contains("this one stops when that serves").then_some(()));
        assert_eq!(Client::connect(server.public).get("/event/list").process(), 1);
        if takes_over {
            next.until_commit();
            next.say(&serde_json::json!({ "is": "committed" }));
            assert_eq!(next.until("done")["is"], "done");
        } else if told_twice {
            server.signal(Signal::TERM);
            assert!(next.until("refuse")["reason"].to_string().contains("told to stop"));
        } else {
            drop(next);
        }
        assert!(server.end().success());
        assert_eq!(server.path(".seckill.sock").exists(), takes_over, "it belongs to who serves");
    }
}

#[test]
fn activate_without_sockets_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (sockets, _told) = manager(folder.path());
    let server = Server::start_activated("activate", &sockets, folder.path());
    let said = server.activated_with(&[], folder.path());
    assert!(said.contains("none were passed on (LISTEN_FDS)"), "{said}");
}

#[test]
fn a_socket_for_nothing_is_refused_with_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let (sockets, _told) = manager(folder.path());
    let server = Server::start("handoff-live");
    let said = server.activated_with(&sockets[..1], folder.path());
    assert!(
        said.contains("descriptor 3 was passed on, but it is named \"\" and bound to 127.0.0.1:"),
        "{said}"
    );
}

/// A13: what came over is not what the settings ask for, so it would have to be bound anew, which cannot be.
#[test]
fn a_process_with_fewer_sockets_or_with_others_does_not_take_over() {
    let server = Server::start("inherit");
    let mut idle = Client::connect(server.public);
    idle.get("/event/list");
    let no_other = |address| format!("cannot listen at {address}: ");
    for (meddle, reason) in [
        ("export LISTEN_FDS=1", no_other(server.admin)),
        ("unset LISTEN_FDS", no_other(server.public)),
        ("exec 4<&-", "descriptor 4 was passed on, but ".to_owned()),
        ("exec 4</dev/null", "descriptor 4 was passed on, but ".to_owned()),
        ("exec 5<&3 3<&4 4<&5 5<&-", "the socket at this address came as one of the admin side".to_owned()),
    ] {
        let script = server.script(&format!("#!/bin/sh\n{meddle}\nexec {BINARY} \"$@\"\n"));
        let refused = server.upgrade_to(&script);
        assert_eq!((refused.status, &refused.json()["outcome"]), (502, &"failed".into()), "{}", refused.body);
        assert!(refused.body.contains(&reason), "{meddle}: {}", refused.body);
        assert_eq!(idle.get("/event/list").process(), 1, "{meddle}");
        assert_eq!(Client::connect(server.public).get("/event/list").process(), 1, "{meddle}");
    }
    server.upgrade();
    server.until_process(2);
}

#[test]
fn under_inherit_the_old_process_starts_the_new_one() {
    let server = Server::start("inherit");
    server.start_beside();
    eventually("a refusal", || {
        server.log().contains("the old process has to start the new one").then_some(())
    });
    let report = server.upgrade();
    assert_eq!((&report["outcome"], &report["sockets"]), (&"ok".into(), &2.into()));
    server.until_process(2);
}
