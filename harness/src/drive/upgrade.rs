//! An upgrade as an event: the next release laid out, the link switched, the server asked to swap, and the
//! swap confirmed from outside. Under `activate` the release is started beside the old one instead, as a service
//! manager does.
//!
//! The server's word is not taken for it: an upgrade is ok only when the new release answers, and refused
//! or failed as expected only when the old one still does. With `stop-start` and `reuseport` the admin
//! connection may die in the swap; then who answers afterwards decides alone.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};
use tokio::time::sleep;

use super::timeline::Ending;
use crate::{
    clock::RunClock,
    environment::{Activated, Answer, Identity, Reference, chain},
    observe::{EventOutcome, MEMORY_KEY},
};

/// For the server's answer, which comes when the upgrade is over, beyond the times that the plan itself
/// gives its steps.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// For the admin side to accept a connection: after a swap it may come back later than the public side.
const ADMIN_LIMIT: Duration = Duration::from_secs(5);
/// For the right release to answer after the server has said how the upgrade ended.
const CONFIRM_LIMIT: Duration = Duration::from_secs(5);
/// The same when the admin connection died and nothing was said, and nobody answers: the new process has
/// to start first. While the old release still answers, the request was lost, and `CONFIRM_LIMIT` is enough.
const TAKEOVER_LIMIT: Duration = Duration::from_secs(30);
/// Between two questions of who serves.
const ASK_INTERVAL: Duration = Duration::from_millis(10);

/// Upgrades the server once before the load, so that what it holds can be compared with what it holds after others.
///
/// # Errors
/// The event's detail, when it did not end well.
pub async fn once(reference: &mut Reference, clock: &RunClock) -> Result<(), Value> {
    let ending = run(reference, clock, None, true).await;
    if ending.as_expected { Ok(()) } else { Err(ending.detail) }
}

/// Upgrades the server once, to `binary` or to the one whose turn it is.
pub(super) async fn run(
    reference: &mut Reference,
    clock: &RunClock,
    binary: Option<&Path>,
    expect_ok: bool,
) -> Ending {
    let old = reference.serving().label();
    let memory_kb = reference.memory_kb();
    let release = match reference.deploy(binary) {
        Ok(release) => release,
        Err(error) => return Ending::impossible(clock, &chain(&error)),
    };
    let said = match reference.activate(&release).await {
        Some(activated) => Said::from(activated),
        None => Said::from(ask(reference, &release.binary).await),
    };
    let mut acked_ns = clock.now_ns();
    let (wanted, limit) = match said.outcome {
        Some(EventOutcome::Ok) => (release.label(), CONFIRM_LIMIT),
        Some(EventOutcome::Failed | EventOutcome::Refused) => (old, CONFIRM_LIMIT),
        None => (release.label(), TAKEOVER_LIMIT),
    };
    let serving = serving(reference, &wanted, limit).await;
    let confirmed = serving.as_ref().is_ok_and(|serving| serving.version == wanted);
    if said.outcome.is_none() {
        acked_ns = clock.now_ns();
    }
    let outcome = match said.outcome {
        Some(EventOutcome::Ok) | None if confirmed => EventOutcome::Ok,
        Some(EventOutcome::Ok) | None => EventOutcome::Failed,
        Some(outcome) => outcome,
    };
    let as_expected = confirmed && expect_ok == (outcome == EventOutcome::Ok);
    // The link follows what serves, not what was asked for.
    let mut trouble = Vec::new();
    if serving.as_ref().is_ok_and(|serving| serving.version == release.label()) {
        reference.serves(release.clone());
    } else if let Err(error) = reference.roll_back() {
        trouble.push(chain(&error));
    }
    if !confirmed {
        trouble.push(format!("release {wanted} should answer and does not"));
    }
    let mut detail = detail(said, release.number, serving, reference, &trouble);
    detail[MEMORY_KEY] = json!(memory_kb);
    Ending { acked_ns, outcome, as_expected, detail }
}

/// What the server said of the upgrade.
struct Said {
    /// `None`: the connection ended without a word.
    outcome: Option<EventOutcome>,
    report: Map<String, Value>,
}

impl From<Result<Answer, reqwest::Error>> for Said {
    fn from(asked: Result<Answer, reqwest::Error>) -> Self {
        match asked {
            Ok(Answer { status, body }) => {
                let outcome = match body.get("outcome").and_then(Value::as_str) {
                    Some("ok") if (200..300).contains(&status) => EventOutcome::Ok,
                    Some("refused") => EventOutcome::Refused,
                    Some(_) => EventOutcome::Failed,
                    // A problem without a report: the request itself was turned down.
                    None => EventOutcome::Refused,
                };
                let report = match body {
                    Value::Object(report) => report,
                    other => {
                        Map::from_iter([("status".to_owned(), json!(status)), ("body".to_owned(), other)])
                    }
                };
                Self { outcome: Some(outcome), report }
            }
            Err(error) => {
                let report = Map::from_iter([("no_answer".to_owned(), json!(chain(&error)))]);
                Self { outcome: None, report }
            }
        }
    }
}

/// What a service manager knows.
impl From<Result<Activated, String>> for Said {
    fn from(activated: Result<Activated, String>) -> Self {
        let (outcome, mut report, word, value) = match activated {
            Ok(Activated { told, report }) => (EventOutcome::Ok, report, "told", json!(told)),
            Err(why) => (EventOutcome::Failed, Map::new(), "error", json!({ "detail": why })),
        };
        report.insert(word.to_owned(), value);
        Self { outcome: Some(outcome), report }
    }
}

/// Asks for the upgrade, again while the admin side does not accept connections.
async fn ask(reference: &Reference, binary: &Path) -> Result<Answer, reqwest::Error> {
    let deadline = Instant::now() + ADMIN_LIMIT;
    let limit = ANSWER_LIMIT + reference.upgrade_time();
    let binary = binary.to_string_lossy();
    loop {
        match reference.control().upgrade(&binary, limit).await {
            // Nothing was sent yet, so asking again cannot upgrade twice.
            Err(error) if error.is_connect() && Instant::now() < deadline => sleep(ASK_INTERVAL).await,
            asked => return asked,
        }
    }
}

/// Who serves: the release `wanted` as soon as it answers; otherwise whoever does after `CONFIRM_LIMIT`, or
/// the failure to find anybody after `limit`.
async fn serving(reference: &Reference, wanted: &str, limit: Duration) -> Result<Identity, String> {
    let asked = Instant::now();
    loop {
        let serving = reference.control().identity().await;
        let over = match &serving {
            Ok(identity) => identity.version == wanted || asked.elapsed() >= CONFIRM_LIMIT,
            Err(_) => asked.elapsed() >= limit,
        };
        if over {
            return serving;
        }
        sleep(ASK_INTERVAL).await;
    }
}

/// The server's report with what was seen from outside beside it.
fn detail(
    said: Said,
    release: u32,
    serving: Result<Identity, String>,
    reference: &mut Reference,
    trouble: &[String],
) -> Value {
    let mut detail = said.report;
    let serving = match serving {
        Ok(Identity { process, version }) => {
            let pid = reference.serving_pid().map(|pid| pid.as_raw_pid());
            let serving = json!({ "process": process, "version": version, "pid": pid });
            if detail.contains_key("told") && !detail.contains_key("new") {
                // A service manager is not told which generation it has started.
                detail.insert("new".to_owned(), serving.clone());
            }
            serving
        }
        Err(why) => json!({ "nobody": why }),
    };
    detail.insert("release".to_owned(), json!(release));
    detail.insert("serving".to_owned(), serving);
    if !trouble.is_empty() {
        detail.insert("trouble".to_owned(), json!(trouble));
    }
    Value::Object(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_decides_the_outcome() {
        for (status, body, outcome) in [
            (200, json!({"outcome": "ok"}), EventOutcome::Ok),
            (500, json!({"outcome": "failed", "title": "x"}), EventOutcome::Failed),
            (409, json!({"outcome": "refused"}), EventOutcome::Refused),
            (401, json!({"type": "about:blank", "status": 401}), EventOutcome::Refused),
            // A success in words under an error status is none.
            (500, json!({"outcome": "ok"}), EventOutcome::Failed),
            (502, json!("not even JSON"), EventOutcome::Refused),
        ] {
            let said = Said::from(Ok(Answer { status, body: body.clone() }));
            assert_eq!(said.outcome, Some(outcome), "{status} {body}");
        }
    }

    #[test]
    fn what_a_service_manager_hears_is_beside_the_report() {
        let report = Map::from_iter([("strategy".to_owned(), json!("activate"))]);
        let said = Said::from(Ok(Activated { told: vec!["READY=1".to_owned()], report }));
        assert_eq!(said.outcome, Some(EventOutcome::Ok));
        assert_eq!(Value::Object(said.report), json!({"strategy": "activate", "told": ["READY=1"]}));
        let said = Said::from(Err("it hangs".to_owned()));
        assert_eq!(said.outcome, Some(EventOutcome::Failed));
        assert_eq!(Value::Object(said.report), json!({"error": {"detail": "it hangs"}}));
    }

    #[test]
    fn an_answer_that_is_no_report_is_kept() {
        let said = Said::from(Ok(Answer { status: 502, body: json!("bad gateway") }));
        assert_eq!(Value::Object(said.report), json!({"status": 502, "body": "bad gateway"}));
    }
}
