//! The plan's events at their times on the run clock, one after the other, each kept as a record.
//!
//! Invariant: every event whose turn came leaves exactly one record, also when it was interrupted or when
//! its turn came too late. An event never delays the load, which runs on threads of its own.

use std::{cell::RefCell, time::Duration};

use serde_json::{Value, json};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::{exec, http, signal, upgrade};
use crate::{
    clock::RunClock,
    environment::Environment,
    observe::{EventOutcome, EventRecord},
    plan::{Action, EventPlan},
};

/// What an action came to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ending {
    pub(super) acked_ns: u64,
    pub(super) outcome: EventOutcome,
    pub(super) as_expected: bool,
    pub(super) detail: Value,
}

impl Ending {
    /// An action that could not be carried out at all, whatever the plan expected of it.
    pub(super) fn impossible(clock: &RunClock, why: &str) -> Self {
        let detail = json!({ "error": { "detail": why } });
        Self { acked_ns: clock.now_ns(), outcome: EventOutcome::Failed, as_expected: false, detail }
    }
}

/// Runs the events until the last one is over or `stop` is cancelled. Records appear in `records` as soon
/// as an event is over, so that others can show how far it went.
pub async fn run(
    events: &[EventPlan],
    load_ends_ns: u64,
    environment: &mut Environment,
    clock: RunClock,
    stop: &CancellationToken,
    records: &RefCell<Vec<EventRecord>>,
) {
    for event in events {
        tokio::select! {
            () = wait_until(&clock, event.at_ns) => {}
            () = stop.cancelled() => return,
        }
        let started_ns = clock.now_ns();
        let ending = if started_ns >= load_ends_ns {
            // Without load it would be a success that nobody saw fail.
            Ending::impossible(&clock, "not run: the events before it took until the load was over")
        } else {
            tokio::select! {
                ending = act(&event.action, environment, &clock) => ending,
                () = stop.cancelled() => Ending::impossible(&clock, "interrupted"),
            }
        };
        records.borrow_mut().push(EventRecord {
            id: event.id.clone(),
            kind: event.action.kind().to_owned(),
            at_ns: event.at_ns,
            started_ns,
            acked_ns: ending.acked_ns,
            ended_ns: clock.now_ns(),
            outcome: ending.outcome,
            as_expected: ending.as_expected,
            detail: ending.detail,
        });
    }
}

/// Waits until the clock shows `at_ns`.
pub async fn wait_until(clock: &RunClock, at_ns: u64) {
    sleep_until(clock.instant(at_ns).into()).await;
}

async fn act(action: &Action, environment: &mut Environment, clock: &RunClock) -> Ending {
    match (action, environment) {
        (Action::Upgrade { binary, expect_ok }, Environment::Reference(reference)) => {
            upgrade::run(reference, clock, binary.as_deref(), *expect_ok).await
        }
        (Action::Upgrade { .. }, Environment::External(_)) => {
            Ending::impossible(clock, "only the reference server can be upgraded; use an exec event")
        }
        (Action::Exec { command, timeout_ms }, environment) => {
            exec::run(command, Duration::from_millis(*timeout_ms), environment, clock).await
        }
        (Action::Http(action), environment) => http::run(action, environment, clock).await,
        (Action::Signal { signal, pid_file }, environment) => {
            signal::run(signal, pid_file.as_deref(), environment, clock)
        }
    }
}
