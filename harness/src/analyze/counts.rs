//! Attempts and connections, counted.

use std::collections::BTreeMap;

use super::select;
use crate::{
    observe::{Attempt, Blame, Cause, ClosedBy, Connection, Phase},
    plan::{Client, LoadPlan, Plan},
};

/// What became of the attempts. Those of the warm-up and those that the harness itself could not send are
/// counted beside, not among the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requests {
    pub all: Tally,
    /// Failed attempts by cause.
    pub by_class: BTreeMap<Cause, u64>,
    /// Failed attempts by the step they reached.
    pub by_phase: BTreeMap<Phase, u64>,
    /// Answers with a wrong status, by status.
    pub by_status: BTreeMap<u16, u64>,
    /// Failed attempts by whose fault they are.
    pub by_blame: BTreeMap<Blame, u64>,
    /// Attempts on a fresh connection.
    pub new: Tally,
    /// Attempts on a connection that had carried another one.
    pub reused: Tally,
    /// Attempts of streams through a library, which does not tell its connections.
    pub library: Tally,
    /// In the order of the plan's streams.
    pub by_stream: Vec<StreamRequests>,
    /// By the process generation that the answer named.
    pub by_process: BTreeMap<u32, Tally>,
    /// Sent before the warm-up ended.
    pub warmup: Tally,
    /// Failed attempts that no event explains.
    pub unattributed: u64,
    /// Failed attempts of each event, in the order of the observations: those of the time that the event
    /// answers for, and of an outage that began in it.
    pub by_event: Vec<u64>,
    /// Not sent, by cause; warm-up included.
    pub unsent: BTreeMap<Cause, u64>,
    /// Sent, warm-up included.
    pub sent: u64,
}

/// The attempts of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamRequests {
    pub all: Tally,
    pub by_class: BTreeMap<Cause, u64>,
}

/// Attempts and how many of them failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub total: u64,
    pub failed: u64,
}

impl Tally {
    #[must_use]
    pub fn ok(&self) -> u64 {
        self.total - self.failed
    }

    pub(super) fn add(&mut self, attempt: &Attempt) {
        self.total += 1;
        self.failed += u64::from(!attempt.ok());
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.total += other.total;
        self.failed += other.failed;
    }
}

impl Requests {
    #[must_use]
    pub fn new(load: &LoadPlan) -> Self {
        Self { by_stream: vec![StreamRequests::default(); load.streams.len()], ..Self::default() }
    }

    /// Takes one more attempt.
    pub fn add(&mut self, attempt: &Attempt, load: &LoadPlan) {
        self.sent += u64::from(attempt.phase != Phase::Send);
        if !select::was_sent(attempt) {
            *self.unsent.entry(attempt.cause).or_default() += 1;
        } else if attempt.intended_ns < load.warmup_ns {
            self.warmup.add(attempt);
        } else {
            let stream = load.streams.get(usize::from(attempt.stream));
            self.count(attempt, stream.is_some_and(|stream| stream.client == Client::Reqwest));
        }
    }

    /// Adds the attempts of another part of the same run.
    pub fn merge(&mut self, other: Self) {
        for (own, other) in [
            (&mut self.all, other.all),
            (&mut self.new, other.new),
            (&mut self.reused, other.reused),
            (&mut self.library, other.library),
            (&mut self.warmup, other.warmup),
        ] {
            own.merge(other);
        }
        add_up(&mut self.by_class, other.by_class);
        add_up(&mut self.by_phase, other.by_phase);
        add_up(&mut self.by_status, other.by_status);
        add_up(&mut self.by_blame, other.by_blame);
        add_up(&mut self.unsent, other.unsent);
        for (process, tally) in other.by_process {
            self.by_process.entry(process).or_default().merge(tally);
        }
        let streams = self.by_stream.len().max(other.by_stream.len());
        self.by_stream.resize(streams, StreamRequests::default());
        for (own, other) in self.by_stream.iter_mut().zip(other.by_stream) {
            own.all.merge(other.all);
            add_up(&mut own.by_class, other.by_class);
        }
        self.sent += other.sent;
    }

    /// Says which events the failed attempts belong to.
    pub(super) fn attribute(&mut self, by_event: Vec<u64>, unattributed: u64) {
        (self.by_event, self.unattributed) = (by_event, unattributed);
    }

    fn count(&mut self, attempt: &Attempt, through_library: bool) {
        self.all.add(attempt);
        let by_connection = match (through_library, attempt.reused()) {
            (true, _) => &mut self.library,
            (false, true) => &mut self.reused,
            (false, false) => &mut self.new,
        };
        by_connection.add(attempt);
        let number = usize::from(attempt.stream);
        if number >= self.by_stream.len() {
            self.by_stream.resize(number + 1, StreamRequests::default());
        }
        self.by_stream[number].all.add(attempt);
        if attempt.process != 0 {
            self.by_process.entry(attempt.process).or_default().add(attempt);
        }
        if attempt.ok() {
            return;
        }
        *self.by_class.entry(attempt.cause).or_default() += 1;
        *self.by_stream[number].by_class.entry(attempt.cause).or_default() += 1;
        *self.by_phase.entry(attempt.phase).or_default() += 1;
        *self.by_blame.entry(attempt.cause.blame()).or_default() += 1;
        if attempt.cause == Cause::BadStatus {
            *self.by_status.entry(attempt.status).or_default() += 1;
        }
    }
}

/// Adds counts to others of the same keys.
fn add_up<K: Ord>(own: &mut BTreeMap<K, u64>, other: BTreeMap<K, u64>) {
    for (key, count) in other {
        *own.entry(key).or_default() += count;
    }
}

/// The connections of a run, warm-up included: a connection outlives it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Connections {
    pub new: ConnectionTally,
    pub reused: ConnectionTally,
}

/// The connections of all streams with one way of using them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionTally {
    pub opened: u64,
    pub closed_by_server: u64,
    pub closed_by_client: u64,
    /// Could not be established.
    pub unopened: u64,
}

/// Counts the connections by the way their stream uses them.
#[must_use]
pub fn connections(plan: &Plan, connections: &[Connection]) -> Connections {
    let mut counted = Connections::default();
    for connection in connections {
        let kept_alive = keeps_alive(plan, connection);
        let tally = if kept_alive { &mut counted.reused } else { &mut counted.new };
        match connection.closed_by {
            ClosedBy::Unopened => tally.unopened += 1,
            ClosedBy::Client => tally.closed_by_client += 1,
            ClosedBy::Server => tally.closed_by_server += 1,
        }
        tally.opened += u64::from(connection.closed_by != ClosedBy::Unopened);
    }
    counted
}

/// Whether a connection belongs to a stream that uses its connections again.
#[must_use]
pub fn keeps_alive(plan: &Plan, connection: &Connection) -> bool {
    let stream = plan.load.streams.get(usize::from(connection.stream));
    stream.is_none_or(|stream| stream.connection.keeps_alive())
}
