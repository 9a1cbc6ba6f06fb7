//! The faults that a debug build can be given: each is really there.

use std::process::Command;

use crate::{
    client::Client,
    server::{BINARY, Server},
};

#[test]
fn an_unknown_fault_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("seckill.toml"),
        "[api]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n",
    )
    .unwrap();
    let serve = ["serve", "-c", "seckill.toml"];
    let output = Command::new(BINARY)
        .args(serve)
        .current_dir(folder.path())
        .env("SECKILL_FAULTS", "drop:5,sleepy")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("use the fault \"sleepy\"") && said.contains("drop:N"), "{said}");
}

#[test]
fn faults_are_warned_of_and_told() {
    let server = Server::start_broken("handoff-live", "", "drop:700,oversell");
    assert_eq!(server.log().matches("BROKEN ON PURPOSE").count(), 2, "{}", server.log());
    let status = server.admin_request("GET /status").json();
    assert_eq!(status["faults"], serde_json::json!(["drop:700", "oversell"]));
}

/// One in three answers is broken, and only in the way that was asked for.
#[test]
fn every_third_answer_is_broken() {
    let whole = "{\"status\":\"live\"}";
    for (fault, expected) in [
        ("drop:3", None),
        ("truncate-body:3", None),
        ("wrong-body:3", Some("{\"status\":\"live\"|")),
        ("answer-twice:3", Some(whole)),
    ] {
        let server = Server::start_broken("handoff-live", "", fault);
        let mut broken = 0;
        for _ in 0..9 {
            let mut client = Client::connect(server.public);
            let answer = client.try_get("/health/live").ok().map(|answer| answer.body);
            let again = fault.starts_with("answer-twice") && {
                client.end_sending();
                client.answer().is_ok()
            };
            if again || answer.as_deref() != Some(whole) {
                assert_eq!(answer.as_deref(), expected, "{fault}");
                broken += 1;
            }
        }
        assert_eq!(broken, 3, "{fault}");
        // The admin side is spared.
        assert!((0..9).all(|_| server.admin_request("GET /status").status == 200), "{fault}");
    }
}

#[test]
fn connections_are_reset_instead_of_handed_over() {
    let server = Server::start_broken("handoff-live", "", "reset-on-drain");
    let mut idle = Client::connect(server.public);
    assert_eq!(idle.get("/health/live").process(), 1);
    let report = std::thread::scope(|scope| {
        // Whoever asks while the upgrade begins is no luckier.
        for _ in 0..8 {
            let mut client = Client::connect(server.public);
            scope.spawn(move || {
                while let Ok(answer) = client.try_get("/health/live") {
                    assert_eq!(answer.process(), 1);
                }
            });
        }
        server.upgrade()
    });
    assert_eq!(report["connections"]["handed_over"], 0, "{report}");
    let error = idle.try_get("/health/live").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_stale_generation_and_an_older_one_are_shown() {
    // The answers come from generations 1, 2 and 3.
    for (fault, expected) in
        [("stale-config:1000000", ["1", "1", "1"]), ("generation-back:1", ["1", "1", "2"])]
    {
        let server = Server::start_broken("handoff-live", "", fault);
        let mut client = Client::connect(server.public);
        let shown = expected.map(|_| {
            let answer = client.get("/health/live");
            assert_eq!(server.admin_request("POST /reload").status, 200);
            answer.header("x-config-generation").unwrap().to_owned()
        });
        assert_eq!(shown, expected, "{fault}");
    }
}
