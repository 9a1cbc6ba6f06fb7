//! The server's own history of what was offered to it, asked until it tells what became of a change.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::Client;
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    clock::RunClock,
    environment::{Control, chain},
    plan::{By, Datum},
};

/// Between two questions: a few hundred answers a second are no load.
const ASK_INTERVAL: Duration = Duration::from_millis(4);
/// For one answer; while processes swap a question may be lost.
const ASK_LIMIT: Duration = Duration::from_secs(1);
/// What two readings of the wall clock by two processes may differ.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_millis(5);
/// How the server calls what it read when it started: a process that was begun meanwhile has found it so.
const AT_START: &str = "start";

/// Asks for the history, over a connection of its own each time.
pub(super) struct History {
    control: Control,
    client: Client,
}

/// What is looked for in a history.
pub(super) struct Wanted {
    pub(super) datum: Datum,
    pub(super) by: By,
    /// Size of what was offered; `None`: of any.
    pub(super) bytes: Option<u64>,
    pub(super) since: Timestamp,
    /// It has to be refused, not published.
    pub(super) refused: bool,
}

/// An entry that was found.
pub(super) struct Seen {
    /// That published it; of a refusal the one that was served when it was seen.
    pub(super) generation: u64,
    pub(super) entry: Value,
    /// It was looked for among the refused ones, and something of the kind has been published since as well.
    pub(super) published_too: bool,
}

impl History {
    pub(super) fn new(control: Control, client: Client) -> Self {
        Self { control, client }
    }

    /// The generation that is served; `None` when nobody tells.
    pub(super) async fn served(&self) -> Option<u64> {
        self.control.history(&self.client, ASK_LIMIT).await.ok().map(|(generation, _)| generation)
    }

    /// Asks until what is wanted is there, or says why that was not so in time.
    pub(super) async fn wait(
        &self,
        wanted: &Wanted,
        clock: &RunClock,
        deadline_ns: u64,
    ) -> Result<Seen, String> {
        loop {
            let asked = self.control.history(&self.client, ASK_LIMIT).await;
            if let Ok((served, history)) = &asked
                && let Some(seen) = wanted.find(*served, history)
            {
                return Ok(seen);
            }
            if clock.now_ns() >= deadline_ns {
                let what = if wanted.refused { "was not refused" } else { "did not arrive" };
                let why = match asked {
                    Ok((served, history)) => {
                        let last = history.as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
                        format!("generation {served} is served, and the last in the history is {last}")
                    }
                    Err(error) => chain(&error),
                };
                return Err(format!("the change {what} in time: {why}"));
            }
            sleep(ASK_INTERVAL).await;
        }
    }
}

impl Wanted {
    /// The latest entry that fits. One that a process read when it started has no number of its own: what that
    /// process serves by now is the number by which the change can be seen.
    fn find(&self, served: u64, history: &Value) -> Option<Seen> {
        let all = history.as_array()?;
        let outcome = if self.refused { "refused" } else { "published" };
        let entry = all.iter().rev().find(|entry| self.fits(entry) && entry["outcome"] == outcome)?;
        let own = entry["generation"].as_u64()?;
        let is_as_started = entry["mechanism"] == AT_START;
        Some(Seen {
            generation: if self.refused || is_as_started { served } else { own },
            entry: entry.clone(),
            published_too: all.iter().any(|entry| self.fits(entry) && entry["outcome"] == "published"),
        })
    }

    fn fits(&self, entry: &Value) -> bool {
        let by = entry["mechanism"].as_str();
        let at = entry["at"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
        entry["datum"] == self.datum.word()
            && (by == Some(self.by.word()) || (by == Some(AT_START) && self.bytes.is_some()))
            && self.bytes.is_none_or(|bytes| entry["bytes"] == bytes)
            && at.is_some_and(|at| at >= self.since - CLOCK_SLACK)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_entry_of_the_very_change_is_found() {
        let entry = |at: &str, datum: &str, mechanism: &str, outcome: &str, bytes: u64, generation: u64| {
            json!({ "at": at, "datum": datum, "mechanism": mechanism, "place": "p", "bytes": bytes,
                    "outcome": outcome, "generation": generation })
        };
        let history = json!([
            entry("2026-01-02T03:04:05.000Z", "blacklist", "file", "published", 7, 2),
            entry("2026-01-02T03:04:06.100Z", "blacklist", "push", "published", 7, 3),
            entry("2026-01-02T03:04:06.200Z", "blacklist", "file", "refused", 9, 3),
            entry("2026-01-02T03:04:06.300Z", "cluster", "file", "published", 7, 4),
            entry("2026-01-02T03:04:06.400Z", "blacklist", "file", "published", 8, 5),
            entry("2026-01-02T03:04:06.500Z", "activities", "start", "published", 6, 1),
            json!("of another kind"),
        ]);
        let check = |datum, by, bytes, refused, expected: Option<u64>| {
            let since = "2026-01-02T03:04:06.003Z".parse().unwrap();
            let wanted = Wanted { datum, by, bytes, since, refused };
            let found = wanted.find(9, &history).map(|seen| seen.generation);
            assert_eq!(found, expected, "{datum:?} {by:?} {bytes:?} {refused}");
        };
        // The same size, but by another mechanism or of an earlier time.
        check(Datum::Blacklist, By::File, Some(7), false, None);
        check(Datum::Blacklist, By::Push, Some(7), false, Some(3));
        check(Datum::Blacklist, By::File, Some(8), false, Some(5));
        check(Datum::Blacklist, By::File, None, false, Some(5));
        check(Datum::Blacklist, By::File, None, true, Some(9));
        check(Datum::Cluster, By::File, None, true, None);
        check(Datum::Activities, By::Timer, Some(6), false, Some(9));
        check(Datum::Activities, By::Timer, None, false, None);
    }
}
