//! What the admin side tells about the configuration.

use super::*;

#[tokio::test]
async fn the_configuration_is_told_as_it_acts() {
    let fixture = Fixture::with(|config| config.limits.orders_per_user_per_second = 9);
    let told = fixture.manage(Method::GET, "/config", "").await;
    assert_eq!((told.status, told.header("etag")), (200, "\"5\""));
    let body = told.json();
    assert_eq!(
        (&body["generation"], &body["blacklisted"], &body["events"]),
        (&5.into(), &1.into(), &3.into())
    );
    assert_eq!(body["effective"]["log_level"], json!({"value": "info", "from": "settings"}));
    assert_eq!(body["effective"]["rate_limits"]["orders_per_user_per_second"]["value"], 9);
    assert_eq!((&body["nodes"], &body["digests"]["cluster"]), (&json!([]), &json!("")));
    assert_eq!(
        (&body["sources"]["cluster"]["by"], &body["sources"]["cluster"]["every_ms"]),
        (&"file".into(), &5000.into())
    );

    let node = json!({"name": "a", "address": "h:1", "admin": "h:2", "version": "v", "process": 1});
    let document = json!({"log_level": "debug", "rate_limits": {"orders_per_user_per_second": 2,
        "per_second": {"orders": 70}}, "pools": {"redis": 8}, "nodes": [node]});
    assert_eq!(fixture.manage(Method::PUT, "/config/cluster", &document.to_string()).await.status, 200);
    let body = fixture.manage(Method::GET, "/config", "").await.json();
    let effective = &body["effective"];
    assert_eq!(effective["log_level"], json!({"value": "debug", "from": "cluster"}));
    assert_eq!(effective["pools"]["redis"], json!({"value": 8, "from": "cluster"}));
    assert_eq!(effective["pools"]["mysql"], json!({"value": null, "from": "default"}));
    let limits = &effective["rate_limits"];
    assert_eq!(limits["orders_per_user_per_second"], json!({"value": 2, "from": "cluster"}));
    assert_eq!(limits["per_second"]["orders"], json!({"value": 70, "from": "cluster"}));
    assert_eq!(limits["per_second"]["order"], json!({"value": 0, "from": "default"}));
    assert_eq!(body["nodes"], json!([node]));
}

#[tokio::test]
async fn a_document_that_was_read_can_be_sent_back_as_it_is() {
    let fixture = Fixture::new();
    for path in ["/config/activities", "/config/cluster"] {
        let read = fixture.manage(Method::GET, path, "").await;
        assert_eq!((read.status, read.header("etag")), (200, "\"5\""));
        let text = String::from_utf8(read.body.to_vec()).unwrap();
        let sent = fixture.manage(Method::PUT, &format!("{path}?dry-run"), &text).await;
        assert_eq!(sent.status, 200, "{path}: {:?}", sent.body);
    }
    let activities = fixture.manage(Method::GET, "/config/activities", "").await;
    assert_eq!(activities.json(), serde_json::from_str::<Value>(ACTIVITIES).unwrap());
}

#[tokio::test]
async fn what_a_client_has_already_is_not_sent_again() {
    let fixture = Fixture::new();
    for path in ["/config", "/config/activities", "/config/cluster", "/config/history"] {
        let tag = fixture.manage(Method::GET, path, "").await.header("etag").to_owned();
        let check = async |value: &str, status: u16| {
            let request = Request::get(path).header("authorization", fixture.admin());
            let answer = fixture.ask(Side::Admin, request.header("if-none-match", value), "").await;
            assert_eq!((answer.status, answer.header("etag")), (status, tag.as_str()), "{path} {value}");
            assert_eq!(
                (answer.body.is_empty(), answer.header("content-length").is_empty()),
                (status == 304, status == 304)
            );
        };
        check(&tag, 304).await;
        check(&format!("\"x\", W/{tag}"), 304).await;
        check("*", 304).await;
        check("\"4\"", 200).await;
        check("not a tag", 200).await;
        let head = Request::head(path).header("authorization", fixture.admin());
        let head = fixture.ask(Side::Admin, head, "").await;
        assert_eq!((head.status, head.header("etag"), head.body.len()), (200, tag.as_str(), 0));
    }
    fixture.manage(Method::GET, "/config?verbose", "").await.is_problem(400, "about:blank");
}

#[tokio::test]
async fn the_history_tells_who_changed_what() {
    let fixture = Fixture::new();
    let history = async || fixture.manage(Method::GET, "/config/history", "").await;
    let before = history().await;
    let request = Request::put("/config/blacklist").header("authorization", fixture.admin());
    let request = request.extension(Sender::Address([10, 0, 0, 7].into()));
    let pushed = fixture.ask(Side::Admin, request, "1\n2\n").await;
    fixture.manage(Method::PUT, "/config/cluster", "{").await.is_problem(422, "push-refused");
    fixture.manage(Method::PUT, "/config/cluster?dry-run", "{").await.is_problem(422, "push-refused");

    let after = history().await;
    assert_ne!(after.header("etag"), before.header("etag"), "a refusal is news, too");
    let changes = after.json().as_array().unwrap().clone();
    assert_eq!(changes.len(), 4, "a trial is no change: {changes:?}");
    let (published, refused) = (&changes[2], &changes[3]);
    for (member, expected) in [
        ("datum", json!("blacklist")),
        ("mechanism", json!("push")),
        ("place", json!("10.0.0.7")),
        ("bytes", json!(4)),
        ("outcome", json!("published")),
        ("generation", json!(6)),
        ("digest", pushed.json()["digest"].clone()),
    ] {
        assert_eq!(published[member], expected, "{published}");
    }
    assert_eq!((&refused["outcome"], &refused["generation"]), (&json!("refused"), &json!(6)));
    assert!(refused["reason"].as_str().unwrap().contains("the text ends within"), "{refused}");
}
