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
    config::FeedSettings,
    effective::Effective,
    hex,
    sources::push::Tags,
    state::{Datum, Digests, Generation, Mechanism, Node, Snapshot},
};

/// `GET /config`
#[derive(Debug, Serialize)]
struct Told<'a> {
    generation: Generation,
    digests: &'a Digests,
    /// Users on the list.
    blacklisted: usize,
    events: usize,
    /// What the cluster configuration and the settings amount to.
    effective: Effective,
    nodes: &'a [Node],
    sources: Sources,
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
        // All of it by the snapshot, so that its generation stands for it.
        effective: Effective::of(&app.parts.config, &snapshot.cluster, snapshot.cluster.pools),
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
    let digest = hex::digits(&Sha256::digest(&body)[..16]);
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

impl SourceTold {
    fn of(feed: &FeedSettings) -> Self {
        let every_ms = u64::try_from(feed.every.as_millis()).unwrap_or(u64::MAX);
        Self { by: feed.by, from: feed.from.to_string(), every_ms }
    }
}
