//! Whatever is wrong with the new process, the old one serves on with every connection, and says what it was.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, thread};

use crate::{
    client::Client,
    server::{Server, eventually},
};

/// Asks for an upgrade that must fail in this way and cost nothing.
pub(crate) fn check(server: &Server, binary: &Path, status: u16, step: &str, kind: &str, detail: &str) {
    let mut idle = Client::connect(server.public);
    let before = idle.get("/event/list").process();
    let answer = server.upgrade_to(binary);
    let report = answer.json();
    let error = &report["error"];
    assert_eq!(answer.status, status, "{report}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(
        (&report["outcome"], &error["step"], &error["kind"]),
        (&"failed".into(), &step.into(), &kind.into())
    );
    let told = format!("{} {}", error["detail"], error["stderr"]);
    assert!(told.contains(detail), "{told}");
    assert_eq!(idle.get("/event/list").process(), before, "the old process serves on");
    assert_eq!(Client::connect(server.public).get("/event/list").process(), before);
}

#[test]
fn a_binary_that_is_no_server() {
    let server = Server::start_with("handoff-live", "start_timeout_ms = 500");
    let file = |name: &str, contents: &[u8], mode: u32| {
        let path = server.path(name);
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    check(&server, &server.path("nowhere"), 422, "start", "missing", "no such file");
    check(&server, &file("plain", b"#!/bin/sh\n", 0o644), 422, "start", "not-executable", "chmod");
    check(&server, &file("garbage", b"\0\x01 garbage", 0o755), 422, "start", "not-a-program", "ELF");
    check(&server, &file("elf", b"\x7fELF and no more", 0o755), 422, "start", "not-a-program", "format");
    check(&server, &server.path(""), 422, "start", "not-a-program", "not a file");
    let script = server.script("#!/bin/sh\necho 'cannot find the moon' >&2\nexit 3\n");
    check(&server, &script, 502, "start", "exited", "exit status: 3");
    check(&server, &script, 502, "start", "exited", "cannot find the moon");
    let script = server.script("#!/bin/sh\nkill -SEGV $$\n");
    check(&server, &script, 502, "start", "exited", "signal: 11");
    let script = server.script("#!/bin/sh\nexec sleep 600\n");
    check(&server, &script, 504, "start", "timeout", "start_timeout_ms is 500");
    server.upgrade();
    server.until_process(2);
}

#[test]
fn a_configuration_that_the_new_process_refuses() {
    let server = Server::start("handoff-live");
    let good = fs::read_to_string(server.path("seckill.toml")).unwrap();
    fs::write(server.path("seckill.toml"), good.replace("strategy", "stratagem")).unwrap();
    let binary = Path::new(crate::server::BINARY);
    check(&server, binary, 502, "start", "exited", "stratagem");
    fs::write(server.path("seckill.toml"), &good).unwrap();
    fs::write(server.path("blacklist.txt"), "12\nno number\n").unwrap();
    check(&server, binary, 502, "load", "failed", "blacklist.txt");
    fs::write(server.path("blacklist.txt"), "12\n").unwrap();
    // A new address that this machine does not have: the old process keeps the old one.
    let moved = good.replace(&server.admin.to_string(), "203.0.113.1:1");
    fs::write(server.path("seckill.toml"), moved).unwrap();
    check(&server, binary, 502, "load", "failed", "cannot listen at 203.0.113.1:1");
    fs::write(server.path("seckill.toml"), &good).unwrap();
    server.upgrade();
    server.until_process(2);
}

#[test]
fn a_second_upgrade_is_refused_while_one_goes_on() {
    let server = Server::start_with("handoff-live", "start_timeout_ms = 3000");
    let script = server.script("#!/bin/sh\ntouch started\nexec sleep 600\n");
    thread::scope(|scope| {
        let first = scope.spawn(|| server.upgrade_to(&script));
        eventually("the first upgrade", || server.path("started").exists().then_some(()));
        let second = server.upgrade_to(&script);
        let report = second.json();
        assert_eq!((second.status, &report["outcome"]), (409, &"refused".into()), "{report}");
        assert_eq!(report["error"]["kind"], "busy");
        assert_eq!(first.join().unwrap().status, 504);
    });
    server.upgrade();
}
