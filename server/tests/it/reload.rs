//! Files that are read again when somebody asks.

use std::{fs, path::Path};

use crate::{
    client::Client,
    server::{BINARY, Server},
};

const TWO_EVENTS: &str = r#"{"events":[{"id":1,"name":"opening","starts_at":"2020-01-01T00:00:00Z",
"ends_at":"2100-01-01T00:00:00Z","goods":[{"id":1,"name":"phone","price_cents":9900,"stock":1000,"limit_per_user":1000}]},
{"id":2,"name":"second","starts_at":"2020-01-01T00:00:00Z",
"ends_at":"2100-01-01T00:00:00Z","goods":[{"id":7,"name":"cable","price_cents":100,"stock":3,"limit_per_user":3}]}]}"#;

/// Files that are read only when somebody asks.
const ASKED: &str = "[reload.blacklist]\nby = \"push\"\n[reload.activities]\nby = \"push\"";

fn generation(client: &mut Client) -> String {
    client.get("/event/list").header("x-config-generation").unwrap().to_owned()
}

#[test]
fn a_reload_shows_on_connections_that_are_open_and_new_goods_have_their_stock() {
    let server = Server::start_with("handoff-live", ASKED);
    let mut client = Client::connect(server.public);
    assert_eq!(generation(&mut client), "1");
    fs::write(server.path("activities.json"), TWO_EVENTS).unwrap();
    let answer = server.admin_request("POST /reload");
    assert_eq!((answer.status, answer.json()["generation"].as_u64()), (200, Some(2)), "{}", answer.body);
    assert_eq!(generation(&mut client), "2");
    let info = client.get("/event/info?id=2").json();
    assert_eq!(info["goods"][0]["left"], 3, "{info}");
}

#[test]
fn a_refused_reload_changes_nothing_and_says_why() {
    let server = Server::start_with("handoff-live", ASKED);
    let mut client = Client::connect(server.public);
    fs::write(server.path("blacklist.txt"), "1\ntwo\n").unwrap();
    let answer = server.admin_request("POST /reload");
    assert_eq!((answer.status, answer.json()["generation"].as_u64()), (422, Some(1)), "{}", answer.body);
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("blacklist.txt") && detail.ends_with(": 2"), "{detail}");
    assert_eq!(generation(&mut client), "1");
    let status = server.admin_request("GET /status").json();
    let change = status["snapshot"]["history"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&change["datum"], &change["outcome"], &change["mechanism"]),
        (&"blacklist".into(), &"refused".into(), &"ask".into())
    );
    assert_eq!(change["reason"], detail);
}

/// A client that has seen a generation never sees an older one, whichever process answers.
#[test]
fn an_upgrade_goes_on_from_the_generation_that_was_reloaded() {
    let server = Server::start("handoff-live");
    let mut client = Client::connect(server.public);
    for expected in 2..5_u64 {
        assert_eq!(server.admin_request("POST /reload").json()["generation"], expected);
    }
    assert_eq!(server.upgrade_to(Path::new(BINARY)).status, 200);
    assert_eq!(generation(&mut client), "5");
    assert_eq!(server.admin_request("POST /reload").json()["generation"], 6);
}
