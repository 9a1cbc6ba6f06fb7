//! What a process has in memory goes on in the next one: limits that are used up, counters, a service that is away.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    client::{Answer, Client},
    server::{BINARY, Server, eventually},
    service_processes::services,
    services::{IMPATIENT, standing, start, until_bought, until_refused},
};

/// The window of every limit.
const WINDOW: Duration = Duration::from_secs(1);

/// Tries that may be spoilt by an upgrade that takes longer than the window.
const TRIES: usize = 50;

/// Uses a limit up, upgrades, and asks once more: in time, that has to be refused.
fn is_still_limited(server: &Server, mut ask: impl FnMut(usize) -> Answer) {
    for attempt in 0..TRIES {
        let began = Instant::now();
        // What an attempt before has used up may weigh yet.
        if ask(3 * attempt).status == 429 {
            continue;
        }
        let second = ask(3 * attempt + 1).status;
        if second != 429 {
            assert!(began.elapsed() >= WINDOW, "{second} before the upgrade");
            continue;
        }
        server.upgrade();
        let answer = ask(3 * attempt + 2);
        if began.elapsed() < WINDOW {
            assert_eq!(answer.status, 429, "{}", answer.body);
            return;
        }
    }
    eprintln!("NOT SEEN: no upgrade was over within a second");
}

#[test]
fn a_user_who_has_used_up_his_limit_has_after_an_upgrade() {
    for strategy in ["handoff-live", "handoff", "stop-start"] {
        let settings = "idle_grace_ms = 0\n[limits]\norders_per_user_per_second = 1";
        let server = Server::start_with(strategy, settings);
        let ask = |round| {
            let mut client = Client::connect(server.public);
            server.buy(&mut client, 5, &format!("key-{round}"), 1, 1)
        };
        is_still_limited(&server, ask);
        assert_ne!(server.buy(&mut Client::connect(server.public), 6, "other", 1, 1).status, 429);
    }
}

#[test]
fn a_route_that_is_used_up_is_after_an_upgrade() {
    let server = Server::start("handoff-live");
    std::fs::write(server.path("cluster.json"), r#"{"rate_limits":{"per_second":{"event_info":1}}}"#)
        .unwrap();
    assert_eq!(server.admin_request("POST /reload").status, 200);
    is_still_limited(&server, |_| Client::connect(server.public).get("/event/info?id=1"));
}

/// The counters of `GET /metrics`, as they are told.
fn counters(server: &Server) -> Vec<(String, u64)> {
    let told = server.admin_request("GET /metrics").body;
    let counters = told.lines().filter(|line| line.contains("_total"));
    counters
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect()
}

fn counter(server: &Server, name: &str) -> u64 {
    // What never happened has no line.
    counters(server).iter().find(|(known, _)| known == name).map_or(0, |(_, value)| *value)
}

#[test]
fn counters_go_on_in_the_next_process() {
    for strategy in ["handoff-live", "handoff", "inherit", "reuseport-drain", "reuseport", "stop-start"] {
        let server = Server::start_with(strategy, "idle_grace_ms = 0");
        let buy = |key: &str| {
            let answer = server.buy(&mut Client::connect(server.public), 5, key, 1, 1);
            assert_eq!(answer.status, 201, "{strategy}: {}", answer.body);
        };
        ["a", "b", "c"].into_iter().for_each(buy);
        for process in 2_u32..4 {
            server.upgrade();
            server.status_of(process);
            eventually("the count of the upgrades", || {
                let counted = counter(&server, "seckill_upgrades_total{outcome=\"ok\"}");
                (counted == u64::from(process) - 1).then_some(())
            });
        }
        ["d", "a"].into_iter().for_each(buy);
        assert_eq!(counter(&server, "seckill_orders_placed_total"), 4, "{strategy}");
        assert_eq!(counter(&server, "seckill_orders_replayed_total"), 1, "{strategy}");
        let created = "seckill_requests_total{side=\"public\",status=\"201\"}";
        assert_eq!(counter(&server, created), 5, "{strategy}");
        assert_eq!(server.admin_request("GET /status").json()["store"]["orders_placed"], 4, "{strategy}");
    }
}

#[test]
fn no_counter_falls_while_processes_change() {
    let server = Server::start("handoff-live");
    let asked = &server;
    thread::scope(|scope| {
        let upgrades = scope.spawn(|| (0..10).for_each(|_| drop(server.upgrade())));
        let load = scope.spawn(move || {
            let mut client = Client::connect(asked.public);
            while !upgrades.is_finished() {
                assert_eq!(client.get("/event/list").status, 200);
            }
        });
        let mut before = counters(&server);
        while !load.is_finished() {
            let now = counters(&server);
            for (name, value) in &before {
                let later = now.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
                assert!(later >= Some(*value), "{name} was {value} and is {later:?}");
            }
            before = now;
        }
    });
}

#[test]
fn a_redis_that_is_away_is_so_in_the_next_process() {
    let Some(services) = services() else { return };
    let server = start(&services, IMPATIENT, "");
    let mut client = Client::connect(server.public);
    services.redis.signal(Signal::STOP);
    until_refused(&server, &mut client, "a", "redis is away");
    let away_ms = || standing(&server, "redis")["away_ms"].as_u64();
    let before = eventually("the time of its absence", away_ms);
    server.upgrade();
    let answer = server.buy(&mut client, 5, "b", 1, 1);
    assert_eq!((answer.status, answer.process()), (503, 2), "{}", answer.body);
    assert!(answer.body.contains("redis is away"), "{}", answer.body);
    assert!(away_ms() > Some(before), "the time goes on");
    services.redis.signal(Signal::CONT);
    until_bought(&server, &mut client, "c");
    assert_eq!(standing(&server, "redis")["away_ms"], serde_json::Value::Null);
}

/// A newcomer that is in other respects the same server.
#[cfg(debug_assertions)]
fn speaking(server: &Server, faults: &str) -> std::path::PathBuf {
    server.script(&format!("#!/bin/sh\nSECKILL_FAULTS={faults} exec {BINARY} \"$@\"\n"))
}

#[cfg(debug_assertions)]
#[test]
fn a_state_that_does_not_fit_ends_the_upgrade_in_both_directions() {
    let check = crate::failures::check;
    let newer = "state of version 3, this one has version 2";
    let server = Server::start("handoff-live");
    check(&server, &speaking(&server, "state-version:3"), 502, "start", "state-version", newer);
    server.upgrade();
    server.until_process(2);

    let older = "state of version 2, this one has version 4";
    let server = Server::start_broken("handoff-live", "", "state-version:4");
    check(&server, &speaking(&server, ""), 502, "start", "state-version", older);
    server.upgrade();
    server.until_process(2);

    let server = Server::start_broken("handoff-live", "", "corrupt-state");
    check(&server, Path::new(BINARY), 502, "state", "failed", "its checksum does not fit");
}

#[cfg(debug_assertions)]
#[test]
fn no_strategy_takes_a_state_that_does_not_fit() {
    for strategy in ["handoff", "inherit", "reuseport-drain", "reuseport", "stop-start"] {
        let server = Server::start_broken(strategy, "idle_grace_ms = 0", "corrupt-state");
        let report = server.upgrade_to(Path::new(BINARY)).json();
        assert_eq!(report["error"]["step"], "state", "{strategy}: {report}");
        assert!(report["error"]["detail"].to_string().contains("checksum"), "{strategy}: {report}");
        assert_eq!(Client::connect(server.public).get("/event/list").process(), 1, "{strategy}");
        let report = server.upgrade_to(&speaking(&server, "state-version:9")).json();
        assert_eq!(report["error"]["kind"], "state-version", "{strategy}: {report}");
        assert_eq!(Client::connect(server.public).get("/event/list").process(), 1, "{strategy}");
    }
}
