//! Every step of an upgrade has a time limit of its own, and whoever asked is told which one was over.

use std::path::Path;

use crate::{
    client::Client,
    failures::check,
    scripted::{Scripted, answer_probe},
    server::{BINARY, Server, eventually},
};

#[test]
fn a_new_process_that_hangs_in_any_step_is_ended_and_the_step_named() {
    for (fault, setting, step) in [
        ("hang-start", "start_timeout_ms", "start"),
        ("hang-load", "load_timeout_ms", "load"),
        ("hang-probe", "probe_timeout_ms", "probe"),
        ("hang-state", "state_timeout_ms", "state"),
        ("hang-commit", "commit_timeout_ms", "commit"),
        ("hang-transfer", "transfer_timeout_ms", "transfer"),
    ] {
        let server = Server::start_broken("handoff-live", &format!("{setting} = 300"), fault);
        let detail = format!("(upgrade.{setting} is 300)");
        check(&server, Path::new(BINARY), 504, step, "timeout", &detail);
    }
}

#[test]
fn a_new_process_that_serves_without_being_told_is_ended_too() {
    for (strategy, fault, setting, step) in [
        ("reuseport", "hang-load", "load_timeout_ms", "load"),
        ("reuseport", "hang-state", "state_timeout_ms", "state"),
        ("reuseport", "hang-commit", "commit_timeout_ms", "commit"),
        ("stop-start", "hang-start", "start_timeout_ms", "start"),
        ("stop-start", "hang-state", "state_timeout_ms", "state"),
        ("inherit", "hang-probe", "probe_timeout_ms", "probe"),
        ("handoff", "hang-commit", "commit_timeout_ms", "commit"),
    ] {
        let server = Server::start_broken(strategy, &format!("{setting} = 300"), fault);
        let answer = server.upgrade_to(Path::new(BINARY));
        let report = answer.json();
        assert_eq!(
            (answer.status, &report["error"]["step"]),
            (504, &step.into()),
            "{strategy}, {fault}: {report}"
        );
        let detail = report["error"]["detail"].to_string();
        assert!(detail.contains(&format!("(upgrade.{setting} is 300)")), "{detail}");
        assert_eq!(Client::connect(server.public).get("/event/list").process(), 1, "{strategy}, {fault}");
    }
}

/// It answers once, and never again.
#[test]
fn one_that_hangs_in_its_probation_is_told_to_go() {
    let server = Server::start_with("handoff-live", "probe_timeout_ms = 300");
    let mut successor = Scripted::welcomed(&server);
    successor.say(&serde_json::json!({ "is": "ready" }));
    successor.until("connection");
    successor.say(&serde_json::json!({ "is": "adopted", "through": 0 }));
    let _socket = answer_probe(&mut successor, 1);
    let reason = successor.until("refuse")["reason"].to_string();
    assert!(reason.contains("it was told to go (upgrade.probe_timeout_ms is 300)"), "{reason}");
    eventually("the log", || server.log().contains("step=\"probation\"").then_some(()));
    assert_eq!(Client::connect(server.public).get("/event/list").process(), 1);
}
