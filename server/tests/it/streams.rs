//! `GET /event/stream`: what is told, who is turned away or dropped, and how it ends in an upgrade.

use std::thread;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::Signal;

use crate::{
    client::Client,
    server::{Server, eventually},
};

/// Fast enough that no test waits, and patient where it is not about patience.
const FAST: &str = "[stream]\ninterval_ms = 10\nretry_ms = 400\n";

fn left(event: &str) -> u64 {
    let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!((&data["events"][0]["id"], &data["events"][0]["goods"][0]["id"]), (&1.into(), &1.into()));
    data["events"][0]["goods"][0]["left"].as_u64().unwrap()
}

/// A stream whose first event has been read.
fn listening(server: &Server) -> Client {
    let mut client = Client::connect(server.public);
    let head = client.open_stream();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!((head.header("cache-control"), head.header("content-length")), (Some("no-store"), None));
    client.chunk().unwrap().unwrap();
    client
}

fn metric(server: &Server, name: &str) -> u64 {
    let text = server.admin_request("GET /metrics").body;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// Waits until the admin side is that of process `generation`.
fn until_told_by(server: &Server, generation: u32) {
    eventually("the admin side", || {
        (server.admin_request("GET /version").process() == generation).then_some(())
    });
}

/// Reads to the end; the last event.
fn last_event(client: &mut Client) -> String {
    let mut last = String::new();
    while let Some(event) = client.chunk().unwrap() {
        last = event;
    }
    last
}

#[test]
fn a_stream_tells_what_is_left_at_once_and_with_every_sale() {
    let server = Server::start_with("handoff-live", &format!("{FAST}heartbeat_ms = 50\n"));
    let mut client = Client::connect(server.public);
    assert_eq!(client.open_stream().process(), 1);
    let first = client.chunk().unwrap().unwrap();
    assert!(first.starts_with("retry: 400\nid: 1.1\nevent: stock\n"), "{first}");
    assert_eq!(left(&first), 1000);
    let mut buyer = Client::connect(server.public);
    for (sold, key) in ["one", "two", "three"].into_iter().enumerate() {
        assert_eq!(server.buy(&mut buyer, 7, key, 1, 1).status, 201);
        let event =
            eventually("an event", || client.chunk().unwrap().filter(|event| event.starts_with("id: ")));
        assert_eq!(left(&event), 999 - sold as u64, "{event}");
    }
    eventually("a heartbeat", || client.chunk().unwrap().filter(|event| event.starts_with(": ")));
    let head = {
        buyer.send("HEAD /event/stream HTTP/1.1\r\nhost: test\r\n\r\n");
        buyer.head_only().unwrap()
    };
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(buyer.get("/version").status, 200);
    drop(client);
    eventually("the end of the stream", || (metric(&server, "seckill_streams_open") == 0).then_some(()));
    assert_eq!(metric(&server, "seckill_streams_opened_total"), 1);
}

#[test]
fn a_stream_says_goodbye_and_its_connection_goes_on_in_the_new_process() {
    let server = Server::start_with("handoff-live", FAST);
    let mut clients: Vec<Client> = (0..100).map(|_| listening(&server)).collect();
    let mut retries = std::collections::HashSet::new();
    for process in 2..4 {
        let report = server.upgrade();
        let counts = &report["connections"];
        assert_eq!((&counts["closed"], &counts["cut"]), (&0.into(), &0.into()), "{report}");
        assert_eq!(counts["handed_over"], clients.len());
        for client in &mut clients {
            let goodbye = last_event(client);
            assert!(goodbye.contains("event: goodbye\ndata: {\"retry_ms\":"), "{goodbye}");
            let retry: u64 =
                goodbye.strip_prefix("retry: ").unwrap().lines().next().unwrap().parse().unwrap();
            assert!((200..=400).contains(&retry), "{goodbye}");
            retries.insert(retry);
            // The same connection asks again, and meets the new process.
            assert_eq!(client.open_stream().process(), process);
            assert_eq!(left(&client.chunk().unwrap().unwrap()), 1000);
        }
    }
    assert!(retries.len() > 20, "they would all come back at once: {retries:?}");
}

#[test]
fn streams_end_in_order_under_every_strategy_that_drains() {
    for strategy in ["handoff", "inherit", "reuseport-drain", "reuseport", "stop-start"] {
        let server = Server::start_with(strategy, FAST);
        let mut client = listening(&server);
        let report = server.upgrade();
        assert_eq!(report["connections"]["cut"], 0, "{strategy}: {report}");
        assert!(last_event(&mut client).contains("event: goodbye"), "{strategy}");
        assert!(client.is_ended(), "{strategy}");
    }
    let mut server = Server::start_with("handoff-live", FAST);
    let mut client = listening(&server);
    server.signal(Signal::TERM);
    assert!(last_event(&mut client).contains("event: goodbye"));
    assert!(server.end().success());
}

#[test]
fn a_stream_of_http2_says_goodbye_and_ends_before_its_connection_does() {
    let server = Server::start_with("handoff-live", FAST);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let io = TokioIo::new(tokio::net::TcpStream::connect(server.public).await.unwrap());
        let (mut requests, connection) =
            http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), io).await.unwrap();
        let mut driver = tokio::task::JoinSet::new();
        drop(driver.spawn(connection));
        let request = http::Request::get(format!("http://{}/event/stream", server.public));
        let answer = requests.send_request(request.body(Empty::new()).unwrap()).await.unwrap();
        assert_eq!(answer.headers()["x-seckill-process"], "1");
        let mut body = answer.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(left(std::str::from_utf8(&first).unwrap()), 1000);
        let upgrade = tokio::task::spawn_blocking(move || server.upgrade());
        // To its end without an error.
        let rest = body.collect().await.unwrap().to_bytes();
        assert!(std::str::from_utf8(&rest).unwrap().contains("event: goodbye"));
        assert_eq!(upgrade.await.unwrap()["connections"]["cut"], 0);
        driver.join_next().await.unwrap().unwrap().unwrap();
    });
}

#[test]
fn there_are_no_more_streams_than_allowed() {
    let server = Server::start_with("handoff-live", &format!("{FAST}streams_max = 2\n"));
    let mut open = [listening(&server), listening(&server)];
    let mut third = Client::connect(server.public);
    third.send("GET /event/stream HTTP/1.1\r\nhost: test\r\n\r\n");
    let refused = third.answer().unwrap();
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(refused.json()["type"], "urn:seckill:problem:too-many-streams");
    assert_eq!(third.get("/event/list").status, 200);
    server.upgrade();
    assert!(last_event(&mut open[0]).contains("goodbye"));
    let [_, second] = open;
    drop(second);
    assert_eq!(third.open_stream().status, 200, "places are given back");
    until_told_by(&server, 2);
    let counted = ["opened", "refused"].map(|what| metric(&server, &format!("seckill_streams_{what}_total")));
    assert_eq!(counted, [3, 1]);
}

/// Buys until the server has noticed that `path`'s reader takes nothing. Its socket takes about 200 KiB, and hyper
/// 64 KiB, so it needs many events.
fn sell_until(server: &Server, what: &str, is_noticed: impl Fn() -> bool) {
    let mut buyer = Client::connect(server.public);
    for number in 0..900 {
        if is_noticed() {
            return;
        }
        assert_eq!(server.buy(&mut buyer, 7, &format!("key-{number}"), 1, 1).status, 201);
    }
    // So many may be bought in less time than a reader has.
    eventually(what, || is_noticed().then_some(()));
}

/// With many goods each event has some kilobytes.
fn with_much_to_tell(stream: &str) -> Server {
    let sections = format!("[limits]\nconnections_max = 100\n[stream]\ninterval_ms = 10\n{stream}");
    Server::start_with_goods(400, 1, &sections)
}

#[test]
fn a_reader_that_takes_nothing_is_dropped_and_counted_and_blocks_nobody() {
    let server = with_much_to_tell("heartbeat_ms = 100\nslow_ms = 500");
    let mut slow = Client::connect_unix(&server.path("public.sock")).unwrap();
    assert_eq!(slow.open_stream().status, 200);
    let mut fast = listening(&server);
    // Not a scope: it would wait for the reader also when a check fails, and the reader for the server.
    let reader = thread::spawn(move || {
        let mut events = 0;
        while let Ok(Some(_)) = fast.chunk() {
            events += 1;
        }
        events
    });
    sell_until(&server, "the end of the slow reader", || metric(&server, "seckill_streams_slow_total") == 1);
    // It is counted first, and its place is free a moment later.
    eventually("the fast one alone", || (metric(&server, "seckill_streams_open") == 1).then_some(()));
    // It hears of an upgrade, and its end is the end of the thread.
    server.upgrade();
    assert!(reader.join().unwrap() > 10);
    until_told_by(&server, 2);
    assert_eq!(metric(&server, "seckill_streams_slow_total"), 1, "the next process goes on counting");
    assert_eq!(metric(&server, "seckill_streams_opened_total"), 2);
    while slow.chunk().is_ok_and(|chunk| chunk.is_some()) {}
    assert!(slow.is_ended());
}

/// The stated bound holds also for a reader that cannot be told.
#[test]
fn a_reader_that_takes_nothing_does_not_hold_an_upgrade_up() {
    let server = with_much_to_tell("slow_ms = 600000\nheartbeat_ms = 50\ngoodbye_ms = 100");
    let mut slow = Client::connect_unix(&server.path("public.sock")).unwrap();
    assert_eq!(slow.open_stream().status, 200);
    // Its buffers are full when the sum of all events is above what they take.
    let mut buyer = Client::connect(server.public);
    let mut watcher = listening(&server);
    for number in 0..120 {
        assert_eq!(server.buy(&mut buyer, 7, &format!("key-{number}"), 1, 1).status, 201);
        eventually("an event", || watcher.chunk().unwrap().filter(|event| event.starts_with("id: ")));
    }
    let report = server.upgrade();
    // Without the bound it would take the drain time, ten seconds, and be cut then.
    assert_eq!(report["connections"]["cut"], 1, "{report}");
    until_told_by(&server, 2);
    eventually("what was cut last", || (metric(&server, "seckill_streams_cut_total") == 1).then_some(()));
    assert!(report["phases_ms"]["drain"].as_f64().unwrap() < 9_000.0, "{report}");
    assert!(last_event(&mut watcher).contains("goodbye"));
    assert_eq!(watcher.get("/version").process(), 2);
}
