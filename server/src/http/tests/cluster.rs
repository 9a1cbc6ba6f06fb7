//! What the cluster configuration does to requests.

use std::time::{Duration, Instant};

use super::*;
use crate::reload::Terms;

/// Tries that may be spoilt by a machine that takes longer than a limit looks back.
const TRIES: usize = 50;

/// Of two a second, another one passes after half of it.
const HALF: Duration = Duration::from_millis(500);

/// What is seen by a try that was over before another request could pass; one that was not sees nothing.
async fn in_time<T>(mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..TRIES {
        if let Some(seen) = attempt().await {
            return seen;
        }
    }
    panic!("no try was over in time");
}

impl Fixture {
    /// Has `document` served as the cluster configuration.
    fn cluster(&self, document: &str) {
        let origin = Origin::new(Mechanism::Push, "test");
        let candidate = Candidate::parse(Datum::Cluster, origin, document.as_bytes());
        self.app.parts.reload.offer(candidate, Terms::default()).unwrap();
    }
}

#[tokio::test]
async fn more_orders_than_a_user_may_ask_for_are_put_off() {
    let [first, second, other] = in_time(async || {
        let fixture = Fixture::with(|config| config.limits.orders_per_user_per_second = 1);
        let began = Instant::now();
        let first = fixture.buy(1, "a", CABLE).await;
        let second = fixture.buy(1, "b", CABLE).await;
        let answers = [first, second, fixture.buy(2, "b", CABLE).await];
        (began.elapsed() < Duration::from_secs(1)).then_some(answers)
    })
    .await;
    assert_eq!(first.status, 201);
    second.is_problem(429, "rate-limited");
    assert_eq!(second.json()["limit"], "rate_limits.orders_per_user_per_second");
    assert_eq!(second.header("retry-after"), "1");
    assert_eq!(other.status, 201, "another user");
}

#[tokio::test]
async fn a_limit_per_user_of_the_cluster_goes_before_the_settings_and_holds_at_once() {
    let (statuses, answer) = in_time(async || {
        let fixture = Fixture::with(|config| config.limits.orders_per_user_per_second = 1);
        let mut statuses = Vec::new();
        fixture.cluster(r#"{"rate_limits":{"orders_per_user_per_second":0}}"#);
        for key in ["a", "b", "c"] {
            statuses.push(fixture.buy(1, key, CABLE).await.status);
        }
        fixture.cluster(r#"{"rate_limits":{"orders_per_user_per_second":2}}"#);
        let began = Instant::now();
        for key in ["d", "e", "f"] {
            statuses.push(fixture.buy(1, key, CABLE).await.status);
        }
        fixture.cluster("{}");
        let answer = fixture.buy(1, "g", CABLE).await;
        (began.elapsed() < HALF).then_some((statuses, answer))
    })
    .await;
    assert_eq!(statuses, [201, 201, 201, 201, 201, 429]);
    answer.is_problem(429, "rate-limited");
    assert_eq!(answer.json()["per_second"], 1, "that of the settings again");
}

/// Limits one route after the other to two a second, and asks all of them three times.
async fn limited_in_turn() -> Option<Fixture> {
    let fixture = Fixture::new();
    let order = fixture.buy(1, "k", CABLE).await.header("location").to_owned();
    let look = async || {
        let request = Request::get(&order).header("authorization", fixture.token(1));
        fixture.ask(Side::Public, request, "").await
    };
    for route in ["event_list", "event_info", "orders", "order"] {
        let began = Instant::now();
        fixture.cluster(&format!(r#"{{"rate_limits":{{"per_second":{{"{route}":2}}}}}}"#));
        let mut refused = Vec::new();
        for user in 1..=3 {
            let answers = [
                ("event_list", fixture.get(Side::Public, "/event/list").await),
                ("event_info", fixture.get(Side::Public, "/event/info?id=1").await),
                ("orders", fixture.buy(user, route, CABLE).await),
                ("order", look().await),
            ];
            for (name, answer) in answers {
                if answer.status == 429 {
                    answer.is_problem(429, "rate-limited");
                    assert_eq!(answer.header("retry-after"), "1");
                    assert_eq!(answer.json()["limit"], format!("rate_limits.per_second.{name}"));
                    assert_eq!(answer.json()["per_second"], 2);
                    refused.push((user, name));
                }
            }
        }
        if began.elapsed() >= HALF {
            return None;
        }
        assert_eq!(refused, [(3, route)]);
    }
    Some(fixture)
}

#[tokio::test]
async fn each_route_has_a_limit_of_its_own_for_all_users() {
    let fixture = in_time(limited_in_turn).await;
    fixture.cluster(r#"{"rate_limits":{"per_second":{"event_list":0}}}"#);
    for _ in 0..10 {
        assert_eq!(fixture.get(Side::Public, "/event/list").await.status, 200);
    }
    let admin = fixture.manage(Method::GET, "/status", "").await;
    assert_eq!(admin.json()["effective"]["rate_limits"]["per_second"]["event_list"]["from"], "cluster");
}

#[tokio::test]
async fn while_buying_is_closed_only_what_is_stored_is_answered() {
    let fixture = Fixture::new();
    let order = fixture.buy(1, "k", CABLE).await;
    fixture.cluster(r#"{"degradation":{"buying_closed":true}}"#);
    let answer = fixture.buy(1, "new", CABLE).await;
    answer.is_problem(503, "buying-closed");
    assert_eq!(answer.header("retry-after"), "1");
    let again = fixture.buy(1, "k", CABLE).await;
    assert_eq!((again.status, again.json()), (201, order.json()));
    fixture.buy(1, "k", PHONE).await.is_problem(409, "key-reused");
    let look = Request::get(order.header("location")).header("authorization", fixture.token(1));
    assert_eq!(fixture.ask(Side::Public, look, "").await.status, 200);
    fixture.buy(1, "over", r#"{"event":2,"goods":1}"#).await.is_problem(410, "ended");
    fixture.cluster("{}");
    assert_eq!(fixture.buy(1, "new", CABLE).await.status, 201, "a refusal is not stored");
}

#[tokio::test]
async fn a_listing_from_cache_never_asks_the_store_and_says_how_old_it_is() {
    let fixture = Fixture::new();
    let left = async |event: u64| fixture.get(Side::Public, &format!("/event/info?id={event}")).await;
    assert_eq!(left(1).await.json()["goods"][1]["left"], 50);
    assert_eq!(left(1).await.json().get("from_cache"), None);
    fixture.buy(1, "k", CABLE).await;
    fixture.cluster(r#"{"degradation":{"listing_from_cache":true}}"#);
    fixture.app.parts.store.close().await;
    let cached = left(1).await;
    assert_eq!(cached.json()["goods"][1]["left"], 50, "as it was before the sale");
    assert!(cached.json()["from_cache"]["age_ms"].is_u64(), "{}", cached.json());
    assert!(cached.header("age").parse::<u64>().is_ok());
    let unknown = left(3).await;
    assert_eq!((unknown.status, unknown.headers.get("age")), (200, None));
    assert_eq!(unknown.json()["from_cache"], json!({ "age_ms": null }));
    assert_eq!(unknown.json()["goods"][0]["left"], Value::Null);
    left(9).await.is_problem(404, "about:blank");
}

#[tokio::test]
async fn what_is_left_is_learnt_before_it_may_not_be_asked() {
    let fixture = Fixture::new();
    fixture.app.learn_what_is_left().await;
    fixture.cluster(r#"{"degradation":{"listing_from_cache":true}}"#);
    fixture.app.parts.store.close().await;
    let info = fixture.get(Side::Public, "/event/info?id=3").await;
    assert_eq!(info.json()["goods"][0]["left"], 2);
}
