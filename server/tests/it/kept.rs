//! Changes that outlive the process that took them, and that go neither lost nor back while it is replaced.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    client::{Answer, Client},
    scripted::{Scripted, answer_probes},
    server::{BINARY, Server, eventually, signal_to},
};

const LEVEL: &str = r#"{"log_level":"warn"}"#;

pub(crate) fn generation(answer: &Answer) -> u64 {
    answer.header("x-config-generation").unwrap().parse().unwrap()
}

/// Pushes, and returns the generation that it was acknowledged with.
fn push(server: &Server, path: &str, body: &str) -> u64 {
    let answer = server.admin_request(&format!("PUT /config/{path} {body}"));
    assert_eq!(answer.status, 200, "{}\n{}", answer.body, server.log());
    answer.json()["generation"].as_u64().unwrap()
}

fn config(server: &Server) -> Value {
    server.admin_request("GET /config").json()
}

/// The latest change of `datum` in the history.
fn last_change(server: &Server, datum: &str) -> Value {
    let status = server.admin_request("GET /status").json();
    let history = status["snapshot"]["history"].as_array().unwrap().clone();
    history.into_iter().rfind(|change| change["datum"] == datum).unwrap()
}

#[test]
fn what_was_pushed_is_there_after_an_upgrade_a_stop_and_a_kill() {
    for strategy in ["handoff-live", "handoff", "inherit", "reuseport-drain", "reuseport", "stop-start"] {
        let mut server = Server::start(strategy);
        push(&server, "cluster", LEVEL);
        push(&server, "blacklist", "7\n8\n");
        push(&server, "blacklist?delta", "+9\n-8\n");
        let last = push(&server, "activities", r#"{"events":[]}"#);
        let pushed = config(&server)["digests"].clone();
        let mut served = last;
        let mut check = |server: &Server, what: &str| {
            let config = config(server);
            assert_eq!(config["digests"], pushed, "{strategy}, after {what}\n{}", server.log());
            let generation = config["generation"].as_u64().unwrap();
            assert!(generation > served, "{strategy}, after {what}: {generation} after {served}");
            served = generation;
            let change = last_change(server, "blacklist");
            assert_eq!(
                (&change["mechanism"], change["copied_at"].is_string()),
                (&json!("push"), true),
                "{change}"
            );
        };
        let old = server.pid();
        server.upgrade();
        server.until_process(2);
        eventually("the pid file of the new process", || (server.pid() != old).then_some(()));
        server.status_of(2);
        check(&server, "an upgrade");
        server.signal(Signal::TERM);
        eventually("the end", || (!server.path(".pid").exists()).then_some(()));
        server.start_again();
        check(&server, "a stop");
        server.signal(Signal::KILL);
        server.start_again();
        check(&server, "a kill");
        let copies = server.admin_request("GET /status").json()["snapshot"]["copies"].clone();
        let copied: Vec<_> = copies.as_array().unwrap().iter().map(|copy| copy["datum"].clone()).collect();
        assert_eq!(copied, ["blacklist", "cluster", "activities"]);
    }
}

#[test]
fn a_file_that_changed_while_nobody_served_goes_before_an_older_push() {
    let mut server = Server::start("handoff-live");
    push(&server, "blacklist", "7\n8\n");
    let last = push(&server, "blacklist?delta", "+9\n");
    server.signal(Signal::KILL);
    fs::write(server.path("blacklist.txt"), "1\n2\n3\n4\n").unwrap();
    server.start_again();
    let served = config(&server);
    assert_eq!((&served["blacklisted"], &served["generation"]), (&json!(4), &json!(last + 1)));
    assert_eq!(last_change(&server, "blacklist")["copied_at"], Value::Null);
    assert!(!server.path(".seckill-config/blacklist").exists());
}

#[test]
fn a_copy_that_is_torn_is_told_and_not_served() {
    let mut server = Server::start("handoff-live");
    push(&server, "blacklist", "7\n8\n9\n");
    server.signal(Signal::KILL);
    let path = server.path(".seckill-config/blacklist");
    let text = fs::read(&path).unwrap();
    fs::write(&path, &text[..text.len() - 2]).unwrap();
    server.start_again();
    assert_eq!(config(&server)["blacklisted"], 1, "what the file has");
    let log = server.log();
    assert!(log.contains("the last good copy is not used, failed to trust it: it is torn"), "{log}");
}

#[test]
fn what_cannot_be_kept_is_not_acknowledged() {
    let server = Server::start_with("handoff-live", "[reload]\ncopies = \"/proc/none\"");
    let refused = server.admin_request(&format!("PUT /config/cluster {LEVEL}"));
    assert_eq!((refused.status, generation(&refused)), (507, 1), "{}", refused.body);
    assert!(refused.body.contains("see that the folder reload.copies can be written"), "{}", refused.body);
    // Everything else goes on: a file is its own copy.
    assert_eq!(server.admin_request("POST /reload").json()["generation"], 2);
    server.upgrade();
    assert_eq!(config(&server)["generation"], 3);
}

/// A push that the old process takes when the new one has loaded its state already.
#[test]
fn a_push_during_the_probation_is_served_by_the_new_process() {
    let server = Server::start_with("handoff-live", "probation_ms = 300");
    let mut client = Client::connect(server.public);
    let (mut served, mut late) = (1, 0);
    for round in 1..=4_u32 {
        thread::scope(|scope| {
            let upgrade = scope.spawn(|| server.upgrade());
            while !upgrade.is_finished() {
                let body = format!(r#"{{"rate_limits":{{"orders_per_user_per_second":{}}}}}"#, served + 1000);
                let answer = server.admin_request(&format!("PUT /config/cluster {body}"));
                let seen = generation(&client.get("/event/list"));
                assert!(seen >= served, "{seen} after {served}");
                served = seen;
                if answer.status == 200 && answer.process() == round {
                    late += 1;
                    let pushed = answer.json()["generation"].as_u64().unwrap();
                    assert!(served >= pushed, "{served} is served after {pushed} was acknowledged");
                    let told = config(&server);
                    assert!(told["generation"].as_u64().unwrap() >= pushed);
                }
            }
        });
        let told = server.admin_request("GET /config/cluster").json();
        let log = server.log();
        let now = generation(&client.get("/event/list"));
        assert!(told["rate_limits"]["orders_per_user_per_second"].is_u64(), "{told}\n{log}");
        assert!(now >= served);
    }
    assert!(late > 0, "nothing was pushed in the very moment");
}

/// Pushes and upgrades, as fast as they come: what was acknowledged last is served, by whichever process.
#[test]
fn pushes_and_upgrades_at_once_lose_nothing_and_never_go_back() {
    let rounds =
        std::env::var("SECKILL_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(8);
    for strategy in ["handoff-live", "handoff"] {
        let server = Server::start_with(strategy, "probation_ms = 10");
        let stop = AtomicBool::new(false);
        let acknowledged = thread::scope(|scope| {
            let pushing = scope.spawn(|| push_until(strategy, &server, &stop));
            let looking = scope.spawn(|| look_until(&server, &stop));
            let over = SetOnDrop(&stop);
            for _ in 0..rounds {
                server.upgrade();
            }
            drop(over);
            looking.join().unwrap();
            pushing.join().unwrap()
        });
        let told = server.admin_request("GET /config/cluster").json();
        let limit = &told["rate_limits"]["orders_per_user_per_second"];
        assert_eq!(limit, &json!(acknowledged), "{strategy}");
        let blacklisted = &config(&server)["blacklisted"];
        assert_eq!(blacklisted, &json!(1 + acknowledged), "{strategy}: one more with each");
    }
}

/// Ends those who go on until then, also when it is a panic that drops it: the scope waits for them.
struct SetOnDrop<'f>(&'f AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Pushes a number, then one user more; after each acknowledgement both must be served. The last number.
fn push_until(strategy: &str, server: &Server, stop: &AtomicBool) -> u64 {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let document = format!(r#"{{"rate_limits":{{"orders_per_user_per_second":{number}}}}}"#);
        for request in [
            format!("PUT /config/cluster {document}"),
            format!("PUT /config/blacklist?delta +{}", 1_000_000 + number),
        ] {
            let (process, pushed) = eventually("an acknowledgement", || {
                let answer = server.try_admin_request(&request)?;
                let pushed = answer.json()["generation"].as_u64();
                (answer.status == 200).then(|| (answer.process(), pushed.unwrap()))
            });
            let served = eventually("an answer", || {
                let mut client = Client::try_connect(server.public).ok()?;
                client.try_get("/event/list").ok()
            });
            // By `handoff` the old process gives last answers.
            if strategy == "handoff-live" || served.process() >= process {
                assert!(generation(&served) >= pushed, "{} after {pushed}", generation(&served));
            }
        }
    }
    number
}

/// On one connection, and on the next when that ends, answers never go back.
fn look_until(server: &Server, stop: &AtomicBool) {
    let (mut seen, mut client) = ((0, 0), Client::connect(server.public));
    while !stop.load(Ordering::Relaxed) {
        let Ok(answer) = client.try_get("/event/list") else {
            client = eventually("a connection", || Client::try_connect(server.public).ok());
            continue;
        };
        let now = (answer.process(), generation(&answer));
        assert!(now.0 >= seen.0 && now.1 >= seen.1, "{now:?} after {seen:?}");
        assert!(now.0 == seen.0 || now.1 > seen.1, "{now:?} after {seen:?}: another process, another number");
        seen = now;
    }
}

#[test]
fn a_change_between_welcome_and_commit_is_told_in_the_commit() {
    let server = Server::start("handoff-live");
    for round in 0..20_u64 {
        let mut successor = Scripted::welcomed(&server);
        let pushed = push(&server, "blacklist", &format!("{round}\n"));
        successor.say(&json!({ "is": "ready" }));
        successor.until("connection");
        successor.say(&json!({ "is": "adopted", "through": 0 }));
        answer_probes(&mut successor);
        successor.takes_state();
        let commit = successor.until("commit");
        assert_eq!(commit["generation"], pushed);
        drop(successor);
        // It serves on, and nobody has served anything since.
        let told = eventually("the old process", || {
            let told = server.admin_request("GET /config").json();
            (commit["digests"] == told["digests"]).then_some(told)
        });
        assert_eq!(told["generation"], pushed);
    }
}

/// It has served and published, and then it dies: what it published is served on, with a later number.
#[test]
fn what_a_successor_that_dies_has_published_is_taken_over() {
    let server = Server::start("handoff-live");
    let mut client = Client::connect(server.public);
    let copy = server.path(".seckill-config/cluster");
    push(&server, "cluster", LEVEL);
    let theirs = fs::read(&copy).unwrap();
    push(&server, "cluster", r#"{"log_level":"error"}"#);
    let mut successor = Scripted::welcomed(&server);
    successor.say(&json!({ "is": "ready" }));
    successor.until("connection");
    successor.say(&json!({ "is": "adopted", "through": 0 }));
    answer_probes(&mut successor);
    successor.takes_state();
    successor.until("commit");
    fs::write(&copy, theirs).unwrap();
    fs::write(server.path(".seckill-config/generation"), "00000000000000000009\n").unwrap();
    drop(successor);
    eventually("an answer of the old process that knows", || {
        let seen = client.get("/event/list");
        assert!(matches!((generation(&seen), seen.process()), (3 | 10, 1)));
        (generation(&seen) == 10).then_some(())
    });
    assert_eq!(server.admin_request("GET /config/cluster").json()["log_level"], "warn");
    assert_eq!(push(&server, "cluster", "{}"), 11);
    server.upgrade();
    assert_eq!(config(&server)["generation"], 12);
}

#[test]
fn a_push_survives_an_old_process_that_dies_without_a_word() {
    let server = Server::start_with("handoff-live", "probation_ms = 2000");
    let old = server.pid();
    push(&server, "activities", r#"{"events":[]}"#);
    thread::scope(|scope| {
        let asked = scope.spawn(|| try_upgrade(&server));
        let loads = || server.log().contains("served from its last good copy").then_some(());
        eventually("the new process", loads);
        let last = push(&server, "cluster", LEVEL);
        signal_to(old, Signal::KILL);
        server.until_process(2);
        let told = config(&server);
        assert_eq!(told["effective"]["log_level"]["value"], "warn", "{}", server.log());
        assert!(told["generation"].as_u64().unwrap() > last, "{told}");
        asked.join().unwrap();
    });
}

fn try_upgrade(server: &Server) {
    // The one who is asked dies.
    drop(server.try_admin_request(&format!("POST /upgrade {}", json!({ "binary": BINARY }))));
}

/// Whoever deletes the list does not mean that everybody may buy.
#[test]
fn a_new_process_that_cannot_find_what_is_served_does_not_take_over() {
    let server = Server::start("handoff-live");
    fs::remove_file(server.path("blacklist.txt")).unwrap();
    let answer = server.upgrade_to(Path::new(BINARY));
    assert_eq!(answer.status, 502, "{}", answer.body);
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains("use the blacklist from ./blacklist.txt") && detail.contains("not there any more"),
        "{detail}"
    );
    let told = config(&server);
    assert_eq!((&told["blacklisted"], &told["generation"]), (&json!(1), &json!(1)));
    fs::write(server.path("blacklist.txt"), "1\n2\n").unwrap();
    server.upgrade();
    assert_eq!(config(&server)["blacklisted"], 2);
}

#[test]
fn the_log_level_follows_the_cluster_configuration_and_says_so() {
    let server = Server::start("handoff-live");
    push(&server, "cluster", r#"{"log_level":"error"}"#);
    let said = |text: &str| eventually(text, || server.log().contains(text).then_some(()));
    said("the log level is error now, by the cluster configuration");
    let effective = server.admin_request("GET /status").json()["effective"].clone();
    assert_eq!(effective["log_level"], json!({ "value": "error", "from": "cluster" }));
    push(&server, "cluster", r#"{"pools":{"mysql":4}}"#);
    said("the log level is info now, by the settings");
    eventually("the size of the pool", || {
        let effective = server.admin_request("GET /status").json()["effective"].clone();
        (effective["pools"]["mysql"] == json!({ "value": 4, "from": "cluster" })).then_some(())
    });
}
