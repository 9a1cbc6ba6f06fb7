//! One table of purchases, run on both stores: whoever buys cannot tell them apart.

use serde_json::json;

use crate::{client::Client, server::Server, service_processes::services};

/// Goods 1: two, one for each; goods 2: many, as many as one likes; goods 3 of event 2: it is over.
const ACTIVITIES: &str = r#"{"events":[
    {"id":7,"name":"now","starts_at":"2020-01-01T00:00:00Z","ends_at":"2100-01-01T00:00:00Z","goods":[
        {"id":1,"name":"rare","price_cents":1,"stock":2,"limit_per_user":1},
        {"id":2,"name":"common","price_cents":1,"stock":100,"limit_per_user":0}]},
    {"id":8,"name":"over","starts_at":"2020-01-01T00:00:00Z","ends_at":"2020-01-02T00:00:00Z","goods":[
        {"id":3,"name":"late","price_cents":1,"stock":1,"limit_per_user":0}]}]}"#;

/// User, key, event, goods, and what comes of it.
const CASES: [(u64, &str, u64, u64, &str); 12] = [
    (1, "a", 7, 1, "201 new"),
    (1, "a", 7, 1, "201 again"),
    (1, "a", 7, 2, "409 key-reused"),
    (1, "b", 7, 1, "409 limit-reached"),
    (1, "A", 7, 2, "201 new"),
    (1, "c", 7, 2, "201 new"),
    (2, "a", 7, 1, "201 new"),
    (3, "a", 7, 1, "410 sold-out"),
    (2, "a", 7, 1, "201 again"),
    (3, "b", 8, 3, "410 ended"),
    (3, "c", 7, 9, "404 unknown-goods"),
    (3, "d", 9, 1, "404 unknown-goods"),
];

fn run(server: &Server) {
    let put = server.admin_request(&format!("PUT /config/activities {ACTIVITIES}"));
    assert_eq!(put.status, 200, "{}", put.body);
    let mut client = Client::connect(server.public);
    let mut first = None;
    for (user, key, event, goods, expected) in CASES {
        let answer = server.buy(&mut client, user, key, event, goods);
        let said = match answer.status {
            201 if answer.header("idempotent-replayed").is_some() => "201 again".to_owned(),
            201 => "201 new".to_owned(),
            status => {
                let kind = answer.json()["type"].as_str().unwrap_or_default().to_owned();
                format!("{status} {}", kind.rsplit([':', '/']).next().unwrap())
            }
        };
        assert_eq!(said, expected, "{user} {key} {event} {goods}: {}", answer.body);
        if (user, key, expected) == (1, "a", "201 new") {
            first = Some(answer.json());
        } else if (user, key, expected) == (1, "a", "201 again") {
            assert_eq!(Some(answer.json()), first, "the order that was placed");
        }
    }
    let first = first.unwrap();
    let id = first["id"].as_str().unwrap();
    assert_eq!(server.find(&mut client, 1, id).json(), first);
    assert_eq!(server.find(&mut client, 2, id).status, 404, "somebody else's");
    let info = client.get("/event/info?id=7").json();
    let left: Vec<_> = info["goods"].as_array().unwrap().iter().map(|goods| &goods["left"]).collect();
    assert_eq!(left, [&json!(0), &json!(98)]);
    let status = server.admin_request("GET /status").json();
    let counted = ["orders_placed", "orders_replayed", "orders_refused"].map(|name| &status["store"][name]);
    // Goods that are not on sale are refused without the store.
    assert_eq!(counted, [&json!(4), &json!(2), &json!(4)]);
}

#[test]
fn the_embedded_store_answers_as_the_table_says() {
    run(&Server::start("handoff-live"));
}

#[test]
fn redis_and_mysql_answer_as_the_table_says() {
    let Some(services) = services() else { return };
    let server = Server::start_with("handoff-live", &services.settings());
    run(&server);
    services.until_written(4);
    let status = server.admin_request("GET /status").json();
    let standing = &status["store"]["standing"];
    assert_eq!(standing["kind"], "redis");
    assert_eq!(
        (&standing["services"]["redis"]["up"], &standing["services"]["mysql"]["up"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(standing["services"]["orders_written"], 4);
    let metrics = server.admin_request("GET /metrics").body;
    assert!(metrics.contains("seckill_redis_up 1") && metrics.contains("seckill_mysql_up 1"), "{metrics}");
    assert!(metrics.contains("seckill_orders_written_total 4"), "{metrics}");
    // What MySQL has is what was answered, to the microsecond; a key in capitals is another key.
    let mut client = Client::connect(server.public);
    let _: () = services.redis.ask(redis::cmd("DEL").arg("seckill:user:1"));
    let order = server.buy(&mut client, 1, "a", 7, 1).json();
    assert_eq!(server.find(&mut client, 1, order["id"].as_str().unwrap()).json(), order, "from MySQL");
    assert_eq!(services.mysql.count("SELECT COUNT(*) FROM stock"), 4, "with the goods of the start");
    assert_eq!(services.mysql.count("SELECT initial FROM stock WHERE event = 7 AND goods = 2"), 100);
}
