//! What the admin side tells about the configuration that is served.
//!
//! Every answer has a validator: that of what is served is its generation, so that whoever read it can say with
//! `if-match` what he means to replace; the history, which also grows by what is refused, has its digest.

use http::{Request, StatusCode, header};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{
    App, Bytes,
    reply::{Problem, Reply},
};
use crate::{
    config::{Config, FeedSettings, LogLevel},
    sources::push::Tags,
    state::{Cluster, Datum, Degradation, Digests, Generation, Mechanism, Node, Snapshot},
};

/// `GET /config`
#[derive(Debug, Serialize)]
struct Told<'a> {
    generation: Generation,
    digests: &'a Digests,
    /// Users on the list.
    blacklisted: usize,
    events: usize,
    cluster: Effective,
    nodes: &'a [Node],
    sources: Sources,
}

/// The cluster configuration over the settings that the process was started with.
#[derive(Debug, Serialize)]
struct Effective {
    log_level: LogLevel,
    rate_limits: EffectiveLimits,
    degradation: Degradation,
    pools: EffectivePools,
}

/// 0: no limit.
#[derive(Debug, Serialize)]
struct EffectiveLimits {
    orders_per_user_per_second: u32,
    per_second: EffectiveRoutes,
}

#[derive(Debug, Serialize)]
struct EffectiveRoutes {
    event_list: u32,
    event_info: u32,
    orders: u32,
    order: u32,
}

/// Null: nobody has said anything.
#[derive(Debug, Serialize)]
struct EffectivePools {
    mysql: Option<u32>,
    redis: Option<u32>,
}

/// Where each kind of data comes from.
#[derive(Debug, Serialize)]
struct Sources {
    blacklist: SourceTold,
    cluster: SourceTold,
    activities: SourceTold,
}

#[derive(Debug, Serialize)]
struct SourceTold {
    by: Mechanism,
    from: String,
    every_ms: u64,
}

/// `GET /config`
pub(super) fn show(app: &App, snapshot: &Snapshot, request: &Request<Bytes>) -> Reply {
    let reload = &app.parts.config.reload;
    let told = Told {
        generation: snapshot.generation,
        digests: &snapshot.digests,
        blacklisted: snapshot.blacklist.len(),
        events: snapshot.activities.events().len(),
        cluster: Effective::of(&app.parts.config, &snapshot.cluster),
        nodes: &snapshot.nodes,
        sources: Sources {
            blacklist: SourceTold::of(&reload.blacklist),
            cluster: SourceTold::of(&reload.cluster),
            activities: SourceTold::of(&reload.activities),
        },
    };
    of_generation(Reply::of(StatusCode::OK, &told), snapshot, request)
}

/// `GET /config/activities`, `GET /config/cluster`
pub(super) fn document(datum: Datum, snapshot: &Snapshot, request: &Request<Bytes>) -> Reply {
    let reply = match datum {
        Datum::Activities => Reply::json(StatusCode::OK, snapshot.activities.list_body()),
        Datum::Cluster | Datum::Blacklist | Datum::Nodes => Reply::of(StatusCode::OK, &*snapshot.cluster),
    };
    of_generation(reply, snapshot, request)
}

/// `GET /config/history`
pub(super) fn history(app: &App, request: &Request<Bytes>) -> Reply {
    if let Some(refusal) = refused_query(request) {
        return refusal;
    }
    let changes = serde_json::to_vec(&app.parts.snapshots.history());
    let body = Bytes::from(changes.expect("the history must be writable as JSON"));
    let digest = Sha256::digest(&body).iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>();
    let known = is_known(request, &digest);
    Reply::json(StatusCode::OK, body).validated(&digest, known)
}

fn of_generation(reply: Reply, snapshot: &Snapshot, request: &Request<Bytes>) -> Reply {
    if let Some(refusal) = refused_query(request) {
        return refusal;
    }
    let opaque = snapshot.generation.to_string();
    let known = is_known(request, &opaque);
    reply.validated(&opaque, known)
}

/// Whether the client has what is called `opaque` already. A header that is not understood only costs an answer.
fn is_known(request: &Request<Bytes>, opaque: &str) -> bool {
    let tags = Tags::read(request.headers(), &header::IF_NONE_MATCH);
    tags.ok().flatten().is_some_and(|tags| tags.matches_weakly(opaque))
}

fn refused_query(request: &Request<Bytes>) -> Option<Reply> {
    let query = request.uri().query().filter(|query| !query.is_empty())?;
    let detail = format!("this path takes no query, and {query:?} would be ignored");
    Some(Problem::plain(StatusCode::BAD_REQUEST, detail).into())
}

impl Effective {
    fn of(config: &Config, cluster: &Cluster) -> Self {
        let Cluster { log_level, rate_limits, degradation, pools, nodes: _ } = cluster;
        let (per_user, per_second) = (rate_limits.orders_per_user_per_second, &rate_limits.per_second);
        Self {
            log_level: log_level.unwrap_or(config.global.log_level),
            rate_limits: EffectiveLimits {
                orders_per_user_per_second: per_user.unwrap_or(config.limits.orders_per_user_per_second),
                per_second: EffectiveRoutes {
                    event_list: per_second.event_list.unwrap_or(0),
                    event_info: per_second.event_info.unwrap_or(0),
                    orders: per_second.orders.unwrap_or(0),
                    order: per_second.order.unwrap_or(0),
                },
            },
            degradation: *degradation,
            pools: EffectivePools { mysql: pools.mysql, redis: pools.redis },
        }
    }
}

impl SourceTold {
    fn of(feed: &FeedSettings) -> Self {
        let every_ms = u64::try_from(feed.every.as_millis()).unwrap_or(u64::MAX);
        Self { by: feed.by, from: feed.from.to_string(), every_ms }
    }
}
