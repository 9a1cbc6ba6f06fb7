//! Configuration that comes from etcd, whatever becomes of etcd.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    client::Client,
    etcd_process::{Etcd, etcd, free_port},
    server::{Server, eventually},
};

pub(crate) const KEY: &str = "/seckill/activities";

/// A sale with one event of this name.
pub(crate) fn sale(name: &str) -> String {
    format!(
        r#"{{"events":[{{"id":1,"name":"{name}","starts_at":"2020-01-01T00:00:00Z",
        "ends_at":"2100-01-01T00:00:00Z","goods":[{{"id":1,"name":"g","price_cents":1,"stock":1,"limit_per_user":1}}]}}]}}"#
    )
}

/// A server whose activities and cluster configuration come from `etcd`.
pub(crate) fn served(settings: &str) -> Server {
    let activities = format!("[reload.activities]\nby = \"etcd\"\nfrom = \"etcd:{KEY}\"\n");
    Server::start_with("handoff-live", &format!("{settings}{activities}"))
}

pub(crate) fn until_sold(server: &Server, name: &str) {
    let name = format!("\"{name}\"");
    let mut client = Client::connect(server.public);
    eventually(&name, || client.get("/event/list").body.contains(&name).then_some(()));
}

fn history(server: &Server) -> Vec<Value> {
    let status = server.admin_request("GET /status").json();
    status["snapshot"]["history"].as_array().unwrap().clone()
}

/// Waits for a refusal of the cluster configuration or the activities, and returns its reason.
fn until_refused(server: &Server, datum: &str, part: &str) -> String {
    eventually(part, || {
        let changes = history(server);
        let refused =
            changes.iter().filter(|change| change["datum"] == datum && change["outcome"] == "refused");
        let reasons = refused.map(|change| change["reason"].as_str().unwrap().to_owned());
        reasons.rev().find(|reason| reason.contains(part))
    })
}

#[test]
fn a_change_of_a_key_is_served_and_a_transaction_is_one_change() {
    let Some(etcd) = etcd() else { return };
    etcd.put(KEY, &sale("first"));
    let server = served(&etcd.settings());
    until_sold(&server, "first");
    etcd.put(KEY, &sale("second"));
    until_sold(&server, "second");
    let changes = |server: &Server| {
        let of_cluster = |change: &Value| change["datum"] == "cluster" && change["mechanism"] == "etcd";
        history(server).iter().filter(|change| of_cluster(change)).count()
    };
    assert_eq!(changes(&server), 0);
    etcd.put_together(&[
        ("/seckill/config", r#"{"log_level":"info"}"#),
        ("/seckill/config/pools/mysql", "4"),
        ("/seckill/config/degradation", r#"{"listing_from_cache":true}"#),
        ("/seckill/configuration", "of somebody else"),
    ]);
    eventually("the cluster configuration", || (changes(&server) > 0).then_some(()));
    etcd.put(KEY, &sale("third"));
    until_sold(&server, "third");
    assert_eq!(changes(&server), 1, "{:?}", history(&server));
}

#[test]
fn what_is_wrong_is_refused_with_its_key_and_what_was_served_stays() {
    let Some(etcd) = etcd() else { return };
    etcd.put(KEY, &sale("good"));
    let server = served(&etcd.settings());
    until_sold(&server, "good");
    etcd.put("/seckill/config", "{\n  \"log_level\": \"loud\"\n}");
    let reason = until_refused(&server, "cluster", "loud");
    assert!(
        reason.starts_with(
            "failed to use the cluster from etcd:/seckill/config: log_level: unknown word `loud`"
        )
    );
    assert!(reason.contains("expected one of `trace`") && reason.contains("line 2"), "{reason}");
    etcd.put("/seckill/config", "{}");
    etcd.put("/seckill/config/pools/mysql", "0");
    until_refused(&server, "cluster", "/seckill/config/pools/mysql: pools.mysql: 0 is not from 1 to 10000");
    etcd.put("/seckill/config/pools/mysql", "many");
    until_refused(&server, "cluster", "/seckill/config/pools/mysql: expected value");
    etcd.put("/seckill/config/pools/mongo", "5");
    until_refused(&server, "cluster", "/seckill/config/pools/mongo: pools.mongo: unknown field `mongo`");

    etcd.put(KEY, "{\"events\":");
    until_refused(&server, "activities", "the text ends within");
    until_sold(&server, "good");
    etcd.delete(KEY);
    until_refused(&server, "activities", "it is not there any more");
    until_sold(&server, "good");
    etcd.put(KEY, &sale("mended"));
    until_sold(&server, "mended");
    assert!(server.admin_request("POST /reload").status == 422, "the cluster configuration is still wrong");
}

#[test]
fn a_storm_ends_in_the_last_value() {
    let Some(etcd) = etcd() else { return };
    etcd.put(KEY, &sale("0"));
    let server = served(&etcd.settings());
    etcd.put_all((1..=1000).map(|number| (KEY, sale(&number.to_string()))));
    until_sold(&server, "1000");
}

/// Ends etcd, changes something as soon as it is back, and waits until it is served; as often as there are signals.
fn ended_and_started(etcd: &mut Etcd, server: &Server, signals: &[Signal]) {
    for (round, signal) in signals.iter().enumerate() {
        etcd.stop(*signal);
        until_sold(server, "before");
        etcd.start_again();
        let name = format!("after {round}");
        etcd.put(KEY, &sale(&name));
        until_sold(server, &name);
        etcd.put(KEY, &sale("before"));
        until_sold(server, "before");
    }
}

#[test]
fn an_etcd_that_ends_and_comes_back_is_watched_again() {
    let Some(mut etcd) = etcd() else { return };
    etcd.put(KEY, &sale("before"));
    let server = served(&etcd.settings());
    ended_and_started(&mut etcd, &server, &[Signal::KILL, Signal::TERM]);
}

#[test]
fn an_etcd_that_comes_back_without_its_data_takes_nothing_away() {
    let Some(mut etcd) = etcd() else { return };
    etcd.put_all((0..20).map(|_| (KEY, sale("before"))));
    let server = served(&etcd.settings());
    etcd.stop(Signal::KILL);
    etcd.start_empty();
    until_refused(&server, "activities", "it is not there any more");
    until_sold(&server, "before");
    etcd.put(KEY, &sale("after"));
    until_sold(&server, "after");
}

#[test]
fn a_change_that_was_compacted_away_meanwhile_is_served() {
    let Some(mut etcd) = etcd() else { return };
    etcd.put(KEY, &sale("before"));
    let server = served(&etcd.settings());
    until_sold(&server, "before");
    etcd.stop(Signal::KILL);
    let port = etcd.start_elsewhere();
    etcd.put_all((0..20).map(|_| (KEY, sale("meanwhile"))));
    etcd.compact();
    etcd.stop(Signal::KILL);
    etcd.set_port(port);
    etcd.start_again();
    until_sold(&server, "meanwhile");
    etcd.compact();
    etcd.put(KEY, &sale("after"));
    until_sold(&server, "after");
}

#[test]
fn a_frozen_etcd_is_noticed_and_what_it_did_not_tell_is_served() {
    let Some(etcd) = etcd() else { return };
    etcd.put(KEY, &sale("before"));
    let server = served(&etcd.settings());
    until_sold(&server, "before");
    etcd.signal(Signal::STOP);
    eventually("the word that etcd is away", || server.log().contains("etcd is away").then_some(()));
    until_sold(&server, "before");
    etcd.signal(Signal::CONT);
    etcd.put(KEY, &sale("after"));
    until_sold(&server, "after");
}

#[test]
fn another_endpoint_is_taken_when_one_is_dead() {
    let Some(mut etcd) = etcd() else { return };
    etcd.put(KEY, &sale("before"));
    let (dead, address) = (free_port(), etcd.address());
    let settings = etcd.settings().replace(&address, &format!("127.0.0.1:{dead}, {address}"));
    let server = served(&settings);
    ended_and_started(&mut etcd, &server, &[Signal::KILL]);
}

#[test]
fn a_server_starts_without_etcd_and_is_served_by_it_later() {
    let Some(mut etcd) = etcd() else { return };
    etcd.put(KEY, &sale("later"));
    etcd.stop(Signal::KILL);
    let server = served(&etcd.settings());
    assert_eq!(Client::connect(server.public).get("/event/list").status, 200);
    let answer = server.admin_request("POST /reload");
    assert_eq!(answer.status, 422);
    assert!(answer.body.contains("ask etcd at") && answer.body.contains(&etcd.address()), "{}", answer.body);
    etcd.start_again();
    until_sold(&server, "later");
}

#[test]
fn an_etcd_that_asks_who_one_is() {
    let Some(etcd) = etcd() else { return };
    etcd.put(KEY, &sale("first"));
    etcd.protect("open sesame");
    let file = etcd.path("password");
    let user = format!("username = \"shop\"\npassword_file = {file:?}\n");
    let server = served(&format!("{}{user}", etcd.settings()));
    let reasons = |part: &str| {
        let answer = server.admin_request("POST /reload");
        assert_eq!(answer.status, 422);
        assert!(answer.body.contains(part), "{}", answer.body);
    };
    reasons("read etcd's password from");
    fs::write(&file, "abracadabra\n").unwrap();
    reasons("authentication failed");
    // It is read anew with each connection.
    fs::write(&file, "open sesame\n").unwrap();
    until_sold(&server, "first");
    eventually("the entry of the node", || {
        let nodes = server.admin_request("GET /config").json()["nodes"].clone();
        (nodes.as_array().unwrap().len() == 1).then_some(())
    });
}

#[test]
fn a_server_whose_etcd_is_lost_is_upgraded() {
    let Some(mut etcd) = etcd() else { return };
    etcd.put(KEY, &sale("before"));
    let server = served(&etcd.settings());
    until_sold(&server, "before");
    let mut idle = Client::connect(server.public);
    idle.get("/event/list");
    etcd.stop(Signal::KILL);
    server.upgrade();
    assert_eq!(idle.get("/event/list").process(), 2, "its connection goes on");
    until_sold(&server, "before");
    etcd.start_again();
    etcd.put(KEY, &sale("after"));
    until_sold(&server, "after");
}

#[test]
fn a_change_made_during_an_upgrade_is_served_afterwards() {
    let Some(etcd) = etcd() else { return };
    etcd.put(KEY, &sale("0"));
    let server = served(&etcd.settings());
    for round in 0..3 {
        std::thread::scope(|scope| {
            let upgrade = scope.spawn(|| server.upgrade());
            let mut number = 0;
            while !upgrade.is_finished() {
                number += 1;
                etcd.put(KEY, &sale(&format!("{round} {number}")));
            }
            upgrade.join().unwrap();
            until_sold(&server, &format!("{round} {number}"));
        });
    }
}
