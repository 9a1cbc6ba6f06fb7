//! Back to the program that served before, with one command.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    cli,
    client::{Answer, Client},
    server::{BINARY, Server},
};

/// A copy of the server with a release label, in a folder of its own.
fn release(server: &Server, label: &str) -> PathBuf {
    let folder = server.path(label);
    fs::create_dir(&folder).unwrap();
    fs::copy(BINARY, folder.join("seckill")).unwrap();
    fs::write(folder.join("RELEASE"), label).unwrap();
    folder.join("seckill")
}

fn upgrade_to(server: &Server, binary: &Path) -> Value {
    succeeds(&server.upgrade_to(binary))
}

fn roll_back(server: &Server) -> Answer {
    server.admin_request("POST /upgrade?rollback")
}

#[track_caller]
fn succeeds(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["new"].clone()
}

#[track_caller]
fn is_refused(server: &Server, kind: &str, detail: &str) {
    let answer = roll_back(server);
    let report = answer.json();
    assert_eq!((answer.status, &report["outcome"]), (409, &"refused".into()), "{report}");
    assert_eq!(report["error"]["kind"], kind, "{report}");
    assert!(report["detail"].as_str().unwrap().contains(detail), "{report}");
}

#[test]
fn a_rollback_goes_back_and_the_next_one_forth() {
    for strategy in ["handoff-live", "inherit", "reuseport", "stop-start"] {
        let server = Server::start_with(strategy, "idle_grace_ms = 0");
        let (one, two) = (release(&server, "one"), release(&server, "two"));
        upgrade_to(&server, &one);
        assert_eq!(upgrade_to(&server, &two)["version"], "two", "{strategy}");
        let mut process = 3;
        for label in ["one", "two", "one"] {
            process += 1;
            let new = succeeds(&roll_back(&server));
            assert_eq!((&new["version"], &new["process"]), (&label.into(), &process.into()), "{strategy}");
        }
        server.until_process(process);
        let status = server.status_of(process);
        assert_eq!(status["programs"]["own"]["path"], one.to_str().unwrap(), "{strategy}");
        assert_eq!(status["programs"]["previous"]["path"], two.to_str().unwrap(), "{strategy}");
    }
}

#[test]
fn a_connection_stays_open_through_an_upgrade_and_its_rollback() {
    let server = Server::start("handoff-live");
    let mut idle = Client::connect(server.public);
    idle.get("/event/list");
    upgrade_to(&server, &release(&server, "one"));
    succeeds(&roll_back(&server));
    assert_eq!(idle.get("/event/list").process(), 3);
}

#[test]
fn a_link_that_leads_elsewhere_by_now_does_not_lead_a_rollback_astray() {
    let server = Server::start("handoff-live");
    let (one, two) = (release(&server, "one"), release(&server, "two"));
    let current = server.path("current");
    symlink(&one, &current).unwrap();
    upgrade_to(&server, &current);
    fs::remove_file(&current).unwrap();
    symlink(&two, &current).unwrap();
    assert_eq!(upgrade_to(&server, &current)["version"], "two");
    // The same again, for its settings: what was before it stays what one goes back to.
    assert_eq!(upgrade_to(&server, &current)["version"], "two");
    assert_eq!(succeeds(&roll_back(&server))["version"], "one");
}

#[test]
fn what_cannot_be_gone_back_to_is_refused_and_the_process_serves_on() {
    let server = Server::start("handoff-live");
    is_refused(&server, "no-previous", "nothing has served before this process");
    let (one, two) = (release(&server, "one"), release(&server, "two"));
    upgrade_to(&server, &one);
    upgrade_to(&server, &two);
    let away = server.path("away");
    fs::rename(&one, &away).unwrap();
    is_refused(&server, "missing", "(release one), which served before, has gone");
    fs::copy(BINARY, &one).unwrap();
    is_refused(&server, "changed", "is another file than the one that was run");
    assert_eq!(Client::connect(server.public).get("/event/list").process(), 3);
    fs::rename(&away, &one).unwrap();
    assert_eq!(succeeds(&roll_back(&server))["version"], "one");
}

#[test]
fn one_command_rolls_back() {
    let server = Server::start("handoff-live");
    let folder = server.path("");
    let (code, out, _) = cli::run(&folder, "upgrade -c seckill.toml --rollback");
    assert_eq!(code, 1);
    assert!(out.contains("upgrade refused") && out.contains("start: no-previous"), "{out}");
    upgrade_to(&server, &release(&server, "one"));
    let (code, out, error) = cli::run(&folder, "upgrade -c seckill.toml --rollback");
    assert_eq!(code, 0, "{out}{error}");
    assert!(out.contains("upgraded by handoff-live") && out.contains("release one, process 2"), "{out}");
}
