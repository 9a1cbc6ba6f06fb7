//! The pid file: whom it names and whom it does not, whatever time it is. Where it cannot be written the server serves,
//! says so, and nobody is misled by what lies there.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    client::Client,
    server::{BINARY, Server, eventually},
};

const AN_HOUR: Duration = Duration::from_secs(3600);

/// A disk of one page at `disk`, in a mount namespace of the server's own, after which `script` is done.
fn start(test: &str, script: &str) -> Option<Server> {
    let mount = "mkdir -p disk && mount -t tmpfs -o size=4k none disk";
    let script = format!("{mount} && {script} && exec \"$0\" \"$@\"");
    let wrapper = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script.as_str()];
    let folder = tempfile::tempdir().unwrap();
    let mut tried = Command::new(wrapper[0]);
    tried
        .args(&wrapper[1..])
        .arg("true")
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if !tried.status().is_ok_and(|status| status.success()) {
        // Past the test harness, which would show nothing of a test that does not fail.
        let told =
            format!("NOT RUN: {test}: no namespace in which a disk can be mounted is to be had here\n");
        _ = std::io::stderr().write_all(told.as_bytes());
        return None;
    }
    Some(Server::start_under(&wrapper, "[global]\npid = \"disk/.pid\""))
}

/// A file on the disk, as the process that serves sees it.
fn on_disk(server: &Server, name: &str) -> PathBuf {
    let pid = server.admin_request("GET /status").json()["process"]["pid"].clone();
    let folder = server.path("disk");
    PathBuf::from(format!("/proc/{pid}/root{}", folder.display())).join(name)
}

fn upgrades(server: &Server) {
    let mut idle = Client::connect(server.public);
    idle.get("/event/list");
    server.upgrade();
    assert_eq!(idle.get("/event/list").process(), 2);
    server.status_of(2);
    assert!(server.log().contains("the pid file cannot be written"), "{}", server.log());
}

#[test]
fn on_a_full_disk_no_pid_file_is_better_than_a_false_one() {
    let Some(server) = start("on_a_full_disk", "true") else { return };
    let before = fs::read_to_string(on_disk(&server, ".pid")).unwrap();
    assert_eq!(before, server.admin_request("GET /status").json()["process"]["pid"].to_string());
    // The number has the one page; without it there is none.
    upgrades(&server);
    for name in [".pid", ".pid.new"] {
        assert!(!on_disk(&server, name).exists(), "{name}");
    }
    // There is room again.
    server.upgrade();
    eventually("the pid file", || fs::read_to_string(on_disk(&server, ".pid")).ok());
}

#[test]
fn in_a_folder_that_is_read_only_a_stale_pid_file_harms_nobody() {
    let mut stranger = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
    let script = format!("echo {} > disk/.pid && mount -o remount,ro disk", stranger.id());
    let server = start("in_a_folder_that_is_read_only", &script);
    if let Some(server) = server {
        upgrades(&server);
        assert_eq!(fs::read_to_string(on_disk(&server, ".pid")).unwrap().trim(), stranger.id().to_string());
    }
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger must live");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

/// E12: what a clock that is set makes of the file is a time before its process began, or one that is still to come.
#[test]
fn whoever_has_the_pid_file_is_told_to_leave_whatever_time_it_has() {
    for strategy in ["reuseport", "reuseport-drain"] {
        let server = Server::start(strategy);
        for forward in [true, false] {
            server.pid();
            let file = fs::File::options().write(true).open(server.path(".pid")).unwrap();
            let now = file.metadata().unwrap().modified().unwrap();
            // To set the clock forward leaves everything that was written in the past.
            file.set_modified(if forward { now - AN_HOUR } else { now + AN_HOUR }).unwrap();
            let report = server.upgrade();
            server.until_process(if forward { 2 } else { 3 });
            let new = &report["new"]["pid"];
            eventually("its pid file", || (*new == server.pid()).then_some(()));
        }
    }
}

/// E8: a server of the same name, older than the file, which has never written it.
#[test]
fn another_server_whose_number_is_in_a_stale_pid_file_is_left_alone() {
    let server = Server::start_with("reuseport", "commit_timeout_ms = 500");
    let neighbour = Server::start("reuseport");
    fs::write(server.path(".pid"), neighbour.pid().to_string()).unwrap();
    let refused = server.upgrade_to(BINARY.as_ref());
    assert_eq!(refused.status, 504, "{}", refused.body);
    assert_eq!(refused.json()["error"]["step"], "commit", "{}", refused.body);
    assert!(server.log().contains("the pid file is stale, nobody is signalled"), "{}", server.log());
    for alive in [&server, &neighbour] {
        assert_eq!(Client::connect(alive.public).get("/event/list").process(), 1);
    }
    // It has written the file again.
    server.upgrade();
    server.until_process(2);
}
