//! Changes that are sent to the admin side, for this process or for all nodes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use serde_json::{Map, Value, json};
use tokio::{
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

use super::{
    App, Sender,
    reply::{Problem, Reply},
};
use crate::{
    publish::{self, Letter},
    reload::{self, Refused, Reload},
    sources::push::{Conditions, Error, Push, Pushed, Tags},
    state::{Datum, Snapshot},
};

/// How long a push waits for the end of a swap that may fail, so that it need not be sent again. A handover of
/// live connections decides within milliseconds; where it takes longer the client is told to come back.
const HANDOVER_WAIT: Duration = Duration::from_secs(2);

/// Name and title of the problem that a refused push is.
const PUSH: (&str, &str) = ("push-refused", "Push refused");

/// Name and title of the problem that a refused reload is.
pub(super) const RELOAD: (&str, &str) = ("reload-refused", "Reload refused");

/// `PUT /config/activities`, `PUT /config/cluster`, `PUT /config/blacklist`
///
/// Without an `etag`: what is served is not the body to the byte (RFC 9110, section 9.3.4).
pub(super) async fn put(app: &App, datum: Datum, request: Request<Bytes>) -> Reply {
    let (head, body) = request.into_parts();
    let conditions = match Conditions::read(datum, head.uri.query(), &head.headers) {
        Ok(conditions) => conditions,
        Err(error) => return misunderstood(&error),
    };
    if let Some(refusal) = refused_if_none_match(app, &head.headers) {
        return refusal;
    }
    let sender = head.extensions.get::<Sender>();
    let sender = sender.map_or_else(|| "the admin side".to_owned(), Sender::to_string);
    let is_trial = conditions.dry_run;
    match offer(app, conditions, sender, body).await {
        Ok(pushed) => told(pushed, is_trial),
        Err(refused) => not_published(app, PUSH, &refused),
    }
}

/// `POST /config/publish/activities`, and of the other kinds
pub(super) async fn publish(app: &App, datum: Datum, snapshot: &Snapshot, request: Request<Bytes>) -> Reply {
    let (head, body) = request.into_parts();
    for name in [header::IF_MATCH, header::IF_NONE_MATCH] {
        if head.headers.contains_key(&name) {
            let detail = format!(
                "{name} names a generation, and each node counts its own; say which content is to be \
                 replaced by ?expected-digest=D, which is the same on every node (GET /config tells it)"
            );
            return Problem::plain(StatusCode::BAD_REQUEST, detail).into();
        }
    }
    let conditions = match Conditions::read(datum, head.uri.query(), &head.headers) {
        Ok(conditions) => conditions,
        Err(error) => return misunderstood(&error),
    };
    let nodes = &snapshot.nodes;
    if nodes.is_empty() {
        let detail =
            "there are no nodes: none is registered in etcd, and the cluster configuration names none";
        return Problem::ours(StatusCode::CONFLICT, "no-nodes", "No nodes", detail).into();
    }
    let (tried, reading) = (body.clone(), conditions);
    let push = spawn_blocking(move || reading.with("the body", &tried));
    if let Err(reason) = push.await.expect("reading must not panic").candidate.content {
        let faulty = Refused::Faulty { datum, place: "the body".to_owned(), reason };
        return not_published(app, PUSH, &faulty);
    }
    let letter = Letter {
        path: path_of(datum, &head.uri),
        token: app.parts.secrets.admin.clone(),
        content_type: head.headers.get(header::CONTENT_TYPE).cloned(),
        body,
    };
    let answers = publish::to_all(nodes, letter).await;
    let refused = answers.iter().filter(|answer| answer.error.is_some()).count();
    let nodes = json!(answers);
    if refused == 0 {
        return Reply::of(StatusCode::OK, &json!({ "nodes": nodes }));
    }
    let detail = format!("{refused} of {} nodes have not taken it; those that have keep it", answers.len());
    let members = Map::from_iter([("nodes".to_owned(), nodes)]);
    let problem =
        Problem::ours(StatusCode::BAD_GATEWAY, "publish-failed", "Not published everywhere", detail);
    problem.with_members(members).into()
}

/// The answer to a body over `reload.push_bytes_max`.
pub(super) fn too_large(limit: usize) -> Reply {
    let detail = format!(
        "the body may have at most {limit} bytes (reload.push_bytes_max); a longer list comes by file, or in \
         deltas"
    );
    Problem::plain(StatusCode::PAYLOAD_TOO_LARGE, detail).into()
}

/// Reads the body and offers it, both on a thread where that may take its time. While a swap goes on that may
/// still fail, it waits for the outcome.
async fn offer(app: &App, conditions: Conditions, sender: String, body: Bytes) -> Result<Pushed, Refused> {
    let mut openings = app.parts.reload.openings();
    let first = Arc::clone(&app.parts.reload);
    let begin = move || {
        let push = conditions.with(&sender, &body);
        let outcome = push.offer(&first);
        (push, outcome)
    };
    let (mut push, mut outcome) = spawn_blocking(begin).await.expect("an offer must not panic");
    let deadline = Instant::now() + HANDOVER_WAIT;
    while matches!(outcome, Err(Refused::HandingOver)) {
        // A successor that serves is to be asked instead, and waits for the connection that this came on.
        let is_open = tokio::select! {
            biased;
            () = app.parts.control.past_ready() => false,
            open = timeout_at(deadline, openings.wait_for(|open| *open)) => open.is_ok(),
        };
        if !is_open {
            break;
        }
        (push, outcome) = offer_again(push, Arc::clone(&app.parts.reload)).await;
    }
    outcome
}

async fn offer_again(push: Push, reload: Arc<Reload>) -> (Push, Result<Pushed, Refused>) {
    let again = move || {
        let outcome = push.offer(&reload);
        (push, outcome)
    };
    spawn_blocking(again).await.expect("an offer must not panic")
}

fn told(pushed: Pushed, is_trial: bool) -> Reply {
    let Pushed { generation, changed, digest, difference } = pushed;
    let mut body = json!({ "generation": generation, "changed": changed, "digest": digest });
    if is_trial {
        body["dry_run"] = true.into();
        body["difference"] = json!(difference);
    }
    Reply::of(StatusCode::OK, &body).serving(generation)
}

/// Why nothing was published, with what is served on.
pub(super) fn not_published(
    app: &App,
    (name, title): (&'static str, &'static str),
    refused: &Refused,
) -> Reply {
    let served = app.parts.snapshots.load();
    let reason = reload::reason(refused);
    let mut members = Map::from_iter([("generation".to_owned(), json!(served.generation))]);
    let (status, detail) = match refused {
        Refused::Faulty { reason: faults, .. } => {
            members.insert("faults".to_owned(), faults.lines().collect::<Value>());
            (StatusCode::UNPROCESSABLE_ENTITY, reason)
        }
        Refused::Unprepared { .. } => (StatusCode::UNPROCESSABLE_ENTITY, reason),
        Refused::Overtaken { expected, served } => {
            let detail = format!(
                "failed to replace generation {expected}: {served} is served; read it, make the change again, \
                 and send it with if-match: \"{served}\""
            );
            (StatusCode::PRECONDITION_FAILED, detail)
        }
        Refused::Replaced { datum, expected, served } => {
            members.insert("digest".to_owned(), json!(served));
            let detail = format!(
                "failed to replace the {datum} of digest {expected:?}: that of digest {served:?} is served; read \
                 it, make the change again, and send it with expected-digest={served}"
            );
            (StatusCode::PRECONDITION_FAILED, detail)
        }
        Refused::HandingOver => (StatusCode::SERVICE_UNAVAILABLE, reason),
        Refused::NotKept { .. } => (StatusCode::INSUFFICIENT_STORAGE, reason),
    };
    let problem = Problem::ours(status, name, title, detail).with_members(members);
    let reply = Reply::from(problem).serving(served.generation);
    if *refused == Refused::HandingOver { reply.retry_later() } else { reply }
}

fn misunderstood(error: &Error) -> Reply {
    let detail = format!("failed to {error}");
    match error {
        Error::Unreadable(_) => Problem::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).into(),
        Error::Key { .. }
        | Error::Value { .. }
        | Error::Twice(_)
        | Error::NoDigest
        | Error::Header { .. } => Problem::plain(StatusCode::BAD_REQUEST, detail).into(),
    }
}

/// There is always something that is served, so `*` never holds; of generations only the ones before do.
fn refused_if_none_match(app: &App, headers: &HeaderMap) -> Option<Reply> {
    let served = app.config_generation();
    let detail = match Tags::read(headers, &header::IF_NONE_MATCH) {
        Ok(None) => return None,
        Ok(Some(tags)) if !tags.matches_weakly(&served.to_string()) => return None,
        Ok(Some(_)) => format!("generation {served} is served, which if-none-match rules out"),
        Err(reason) => {
            let error = Error::Header { name: header::IF_NONE_MATCH, reason };
            return Some(misunderstood(&error));
        }
    };
    Some(Problem::plain(StatusCode::PRECONDITION_FAILED, detail).into())
}

/// Where the nodes take what was sent here, with the same query.
fn path_of(datum: Datum, uri: &Uri) -> String {
    match uri.query() {
        Some(query) => format!("/config/{datum}?{query}"),
        None => format!("/config/{datum}"),
    }
}
