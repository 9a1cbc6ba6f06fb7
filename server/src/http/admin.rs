//! What the operator asks: how it stands, and to replace or to stop the process.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use http::{Request, StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    App, push,
    reply::{Problem, Reply},
};
use crate::{
    clock,
    config::{self, PendingChange},
    effective::Effective,
    lifecycle::{Phase, ProcessIdentity, Programs, UpgradeOutcome, UpgradeReport, UpgradeTo},
    reload::{CopyStatus, Terms},
    sources::{self, SourceState},
    state::{Change, Generation, Snapshot},
    stores::Standing,
};

/// `GET /status`
#[derive(Debug, Serialize)]
struct Status<'a> {
    process: &'a ProcessIdentity,
    programs: &'a Programs,
    phase: Phase,
    /// The upgrade that has made this process serve, as the one before it tells; `null` until that has gone.
    taken_over: Option<&'a UpgradeReport>,
    uptime_ms: u64,
    time: Timestamp,
    config: ConfigStatus<'a>,
    snapshot: SnapshotStatus,
    /// Where changes come from, and how that stands.
    sources: Vec<SourceState>,
    /// What the cluster configuration and the settings amount to.
    effective: Effective,
    store: StoreStatus,
    /// What is wrong with this process on purpose.
    #[cfg(debug_assertions)]
    faults: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ConfigStatus<'a> {
    file: String,
    /// SHA-256 of the file as it was loaded.
    digest: &'a str,
    strategy: &'static str,
    /// Keys that have another value in the file now; none of them is applied.
    pending: Vec<PendingChange>,
    /// What is wrong with the file as it is now.
    faults: Vec<String>,
}

#[derive(Debug, Serialize)]
struct SnapshotStatus {
    generation: Generation,
    events: usize,
    blacklisted: usize,
    /// The latest changes, oldest first, refused ones among them.
    history: Vec<Change>,
    /// The last good copies on disk.
    copies: Vec<CopyStatus>,
}

/// Since the first process of the chain was started.
#[derive(Debug, Serialize)]
struct StoreStatus {
    orders_placed: u64,
    orders_replayed: u64,
    orders_refused: u64,
    orders_unavailable: u64,
    commits: u64,
    /// Which store it is, and how the services of it stand.
    standing: Standing,
}

/// The body of `POST /upgrade`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UpgradeRequest {
    binary: PathBuf,
}

pub(super) async fn status(app: &App, snapshot: &Snapshot) -> Reply {
    let config = &app.parts.config;
    let (pending, faults) = compare_with_file(app).await;
    app.whole_counters().await;
    let counters = app.parts.store.counters();
    Reply::of(
        StatusCode::OK,
        &Status {
            process: &app.parts.identity,
            programs: &app.parts.programs,
            phase: app.parts.control.phase(),
            taken_over: app.taken_over.get().map(Box::as_ref),
            uptime_ms: u64::try_from(app.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            time: clock::now(),
            config: ConfigStatus {
                file: config.source.display().to_string(),
                digest: &config.digest,
                strategy: config.upgrade.strategy.word(),
                pending,
                faults,
            },
            snapshot: SnapshotStatus {
                generation: snapshot.generation,
                events: snapshot.activities.events().len(),
                blacklisted: snapshot.blacklist.len(),
                history: app.parts.snapshots.history(),
                copies: copies(app).await,
            },
            sources: app.parts.sources.list(),
            effective: Effective::of(config, &snapshot.cluster, app.parts.store.pools()),
            store: StoreStatus {
                orders_placed: counters.placed.get(),
                orders_replayed: counters.replayed.get(),
                orders_refused: counters.refused.get(),
                orders_unavailable: counters.unavailable.get(),
                commits: counters.commits.get(),
                standing: app.parts.store.standing(),
            },
            #[cfg(debug_assertions)]
            faults: crate::faults::words(),
        },
    )
}

async fn copies(app: &App) -> Vec<CopyStatus> {
    let Some(copies) = app.parts.reload.copies().cloned() else { return Vec::new() };
    tokio::task::spawn_blocking(move || copies.status()).await.unwrap_or_default()
}

/// What the file says now that the process does not do, or what is wrong with the file.
async fn compare_with_file(app: &App) -> (Vec<PendingChange>, Vec<String>) {
    let loaded = Arc::clone(&app.parts.config);
    let compare = move || match config::load(&loaded.source) {
        Ok(now) => (config::pending(&loaded, &now), Vec::new()),
        Err(config::Error::Faults { faults, .. }) => (Vec::new(), faults.iter().map(told).collect()),
        Err(error @ config::Error::Read { .. }) => (Vec::new(), vec![format!("failed to {error}")]),
    };
    tokio::task::spawn_blocking(compare)
        .await
        .unwrap_or_else(|_| (Vec::new(), vec!["the comparison with the file was cut short".to_owned()]))
}

/// The fault in one line, without the value when that is a secret.
fn told(fault: &tomlcheck::Fault) -> String {
    let mut fault = fault.clone();
    if matches!(fault.key.as_str(), "mysql.password" | "redis.auth") {
        "is not a string".clone_into(&mut fault.what);
    }
    fault.to_string().replace("\n ", ";")
}

/// `GET /metrics`
pub(super) async fn metrics(app: &App) -> Reply {
    app.whole_counters().await;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Reply::text(content_type, app.parts.metrics.text())
}

/// `POST /upgrade`, `POST /upgrade?rollback`
pub(super) async fn upgrade(app: &App, request: &Request<Bytes>) -> Reply {
    let invalid = |name: &'static str, detail: String| {
        Problem::ours(StatusCode::BAD_REQUEST, name, "Invalid request", detail).into()
    };
    let to = match (request.uri().query(), request.body()) {
        (Some("rollback"), body) if body.is_empty() => UpgradeTo::Previous,
        (Some("rollback"), _) => {
            let detail = "a rollback goes back to what ran before, and takes no body".to_owned();
            return invalid("invalid-body", detail);
        }
        (Some(query), _) => {
            return invalid("invalid-query", format!("{query:?} is not known here; ?rollback is"));
        }
        (None, body) => match serde_json::from_slice::<UpgradeRequest>(body) {
            Ok(request) => UpgradeTo::Binary(request.binary),
            Err(error) => {
                let detail = format!("the body must be {{\"binary\":\"PATH\"}}: {error}");
                return invalid("invalid-body", detail);
            }
        },
    };
    match app.parts.control.upgrade(to).await {
        Some(report) => told_outcome(&report),
        None => {
            let detail = "the process stopped before it could answer";
            Problem::plain(StatusCode::SERVICE_UNAVAILABLE, detail).into()
        }
    }
}

/// `POST /reload`. The generation is that of the body: the header names the one that gave this answer,
/// which was the latest when it was asked for.
pub(super) async fn reload(app: &App) -> Reply {
    // Kept until it is published: what a source has found before must not come after.
    let turn = app.parts.sources.turn_of_all().await;
    let candidates = sources::read_again(&app.parts.config, &app.parts.reload).await;
    let reload = Arc::clone(&app.parts.reload);
    let terms = Terms { again: true, ..Terms::default() };
    let offering = tokio::task::spawn_blocking(move || reload.offer_all(candidates, terms));
    let offered = offering.await.expect("an offer must not panic");
    drop(turn);
    match offered {
        Ok(published) => Reply::of(StatusCode::OK, &json!({ "generation": published.generation })),
        Err(refused) => push::not_published(app, push::RELOAD, &refused),
    }
}

/// `POST /drain`. A process that is stopping already does what is asked, too.
pub(super) async fn drain(app: &App) -> Reply {
    let accepted = app.parts.control.drain().await;
    tracing::info!(accepted, "a drain was asked for");
    if !accepted {
        let detail =
            "an upgrade is going on, and ends this process if it succeeds; ask again when it is over";
        return Problem::ours(StatusCode::CONFLICT, "drain-refused", "Drain refused", detail).into();
    }
    Reply::json(StatusCode::ACCEPTED, Bytes::from_static(br#"{"status":"draining"}"#))
}

fn told_outcome(report: &UpgradeReport) -> Reply {
    let status = outcome_status(report);
    if status == StatusCode::OK {
        return Reply::of(status, report);
    }
    let (name, title) = match report.outcome {
        UpgradeOutcome::Ok | UpgradeOutcome::Failed => ("upgrade-failed", "Upgrade failed"),
        UpgradeOutcome::Refused => ("upgrade-refused", "Upgrade refused"),
    };
    let detail = match &report.error {
        Some(error) => error.detail.clone(),
        None => "no reason was given".to_owned(),
    };
    let members = match serde_json::to_value(report) {
        Ok(Value::Object(members)) => members,
        Ok(_) | Err(_) => Map::new(),
    };
    Problem::ours(status, name, title, detail).with_members(members).into()
}

fn outcome_status(report: &UpgradeReport) -> StatusCode {
    let kind = report.error.as_ref().map(|error| error.kind.as_str());
    match (report.outcome, kind) {
        (UpgradeOutcome::Ok, _) => StatusCode::OK,
        (UpgradeOutcome::Refused, _) => StatusCode::CONFLICT,
        // The one who asked can mend it with another path.
        (UpgradeOutcome::Failed, Some("missing" | "not-executable" | "not-a-program")) => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        (UpgradeOutcome::Failed, Some("timeout")) => StatusCode::GATEWAY_TIMEOUT,
        (UpgradeOutcome::Failed, _) => StatusCode::BAD_GATEWAY,
    }
}
