//! The format of `report.json`. The comment of each field is its description in the JSON Schema.
//!
//! This file holds the whole and what is counted; what is measured in time is in `model/measured.rs`.

mod instrument;
mod measured;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

pub use instrument::{Control, Held, Machine, Rest};
pub use measured::{
    Alert, Availability, Bounds, Budget, Daily, Definition, Downtime, Event, FailureBound, FailureBounds,
    Latency, LatencyGroup, Propagation, PropagationOfProcess, Quantiles, ServedWithin, Sla, Stream, Window,
};

/// What one run of `harness` found out.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    /// Version of this format.
    pub schema_version: u32,
    pub run: Run,
    pub environment: Environment,
    pub verdict: VerdictSection,
    pub load: Load,
    pub control: Control,
    pub machine: Machine,
    pub requests: Requests,
    pub connections: Connections,
    /// By several definitions side by side.
    pub availability: Availability,
    pub downtime: Downtime,
    pub sla: Sla,
    /// In the order they ran.
    pub events: Vec<Event>,
    pub latency_ms: Latency,
    /// How long each change took to show in answers; empty when no event changes configuration.
    pub propagation: Vec<Propagation>,
    pub orders: Orders,
    pub held: Held,
    /// Each stream by itself, in the order of the scenario.
    pub streams: Vec<Stream>,
    pub invariants: Vec<Invariant>,
}

/// Which run this was.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Run {
    pub id: String,
    pub scenario: String,
    /// Same scenario and seed, same plan.
    pub seed: u64,
    /// RFC 3339, the start of the load.
    pub started_at: String,
    /// Planned length of the load with its warm-up, seconds.
    pub duration_s: f64,
    pub command: Vec<String>,
}

/// Where it took place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Environment {
    pub kernel: String,
    pub cpus: usize,
    /// Kernel settings that decide about lost connections.
    pub sysctls: BTreeMap<String, String>,
    /// What the target leaned on, and how it was provided.
    pub services: BTreeMap<String, String>,
    pub target: Target,
}

/// The server under test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Target {
    /// `reference`, `command` or `external`.
    pub kind: String,
    /// How the reference server swaps its binary.
    pub strategy: Option<String>,
    pub old: Option<String>,
    pub new: Option<String>,
}

/// The judgement.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct VerdictSection {
    pub outcome: OutcomeWord,
    /// Exit code of the program.
    pub exit_code: u8,
    pub gates: Vec<GateEntry>,
    /// Why it is no pass, the gravest first.
    pub reasons: Vec<String>,
}

/// How a run or a gate ended; `inconclusive`: the instrument cannot vouch for the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeWord {
    Pass,
    Fail,
    Inconclusive,
}

/// A limit and the figure it holds.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct GateEntry {
    pub name: String,
    pub limit: f64,
    /// `null` when there was nothing to measure, or when no finite value holds.
    pub actual: Option<f64>,
    pub outcome: OutcomeWord,
}

/// What the generator did.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Load {
    /// Attempts in the schedule, warm-up included.
    pub planned: u64,
    /// Attempts put on the wire, warm-up included.
    pub sent: u64,
    /// Planned but not sent.
    pub unsent: u64,
    pub unsent_by_cause: BTreeMap<String, u64>,
    pub in_flight_max: u32,
    /// From the intended time to the sending, microseconds.
    pub lateness_us: Quantiles,
    /// The longest time for which a request was due and nothing was sent, milliseconds; `null` when nothing
    /// was due.
    pub blind_ms: Option<f64>,
    /// Processor time of the sending threads, milliseconds.
    pub cpu_ms: f64,
    /// What to bear in mind about the figures of this load.
    pub notes: Vec<String>,
}

/// Attempts after the warm-up.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Requests {
    pub total: u64,
    pub ok: u64,
    /// Not answered as the scenario asks for; no retry is assumed, but for those of a library that is part of
    /// a stream's client.
    pub failed: u64,
    /// Failed ones by cause.
    pub by_class: BTreeMap<String, u64>,
    /// Failed ones by the step they reached.
    pub by_phase: BTreeMap<String, u64>,
    /// Failed ones by whose fault they are.
    pub by_blame: BTreeMap<String, u64>,
    /// Answers with a wrong status, by status.
    pub by_status: BTreeMap<u16, u64>,
    /// Those not served, by what became of them, the most frequent first; the unsent are among them.
    pub classes: Vec<FailureClass>,
    pub by_connection: ByConnection,
    /// By the process generation that the answer named.
    pub by_process: BTreeMap<u32, Attempted>,
    /// Failed ones that no event explains.
    pub failed_unattributed: u64,
    /// Sent during the warm-up; in no other figure of this section.
    pub warmup: Attempted,
}

/// Attempts after the warm-up that were not served, alike in what became of them.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct FailureClass {
    /// The step that they reached.
    pub phase: String,
    pub cause: String,
    /// `new`, or `reused` after another attempt.
    pub connection: String,
    /// HTTP lets a client repeat them by itself.
    pub retry_safe: bool,
    /// `target`, `network`, or `harness` for those that were not sent.
    pub blame: String,
    pub count: u64,
    /// Since the connection was opened.
    pub age_ms: Spread,
    /// Since the connection's last answer.
    pub idle_ms: Spread,
    /// Attempts on the connection before.
    pub requests_before: Spread,
}

/// Extremes, exact, and median with three significant figures; `null` for new connections.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Spread {
    pub min: Option<f64>,
    pub median: Option<f64>,
    pub max: Option<f64>,
}

/// Attempts by the age of their connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ByConnection {
    /// On a fresh connection.
    pub new: Attempted,
    /// On one that had carried another attempt.
    pub reused: Attempted,
    /// Through a library, which does not tell its connections, and has retried by itself what it may.
    pub library: Attempted,
}

/// A number of attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Attempted {
    pub total: u64,
    pub ok: u64,
    pub failed: u64,
}

/// Connections of the whole run, warm-up included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Connections {
    pub opened: u64,
    pub closed_by_server: u64,
    pub closed_by_client: u64,
    /// Could not be established.
    pub unopened: u64,
    /// Of streams that use a connection once.
    pub new: ConnectionCounts,
    /// Of streams that keep connections alive.
    pub reused: ConnectionCounts,
}

/// A number of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ConnectionCounts {
    pub opened: u64,
    pub closed_by_server: u64,
    pub closed_by_client: u64,
    pub unopened: u64,
}

/// Buying attempts and orders, warm-up included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Orders {
    pub acknowledged: u64,
    /// Answered in full, but with no order.
    pub rejected: u64,
    /// No whole answer came.
    pub unknown: u64,
    /// Those of `unknown` whose order is stored; `null` when the store was not read.
    pub unknown_stored: Option<u64>,
    /// Orders in the store; `null` when it was not read.
    pub stored: Option<u64>,
}

/// A property that holds whatever the gates say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Invariant {
    pub name: String,
    pub outcome: InvariantWord,
    /// What was compared, the smallest proof of a violation, or why nothing could be checked.
    pub detail: String,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InvariantWord {
    Pass,
    Fail,
    NotChecked,
}
