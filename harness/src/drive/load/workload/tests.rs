//! The bytes on the wire, and the turns that users, events and orders take.

use insta::assert_snapshot;

use super::{HeaderNames, Requests, SERVED, Workload, order_id};
use crate::{
    drive::load::{Error, schedule::Due},
    plan::{Arrival, Client, ConnectionMode, LoadPlan, Op, Pace, RequestPlan, StreamPlan},
};

fn workload() -> Workload {
    Workload {
        run_id: "run-1".to_owned(),
        tokens: ["one", "two", "three"].map(str::to_owned).to_vec(),
        sale_events: 2,
        some_listed: false,
        headers: HeaderNames::reference(),
    }
}

fn http(method: &str, headers: &[(&str, &str)], body: &str) -> Op {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Op::Http {
        method: method.to_owned(),
        path: "/a?b=c".to_owned(),
        headers: headers.iter().map(owned).collect(),
        body: body.to_owned(),
        accept: Vec::new(),
        sha256: None,
    }
}

fn requests(op: Op, workload: Workload) -> Result<Requests, Error> {
    let requests = vec![RequestPlan { name: "it".to_owned(), weight: 1, op }];
    let stream = StreamPlan {
        name: "s".to_owned(),
        client: Client::Http1,
        pace: Pace::default(),
        connection: ConnectionMode::New,
        rate: 1.0,
        arrival: Arrival::Uniform,
        requests,
    };
    let load = LoadPlan {
        duration_ns: 1,
        warmup_ns: 0,
        timeout_ns: 1,
        slow_ns: 1,
        in_flight_max: 1,
        coalesce_ns: 0,
        stages: Vec::new(),
        control_rate: 0.0,
        streams: vec![stream],
    };
    Requests::new(&load, "shop.test", workload)
}

fn accepted(op: Op) -> Requests {
    requests(op, workload()).expect("the requests must be possible")
}

/// The next request as text, without carriage returns.
fn next(requests: &mut Requests, id: u64) -> String {
    let mut out = b"one before it".to_vec();
    let before = out.len();
    requests.write(&Due { id, intended_ns: 0, stream: 0, request: 0 }, &mut out);
    String::from_utf8(out.split_off(before)).expect("requests must be text").replace('\r', "")
}

#[test]
fn the_reference_servers_requests() {
    assert_snapshot!(next(&mut accepted(Op::List), 1), @r"
    GET /event/list HTTP/1.1
    host: shop.test
    user-agent: seckill-harness
    ");
    assert_snapshot!(next(&mut accepted(Op::Info), 1), @r"
    GET /event/info?id=1 HTTP/1.1
    host: shop.test
    user-agent: seckill-harness
    ");
    assert_snapshot!(next(&mut accepted(Op::Buy), 17), @r#"
    POST /orders HTTP/1.1
    host: shop.test
    user-agent: seckill-harness
    authorization: Bearer one
    idempotency-key: run-1-17
    content-type: application/json
    content-length: 21

    {"event":1,"goods":1}
    "#);
}

#[test]
fn requests_to_any_server() {
    assert_snapshot!(next(&mut accepted(http("GET", &[], "")), 1), @r"
    GET /a?b=c HTTP/1.1
    host: shop.test
    user-agent: seckill-harness
    ");
    assert_snapshot!(next(&mut accepted(http("POST", &[("Host", "other"), ("x", "y")], "")), 1), @r"
    POST /a?b=c HTTP/1.1
    user-agent: seckill-harness
    Host: other
    x: y
    content-length: 0
    ");
    assert_snapshot!(next(&mut accepted(http("PUT", &[("User-Agent", "me")], "hello")), 1), @r"
    PUT /a?b=c HTTP/1.1
    host: shop.test
    User-Agent: me
    content-length: 5

    hello
    ");
}

/// Every user comes to buy of every event, and the same user is not asked for twice in a row.
#[test]
fn users_and_events_take_turns() {
    let mut requests = accepted(Op::Buy);
    let purchases: Vec<(u32, u32)> = (1..=6)
        .map(|id| {
            let due = Due { id, intended_ns: 0, stream: 0, request: 0 };
            let purchase = requests.write(&due, &mut Vec::new()).expect("it must be a purchase");
            (purchase.user, purchase.event)
        })
        .collect();
    assert_eq!(purchases, [(1, 1), (2, 2), (3, 1), (1, 2), (2, 1), (3, 2)]);
}

#[test]
fn an_order_is_read_by_its_owner() {
    let mut requests = accepted(Op::Order);
    assert!(next(&mut requests, 1).starts_with("GET /event/info?id=1 "), "no order yet");
    requests.acknowledge(3, "abc-1");
    assert_snapshot!(next(&mut requests, 2), @r"
    GET /orders/abc-1 HTTP/1.1
    host: shop.test
    user-agent: seckill-harness
    authorization: Bearer three
    ");
    requests.acknowledge(1, "abc-2");
    let read: Vec<bool> = (3..7).map(|id| next(&mut requests, id).contains("/abc-2 ")).collect();
    assert_eq!(read, [true, false, true, false]);
}

/// An answer with this status, and with the order that a buying one needs, serves the request.
fn accepts(requests: &Requests, status: u16) -> bool {
    requests.judge(0, 0, status, Some("order"), None) == SERVED
}

#[test]
fn which_answers_serve() {
    let check = |op: Op, served: &[u16]| {
        let requests = accepted(op);
        let statuses = [200, 201, 204, 302, 400, 404, 409, 410, 429, 500, 503];
        let seen: Vec<u16> = statuses.into_iter().filter(|status| accepts(&requests, *status)).collect();
        assert_eq!(seen, served);
    };
    check(Op::List, &[200]);
    check(Op::Info, &[200]);
    check(Op::Order, &[200]);
    check(Op::Buy, &[201, 409, 410]);
    check(http("GET", &[], ""), &[200, 201, 204, 302]);
    let Op::Http { method, path, headers, body, .. } = http("GET", &[], "") else { unreachable!() };
    check(Op::Http { method, path, headers, body, accept: vec![404], sha256: None }, &[404]);
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let message = |op, workload| requests(op, workload).expect_err("it must be refused").to_string();
    let nobody = Workload { tokens: Vec::new(), ..workload() };
    assert_snapshot!(message(Op::Buy, nobody), @r#"build the request "it": it needs users with tokens, and the target has none"#);
    let no_sale = Workload { sale_events: 0, ..workload() };
    assert_snapshot!(message(Op::Info, no_sale), @r#"build the request "it": it needs a sale event, and the target has none"#);
    let unnamed = Workload { run_id: "a b".to_owned(), ..workload() };
    assert_snapshot!(message(Op::List, unnamed), @r#"use "a b" as run id: it must be 1 to 100 visible ASCII characters"#);
    assert_snapshot!(message(http("GET", &[("x", "y\r\nz: 1")], ""), workload()), @r#"build a request with "y\\r\\nz: 1": a control character would end its line"#);
}

/// Whether the right ones were refused is judged with the lists; without any nobody may be.
#[test]
fn whoever_may_be_listed_may_be_refused() {
    for (some_listed, status, served) in
        [(false, 403, false), (true, 403, true), (true, 201, true), (true, 429, false), (false, 409, true)]
    {
        let workload = Workload { some_listed, ..workload() };
        let requests = requests(Op::Buy, workload).unwrap();
        let judged = requests.judge(0, 0, status, Some("o"), None);
        assert_eq!(judged == SERVED, served, "{some_listed} {status}");
    }
}

#[test]
fn order_ids() {
    assert_eq!(order_id("/orders/0198-ab_c"), Some("0198-ab_c"));
    assert_eq!(order_id("http://h/orders/7"), Some("7"));
    for wrong in ["/orders/", "/orders/a b", "/orders/../x", "/order/7", ""] {
        assert_eq!(order_id(wrong), None, "{wrong:?}");
    }
}
