//! The API as a function from a complete request to a complete response; the network is somebody else's.
//!
//! Public side:
//! - `GET /event/list`: all events, as they are before the first sale.
//! - `GET /event/info?id=N`: one event with what is left of its goods; with `prefer: wait=S` (RFC 7240, 1 to
//!   30 seconds) the answer comes when some of them have been sold, or after that time. While the cluster
//!   configuration says `listing_from_cache` the store is not asked: the answer comes at once, with what was left
//!   when it was asked last, how long ago that is (`age`, `from_cache.age_ms`), and null where nothing is known.
//!   So it does while Redis is away, if the store is there.
//! - `GET /event/stream`: the same for all events as Server-Sent Events: at once, and with every change; the last
//!   event is `goodbye`, when this process leaves ([`stream`]). Beyond `stream.streams_max` 503, `too-many-streams`.
//! - `POST /orders`: buys; needs a user's token and an `idempotency-key`. While the cluster configuration says
//!   `buying_closed` nothing new is sold (503, `buying-closed`); an order that is stored is answered again.
//! - `GET /orders/{id}`: one of the user's own orders.
//!
//! Admin side, with the admin's token:
//! - `GET /status`: who serves, in which phase, with which settings, and what changed in the file since.
//! - `GET /metrics`: the counters in Prometheus' text format.
//! - `POST /upgrade`: replaces the program; `?rollback`: by the one before; answers when that is over.
//! - `POST /reload`: reads every source again; answers the new generation.
//! - `POST /drain`: stops in order.
//! - `GET /config`: the generation that is served, its digests, the cluster configuration as it acts, the nodes,
//!   how much there is of the rest, and where each kind of data comes from.
//! - `GET /config/activities`, `GET /config/cluster`: the document that is served, to be edited and sent back.
//! - `GET /config/history`: what became of the latest changes, oldest first, refused ones among them.
//! - `PUT /config/activities`, `PUT /config/cluster`, `PUT /config/blacklist`: replaces what is served; answers
//!   when that is served. `?delta` (blacklist): lines `+ID` and `-ID`. `?dry-run`: checks, and tells what would
//!   change. `if-match: "G"`: only if generation G is served; `?expected-digest=D`: only if this kind has that
//!   digest. 400: not understood; 412: somebody else was first; 413: longer than `reload.push_bytes_max`; 415;
//!   422: all faults of the body, with their places; 503: a new process takes over, ask again.
//! - `POST /config/publish/activities` (`cluster`, `blacklist`): the same to every node, with the same query;
//!   200: all have taken it, 502: some have not, 409: there are no nodes. Answers per node.
//!
//! Both sides, without a token:
//! - `GET /health/live`: 200 while there is somebody to answer.
//! - `GET /health/ready`: 200 while requests are served, else 503.
//! - `GET /version`: process id, release label and process generation.
//!
//! A request sees one snapshot from start to end, and every answer says which process, which release and
//! which configuration gave it. `HEAD` is `GET` without the body.

mod admin;
mod body;
mod carried;
mod config;
mod known;
mod limits;
mod prefer;
mod push;
mod reply;
mod route;
mod sale;
mod stream;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request};
use serde::{Deserialize, Serialize};

pub use self::body::Body;
use self::{
    carried::Settled,
    known::Known,
    limits::Limits,
    reply::{Problem, Reply},
    route::Route,
    stream::Streams,
};
#[cfg(debug_assertions)]
use crate::faults;
use crate::{
    config::{Config, StreamSettings},
    lifecycle::{Control, Phase, ProcessIdentity, Programs, UpgradeReport},
    reload::Reload,
    secrets::Secrets,
    sources::SourceStates,
    state::{Generation, Snapshot, SnapshotCell},
    stores::Store,
    telemetry::{Metrics, RequestLabels},
};

/// The listening side on which a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    Public,
    Admin,
}

/// Who sent a request to the admin side; among the extensions of the request.
#[derive(Debug, Clone, Copy)]
pub enum Sender {
    Address(IpAddr),
    /// A process of this user on this machine, by a unix socket.
    User(u32),
}

/// What the API is made of.
#[derive(Debug)]
pub struct Parts {
    pub config: Arc<Config>,
    pub identity: ProcessIdentity,
    pub programs: Programs,
    pub secrets: Secrets,
    pub snapshots: Arc<SnapshotCell>,
    pub reload: Arc<Reload>,
    pub sources: Arc<SourceStates>,
    pub store: Arc<Store>,
    pub control: Control,
    pub metrics: Arc<Metrics>,
}

/// The API.
#[derive(Debug)]
pub struct App {
    parts: Parts,
    limits: Limits,
    known: Known,
    streams: Arc<Streams>,
    settled: Settled,
    taken_over: OnceLock<Box<UpgradeReport>>,
    started: Instant,
    process: HeaderValue,
    version: HeaderValue,
}

impl App {
    /// Puts the API together.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let counters = parts.store.counters();
        for (name, help, counter) in [
            ("orders_placed", "Orders stored for the first time", &counters.placed),
            ("orders_replayed", "Orders answered again", &counters.replayed),
            ("orders_refused", "Purchases refused by the rules", &counters.refused),
            ("orders_unavailable", "Purchases without an answer of the store", &counters.unavailable),
            ("store_commits", "Groups of purchases that were committed", &counters.commits),
            ("orders_written", "Orders put into the database", &counters.written),
        ] {
            parts.metrics.register(name, help, counter.clone());
        }
        for (name, help, gauge) in parts.store.gauges() {
            parts.metrics.register(name, help, gauge);
        }
        let version = HeaderValue::from_str(&parts.identity.version);
        Arc::new(Self {
            limits: Limits::default(),
            known: Known::default(),
            streams: Streams::new(parts.identity.process, &parts.metrics),
            settled: Settled::default(),
            taken_over: OnceLock::new(),
            started: Instant::now(),
            process: HeaderValue::from(parts.identity.process.0),
            version: version.unwrap_or(HeaderValue::from_static("unprintable")),
            parts,
        })
    }

    /// The process before this one has gone, and tells what became of the upgrade.
    pub fn taken_over(&self, report: Option<Box<UpgradeReport>>) {
        if let Some(report) = report {
            // It goes once.
            _ = self.taken_over.set(report);
        }
    }

    /// Answers. Never fails and never blocks: what goes wrong is an answer too.
    pub async fn answer(&self, side: Side, request: Request<Bytes>) -> Response<Body> {
        let head_only = request.method() == Method::HEAD;
        let snapshot = self.parts.snapshots.load();
        let reply = match Route::find(side, request.uri().path()) {
            None => Problem::plain(StatusCode::NOT_FOUND, "there is nothing at this path").into(),
            Some(route) if !route.takes(request.method()) => method_not_allowed(route),
            Some(route) if route.is_for_admin() && !self.is_admin(request.headers()) => not_admin(),
            // These take the body with them.
            Some(Route::ConfigOf(datum)) if request.method() == Method::PUT => {
                // What is seldom asked must not make the others' answers larger.
                Box::pin(push::put(self, datum, request)).await
            }
            Some(Route::Publish(datum)) => Box::pin(push::publish(self, datum, &snapshot, request)).await,
            Some(route) => match self.limits.of_route(route, &snapshot.cluster.rate_limits.per_second) {
                Some(too_many) => too_many,
                None => self.go(route, &snapshot, &request).await,
            },
        };
        self.finish(side, snapshot.generation, reply, head_only)
    }

    async fn go(&self, route: Route<'_>, snapshot: &Snapshot, request: &Request<Bytes>) -> Reply {
        match route {
            Route::EventList => Reply::json(StatusCode::OK, snapshot.activities.list_body()),
            Route::EventInfo => sale::event_info(self, snapshot, request).await,
            Route::EventStream if request.method() == Method::HEAD => {
                Reply::text("text/event-stream", String::new())
            }
            Route::EventStream => stream::open(self).await,
            Route::Orders => sale::place_order(self, snapshot, request).await,
            Route::Order(id) => sale::find_order(self, id, request).await,
            Route::Live => Reply::json(StatusCode::OK, Bytes::from_static(br#"{"status":"live"}"#)),
            Route::Ready => self.ready(),
            Route::Version => Reply::of(StatusCode::OK, &self.parts.identity),
            Route::Status => admin::status(self, snapshot).await,
            Route::Metrics => admin::metrics(self).await,
            Route::Upgrade => admin::upgrade(self, request).await,
            Route::Reload => Box::pin(admin::reload(self)).await,
            Route::Drain => admin::drain(self).await,
            Route::Config => config::show(self, snapshot, request),
            Route::ConfigHistory => config::history(self, request),
            Route::ConfigOf(datum) | Route::Publish(datum) => config::document(datum, snapshot, request),
        }
    }

    /// Asks the store what is left of everything on sale, so that it is known if the store may not be asked
    /// later on.
    pub async fn learn_what_is_left(&self) {
        let snapshot = self.parts.snapshots.load();
        for event in snapshot.activities.events() {
            if let Err(error) = sale::left(self, event).await {
                tracing::warn!(%error, event = event.id.0, "what is left is not known");
            }
        }
    }

    /// Keeps the streams of events up to date. It never ends by itself.
    pub async fn run_streams(self: Arc<Self>) {
        stream::run(&self).await;
    }

    /// How streams are treated.
    #[must_use]
    pub fn stream_settings(&self) -> &StreamSettings {
        &self.parts.config.stream
    }

    /// The longest body that a request with this head may have, in bytes. Only who shows the admin's token may
    /// send a long one.
    #[must_use]
    pub fn body_bytes_max(&self, side: Side, head: &request::Parts) -> usize {
        if Route::takes_push(side, head) && self.is_admin(&head.headers) {
            self.parts.config.reload.push_bytes_max
        } else {
            self.parts.config.limits.body_bytes_max
        }
    }

    /// The answer to a request whose body is longer than [`App::body_bytes_max`].
    #[must_use]
    pub fn too_large(&self, side: Side, head: &request::Parts) -> Response<Body> {
        let limit = self.body_bytes_max(side, head);
        let reply = match Route::takes_push(side, head) {
            true if !self.is_admin(&head.headers) => not_admin(),
            true => push::too_large(limit),
            false => {
                let detail = format!("the body may have at most {limit} bytes");
                Problem::plain(StatusCode::PAYLOAD_TOO_LARGE, detail).into()
            }
        };
        self.finish(side, self.config_generation(), reply, false)
    }

    /// The answer to a request whose body is not what its head promised.
    #[must_use]
    pub fn unreadable(&self, side: Side, error: &dyn fmt::Display) -> Response<Body> {
        let reply =
            Problem::plain(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}")).into();
        self.finish(side, self.config_generation(), reply, false)
    }

    /// The generation of the configuration that is served now.
    #[must_use]
    pub fn config_generation(&self) -> Generation {
        self.parts.snapshots.load().generation
    }

    /// The counters of this process.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.parts.metrics
    }

    fn ready(&self) -> Reply {
        match self.parts.control.phase() {
            Phase::Ready | Phase::HandingOver => {
                Reply::json(StatusCode::OK, Bytes::from_static(br#"{"status":"ready"}"#))
            }
            phase @ (Phase::Starting | Phase::Bound | Phase::Draining | Phase::Stopped) => {
                Problem::plain(StatusCode::SERVICE_UNAVAILABLE, format!("the process is {phase}")).into()
            }
        }
    }

    fn is_admin(&self, headers: &HeaderMap) -> bool {
        reply::bearer(headers).is_some_and(|token| self.parts.secrets.admin.accepts(token))
    }

    /// Adds what every answer carries, and counts it.
    fn finish(&self, side: Side, generation: Generation, reply: Reply, head_only: bool) -> Response<Body> {
        let labels = RequestLabels { side: side.word(), status: reply.status().as_u16() };
        self.parts.metrics.requests.get_or_create(&labels).inc();
        let generation = reply.generation.unwrap_or(generation);
        let mut response = reply.into_response(head_only);
        let headers = response.headers_mut();
        headers.insert("x-seckill-process", self.process.clone());
        headers.insert("x-seckill-version", self.version.clone());
        #[cfg(debug_assertions)]
        let generation = match side {
            Side::Public => Generation(faults::shown_generation(generation.0)),
            Side::Admin => generation,
        };
        headers.insert("x-config-generation", HeaderValue::from(generation.0));
        response
    }
}

impl Side {
    /// `public` or `admin`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // One client has one address, whichever family it came by.
            Self::Address(address) => address.to_canonical().fmt(f),
            Self::User(user) => write!(f, "uid {user}"),
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

fn method_not_allowed(route: Route<'_>) -> Reply {
    let allowed = route.methods();
    let problem = Problem::plain(StatusCode::METHOD_NOT_ALLOWED, format!("this path takes {allowed}"));
    Reply::from(problem).with(header::ALLOW, HeaderValue::from_static(allowed))
}

fn not_admin() -> Reply {
    reply::unauthorized("the admin's token must be in the authorization header")
}
