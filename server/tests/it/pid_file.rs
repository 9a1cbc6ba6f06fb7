//! The pid file where it cannot be written: the server serves, says so, and nobody is misled by what lies there.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::{
    client::Client,
    server::{Server, eventually},
};

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
    eventually("the admin side", || (server.admin_request("GET /status").process() == 2).then_some(()));
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
