//! Every status of the API, asked as a client would, without a network.

mod cluster;
mod config;
mod push;

use std::fs;

use http::request::Builder;
use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use super::*;
use crate::{
    clock,
    config::FeedSettings,
    lifecycle::{
        ConnectionCounts, ControlRequest, PhaseTimes, ProcessGeneration, UpgradeError, UpgradeOutcome,
        UpgradeReport, UpgradeTo,
    },
    reload::{Candidate, Reload},
    seckill::UserId,
    state::{Datum, Mechanism, Origin},
};

/// Event 1 is on: goods 1 (one each, two of them), goods 2 (as you like). Event 2 is over, event 3 to come.
const ACTIVITIES: &str = r#"{"events":[
    {"id":1,"name":"now","starts_at":"2020-01-01T00:00:00Z","ends_at":"2120-01-01T00:00:00Z","goods":[
        {"id":1,"name":"phone","price_cents":9900,"stock":2,"limit_per_user":1},
        {"id":2,"name":"cable","price_cents":100,"stock":50,"limit_per_user":0}]},
    {"id":2,"name":"before","starts_at":"2020-01-01T00:00:00Z","ends_at":"2020-01-02T00:00:00Z","goods":[
        {"id":1,"name":"phone","price_cents":9900,"stock":2,"limit_per_user":1}]},
    {"id":3,"name":"later","starts_at":"2110-01-01T00:00:00Z","ends_at":"2120-01-02T00:00:00Z","goods":[
        {"id":1,"name":"phone","price_cents":9900,"stock":2,"limit_per_user":1}]}]}"#;

const PHONE: &str = r#"{"event":1,"goods":1}"#;
const CABLE: &str = r#"{"event":1,"goods":2}"#;

struct Fixture {
    app: Arc<App>,
    folder: TempDir,
    phase: watch::Sender<Phase>,
    requests: mpsc::Receiver<ControlRequest>,
}

/// What came back, with the body read.
struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Fixture {
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let address = "127.0.0.1:0".parse().unwrap();
        let mut config = Config::with_defaults(address, address);
        config.source = at("seckill.toml");
        config.api.blacklist = at("blacklist.txt");
        config.sale.activities = at("activities.json");
        config.reload.blacklist = FeedSettings::file(&config.api.blacklist);
        config.reload.activities = FeedSettings::file(&config.sale.activities);
        config.reload.cluster = FeedSettings::file(at("cluster.json"));
        config.admin.token_file = at("admin");
        config.auth.secret_file = at("secret");
        config.store.path = at("seckill.db");
        change(&mut config);
        fs::write(&config.api.blacklist, "13\n").unwrap();
        fs::write(&config.sale.activities, ACTIVITIES).unwrap();
        let first = [(Datum::Blacklist, "13\n"), (Datum::Activities, ACTIVITIES)].map(|(datum, text)| {
            Candidate::parse(datum, Origin::new(Mechanism::Start, "test"), text.as_bytes())
        });
        let reload = Reload::start(first.into(), Generation(5), Box::new(|_| Ok(()))).unwrap();
        let snapshots = reload.cell();
        let process = ProcessGeneration(3);
        let store = Store::embedded(&config.store.path, &snapshots.load().activities, process).unwrap();
        let (phase, watched) = watch::channel(Phase::Ready);
        let (control, requests) = Control::new(watched);
        let sources = Arc::new(SourceStates::new(&config.reload));
        let app = App::new(Parts {
            identity: ProcessIdentity { pid: 77, version: "r2".to_owned(), process },
            programs: Programs::default(),
            secrets: Secrets::load(&config).unwrap(),
            config: Arc::new(config),
            snapshots,
            reload,
            sources,
            store: Arc::new(store),
            control,
            metrics: Arc::new(Metrics::new()),
        });
        Self { app, folder, phase, requests }
    }

    fn token(&self, user: u64) -> String {
        self.token_until(user, clock::now() + SignedDuration::from_secs(60))
    }

    fn token_until(&self, user: u64, expiry: Timestamp) -> String {
        format!("Bearer {}", self.app.parts.secrets.tokens.mint(UserId(user), expiry))
    }

    fn admin(&self) -> String {
        format!("Bearer {}", self.app.parts.secrets.admin.expose())
    }

    async fn ask(&self, side: Side, request: Builder, body: &str) -> Answer {
        let request = request.body(Bytes::copy_from_slice(body.as_bytes())).unwrap();
        Answer::read(self.app.answer(side, request).await).await
    }

    async fn get(&self, side: Side, path: &str) -> Answer {
        self.ask(side, Request::get(path), "").await
    }

    /// As user `user`.
    async fn buy(&self, user: u64, key: &str, body: &str) -> Answer {
        let request = Request::post("/orders").header("authorization", self.token(user));
        self.ask(Side::Public, request.header("idempotency-key", key), body).await
    }

    /// With the admin's token.
    async fn manage(&self, method: Method, path: &str, body: &str) -> Answer {
        let request = Request::builder().method(method).uri(path).header("authorization", self.admin());
        self.ask(Side::Admin, request, body).await
    }
}

impl Answer {
    async fn read(response: Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        let answer = Self {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes(),
        };
        // Whatever else an answer says, it says who gave it.
        assert_eq!(answer.header("x-seckill-process"), "3");
        assert_eq!(answer.header("x-seckill-version"), "r2");
        assert!(answer.header("x-config-generation").parse::<u64>().unwrap() >= 5);
        answer
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Status and type of a problem, which has to have all members of one.
    #[track_caller]
    fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let body = self.json();
        assert_eq!(body["status"], self.status);
        for member in ["title", "detail"] {
            assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{body}");
        }
        (self.status, body["type"].as_str().unwrap().replace("urn:seckill:problem:", ""))
    }

    #[track_caller]
    fn is_problem(&self, status: u16, name: &str) {
        assert_eq!(self.problem(), (status, name.to_owned()), "{:?}", self.body);
    }
}

#[tokio::test]
async fn the_list_is_what_the_file_says() {
    let fixture = Fixture::new();
    let answer = fixture.get(Side::Public, "/event/list").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let written: Value = serde_json::from_str(ACTIVITIES).unwrap();
    assert_eq!(answer.json(), written);

    let head = fixture.ask(Side::Public, Request::head("/event/list"), "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), answer.body.len().to_string());
}

#[tokio::test]
async fn an_event_is_shown_with_what_is_left() {
    let fixture = Fixture::new();
    assert_eq!(fixture.buy(1, "k", CABLE).await.status, 201);
    let answer = fixture.get(Side::Public, "/event/info?id=1").await;
    assert_eq!(answer.status, 200);
    let goods = &answer.json()["goods"];
    assert_eq!(
        (&goods[0]["left"], &goods[1]["left"], &goods[1]["stock"]),
        (&json!(2), &json!(49), &json!(50))
    );
    fixture.get(Side::Public, "/event/info?id=9").await.is_problem(404, "about:blank");
    for query in ["", "?", "?id=", "?id=x", "?id=-1", "?other=1"] {
        fixture.get(Side::Public, &format!("/event/info{query}")).await.is_problem(400, "about:blank");
    }
}

fn waiting(event: u64, wait: &str) -> Builder {
    Request::get(format!("/event/info?id={event}")).header("prefer", wait)
}

#[tokio::test]
async fn who_waits_learns_of_a_sale_at_once() {
    let fixture = Fixture::new();
    // The order of the arms is that of the first steps: whoever waits has begun to when the other buys.
    let (shown, bought) = tokio::join!(
        biased;
        fixture.ask(Side::Public, waiting(1, "wait=30"), ""),
        fixture.buy(1, "k", CABLE),
    );
    assert_eq!((shown.status, bought.status), (200, 201));
    assert_eq!(shown.header("preference-applied"), "wait=30");
    assert_eq!(shown.json()["goods"][1]["left"], 49);
}

#[tokio::test]
async fn without_a_sale_the_answer_comes_in_the_end() {
    let fixture = Fixture::new();
    let (shown, bought) = tokio::join!(
        biased;
        fixture.ask(Side::Public, waiting(2, "wait=1"), ""),
        fixture.buy(1, "k", CABLE),
    );
    assert_eq!((shown.status, bought.status), (200, 201));
    assert_eq!(shown.json()["goods"][0]["left"], 2);
    assert_eq!(shown.header("preference-applied"), "wait=1");
    // Nobody waits for what does not exist, nor for a preference that is not understood.
    fixture.ask(Side::Public, waiting(9, "wait=30"), "").await.is_problem(404, "about:blank");
    let shown = fixture.ask(Side::Public, waiting(1, "wait=1.5"), "").await;
    assert_eq!((shown.status, shown.header("preference-applied")), (200, ""));
}

#[tokio::test]
async fn an_order_is_placed_repeated_and_read() {
    let fixture = Fixture::new();
    let placed = fixture.buy(7, "k", PHONE).await;
    assert_eq!(placed.status, 201);
    let order = placed.json();
    let id = order["id"].as_str().unwrap();
    assert_eq!(placed.header("location"), format!("/orders/{id}"));
    assert_eq!(placed.header("idempotent-replayed"), "");
    for (member, value) in [("event", 1), ("goods", 1), ("user", 7), ("process", 3)] {
        assert_eq!(order[member], value, "{order}");
    }
    let _parsed: Timestamp = order["created_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(order.as_object().unwrap().len(), 6);

    let replayed = fixture.buy(7, "k", r#"{ "goods": 1, "event": 1 }"#).await;
    assert_eq!((replayed.status, replayed.header("idempotent-replayed")), (201, "true"));
    assert_eq!((replayed.json(), replayed.header("location")), (order.clone(), placed.header("location")));

    let read =
        |user, id: &str| Request::get(format!("/orders/{id}")).header("authorization", fixture.token(user));
    let own = fixture.ask(Side::Public, read(7, id), "").await;
    assert_eq!((own.status, own.json()), (200, order.clone()));
    fixture.ask(Side::Public, read(8, id), "").await.is_problem(404, "about:blank");
    fixture.ask(Side::Public, read(7, "no-uuid"), "").await.is_problem(404, "about:blank");
    fixture.get(Side::Public, &format!("/orders/{id}")).await.is_problem(401, "about:blank");
}

#[tokio::test]
async fn what_the_rules_forbid_is_told_by_name() {
    let fixture = Fixture::new();
    assert_eq!(fixture.buy(1, "k", PHONE).await.status, 201);
    fixture.buy(1, "k", CABLE).await.is_problem(409, "key-reused");
    fixture.buy(1, "k2", PHONE).await.is_problem(409, "limit-reached");
    assert_eq!(fixture.buy(2, "k", PHONE).await.status, 201);
    fixture.buy(3, "k", PHONE).await.is_problem(410, "sold-out");
    fixture.buy(3, "k", r#"{"event":2,"goods":1}"#).await.is_problem(410, "ended");
    fixture.buy(3, "k", r#"{"event":3,"goods":1}"#).await.is_problem(409, "not-started");
    fixture.buy(3, "k", r#"{"event":9,"goods":1}"#).await.is_problem(404, "unknown-goods");
    fixture.buy(3, "k", r#"{"event":1,"goods":9}"#).await.is_problem(404, "unknown-goods");
    fixture.buy(13, "k", PHONE).await.is_problem(403, "blacklisted");
    fixture.buy(3, &"k".repeat(129), PHONE).await.is_problem(400, "invalid-key");
    fixture.buy(3, "k", r#"{"event":1}"#).await.is_problem(400, "invalid-body");
    fixture.buy(3, "k", r#"{"event":1,"goods":1,"amount":9}"#).await.is_problem(400, "invalid-body");
}

#[tokio::test]
async fn whoever_is_not_known_is_challenged() {
    let fixture = Fixture::new();
    let forged = fixture.token(1).replace("v1.1.", "v1.2.");
    let expired = fixture.token_until(1, clock::now() - SignedDuration::from_secs(1));
    let basic = "Basic dTpw".to_owned();
    for token in [forged, expired, basic, "Bearer".to_owned(), "Bearer ".to_owned(), String::new()] {
        let request = Request::post("/orders").header("authorization", token);
        let answer = fixture.ask(Side::Public, request.header("idempotency-key", "k"), PHONE).await;
        answer.is_problem(401, "about:blank");
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"seckill\"");
    }
    let request = Request::post("/orders").header("idempotency-key", "k");
    fixture.ask(Side::Public, request, PHONE).await.is_problem(401, "about:blank");
    let request = Request::post("/orders").header("authorization", fixture.token(1));
    fixture.ask(Side::Public, request, PHONE).await.is_problem(400, "missing-key");
}

#[tokio::test]
async fn without_a_store_clients_are_asked_to_come_back() {
    let fixture = Fixture::new();
    fixture.app.parts.store.close().await;
    let buying = fixture.buy(1, "k", PHONE).await;
    let looking = fixture.get(Side::Public, "/event/info?id=1").await;
    for answer in [buying, looking] {
        answer.is_problem(503, "about:blank");
        assert_eq!(answer.header("retry-after"), "1");
    }
    assert_eq!(fixture.get(Side::Public, "/event/list").await.status, 200, "which needs no store");
}

#[tokio::test]
async fn wrong_paths_and_wrong_methods() {
    let fixture = Fixture::new();
    for (side, path) in [
        (Side::Public, "/"),
        (Side::Public, "/event"),
        (Side::Public, "/event/list/"),
        (Side::Public, "/status"),
        (Side::Public, "/metrics"),
        (Side::Public, "/config"),
        (Side::Admin, "/config/nodes"),
        (Side::Admin, "/config/publish"),
        (Side::Admin, "/config/publish/nodes"),
        (Side::Admin, "/event/list"),
        (Side::Admin, "/orders"),
    ] {
        fixture.get(side, path).await.is_problem(404, "about:blank");
    }
    let check = async |side, method: Method, path: &str, allowed: &str| {
        let answer = fixture.ask(side, Request::builder().method(method).uri(path), "").await;
        answer.is_problem(405, "about:blank");
        assert_eq!(answer.header("allow"), allowed, "{path}");
    };
    check(Side::Public, Method::POST, "/event/list", "GET, HEAD").await;
    check(Side::Public, Method::DELETE, "/orders/1", "GET, HEAD").await;
    check(Side::Public, Method::GET, "/orders", "POST").await;
    check(Side::Public, Method::PUT, "/orders", "POST").await;
    check(Side::Admin, Method::POST, "/status", "GET, HEAD").await;
    check(Side::Admin, Method::GET, "/upgrade", "POST").await;
    check(Side::Admin, Method::DELETE, "/drain", "POST").await;
    check(Side::Admin, Method::POST, "/health/live", "GET, HEAD").await;
    check(Side::Admin, Method::PUT, "/config", "GET, HEAD").await;
    check(Side::Admin, Method::DELETE, "/config/history", "GET, HEAD").await;
    check(Side::Admin, Method::POST, "/config/cluster", "GET, HEAD, PUT").await;
    check(Side::Admin, Method::GET, "/config/blacklist", "PUT").await;
    check(Side::Admin, Method::PUT, "/config/publish/cluster", "POST").await;
}

#[tokio::test]
async fn health_and_version_need_no_token_on_either_side() {
    let fixture = Fixture::new();
    for side in [Side::Public, Side::Admin] {
        assert_eq!(fixture.get(side, "/health/live").await.status, 200);
        let version = fixture.get(side, "/version").await;
        assert_eq!(version.json(), json!({"pid": 77, "version": "r2", "process": 3}));
    }
    let ready = [
        (Phase::Starting, 503),
        (Phase::Bound, 503),
        (Phase::Ready, 200),
        (Phase::HandingOver, 200),
        (Phase::Draining, 503),
        (Phase::Stopped, 503),
    ];
    for (phase, status) in ready {
        fixture.phase.send_replace(phase);
        assert_eq!(fixture.get(Side::Public, "/health/ready").await.status, status, "{phase}");
        assert_eq!(fixture.get(Side::Admin, "/health/live").await.status, 200, "{phase}");
    }
}

#[tokio::test]
async fn the_admin_side_is_closed_to_everybody_else() {
    let fixture = Fixture::new();
    for (method, path) in [
        (Method::GET, "/status"),
        (Method::GET, "/metrics"),
        (Method::POST, "/upgrade"),
        (Method::POST, "/reload"),
        (Method::POST, "/drain"),
        (Method::GET, "/config"),
        (Method::GET, "/config/history"),
        (Method::GET, "/config/activities"),
        (Method::PUT, "/config/blacklist"),
        (Method::POST, "/config/publish/blacklist"),
    ] {
        for token in ["", "Bearer guess", &fixture.token(1)] {
            let request = Request::builder().method(method.clone()).uri(path).header("authorization", token);
            fixture.ask(Side::Admin, request, "{}").await.is_problem(401, "about:blank");
        }
    }
}

#[tokio::test]
async fn the_status_tells_what_the_file_would_change_and_no_secret() {
    let fixture = Fixture::new();
    let file = fixture.folder.path().join("seckill.toml");
    let write = |text: &str| fs::write(&file, text).unwrap();
    let status = async || {
        let answer = fixture.manage(Method::GET, "/status", "").await;
        assert_eq!(answer.status, 200);
        answer.json()
    };

    let absent = status().await;
    assert_eq!(absent["process"], json!({"pid": 77, "version": "r2", "process": 3}));
    assert_eq!((&absent["phase"], &absent["config"]["strategy"]), (&json!("ready"), &json!("handoff-live")));
    assert_eq!(absent["snapshot"]["generation"], 5);
    assert_eq!((&absent["snapshot"]["events"], &absent["snapshot"]["blacklisted"]), (&json!(3), &json!(1)));
    assert_eq!(absent["snapshot"]["history"].as_array().unwrap().len(), 2, "one for each kind of data");
    assert!(absent["config"]["faults"][0].as_str().unwrap().starts_with("failed to read"), "{absent}");

    write(
        "[api]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n[upgrade]\nstrategy = \"handoff\"\n[redis]\naddress = \"a:1\"\nauth = \"hunter2\"\n[mysql]\naddress = \"a:2\"\nusername = \"u\"\ndatabase = \"d\"\npassword = \"hunter2\"\n",
    );
    let changed = status().await;
    let pending = changed["config"]["pending"].as_array().unwrap();
    let strategy = pending.iter().find(|change| change["key"] == "upgrade.strategy").unwrap();
    assert_eq!(
        *strategy,
        json!({"key": "upgrade.strategy", "loaded": "handoff-live", "file": "handoff", "needs": "upgrade"})
    );
    assert!(!changed.to_string().contains("hunter2"), "{changed}");

    write(
        "[api]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"x\"\n[redis]\naddress = \"a:1\"\nauth = 1234567\n[mysql]\naddress = \"a:2\"\nusername = \"u\"\ndatabase = \"d\"\n",
    );
    let faulty = status().await;
    let faults = &faulty["config"]["faults"];
    assert!(faults[0].as_str().unwrap().contains("seckill.toml:4:8: admin.bind: expected"), "{faults}");
    assert!(
        faults[1].as_str().unwrap().contains("seckill.toml:7:8: redis.auth: is not a string"),
        "{faults}"
    );
    assert!(!faulty.to_string().contains("1234567"), "{faulty}");
    assert_eq!(faulty["config"]["pending"], json!([]));
}

#[tokio::test]
async fn the_counters_count() {
    let fixture = Fixture::new();
    assert_eq!(fixture.buy(1, "k", PHONE).await.status, 201);
    assert_eq!(fixture.buy(1, "k", PHONE).await.status, 201);
    assert_eq!(fixture.buy(1, "k2", PHONE).await.status, 409);
    let answer = fixture.manage(Method::GET, "/metrics", "").await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    for line in [
        "seckill_orders_placed_total 1",
        "seckill_orders_replayed_total 1",
        "seckill_orders_refused_total 1",
        "seckill_requests_total{side=\"public\",status=\"201\"} 2",
        "seckill_requests_total{side=\"public\",status=\"409\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
}

fn report(outcome: UpgradeOutcome, kind: Option<&str>) -> UpgradeReport {
    let identity = |pid, process| ProcessIdentity { pid, version: "r".to_owned(), process };
    UpgradeReport {
        outcome,
        strategy: "handoff-live".to_owned(),
        old: identity(1, ProcessGeneration(3)),
        new: Some(identity(2, ProcessGeneration(4))),
        sockets: 3,
        connections: ConnectionCounts::default(),
        phases_ms: PhaseTimes::default(),
        error: kind.map(|kind| UpgradeError {
            step: "start".to_owned(),
            kind: kind.to_owned(),
            detail: "because".to_owned(),
            stderr: String::new(),
        }),
    }
}

#[tokio::test]
async fn an_upgrade_is_answered_with_its_outcome() {
    let mut fixture = Fixture::new();
    let mut check = async |outcome, kind: Option<&str>, status: u16, name: &str| {
        let report = report(outcome, kind);
        let app = Arc::clone(&fixture.app);
        let token = fixture.admin();
        let asking = async move {
            let request = Request::post("/upgrade").header("authorization", token);
            let request = request.body(Bytes::from_static(br#"{"binary":"/releases/2/seckill"}"#)).unwrap();
            Answer::read(app.answer(Side::Admin, request).await).await
        };
        let serving = async {
            match fixture.requests.recv().await.unwrap() {
                ControlRequest::Upgrade { to, answer } => {
                    assert_eq!(to, UpgradeTo::Binary("/releases/2/seckill".into()));
                    answer.send(report.clone()).unwrap();
                }
                other @ ControlRequest::Drain { .. } => panic!("nobody asked for {other:?}"),
            }
        };
        let (answer, ()) = tokio::join!(asking, serving);
        assert_eq!(answer.status, status, "{kind:?}");
        if status != 200 {
            answer.is_problem(status, name);
            assert_eq!(answer.json()["detail"], "because");
        }
        // The members of the report are there either way.
        let again: UpgradeReport = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(again, report);
    };
    check(UpgradeOutcome::Ok, None, 200, "").await;
    check(UpgradeOutcome::Refused, Some("busy"), 409, "upgrade-refused").await;
    for kind in ["missing", "not-executable", "not-a-program"] {
        check(UpgradeOutcome::Failed, Some(kind), 422, "upgrade-failed").await;
    }
    check(UpgradeOutcome::Failed, Some("timeout"), 504, "upgrade-failed").await;
    for kind in ["exited", "refused", "died", "protocol"] {
        check(UpgradeOutcome::Failed, Some(kind), 502, "upgrade-failed").await;
    }
}

#[tokio::test]
async fn a_reload_is_answered_with_the_generation_that_is_served() {
    let fixture = Fixture::new();
    let file = |name: &str| fixture.folder.path().join(name);
    let answer = fixture.manage(Method::POST, "/reload", "").await;
    assert_eq!((answer.status, &answer.json()["generation"]), (200.try_into().unwrap(), &json!(6)));
    fs::write(file("blacklist.txt"), "1\n2\nthree\n").unwrap();
    let answer = fixture.manage(Method::POST, "/reload", "").await;
    answer.is_problem(422, "reload-refused");
    assert_eq!(answer.json()["generation"], 6);
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("blacklist.txt: 1 of its lines"), "{detail}");
    fs::remove_file(file("blacklist.txt")).unwrap();
    let answer = fixture.manage(Method::POST, "/reload", "").await;
    answer.is_problem(422, "reload-refused");
    assert!(answer.json()["detail"].as_str().unwrap().ends_with("an empty list is an empty file"));
    drop(fixture.app.parts.reload.close());
    fixture.manage(Method::POST, "/reload", "").await.is_problem(503, "reload-refused");
}

#[tokio::test]
async fn a_process_that_stops_leaves_no_upgrade_unanswered() {
    let mut fixture = Fixture::new();
    for body in ["", "{}", r#"{"binary":1}"#, r#"{"binary":"x","force":true}"#] {
        fixture.manage(Method::POST, "/upgrade", body).await.is_problem(400, "invalid-body");
    }
    fixture.manage(Method::POST, "/upgrade?rollback", "{}").await.is_problem(400, "invalid-body");
    fixture.manage(Method::POST, "/upgrade?rolback", "").await.is_problem(400, "invalid-query");
    for (accepted, status) in [(true, 202), (false, 409)] {
        let app = Arc::clone(&fixture.app);
        let request = Request::post("/drain").header("authorization", fixture.admin());
        let request = request.body(Bytes::new()).unwrap();
        let asking = async move { app.answer(Side::Admin, request).await.status() };
        let answering = async {
            match fixture.requests.recv().await.unwrap() {
                ControlRequest::Drain { answer } => answer.send(accepted).unwrap(),
                other @ ControlRequest::Upgrade { .. } => panic!("nobody asked for {other:?}"),
            }
        };
        assert_eq!(tokio::join!(asking, answering).0, status);
    }
    fixture.requests.close();
    assert_eq!(fixture.manage(Method::POST, "/drain", "").await.status, 202, "it is stopping already");
    fixture.manage(Method::POST, "/upgrade", r#"{"binary":"x"}"#).await.is_problem(503, "about:blank");
}
