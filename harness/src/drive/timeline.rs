//! The plan's events at their times on the run clock, each row one after the other, each event kept as a record.
//!
//! Invariant: every event whose turn came leaves exactly one record, also when it was interrupted or when
//! its turn came too late. An event never delays the load, which runs on threads of its own.

use std::{cell::RefCell, time::Duration};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::{exec, fault, http, reload::Desk, signal, upgrade};
use crate::{
    clock::RunClock,
    environment::{Environment, Queue, Running, Services, Started},
    observe::{EventOutcome, EventRecord},
    plan::{Action, EventPlan, FaultAction, Service, Victim},
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
/// as an event is over, so that others can show how far it went; in the end they are in the plan's order.
///
/// What the target is asked to do is one row of events, changes of its configuration are another, and faults of its
/// services a third, for each service: a change can meet an upgrade, and a fault both.
pub async fn run(
    events: &[EventPlan],
    load_ends_ns: u64,
    environment: &mut Environment,
    clock: RunClock,
    stop: &CancellationToken,
    records: &RefCell<Vec<EventRecord>>,
) {
    // Only where nothing that is asked of the target can bring another process.
    let stays = events.iter().all(|event| Row::of(&event.action) != Row::Asked);
    let process = environment.serving_pid().filter(|_| stays);
    let mut desk = Desk::of(environment, clock, process);
    let mut services = match environment {
        Environment::Reference(reference) => reference.lend_services(),
        Environment::Command(_) | Environment::External(_) => Services::default(),
    };
    let queue = services.queue();
    let turns = Turns { events, load_ends_ns, clock: &clock, stop, records, queue: queue.as_ref() };
    let asked =
        turns.take(Row::Asked, async |action| act(action, &mut *environment, queue.as_ref(), &clock).await);
    let changed = turns.take(Row::Changed, async |action| match (action, &mut desk) {
        (Action::Reload(action), Some(desk)) => desk.run(action).await,
        _ => Ending::impossible(&clock, "only the reference server's configuration is known"),
    });
    // Each service is broken in a row of its own, so that two can be away at once.
    let [mut etcd, mut mysql, mut redis] = [None, None, None];
    for (service, running) in services.each_mut() {
        match service {
            Service::Etcd => etcd = Some(running),
            Service::Mysql => mysql = Some(running),
            Service::Redis => redis = Some(running),
        }
    }
    let broken = |service, running| turns.broken(service, running);
    tokio::join!(
        asked,
        changed,
        broken(Service::Etcd, etcd),
        broken(Service::Mysql, mysql),
        broken(Service::Redis, redis)
    );
    if stop.is_cancelled() {
        // A fault that was interrupted has no end of its own.
        services.mend().await;
    }
    match environment {
        Environment::Reference(reference) => {
            if stop.is_cancelled() {
                reference.signal(Signal::CONT);
                // Orders on their way into the store are taken there by a server alone. Why there is none then says
                // its log.
                if reference.is_killed() {
                    let _tried = reference.start_again().await;
                }
            }
            reference.take_back(services);
        }
        // One that stands still would not end when it is asked to.
        Environment::Command(command) => command.signal(Signal::CONT),
        Environment::External(_) => {}
    }
    let place = |record: &EventRecord| events.iter().position(|event| event.id == record.id);
    records.borrow_mut().sort_by_cached_key(place);
}

/// Events that happen one after the other, beside those of other rows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Row {
    Asked,
    Changed,
    Broken(Service),
}

impl Row {
    fn of(action: &Action) -> Self {
        match action {
            Action::Upgrade { .. }
            | Action::Exec { .. }
            | Action::Http(_)
            | Action::Signal { .. }
            | Action::Fault(FaultAction { of: Victim::Server, .. }) => Self::Asked,
            Action::Reload(_) => Self::Changed,
            Action::Fault(FaultAction { of: Victim::Service(service), .. }) => Self::Broken(*service),
        }
    }
}

/// The plan's events and what all of them need.
struct Turns<'a> {
    events: &'a [EventPlan],
    load_ends_ns: u64,
    clock: &'a RunClock,
    stop: &'a CancellationToken,
    records: &'a RefCell<Vec<EventRecord>>,
    queue: Option<&'a Queue>,
}

impl Turns<'_> {
    /// Has the faults of one service happen.
    async fn broken(&self, service: Service, mut running: Option<&mut Running>) {
        self.take(Row::Broken(service), async |action| match (action, running.as_deref_mut()) {
            (Action::Fault(action), Some(running)) => {
                fault::of_service(action, running, self.queue, self.clock).await
            }
            _ => Ending::impossible(
                self.clock,
                &format!("there is no {} that could be broken", service.word()),
            ),
        })
        .await;
    }

    /// Has the events of one row happen.
    async fn take(&self, row: Row, mut act: impl AsyncFnMut(&Action) -> Ending) {
        let Self { clock, stop, .. } = *self;
        for event in self.events.iter().filter(|event| Row::of(&event.action) == row) {
            tokio::select! {
                () = wait_until(clock, event.at_ns) => {}
                () = stop.cancelled() => return,
            }
            let started_ns = clock.now_ns();
            let ending = if started_ns >= self.load_ends_ns {
                // Without load it would be a success that nobody saw fail.
                Ending::impossible(clock, "not run: the events before it took until the load was over")
            } else {
                tokio::select! {
                    ending = act(&event.action) => ending,
                    () = stop.cancelled() => Ending::impossible(clock, "interrupted"),
                }
            };
            self.records.borrow_mut().push(EventRecord {
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
}

/// Waits until the clock shows `at_ns`.
pub async fn wait_until(clock: &RunClock, at_ns: u64) {
    sleep_until(clock.instant(at_ns).into()).await;
}

async fn act(
    action: &Action,
    environment: &mut Environment,
    queue: Option<&Queue>,
    clock: &RunClock,
) -> Ending {
    match (action, environment) {
        (Action::Upgrade { binary, expect_ok }, Environment::Reference(reference)) => {
            upgrade::run(reference, clock, binary.as_deref(), *expect_ok).await
        }
        (Action::Upgrade { .. }, Environment::Command(_) | Environment::External(_)) => {
            Ending::impossible(clock, "only the reference server can be upgraded; use an exec event")
        }
        (Action::Exec { command, timeout_ms }, environment) => {
            exec::run(command, Duration::from_millis(*timeout_ms), environment, clock).await
        }
        (Action::Http(action), environment) => http::run(action, environment, clock).await,
        (Action::Signal { signal, pid_file }, environment) => {
            signal::run(signal, pid_file.as_deref(), environment, clock)
        }
        (Action::Fault(action), Environment::Reference(reference)) => {
            fault::of_server(action, &mut **reference, queue, clock).await
        }
        (Action::Fault(action), Environment::Command(command)) => {
            fault::of_server(action, &mut **command, None, clock).await
        }
        (Action::Reload(_) | Action::Fault(_), _) => Ending::impossible(clock, "it has a row of its own"),
    }
}
