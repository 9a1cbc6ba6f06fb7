//! Changes that are sent to the admin side, over the network and by the command line.

use std::{fs, path::Path, thread};

use serde_json::{Value, json};

use crate::{
    cli::run,
    client::{Answer, Client},
    server::{BINARY, Server},
};

fn generation(answer: &Answer) -> u64 {
    answer.header("x-config-generation").unwrap().parse().unwrap()
}

/// `PUT path` with more header lines, but for its body.
fn put_head(server: &Server, path: &str, length: usize, more: &str) -> String {
    let token = fs::read_to_string(server.path(".admin-token")).unwrap();
    format!(
        "PUT {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {}\r\ncontent-length: {length}\r\n{more}\r\n",
        token.trim()
    )
}

fn list(ids: std::ops::Range<u64>) -> String {
    ids.map(|id| format!("{id}\n")).collect()
}

#[test]
fn a_push_shows_on_the_next_answer_of_an_open_connection() {
    let server = Server::start("handoff-live");
    let (mut client, mut admin) = (Client::connect(server.public), Client::connect(server.admin));
    assert_eq!(generation(&client.get("/event/list")), 1);
    for expected in 2..=20 {
        let pushed =
            server.ask(&mut admin, &format!("PUT /config/blacklist {}", list(expected..expected * 2)));
        assert_eq!((pushed.status, generation(&pushed)), (200, expected), "{}", pushed.body);
        assert_eq!(generation(&client.get("/event/list")), expected);
    }
    let told = server.ask(&mut admin, "GET /config").json();
    assert_eq!((&told["generation"], &told["blacklisted"]), (&json!(20), &json!(20)));
    let last =
        server.ask(&mut admin, "GET /config/history").json().as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["place"], &last["generation"]), (&json!("127.0.0.1"), &json!(20)));
}

#[test]
fn a_long_body_is_for_the_admin_and_the_routes_that_take_one() {
    let server = Server::start_with("handoff-live", "[reload]\npush_bytes_max = 3000000");
    let long = list(1_000_000..1_300_000);
    let mut admin = Client::connect(server.admin);
    admin.send(&format!("{}{long}", put_head(&server, "/config/blacklist", long.len(), "")));
    let pushed = admin.answer().unwrap();
    assert_eq!((pushed.status, generation(&pushed)), (200, 2), "{}", pushed.body);

    // Who asks before he sends is told to go on, or learns at once that he need not.
    let expect = "expect: 100-continue\r\n";
    let short = list(1..3);
    admin.send(&put_head(&server, "/config/blacklist", short.len(), expect));
    assert_eq!(admin.head_only().unwrap().status, 100);
    admin.send(&short);
    assert_eq!(admin.answer().unwrap().status, 200);
    admin.send(&put_head(&server, "/config/blacklist", 3_000_001, expect));
    let refused = admin.answer().unwrap();
    assert_eq!((refused.status, refused.header("connection")), (413, Some("close")), "{}", refused.body);
    assert!(refused.body.contains("3000000 bytes (reload.push_bytes_max)"), "{}", refused.body);

    let without_token =
        format!("PUT /config/blacklist HTTP/1.1\r\nhost: t\r\ncontent-length: 20000\r\n{expect}\r\n");
    for (address, head, status) in [
        (server.admin, without_token, 401),
        (server.admin, put_head(&server, "/upgrade", 20_000, ""), 413),
        (server.public, put_head(&server, "/orders", 20_000, ""), 413),
    ] {
        let mut client = Client::connect(address);
        client.send(&head);
        assert_eq!(client.answer().unwrap().status, status, "{head}");
        assert!(client.is_ended());
    }
}

#[test]
fn a_publish_reaches_every_node_and_tells_which_did_not_take_it() {
    let (one, other) = (Server::start("handoff-live"), Server::start("handoff-live"));
    let node = |name: &str, server: &Server| {
        let (address, admin) = (server.public.to_string(), server.admin.to_string());
        json!({"name": name, "address": address, "admin": admin, "version": "", "process": 1})
    };
    let nodes = |buying_closed: bool| {
        let nodes = [node("one", &one), node("other", &other)];
        json!({"degradation": {"buying_closed": buying_closed}, "nodes": nodes}).to_string()
    };
    assert_eq!(one.admin_request(&format!("PUT /config/cluster {}", nodes(false))).status, 200);
    let publish = || one.admin_request(&format!("POST /config/publish/cluster {}", nodes(true)));
    let told = publish();
    assert_eq!(told.status, 502, "{}", told.body);
    let answers = told.json()["nodes"].clone();
    assert_eq!((&answers[0]["status"], &answers[0]["generation"]), (&json!(200), &json!(3)), "{answers}");
    assert_eq!((&answers[1]["status"], &answers[1]["node"]), (&json!(401), &json!("other")), "{answers}");

    // The nodes of a cluster share the token.
    fs::copy(one.path(".admin-token"), other.path(".admin-token.new")).unwrap();
    let renew = |server: &Server| {
        let token = fs::read_to_string(server.path(".admin-token")).unwrap();
        fs::rename(server.path(".admin-token.new"), server.path(".admin-token")).unwrap();
        let body = json!({ "binary": BINARY }).to_string();
        let mut client = Client::connect(server.admin);
        client.send(&format!(
            "POST /upgrade HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
            token.trim(),
            body.len()
        ));
        assert_eq!(client.answer().unwrap().status, 200);
    };
    renew(&other);
    let told = publish();
    assert_eq!(told.status, 200, "{}", told.body);
    let answers = told.json()["nodes"].clone();
    assert_eq!(answers[0]["digest"], answers[1]["digest"], "{answers}");
    let served = other.admin_request("GET /config/cluster").json();
    assert_eq!(served["degradation"]["buying_closed"], true);

    // By the digest, which is the same on all of them, nobody is overwritten.
    let stale =
        one.admin_request(&format!("POST /config/publish/cluster?expected-digest=00 {}", nodes(false)));
    assert_eq!((stale.status, &stale.json()["nodes"][1]["status"]), (502, &json!(412)), "{}", stale.body);
    let digest = answers[0]["digest"].as_str().unwrap();
    let path = format!("/config/publish/cluster?expected-digest={digest}");
    assert_eq!(one.admin_request(&format!("POST {path} {}", nodes(false))).status, 200);
}

#[test]
fn what_the_command_line_pushes_it_shows() {
    let server = Server::start("handoff-live");
    let folder = server.path("");
    let seckill = |arguments: &str| run(&folder, &format!("{arguments} -c seckill.toml"));
    fs::write(server.path("list"), "1\n2\n").unwrap();
    fs::write(server.path("delta"), "-1\n+3\n+4\n").unwrap();
    let (code, out, errors) = seckill("push blacklist list");
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(out.starts_with("blacklist: served as generation 2, digest "), "{out}");
    let (code, out, _) = seckill("push blacklist delta --delta --dry-run");
    assert_eq!(code, 0);
    assert_eq!(
        out,
        "blacklist: tried only, generation 2 is served on; it would change\n  2 users blacklisted now, 3 then\n"
    );
    assert_eq!(seckill("push blacklist delta --delta --if-match 2").0, 0);
    let (code, out, errors) = seckill("push blacklist delta --delta --if-match 2");
    assert_eq!((code, out.as_str()), (1, ""));
    let told = "seckill: the server says 412 Push refused: failed to replace generation 2: 3 is served;";
    assert!(errors.starts_with(told), "{errors}");
    fs::write(server.path("cluster"), r#"{"pools":{"mysql":0,"redis":0},"log_level":"debug"}"#).unwrap();
    let (code, _, errors) = seckill("push cluster cluster");
    assert_eq!(
        (code, errors.as_str()),
        (
            1,
            "seckill: the server says 422 Push refused: failed to use the cluster from 127.0.0.1: pools.mysql: 0 \
             is not from 1 to 10000\n  pools.redis: 0 is not from 1 to 10000\n"
        )
    );
    let (code, _, errors) = seckill("push cluster cluster --all-nodes");
    assert_eq!(code, 1);
    assert!(errors.contains("409 No nodes: there are no nodes"), "{errors}");
    let (code, _, errors) = seckill("push cluster absent");
    assert_eq!(code, 1);
    assert!(errors.starts_with("seckill: failed to read absent: "), "{errors}");

    // What is read can be edited and pushed.
    let (code, document, _) = seckill("config activities");
    assert_eq!(code, 0);
    let mut document: Value = serde_json::from_str(&document).unwrap();
    document["events"][0]["name"] = "renamed".into();
    fs::write(server.path("edited"), document.to_string()).unwrap();
    assert_eq!(seckill("push activities edited").0, 0);
    let (code, out, _) = seckill("config");
    assert_eq!(code, 0);
    assert!(out.starts_with("generation 4: 1 events, 3 users blacklisted\n  log level   info\n"), "{out}");
    for command in ["status", "config", "config history"] {
        let (code, out, _) = seckill(command);
        assert_eq!(code, 0);
        assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
        if command != "config" {
            assert_eq!(out.matches(" push ").count(), 5, "{out}");
        }
    }
}

/// Pushes larger than the kernel's buffers, refused before they are read to their end.
#[test]
fn a_refused_long_body_is_told_to_the_command_line() {
    let server = Server::start_with("handoff-live", "[reload]\npush_bytes_max = 4096");
    fs::write(server.path("long"), list(1_000_000..2_000_000)).unwrap();
    let (code, _, errors) = run(Path::new(&server.path("")), "push blacklist long -c seckill.toml");
    assert_eq!(code, 1, "{errors}");
    assert!(errors.contains("413 Payload Too Large: the body may have at most 4096 bytes"), "{errors}");
}

/// What was acknowledged stays, whichever process has acknowledged it.
#[test]
fn no_push_that_was_acknowledged_is_lost_in_upgrades() {
    let server = Server::start("handoff-live");
    let (mut acknowledged, mut put_off, mut last) = (0, 0, 1);
    thread::scope(|scope| {
        // They are over when one of them has failed, too.
        let upgrades = scope.spawn(|| (0..20).for_each(|_| drop(server.upgrade())));
        let mut admin = Client::connect(server.admin);
        while !upgrades.is_finished() {
            let id = 1_000 + acknowledged;
            // On the same connection all the time, which goes on in each new process.
            let answer = server.ask(&mut admin, &format!("PUT /config/blacklist?delta +{id}\n"));
            match answer.status {
                200 => {
                    let generation = answer.json()["generation"].as_u64().unwrap();
                    assert!(generation > last, "generation {generation} after {last}");
                    (acknowledged, last) = (acknowledged + 1, generation);
                }
                503 => {
                    assert_eq!(answer.header("retry-after"), Some("1"));
                    put_off += 1;
                }
                other => panic!("{other}: {}", answer.body),
            }
        }
    });
    server.until_process(21);
    let told = server.admin_request("GET /config").json();
    assert_eq!(told["blacklisted"], acknowledged + 1, "{put_off} were put off; {told}");
    assert!(acknowledged > 0);
}
