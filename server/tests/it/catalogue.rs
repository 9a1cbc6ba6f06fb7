//! Rows of the fault catalogue (`ci/catalogue.toml`) that no other test has: what goes wrong with a new
//! process, with the old one, with those who ask, and with the queue of the kernel.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use rustix::process::Signal;

use crate::{
    client::{Answer, Client},
    server::{BINARY, Server, eventually, signal_to},
};

const LIST: &str = "GET /event/list HTTP/1.1\r\nhost: test\r\n\r\n";

/// Asks for an upgrade that must fail with this status, and cost nothing.
fn refuses(server: &Server, binary: &Path, status: u16) -> Answer {
    let mut idle = Client::connect(server.public);
    let before = idle.get("/event/list").process();
    let answer = server.upgrade_to(binary);
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.json()["outcome"], "failed");
    assert_eq!(idle.get("/event/list").process(), before, "the old process serves on");
    assert_eq!(Client::connect(server.public).get("/event/list").process(), before);
    answer
}

/// A copy of the server's binary in the server's folder.
fn copy(server: &Server, name: &str) -> PathBuf {
    let path = server.path(name);
    fs::copy(BINARY, &path).unwrap();
    path
}

/// The server's binary behind a gate: it starts when something is written into the file `gate`.
fn gated(server: &Server) -> PathBuf {
    assert!(Command::new("mkfifo").arg(server.path("gate")).status().unwrap().success());
    server.script(&format!("#!/bin/sh\ntouch started\nread word <gate\nexec {BINARY} \"$@\"\n"))
}

fn started(server: &Server) {
    eventually("the start of the new process", || server.path("started").exists().then_some(()));
}

fn open_gate(server: &Server) {
    fs::write(server.path("gate"), "go\n").unwrap();
}

/// The kernel's line about a process; empty: it is gone.
fn state_of(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default()
}

/// A6: a program, but not one of this machine.
#[test]
fn a_binary_for_another_machine() {
    let server = Server::start("handoff-live");
    let path = copy(&server, "foreign");
    let mut program = fs::read(&path).unwrap();
    // The field `e_machine` of elf(5); nobody has built a machine with this number.
    program[18..20].copy_from_slice(&[0x39, 0x30]);
    fs::write(&path, program).unwrap();
    let answer = refuses(&server, &path, 422);
    assert_eq!(answer.json()["error"]["kind"], "not-a-program", "{}", answer.body);
    server.upgrade();
}

/// A9: a binary that somebody still writes, and one that was replaced while it ran.
#[test]
fn a_binary_that_is_being_written_or_was_replaced() {
    let server = Server::start("handoff-live");
    let path = copy(&server, "release");
    let writer = fs::File::options().append(true).open(&path).unwrap();
    let answer = refuses(&server, &path, 502);
    assert!(answer.body.contains("Text file busy"), "{}", answer.body);
    drop(writer);
    assert_eq!(server.upgrade_to(&path).status, 200);
    server.until_process(2);
    // The file of the process that serves is gone; another one has its name.
    fs::rename(copy(&server, "next"), &path).unwrap();
    let old = server.pid();
    assert!(fs::read_link(format!("/proc/{old}/exe")).unwrap().to_string_lossy().ends_with(" (deleted)"));
    server.signal(Signal::USR2);
    server.until_process(3);
    eventually("the end of the old process", || (server.pid() != old).then_some(()));
    let (serves, lies_there) = (fs::metadata(format!("/proc/{}/exe", server.pid())), fs::metadata(&path));
    assert_eq!(serves.unwrap().ino(), lies_there.unwrap().ino());
}

/// A14: the old process serves for as long as the new one takes.
#[test]
fn a_slow_start_costs_nothing() {
    let server = Server::start_with("handoff-live", "start_timeout_ms = 30000");
    let script = gated(&server);
    let mut idle = Client::connect(server.public);
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| server.upgrade_to(&script));
        started(&server);
        for _ in 0..200 {
            assert_eq!(idle.get("/event/list").process(), 1);
            assert_eq!(Client::connect(server.public).get("/event/list").process(), 1);
        }
        assert!(!upgrade.is_finished());
        open_gate(&server);
        assert_eq!(upgrade.join().unwrap().status, 200);
    });
    assert_eq!(idle.get("/event/list").process(), 2);
}

/// A16: a new process that may not have what it needs.
#[test]
fn a_process_without_descriptors_or_memory_does_not_take_over() {
    let server = Server::start("handoff-live");
    for limit in ["-n 12", "-v 16000"] {
        let script = server.script(&format!("#!/bin/sh\nulimit {limit}\nexec {BINARY} \"$@\"\n"));
        let answer = refuses(&server, &script, 502);
        let error = &answer.json()["error"];
        let told = format!("{}{}", error["detail"], error["stderr"]);
        assert!(told.len() > 20, "{limit}: {}", answer.body);
    }
    server.upgrade();
    server.until_process(2);
}

/// A18: whoever is not the server's user cannot even reach the socket at which a successor reports.
#[test]
fn the_control_socket_is_for_the_servers_user_alone() {
    let server = Server::start("handoff-live");
    for _ in 0..2 {
        let socket = fs::metadata(server.path(".seckill.sock")).unwrap();
        assert_eq!(socket.permissions().mode() & 0o777, 0o600);
        assert_eq!(socket.uid(), rustix::process::geteuid().as_raw());
        server.upgrade();
    }
}

/// B1: nobody has the sockets yet, so nobody can serve; the new process says so and ends, and the next start finds
/// everything in order.
#[test]
fn an_old_process_that_is_killed_before_it_gave_anything() {
    let mut server = Server::start_with("handoff-live", "start_timeout_ms = 30000");
    let script = gated(&server);
    let mut client = Client::connect(server.public);
    let order = server.buy(&mut client, 1, "kept", 1, 1);
    assert_eq!(order.status, 201);
    let mut admin = Client::connect(server.admin);
    let body = serde_json::json!({ "binary": script });
    server.send(&mut admin, &format!("POST /upgrade {body}"));
    started(&server);
    let old = server.pid();
    signal_to(old, Signal::KILL);
    assert!(admin.is_ended(), "who asked learns at once that nobody answers any more");
    _ = server.end();
    open_gate(&server);
    let gone = || Client::try_connect(server.public).is_err().then_some(());
    eventually("nobody who listens", gone);
    server.start_again();
    let mut client = Client::connect(server.public);
    let id = order.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(server.find(&mut client, 1, &id).status, 200);
    server.upgrade();
}

/// A connection that rests, and one whose request keeps the process that reads it from coming to its end.
fn idle_and_stuck(server: &Server) -> (Client, Client) {
    let mut idle = Client::connect(server.public);
    idle.get("/event/list");
    (idle, server.stuck())
}

/// B3: what was in flight in it is lost, and nothing else.
#[test]
fn an_old_process_that_is_killed_while_it_drains() {
    let server = Server::start("handoff-live");
    let (mut idle, mut stuck) = idle_and_stuck(&server);
    let old = server.pid();
    let mut admin = Client::connect(server.admin);
    let body = serde_json::json!({ "binary": BINARY });
    server.send(&mut admin, &format!("POST /upgrade {body}"));
    server.until_process(2);
    eventually("the idle connection in the new process", || {
        (idle.get("/event/list").process() == 2).then_some(())
    });
    signal_to(old, Signal::KILL);
    assert!(stuck.is_ended() && admin.is_ended());
    assert_eq!(idle.get("/event/list").process(), 2);
    assert_eq!(Client::connect(server.public).get("/event/list").process(), 2);
    eventually("another upgrade", || (server.upgrade_to(Path::new(BINARY)).status == 200).then_some(()));
    server.until_process(3);
    assert_eq!(idle.get("/event/list").process(), 3);
}

/// B4: an old process that stands still while it drains keeps nobody else waiting, and loses nothing.
#[test]
fn an_old_process_that_is_stopped_while_it_drains() {
    let server = Server::start("handoff-live");
    let (mut idle, mut stuck) = idle_and_stuck(&server);
    let old = server.pid();
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| server.upgrade_to(Path::new(BINARY)));
        server.until_process(2);
        // It accepts nobody any more once it gives connections away.
        eventually("the idle connection in the new process", || {
            (idle.get("/event/list").process() == 2).then_some(())
        });
        signal_to(old, Signal::STOP);
        eventually("the stop", || state_of(old).contains(") T ").then_some(()));
        for _ in 0..100 {
            assert_eq!(Client::connect(server.public).get("/event/list").process(), 2);
        }
        stuck.send("56789");
        signal_to(old, Signal::CONT);
        assert_eq!(stuck.answer().unwrap().process(), 1);
        let answer = upgrade.join().unwrap();
        assert_eq!(
            (answer.status, &answer.json()["connections"]["cut"]),
            (200, &0.into()),
            "{}",
            answer.body
        );
    });
    assert_eq!(stuck.get("/event/list").process(), 2);
}

/// C2: one at a time, and each who asks is told which he was.
#[test]
fn of_ten_who_ask_at_once_each_is_told_the_truth() {
    let server = Server::start("handoff-live");
    let answers: Vec<Answer> = thread::scope(|scope| {
        let asked: Vec<_> = (0..10).map(|_| scope.spawn(|| server.upgrade_to(Path::new(BINARY)))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let of = |status: u16| answers.iter().filter(move |answer| answer.status == status);
    assert_eq!(of(200).count() + of(409).count(), 10, "{answers:?}");
    assert!(of(409).all(|answer| answer.json()["error"]["kind"] == "busy"), "{answers:?}");
    let mut served: Vec<u64> =
        of(200).map(|answer| answer.json()["new"]["process"].as_u64().unwrap()).collect();
    served.sort_unstable();
    let last = u64::try_from(served.len()).unwrap() + 1;
    assert!(last > 1 && served == (2..=last).collect::<Vec<_>>(), "{served:?}");
    server.until_process(u32::try_from(last).unwrap());
}

/// C4: a server that is told to stop stops, and takes along whom it had started.
#[test]
fn a_server_that_is_told_to_stop_during_an_upgrade_stops() {
    let mut server = Server::start_with("handoff-live", "start_timeout_ms = 30000");
    let script = server.script("#!/bin/sh\necho $$ >started\nexec sleep 600\n");
    let mut admin = Client::connect(server.admin);
    let body = serde_json::json!({ "binary": script });
    server.send(&mut admin, &format!("POST /upgrade {body}"));
    let newcomer = eventually("the new process", || {
        fs::read_to_string(server.path("started")).ok()?.trim().parse::<u32>().ok()
    });
    server.signal(Signal::TERM);
    assert!(server.end().success());
    assert!(Client::try_connect(server.public).is_err());
    eventually("the end of the new process", || {
        let state = state_of(newcomer);
        (state.is_empty() || state.contains(") Z ")).then_some(())
    });
    assert!(!server.path(".pid").exists());
}

/// C6: by whatever way they ask, there is one upgrade at a time.
#[test]
fn a_signal_and_a_request_at_once_are_one_upgrade() {
    let server = Server::start_with("handoff-live", "start_timeout_ms = 30000");
    let script = gated(&server);
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| server.upgrade_to(&script));
        started(&server);
        server.signal(Signal::USR2);
        eventually("the refusal", || server.log().contains("ask again when it is over").then_some(()));
        open_gate(&server);
        assert_eq!(upgrade.join().unwrap().json()["new"]["process"], 2);
    });
    server.until_process(2);
    assert_eq!(server.upgrade()["new"]["process"], 3);
}

/// E1: who waits in the queue of the listening socket is answered, by whichever process accepts him: the limit of
/// connections, because of which they wait, is lifted while an upgrade goes on.
#[test]
fn who_waits_in_the_queue_of_the_kernel_is_served() {
    let server =
        Server::start_with("handoff-live", "start_timeout_ms = 10000\n[limits]\nconnections_max = 2");
    let mut idle: Vec<Client> = (0..2).map(|_| Client::connect(server.public)).collect();
    for client in &mut idle {
        assert_eq!(client.get("/event/list").process(), 1);
    }
    let mut waiting: Vec<Client> = (0..200).map(|_| Client::connect(server.public)).collect();
    for client in &mut waiting {
        client.send(LIST);
    }
    assert_eq!(server.upgrade()["connections"]["cut"], 0);
    for client in &mut idle {
        assert_eq!(client.get("/event/list").process(), 2);
    }
    drop(idle);
    for mut client in waiting {
        let answer = client.answer().unwrap();
        assert_eq!(answer.status, 200);
        assert!((1..=2).contains(&answer.process()), "{answer:?}");
    }
}

/// E6, E7: a disk that is full, and a place that cannot be written. `/dev/full` is one without room.
#[test]
fn a_pid_file_and_a_log_that_cannot_be_written_cost_nothing() {
    for is_full in [true, false] {
        let server = Server::start_under(&["sh", "-c", "exec \"$0\" \"$@\" 2>/dev/full"], "");
        // It is written, so that nobody is in the way.
        server.pid();
        let beside = server.path(".pid.new");
        if is_full {
            std::os::unix::fs::symlink("/dev/full", beside).unwrap();
        } else {
            fs::create_dir(beside).unwrap();
        }
        let mut idle = Client::connect(server.public);
        for process in 1..4 {
            assert_eq!(idle.get("/event/list").process(), process);
            assert_eq!(server.upgrade()["connections"]["cut"], 0);
        }
        assert_eq!(Client::connect(server.public).get("/event/list").process(), 4);
    }
}
