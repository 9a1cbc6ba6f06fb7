//! Redis loses orders that somebody has in hand, services refuse, and machines stop in the middle of a transaction.

use std::collections::HashSet;

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    client::Client,
    server::eventually,
    service_processes::services,
    services::{
        IMPATIENT, buy, left, must_buy, must_buy_patiently, pending, standing, start, until_bought,
        until_refused,
    },
};

#[test]
fn what_was_in_hand_when_redis_lost_it_is_bought_once() {
    let Some(mut services) = services() else { return };
    // Time to fetch an order before MySQL is known to be away.
    let server = start(&services, IMPATIENT, "timeout_ms = 1000");
    let mut client = Client::connect(server.public);
    let mut placed = HashSet::new();
    for round in 0..6 {
        services.mysql.signal(Signal::STOP);
        let keys: Vec<String> = (0..3).map(|key| format!("{round}-{key}")).collect();
        must_buy_patiently(&server, &mut client, &keys[0]);
        eventually("an order in hand", || (pending(&services) == 1).then_some(()));
        for key in &keys[1..] {
            must_buy_patiently(&server, &mut client, key);
        }
        eventually("mysql known to be away", || (standing(&server, "mysql")["up"] == false).then_some(()));
        if round % 2 == 0 {
            services.redis.ask::<()>(redis::cmd("FLUSHALL").arg("SYNC"));
        } else {
            services.redis.kill();
            services.redis.start_empty();
        }
        services.mysql.signal(Signal::CONT);
        for key in &keys {
            let order: Value = until_bought(&server, &mut client, key);
            assert!(placed.insert(order["id"].as_str().unwrap().to_owned()), "{order}");
        }
        services.until_written(3 * (round + 1));
        assert_eq!(left(&server), 1000 - 3 * (round + 1));
    }
    for id in placed {
        let found = services.mysql.count(&format!("SELECT COUNT(*) FROM orders WHERE id = '{id}'"));
        assert_eq!(found, 1, "{id} was acknowledged");
    }
    assert_eq!(standing(&server, "orders_conflicting"), 0);
}

#[test]
fn what_is_being_written_when_redis_loses_it_comes_back() {
    let Some(services) = services() else { return };
    let server = start(&services, "", "");
    let mut client = Client::connect(server.public);
    must_buy(&server, &mut client, "a");
    services.until_written(1);
    let held = services.mysql.hold("SELECT * FROM written FOR UPDATE");
    let order = must_buy(&server, &mut client, "b");
    eventually("a transaction that waits", || (services.mysql.waiting() > 0).then_some(()));
    services.redis.ask::<()>(redis::cmd("FLUSHALL").arg("SYNC"));
    // Nothing is sold before it is known what is written.
    for _ in 0..200 {
        assert_eq!(buy(&server, &mut client, "b").status, 503);
    }
    drop(held);
    assert_eq!(until_bought(&server, &mut client, "b"), order);
    services.until_written(2);
    assert_eq!(left(&server), 998);
}

#[test]
fn what_was_in_hand_before_a_comparison_is_not_written_after_it() {
    let Some(services) = services() else { return };
    let server = start(&services, "", IMPATIENT);
    let mut client = Client::connect(server.public);
    must_buy(&server, &mut client, "a");
    services.until_written(1);
    services.mysql.as_root("SET GLOBAL read_only = 1");
    let lost = must_buy(&server, &mut client, "b");
    eventually("an order in hand", || (pending(&services) == 1).then_some(()));
    services.redis.ask::<()>(redis::cmd("FLUSHALL").arg("SYNC"));
    // As by another server that has compared meanwhile.
    services.mysql.as_root("UPDATE seckill.compared SET epoch = epoch + 1");
    services.mysql.as_root("SET GLOBAL read_only = 0");
    let order = until_bought(&server, &mut client, "b");
    assert_ne!(order["id"], lost["id"]);
    services.until_written(2);
    let id = order["id"].as_str().unwrap();
    assert_eq!(services.mysql.count(&format!("SELECT COUNT(*) FROM orders WHERE id = '{id}'")), 1);

    // Who was overtaken compares again.
    services.mysql.as_root("UPDATE seckill.compared SET epoch = epoch + 1");
    must_buy(&server, &mut client, "c");
    services.until_written(3);
    assert_eq!(left(&server), 997);
    assert_eq!(standing(&server, "orders_conflicting"), 0);
}

#[test]
fn what_mysql_was_not_told_the_stock_of_is_restored_too() {
    let Some(services) = services() else { return };
    let server = start(&services, "", "");
    let mut client = Client::connect(server.public);
    must_buy(&server, &mut client, "a");
    services.until_written(1);
    services.mysql.as_root("DELETE FROM seckill.stock");
    services.redis.ask::<()>(redis::cmd("FLUSHALL").arg("SYNC"));
    until_bought(&server, &mut client, "a");
    assert_eq!(left(&server), 999);
}

#[test]
fn statements_under_way_follow_the_cluster_configuration() {
    let Some(services) = services() else { return };
    let server = start(&services, "", "");
    let size = |connections: u32| {
        let put = format!(r#"PUT /config/cluster {{"pools":{{"mysql":{connections}}}}}"#);
        assert_eq!(server.admin_request(&put).status, 200);
    };
    let mut client = Client::connect(server.public);
    let mut until_found = |status: u16| {
        let id = "01890000-0000-7000-8000-000000000000";
        eventually("an answer", || (server.find(&mut client, 5, id).status == status).then_some(()));
    };
    until_found(404);
    size(1);
    let held = services.mysql.hold("SELECT * FROM written FOR UPDATE");
    must_buy(&server, &mut Client::connect(server.public), "a");
    eventually("a transaction that waits", || (services.mysql.waiting() > 0).then_some(()));
    // It has the only connection.
    until_found(503);
    size(2);
    until_found(404);
    drop(held);
    services.until_written(1);
}

#[test]
fn a_machine_that_stops_in_mid_transaction_holds_up_nobody() {
    let Some(services) = services() else { return };
    let [stopped, other] = [(), ()].map(|()| start(&services, "claim_after_ms = 300", ""));
    let mut client = Client::connect(stopped.public);
    must_buy(&stopped, &mut client, "a");
    services.until_written(1);
    // Whichever of the two takes the order writes it, up to the row that is held.
    let held = services.mysql.hold("SELECT * FROM written FOR UPDATE");
    must_buy(&stopped, &mut client, "b");
    eventually("a transaction that waits", || (services.mysql.waiting() > 0).then_some(()));
    stopped.signal(Signal::STOP);
    let mut client = Client::connect(other.public);
    let user = 6;
    assert_eq!(other.buy(&mut client, user, "c", 1, 1).status, 201);
    drop(held);
    services.until_written(3);
    stopped.signal(Signal::CONT);
    services.until_written(3);
}

#[test]
fn a_redis_that_is_full_is_still_emptied() {
    let Some(services) = services() else { return };
    let mut server = start(&services, IMPATIENT, IMPATIENT);
    let mut client = Client::connect(server.public);
    must_buy_patiently(&server, &mut client, "a");
    services.until_written(1);
    services.mysql.signal(Signal::STOP);
    for key in ["b", "c"] {
        must_buy_patiently(&server, &mut client, key);
    }
    services.redis.ask::<()>(redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(1));
    // As whoever comes anew.
    server.kill();
    services.mysql.signal(Signal::CONT);
    server.start_again();
    services.until_written(3);
    let mut client = Client::connect(server.public);
    for _ in 0..9 {
        assert_eq!(buy(&server, &mut client, "d").status, 503);
    }
    let told = server.log().matches("redis does not do what it is asked").count();
    assert_eq!(told, 1, "an outage is told once");
    services.redis.ask::<()>(redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(0));
    until_bought(&server, &mut client, "d");
    services.until_written(4);
}

#[test]
fn a_service_that_only_reads_counts_as_away() {
    let Some(services) = services() else { return };
    let server = start(&services, IMPATIENT, IMPATIENT);
    let mut client = Client::connect(server.public);
    must_buy_patiently(&server, &mut client, "a");
    services.until_written(1);
    let follow = |whom: [&str; 2]| services.redis.ask::<()>(redis::cmd("REPLICAOF").arg(&whom));
    follow(["127.0.0.1", "1"]);
    until_refused(&server, &mut client, "b", "redis is away");
    eventually("known to be away", || (standing(&server, "redis")["up"] == false).then_some(()));
    follow(["NO", "ONE"]);
    until_bought(&server, &mut client, "b");
    services.until_written(2);

    services.mysql.as_root("SET GLOBAL read_only = 1");
    must_buy_patiently(&server, &mut client, "c");
    eventually("mysql known to be away", || {
        let mysql = standing(&server, "mysql");
        (mysql["up"] == false && mysql["trouble"].to_string().contains("read only")).then_some(())
    });
    services.mysql.as_root("SET GLOBAL read_only = 0");
    services.until_written(3);
}

#[test]
fn a_server_that_was_stopped_for_longer_than_a_limit_fails_nobody() {
    let Some(services) = services() else { return };
    let server = start(&services, IMPATIENT, IMPATIENT);
    let mut clients: Vec<Client> = (0..32).map(|_| Client::connect(server.public)).collect();
    for round in 0..5 {
        for (client, user) in clients.iter_mut().zip(10..) {
            client.send(&server.purchase(user, &round.to_string(), 1, 1));
        }
        server.signal(Signal::STOP);
        let stopped = std::time::Instant::now();
        while stopped.elapsed() < std::time::Duration::from_millis(150) {
            std::thread::park_timeout(std::time::Duration::from_millis(10));
        }
        server.signal(Signal::CONT);
        for client in &mut clients {
            let answer = client.answer().unwrap();
            assert_eq!(answer.status, 201, "{}", answer.body);
        }
    }
    services.until_written(5 * 32);
}

#[test]
fn what_a_successor_had_in_hand_is_written_at_the_next_start() {
    let Some(services) = services() else { return };
    let mut server = start(&services, "claim_after_ms = 3600000", IMPATIENT);
    server.upgrade();
    server.end();
    let mut client = Client::connect(server.public);
    services.mysql.signal(Signal::STOP);
    must_buy(&server, &mut client, "a");
    eventually("an order in hand", || (pending(&services) == 1).then_some(()));
    server.kill();
    services.mysql.signal(Signal::CONT);
    server.start_again();
    services.until_written(1);
}

#[test]
fn a_push_that_is_refused_changes_nothing_of_what_is_left() {
    let Some(services) = services() else { return };
    // Nothing can be kept there.
    let server = start(&services, "", "[reload]\ncopies = \"/proc/none\"");
    let answer = server.admin_request(r#"PUT /config/activities {"events":[]}"#);
    assert!(answer.status >= 400, "{}", answer.body);
    assert_eq!(left(&server), 1000);
}

#[test]
fn who_takes_over_takes_the_same_services() {
    let Some(services) = services() else { return };
    let server = start(&services, "", "");
    must_buy(&server, &mut Client::connect(server.public), "a");
    let path = server.path("seckill.toml");
    let settings = std::fs::read_to_string(&path).unwrap();
    let without = settings.split_inclusive('\n').filter(|line| !is_of_a_service(line)).collect::<String>();
    let elsewhere = settings.replace("database = \"seckill\"", "database = \"mysql\"");
    for other in [without, elsewhere] {
        std::fs::write(&path, other).unwrap();
        let answer = server.upgrade_to(std::path::Path::new(crate::server::BINARY));
        assert_ne!(answer.status, 200);
        assert!(answer.body.contains("where orders are kept"), "{}", answer.body);
    }
    std::fs::write(&path, settings).unwrap();
    server.upgrade();
}

fn is_of_a_service(line: &str) -> bool {
    ["[redis]", "[mysql]", "address", "auth", "username", "password", "database"]
        .iter()
        .any(|word| line.starts_with(word))
}
