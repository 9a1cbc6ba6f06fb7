//! Redis and MySQL go away and come back while orders are taken, and so does the server.

use std::{collections::HashSet, process::Command, thread};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    client::{Answer, Client},
    server::{BINARY, Server, eventually},
    service_processes::{Services, services},
};

/// Short limits, so that what is away is known to be soon.
pub(crate) const IMPATIENT: &str = "timeout_ms = 100";

pub(crate) fn start(services: &Services, redis: &str, mysql: &str) -> Server {
    let server = Server::start_with("handoff-live", &services.settings_with(redis, mysql));
    until_it_sells(&server);
    server
}

/// A server starts without services that are slow to answer. The stock is put in when they are compared.
fn until_it_sells(server: &Server) {
    eventually("the stock", || left(server).is_u64().then_some(()));
}

/// Buys the goods of which there are 1000, for user 5.
pub(crate) fn buy(server: &Server, client: &mut Client, key: &str) -> Answer {
    server.buy(client, 5, key, 1, 1)
}

pub(crate) fn must_buy(server: &Server, client: &mut Client, key: &str) -> Value {
    let answer = buy(server, client, key);
    assert_eq!(answer.status, 201, "{key}: {}", answer.body);
    answer.json()
}

/// The same of a server with [`IMPATIENT`] limits, which takes a slow moment for a Redis that is away.
pub(crate) fn must_buy_patiently(server: &Server, client: &mut Client, key: &str) -> Value {
    eventually("an order", || {
        let answer = buy(server, client, key);
        assert!([201, 503].contains(&answer.status), "{key}: {} {}", answer.status, answer.body);
        (answer.status == 201).then(|| answer.json())
    })
}

/// Asks with one key until the answer is 201.
pub(crate) fn until_bought(server: &Server, client: &mut Client, key: &str) -> Value {
    eventually("an order", || {
        let answer = buy(server, client, key);
        (answer.status == 201).then(|| answer.json())
    })
}

/// Asks until the answer is 503 with the time to come again, and `part` in its detail.
pub(crate) fn until_refused(server: &Server, client: &mut Client, key: &str, part: &str) {
    eventually(part, || {
        let answer = buy(server, client, key);
        let refused = answer.status == 503 && answer.body.contains(part);
        refused.then(|| assert!(answer.header("retry-after").is_some()))
    });
}

pub(crate) fn standing(server: &Server, name: &str) -> Value {
    server.admin_request("GET /status").json()["store"]["standing"]["services"][name].clone()
}

pub(crate) fn left(server: &Server) -> Value {
    Client::connect(server.public).get("/event/info?id=1").json()["goods"][0]["left"].clone()
}

/// Orders that were fetched and not acknowledged.
pub(crate) fn pending(services: &Services) -> u64 {
    let asking = redis::cmd("XPENDING").arg("seckill:orders").arg("mysql").clone();
    let (count, _, _, _): (u64, redis::Value, redis::Value, redis::Value) = services.redis.ask(&asking);
    count
}

#[test]
fn a_redis_that_was_killed_is_bought_from_again_and_has_forgotten_nothing() {
    let Some(mut services) = services() else { return };
    let server = start(&services, IMPATIENT, "");
    let mut client = Client::connect(server.public);
    let order = must_buy_patiently(&server, &mut client, "a");
    // Else it may be on its way in a Redis that is killed.
    services.mysql.until(1);
    services.redis.kill();
    until_refused(&server, &mut client, "b", "redis is away");
    assert_eq!(client.get("/event/list").status, 200);
    let info = client.get("/event/info?id=1").json();
    assert!(info["from_cache"].is_object(), "{info}");
    // What is in MySQL is found there.
    assert_eq!(server.find(&mut client, 5, order["id"].as_str().unwrap()).json(), order);
    services.redis.start_again();
    until_bought(&server, &mut client, "b");
    assert_eq!(must_buy_patiently(&server, &mut client, "a"), order);
    services.until_written(2);
    assert_eq!(left(&server), 998);
}

#[test]
fn a_frozen_redis_counts_as_away_and_no_order_is_taken_twice() {
    let Some(services) = services() else { return };
    let server = start(&services, IMPATIENT, "");
    let mut client = Client::connect(server.public);
    for round in 0..3 {
        let keys = [format!("a{round}"), format!("b{round}")];
        services.redis.signal(Signal::STOP);
        until_refused(&server, &mut client, &keys[0], "redis is away");
        assert_eq!(client.get("/event/list").status, 200);
        assert_eq!(standing(&server, "redis")["up"], false);
        services.redis.signal(Signal::CONT);
        // Whatever became of the first try.
        until_bought(&server, &mut client, &keys[0]);
        must_buy_patiently(&server, &mut client, &keys[1]);
    }
    services.until_written(6);
    assert_eq!(left(&server), 994);
}

#[test]
fn without_mysql_orders_wait_in_redis_up_to_a_limit() {
    let Some(mut services) = services() else { return };
    let server = start(&services, "orders_waiting_max = 5", IMPATIENT);
    let mut client = Client::connect(server.public);
    must_buy(&server, &mut client, "first");
    services.until_written(1);
    for (round, is_killed) in [(0, true), (1, false)] {
        if is_killed {
            services.mysql.kill();
        } else {
            services.mysql.signal(Signal::STOP);
        }
        let keys: Vec<String> = (0..5).map(|key| format!("{round}-{key}")).collect();
        let orders: Vec<Value> = keys.iter().map(|key| must_buy(&server, &mut client, key)).collect();
        until_refused(&server, &mut client, "more", "too many orders wait");
        assert_eq!(must_buy(&server, &mut client, &keys[0]), orders[0], "what is taken is answered again");
        eventually("mysql known to be away", || (standing(&server, "mysql")["up"] == false).then_some(()));
        eventually("five that wait", || (standing(&server, "orders_waiting") == 5).then_some(()));
        if is_killed {
            services.mysql.start_again();
        } else {
            services.mysql.signal(Signal::CONT);
        }
        services.until_written(6 + 5 * round);
    }
    until_bought(&server, &mut client, "more");
    services.until_written(12);
}

#[test]
fn what_a_killed_process_had_in_hand_is_written_by_the_next() {
    let Some(services) = services() else { return };
    let mut server = start(&services, "", IMPATIENT);
    let mut client = Client::connect(server.public);
    services.mysql.signal(Signal::STOP);
    must_buy(&server, &mut client, "a");
    eventually("an order in hand", || (pending(&services) == 1).then_some(()));
    for key in ["b", "c", "d"] {
        must_buy(&server, &mut client, key);
    }
    // Another one takes an order, and is never heard of again.
    let mut reading = redis::cmd("XREADGROUP");
    reading.arg("GROUP").arg("mysql").arg("process-77").arg("COUNT").arg(1);
    let _: redis::Value = services.redis.ask(reading.arg("STREAMS").arg("seckill:orders").arg(">"));
    eventually("two orders in hand", || (pending(&services) == 2).then_some(()));
    server.kill();
    services.mysql.signal(Signal::CONT);
    server.start_again();
    services.until_written(4);
    let consumers = || -> String {
        let told: redis::Value =
            services.redis.ask(redis::cmd("XINFO").arg("CONSUMERS").arg("seckill:orders").arg("mysql"));
        format!("{told:?}")
    };
    eventually("the end of who is gone", || (!consumers().contains("process-77")).then_some(()));
    assert!(consumers().contains(&server.public.to_string()), "{}", consumers());
}

#[test]
fn upgrades_while_orders_are_taken_lose_none_and_write_none_twice() {
    let Some(services) = services() else { return };
    let server = start(&services, "", "");
    let bought = thread::scope(|scope| {
        let buying = scope.spawn(|| {
            let mut client = Client::connect(server.public);
            let mut bought = Vec::new();
            for key in 0..400 {
                if key == 200 {
                    // However slow upgrades are, a later process sells as well.
                    eventually("another process", || {
                        let process = client.get("/event/list").process();
                        (u64::from(process) > bought[0]).then_some(())
                    });
                }
                let order = must_buy(&server, &mut client, &key.to_string());
                bought.push(order["process"].as_u64().unwrap());
            }
            bought
        });
        while !buying.is_finished() {
            assert_eq!(server.upgrade()["outcome"], "ok");
        }
        buying.join().unwrap()
    });
    services.until_written(400);
    assert!(bought.iter().collect::<HashSet<_>>().len() > 1, "several processes have sold");
    assert_eq!(services.mysql.count("SELECT COUNT(DISTINCT id) FROM orders"), 400);
    assert_eq!(left(&server), 600);
}

#[test]
fn two_that_start_at_once_set_up_the_tables_once() {
    let Some(services) = services() else { return };
    let servers: Vec<Server> = thread::scope(|scope| {
        let starting: Vec<_> = (0..3).map(|_| scope.spawn(|| start(&services, "", ""))).collect();
        starting.into_iter().map(|server| server.join().unwrap()).collect()
    });
    for (user, server) in (1..).zip(&servers) {
        let mut client = Client::connect(server.public);
        eventually("an order", || (server.buy(&mut client, user, "k", 1, 1).status == 201).then_some(()));
        assert!(!server.log().contains("ERROR"), "{}", server.log());
    }
    services.until_written(3);
    assert_eq!(services.mysql.count("SELECT COUNT(*) FROM migrations"), 2);
}

#[test]
fn a_script_that_was_thrown_away_is_loaded_again() {
    let Some(services) = services() else { return };
    let server = start(&services, "", "");
    let mut client = Client::connect(server.public);
    for key in ["a", "b"] {
        let _: () = services.redis.ask(redis::cmd("SCRIPT").arg("FLUSH"));
        must_buy(&server, &mut client, key);
    }
    services.until_written(2);
}

#[test]
fn a_redis_that_has_lost_everything_gets_it_back_from_mysql() {
    let Some(mut services) = services() else { return };
    let server = start(&services, IMPATIENT, "");
    let mut client = Client::connect(server.public);
    let mut orders: Vec<(String, Value)> = Vec::new();
    for round in 0..3 {
        for key in 0..3 {
            let key = format!("{round}-{key}");
            let order = must_buy_patiently(&server, &mut client, &key);
            orders.push((key, order));
        }
        services.until_written(3 * (round + 1));
        match round {
            0 => services.redis.ask::<()>(redis::cmd("FLUSHALL").arg("SYNC")),
            1 => {
                services.redis.kill();
                services.redis.start_empty();
            }
            _ => _ = services.redis.ask::<i64>(redis::cmd("DEL").arg("seckill:instance")),
        }
        for (key, order) in &orders {
            assert_eq!(&until_bought(&server, &mut client, key), order, "the order of {key} again");
        }
        assert_eq!(left(&server), 1000 - 3 * (round + 1));
    }
    services.until_written(9);
    let sold: u64 = services.redis.ask(redis::cmd("HGET").arg("seckill:user:5").arg("1:1"));
    assert_eq!(sold, 9, "the limit is counted on");
}

#[test]
fn connections_follow_the_cluster_configuration() {
    let Some(services) = services() else { return };
    let server = start(&services, "", "");
    let connections = || -> usize {
        let list: String = services.redis.ask(redis::cmd("CLIENT").arg("LIST"));
        // One is of the consumer, and one asks.
        list.lines().filter(|line| !line.contains("cmd=client")).count() - 1
    };
    eventually("two connections", || (connections() == 2).then_some(()));
    for size in [7, 3] {
        let put = format!(r#"PUT /config/cluster {{"pools":{{"redis":{size},"mysql":{size}}}}}"#);
        assert_eq!(server.admin_request(&put).status, 200);
        eventually("as many as are wanted", || (connections() == size).then_some(()));
        must_buy(&server, &mut Client::connect(server.public), &size.to_string());
    }
    services.until_written(2);
}

#[test]
fn a_service_that_does_not_let_us_in_is_told_at_the_start() {
    let Some(services) = services() else { return };
    for (right, wrong, part) in [
        ("auth = \"rosebud\"", "auth = \"rose\"", "be let in by redis"),
        ("password = \"rosebud\"", "password = \"rose\"", "be let in by mysql"),
        ("database = \"seckill\"", "database = \"sale\"", "be let in by mysql"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let listeners = "[api]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n";
        let settings = services.settings().replace(right, wrong);
        std::fs::write(folder.path().join("seckill.toml"), format!("{settings}{listeners}")).unwrap();
        let serve = ["serve", "-c", "seckill.toml"];
        let output = Command::new(BINARY).args(serve).current_dir(folder.path()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(part), "{said}");
        assert!(!said.contains("\"rose\""), "{said}");
    }
}

#[test]
fn activities_that_live_in_mysql_are_published_from_there() {
    let Some(mut services) = services() else { return };
    let source = "[reload.activities]\nby = \"timer\"\nfrom = \"mysql:activities\"\nevery_ms = 50\n";
    let settings = format!("{}{source}", services.settings_with(IMPATIENT, IMPATIENT));
    let mut server = Server::start_with("handoff-live", &settings);
    let put = |services: &Services, name: &str, stock: u32| {
        let goods = format!(r#"[{{"id":1,"name":"g","price_cents":1,"stock":{stock},"limit_per_user":0}}]"#);
        let document = format!(
            r#"{{"id":3,"name":"{name}","starts_at":"2020-01-01T00:00:00Z","ends_at":"2100-01-01T00:00:00Z","goods":{goods}}}"#
        );
        services.mysql.put_event(3, &document);
    };
    let until_listed = |server: &Server, part: &str| {
        let listed = || Client::connect(server.public).get("/event/list").body.contains(part).then_some(());
        eventually(part, listed);
    };
    put(&services, "first", 7);
    until_listed(&server, "first");
    // Its stock is there as soon as it is listed, and no change of it refills what is sold.
    let mut client = Client::connect(server.public);
    assert_eq!(server.buy(&mut client, 5, "a", 3, 1).status, 201);
    put(&services, "second", 9);
    until_listed(&server, "second");
    let left = || Client::connect(server.public).get("/event/info?id=3").json()["goods"][0]["left"].clone();
    assert_eq!(left(), 6);
    services.mysql.put_event(4, "{}");
    eventually("a refusal", || {
        let history = server.admin_request("GET /config/history").body;
        history.contains("missing field").then_some(())
    });
    until_listed(&server, "second");
    services.until_written(1);
    services.mysql.kill();
    until_listed(&server, "second");
    server.start_again();
    until_listed(&server, "second");
    services.mysql.start_again();
    let mut client = Client::connect(server.public);
    assert_eq!(server.buy(&mut client, 5, "b", 3, 1).status, 201);
    services.until_written(2);
}

/// What the harness has to find is there.
#[cfg(debug_assertions)]
#[test]
fn a_server_that_is_broken_on_purpose_is() {
    let broken = |services: &Services, faults: &str| {
        let server = Server::start_broken("handoff-live", &services.settings(), faults);
        until_it_sells(&server);
        server
    };
    let Some(services) = services() else { return };
    let server = broken(&services, "answer-first:2,write-twice:3");
    let mut client = Client::connect(server.public);
    for key in 0..6 {
        must_buy(&server, &mut client, &key.to_string());
        services.mysql.until(u64::try_from(key).unwrap() + 1);
    }
    let again = "SELECT COUNT(*) FROM orders WHERE `key` LIKE 'again-%'";
    eventually("an order that nobody made", || (services.mysql.count(again) > 0).then_some(()));
    let _: i64 = services.redis.ask(redis::cmd("HSET").arg("seckill:stock").arg("1:1").arg(0));
    let answers: Vec<u16> = ["x", "y"].iter().map(|key| buy(&server, &mut client, key).status).collect();
    assert!(
        answers.contains(&201) && answers.contains(&410),
        "{answers:?}: one of two is acknowledged first"
    );
    drop(server);

    let server = broken(&services, "forget-limit");
    let put = |limit: u32| {
        let goods = format!(r#"[{{"id":4,"name":"g","price_cents":1,"stock":9,"limit_per_user":{limit}}}]"#);
        let event =
            r#""id":4,"name":"e","starts_at":"2020-01-01T00:00:00Z","ends_at":"2100-01-01T00:00:00Z""#;
        server.admin_request(&format!(r#"PUT /config/activities {{"events":[{{{event},"goods":{goods}}}]}}"#))
    };
    assert_eq!(put(1).status, 200);
    let mut client = Client::connect(server.public);
    let mut bought = |key| server.buy(&mut client, 6, key, 4, 4).status;
    assert_eq!((bought("a"), bought("b")), (201, 409));
    server.upgrade();
    assert_eq!((bought("b"), bought("c")), (201, 201), "the second process forgets");
}
