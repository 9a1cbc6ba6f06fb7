//! Pushes: what they change, who wins, and what they are told.

use super::*;
use crate::{reload::Terms, state::ChangeOutcome};

impl Fixture {
    /// `PUT path` with one more header.
    async fn put(&self, path: &str, (name, value): (&str, &str), body: &str) -> Answer {
        let request = Request::put(path).header("authorization", self.admin()).header(name, value);
        self.ask(Side::Admin, request, body).await
    }
}

const PLAIN: (&str, &str) = ("content-type", "text/plain");

#[tokio::test]
async fn a_push_is_served_when_it_is_answered() {
    let fixture = Fixture::new();
    let pushed = fixture.put("/config/blacklist", PLAIN, "# more\n13\n14\n").await;
    assert_eq!((pushed.status, pushed.header("x-config-generation")), (200, "6"));
    assert_eq!((&pushed.json()["generation"], &pushed.json()["changed"]), (&json!(6), &json!(true)));
    let told = fixture.manage(Method::GET, "/config", "").await.json();
    assert_eq!(told["digests"]["blacklist"], pushed.json()["digest"]);
    fixture.buy(14, "k", PHONE).await.is_problem(403, "blacklisted");

    let same = fixture.put("/config/blacklist", PLAIN, "14\n13").await.json();
    assert_eq!((&same["generation"], &same["changed"]), (&json!(6), &json!(false)));
    let delta = fixture.put("/config/blacklist?delta", PLAIN, "-14\n+15\n").await.json();
    assert_eq!((&delta["generation"], &delta["changed"]), (&json!(7), &json!(true)));
    assert_eq!(fixture.buy(14, "k", PHONE).await.status, 201);
    let kind = ("content-type", "application/vnd.seckill.blacklist-delta");
    assert_eq!(fixture.put("/config/blacklist", kind, "+16\n").await.json()["generation"], 8);

    let none = fixture.put("/config/activities", PLAIN, r#"{"events":[]}"#).await;
    assert_eq!((none.status, &none.json()["generation"]), (200, &json!(9)));
    assert_eq!(fixture.get(Side::Public, "/event/list").await.json(), json!({"events": []}));
}

#[tokio::test]
async fn only_what_was_meant_is_replaced() {
    let fixture = Fixture::new();
    let digest = fixture.manage(Method::GET, "/config", "").await.json()["digests"]["blacklist"].clone();
    let check = async |field, body: &str, status: u16| {
        let answer = fixture.put("/config/blacklist", field, body).await;
        assert_eq!(answer.status, status, "{field:?}: {:?}", answer.body);
        answer
    };
    check(("if-match", "\"5\""), "1", 200).await;
    let refused = check(("if-match", "\"5\""), "2", 412).await;
    refused.is_problem(412, "push-refused");
    assert_eq!((&refused.json()["generation"], refused.header("x-config-generation")), (&json!(6), "6"));
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert_eq!(
        detail,
        "failed to replace generation 5: 6 is served; read it, make the change again, and send it with \
         if-match: \"6\""
    );
    check(("if-match", "W/\"6\""), "2", 412).await;
    check(("if-match", "\"abc\""), "2", 412).await;
    check(("if-match", "\"1\", \"6\""), "2", 200).await;
    check(("if-match", "*"), "3", 200).await;
    check(("if-match", "8"), "4", 400).await;
    check(("if-none-match", "*"), "4", 412).await;
    check(("if-none-match", "\"8\""), "4", 412).await;
    check(("if-none-match", "\"7\""), "4", 200).await;

    let digest = digest.as_str().unwrap();
    let stale = fixture.put(&format!("/config/blacklist?expected-digest={digest}"), PLAIN, "5").await;
    stale.is_problem(412, "push-refused");
    let served = stale.json()["digest"].as_str().unwrap().to_owned();
    let fresh = fixture.put(&format!("/config/blacklist?expected-digest={served}"), PLAIN, "5").await;
    assert_eq!(fresh.status, 200, "{:?}", fresh.body);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let fixture = Fixture::new();
    let check = async |side, request: Builder, limit: usize, status: u16| {
        let (head, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(fixture.app.body_bytes_max(side, &head), limit, "{head:?}");
        let answer = Answer::read(fixture.app.too_large(side, &head)).await;
        answer.is_problem(status, "about:blank");
    };
    let short = 16 * 1024;
    check(Side::Public, Request::post("/orders"), short, 413).await;
    // A long body is for who shows the token, and for the routes that take one.
    let with_token = |request: Builder| request.header("authorization", fixture.admin());
    check(Side::Admin, Request::put("/config/blacklist"), short, 401).await;
    check(Side::Admin, with_token(Request::put("/config/blacklist")), 16 << 20, 413).await;
    check(Side::Admin, with_token(Request::post("/config/publish/cluster")), 16 << 20, 413).await;
    for request in
        [Request::post("/upgrade"), Request::get("/config/cluster"), Request::post("/config/cluster")]
    {
        check(Side::Admin, with_token(request), short, 413).await;
    }
    check(Side::Public, with_token(Request::put("/config/blacklist")), short, 413).await;
}

#[tokio::test]
async fn what_is_not_understood_is_refused() {
    let fixture = Fixture::new();
    for (path, field, status) in [
        ("/config/blacklist?dry_run", PLAIN, 400),
        ("/config/blacklist?delta=yes", PLAIN, 400),
        ("/config/cluster?delta", PLAIN, 400),
        ("/config/cluster", ("content-range", "bytes 0-1/2"), 400),
        ("/config/cluster", ("content-encoding", "gzip"), 415),
        ("/config/cluster", ("content-type", "application/vnd.seckill.blacklist-delta"), 415),
    ] {
        fixture.put(path, field, "{}").await.is_problem(status, "about:blank");
    }
    assert_eq!(fixture.app.config_generation(), Generation(5));
    assert_eq!(fixture.app.parts.snapshots.history().len(), 2);
}

#[tokio::test]
async fn all_faults_of_a_body_are_told_with_their_places() {
    let fixture = Fixture::new();
    let faulty = fixture.put("/config/cluster", PLAIN, r#"{"pools":{"mysql":0,"redis":0}}"#).await;
    faulty.is_problem(422, "push-refused");
    let faults = faulty.json()["faults"].clone();
    assert_eq!(
        faults,
        json!(["pools.mysql: 0 is not from 1 to 10000", "pools.redis: 0 is not from 1 to 10000"])
    );
    let lines = fixture.put("/config/blacklist", PLAIN, "1\ntwo\n3\nfour\n").await.json();
    assert!(lines["faults"][0].as_str().unwrap().ends_with(": 2, 4"), "{lines}");
    assert_eq!((&lines["generation"], fixture.app.config_generation()), (&json!(5), Generation(5)));
}

#[tokio::test]
async fn a_trial_tells_what_would_change_and_publishes_nothing() {
    let fixture = Fixture::new();
    let check = async |path: &str, body: &str, changed: bool, difference: Value| {
        let tried = fixture
            .put(&format!("{path}{}dry-run", if path.contains('?') { "&" } else { "?" }), PLAIN, body)
            .await;
        let told = tried.json();
        assert_eq!((tried.status, &told["changed"]), (200, &json!(changed)), "{told}");
        assert_eq!(
            (&told["difference"], &told["dry_run"], &told["generation"]),
            (&difference, &json!(true), &json!(5))
        );
    };
    check("/config/blacklist", "13", false, json!({"users_before": 1, "users_after": 1})).await;
    check("/config/blacklist?delta", "+1\n+2\n", true, json!({"users_before": 1, "users_after": 3})).await;
    check(
        "/config/cluster",
        r#"{"degradation":{"buying_closed":true}}"#,
        true,
        json!([{"place": "degradation.buying_closed", "from": false, "to": true}]),
    )
    .await;
    check(
        "/config/activities",
        r#"{"events":[]}"#,
        true,
        json!({"added": [], "removed": [1, 2, 3], "changed": []}),
    )
    .await;
    assert_eq!(fixture.app.config_generation(), Generation(5));
}

#[tokio::test]
async fn while_a_swap_may_still_fail_a_push_waits() {
    let fixture = Fixture::new();
    let reload = &fixture.app.parts.reload;
    let _last = reload.close();
    let swap_that_fails = async {
        tokio::task::yield_now().await;
        reload.reopen();
    };
    let (pushed, ()) = tokio::join!(biased; fixture.put("/config/blacklist", PLAIN, "1"), swap_that_fails);
    assert_eq!((pushed.status, &pushed.json()["generation"]), (200, &json!(6)));

    let _last = reload.close();
    let swap_that_succeeds = async {
        tokio::task::yield_now().await;
        fixture.phase.send_replace(Phase::HandingOver);
    };
    let (pushed, ()) = tokio::join!(biased; fixture.put("/config/blacklist", PLAIN, "2"), swap_that_succeeds);
    pushed.is_problem(503, "push-refused");
    assert_eq!(pushed.header("retry-after"), "1");
    assert_eq!(fixture.app.parts.snapshots.history().len(), 3, "nobody has looked at it");
}

/// Of those that mean to replace the same generation one wins, round after round.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_mean_the_same_generation_one_wins() {
    let fixture = Fixture::new();
    for round in 0..10_u64 {
        let tag = format!("\"{}\"", 5 + round);
        let tasks = crate::tasks::Tasks::default();
        let pushing: Vec<_> = (0..16)
            .map(|id| {
                let request = Request::put("/config/blacklist").header("authorization", fixture.admin());
                let request =
                    request.header("if-match", &tag).body(Bytes::from(format!("{round}\n{}\n", 100 + id)));
                let (app, request) = (Arc::clone(&fixture.app), request.unwrap());
                tasks.spawn(async move { app.answer(Side::Admin, request).await.status().as_u16() })
            })
            .collect();
        let mut statuses = Vec::new();
        for pushing in pushing {
            statuses.push(pushing.await.unwrap());
        }
        statuses.sort_unstable();
        assert_eq!((statuses[0], &statuses[1..]), (200, &[412; 15][..]), "round {round}");
        assert_eq!(fixture.app.config_generation(), Generation(6 + round));
    }
}

/// Pushes and a source that changes by itself: each published change is one generation, none is left out.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn generations_rise_by_one_whoever_brings_the_changes() {
    let fixture = Fixture::new();
    let (reload, snapshots) =
        (Arc::clone(&fixture.app.parts.reload), Arc::clone(&fixture.app.parts.snapshots));
    let by_file = tokio::task::spawn_blocking(move || {
        let mut generations = Vec::new();
        for number in 0..200 {
            let text = format!(r#"{{"rate_limits":{{"per_second":{{"orders":{number}}}}}}}"#);
            let origin = Origin::new(Mechanism::File, "cluster.json");
            let candidate = Candidate::parse(Datum::Cluster, origin, text.as_bytes());
            generations.push(reload.offer(candidate, Terms::default()).unwrap().generation.0);
        }
        generations
    });
    let mut generations = Vec::new();
    for id in 0..200 {
        let answer = fixture.put("/config/blacklist", PLAIN, &format!("{id}\n")).await;
        let body = answer.json();
        assert_eq!((answer.status, &body["changed"]), (200, &json!(true)));
        generations.push(body["generation"].as_u64().unwrap());
    }
    generations.extend(by_file.await.unwrap());
    generations.sort_unstable();
    assert_eq!(generations, (6..406).collect::<Vec<_>>());
    let history = snapshots.history();
    let last = 405 - u64::try_from(history.len()).unwrap();
    for (change, generation) in history.iter().zip(last + 1..) {
        assert_eq!((change.generation.0, change.outcome), (generation, ChangeOutcome::Published));
        let by = if change.datum == Datum::Blacklist { Mechanism::Push } else { Mechanism::File };
        assert_eq!(change.origin.mechanism, by);
    }
    assert_eq!(history.last().unwrap().generation, snapshots.load().generation);
}

#[tokio::test]
async fn a_publish_needs_nodes_a_good_body_and_no_generation() {
    let fixture = Fixture::new();
    let publish = async |query: &str, (name, value): (&str, &str), body: &str| {
        let request = Request::post(format!("/config/publish/cluster{query}"));
        let request = request.header("authorization", fixture.admin()).header(name, value);
        fixture.ask(Side::Admin, request, body).await
    };
    publish("", PLAIN, "{}").await.is_problem(409, "no-nodes");
    let node =
        json!({"name": "a", "address": "127.0.0.1:1", "admin": "127.0.0.1:1", "version": "v", "process": 1});
    fixture.put("/config/cluster", PLAIN, &json!({ "nodes": [node] }).to_string()).await;
    let refused = publish("", ("if-match", "\"6\""), "{}").await;
    refused.is_problem(400, "about:blank");
    assert!(refused.json()["detail"].as_str().unwrap().contains("?expected-digest=D"));
    publish("?delta", PLAIN, "{}").await.is_problem(400, "about:blank");
    publish("", PLAIN, "{").await.is_problem(422, "push-refused");
    let failed = publish("", PLAIN, "{}").await;
    failed.is_problem(502, "publish-failed");
    let told = &failed.json()["nodes"][0];
    assert_eq!(
        (&told["node"], &told["address"], &told["status"]),
        (&json!("a"), &json!("127.0.0.1:1"), &Value::Null)
    );
    assert!(told["error"].as_str().unwrap().contains("cannot be connected to: Connection refused"), "{told}");
}
