//! What will happen, in full, before anything does.
//!
//! A [`Plan`] is a pure value: the same scenario and seed give the same plan to the byte. Nothing here
//! reads a clock, a file or the network. All times are nanoseconds after the start of the load (`t0`).

mod arrivals;
mod change;
mod control;
#[cfg(test)]
mod example;
mod gate;
mod service;
mod stages;
mod target;

use std::{fmt::Write as _, path::PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use arrivals::{RequestPicker, arrivals, planned, planned_of};
pub use change::{Bad, By, Datum, FeedPlan, Feeds, How, Kept, ReloadAction, Storm, listed};
pub use gate::Gate;
pub use service::{Access, Fault, FaultAction, Origin, Password, Service, ServicesPlan, Victim};
pub use stages::lowest_share;
pub use target::{CommandPlan, ExternalPlan, ReferencePlan, TargetPlan, TlsPlan};

/// Version of `plan.json`; a reader refuses any other.
pub const PLAN_SCHEMA_VERSION: u32 = 4;

/// Everything a run will do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub schema_version: u32,
    /// The scenario's name, for example `upgrade` or `must-fail/stop-start`.
    pub scenario: String,
    pub description: String,
    /// Seeds arrivals, request choice and users.
    pub seed: u64,
    pub target: TargetPlan,
    pub load: LoadPlan,
    /// In order of `at_ns`.
    pub events: Vec<EventPlan>,
    /// In the order of the scenario file.
    pub gates: Vec<Gate>,
}

impl Plan {
    /// SHA-256 of the plan's JSON, in hex: two runs with the same fingerprint had the same work.
    ///
    /// The JSON is canonical because fields are written in the order of the structs, maps are sorted, and
    /// there is no white space.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        sha256(&serde_json::to_vec(self).expect("a plan must be expressible in JSON"))
    }
}

/// SHA-256 in hex.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a string must not fail");
        hex
    })
}

/// The open-loop load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadPlan {
    /// Length of the load, warm-up included.
    pub duration_ns: u64,
    /// Attempts intended before this time are sent and recorded but not counted.
    pub warmup_ns: u64,
    /// An attempt without its whole answer after this long (from the moment it was sent) has failed.
    pub timeout_ns: u64,
    /// An answer later than this after the intended time belongs to a brownout.
    pub slow_ns: u64,
    /// Attempts in flight at once over all streams; one more is not sent, and reported as unsent.
    pub in_flight_max: u32,
    /// What is due within this time is sent together, at its end; 0 sends each attempt when it is due. Fewer
    /// wake-ups cost less processor time, and the attempts are late by up to this.
    pub coalesce_ns: u64,
    /// How the rates of all streams change in the course of the load; their lengths add up to
    /// `duration_ns`. Empty: they are constant.
    pub stages: Vec<Stage>,
    /// Attempts per second to the control target, an echo inside of the harness that is never touched; 0
    /// means that there is none.
    pub control_rate: f64,
    pub streams: Vec<StreamPlan>,
}

/// A part of the load in which the rates of all streams change evenly: a step when `from` equals `to`, else
/// a ramp.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    pub duration_ns: u64,
    /// Factor of each stream's rate at the beginning, at least 0.
    pub from: f64,
    /// Factor of each stream's rate at the end, at least 0.
    pub to: f64,
}

/// One stream of attempts with its own connections and its own figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamPlan {
    pub name: String,
    pub client: Client,
    pub connection: ConnectionMode,
    pub pace: Pace,
    /// Attempts per second; of a closed loop, which has none, 0.
    pub rate: f64,
    pub arrival: Arrival,
    /// Chosen by weight with the plan's seed.
    pub requests: Vec<RequestPlan>,
}

/// Who speaks for a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Client {
    /// HTTP/1.1 on connections of our own, without any retry.
    #[default]
    Http1,
    /// HTTP/2 with many streams on each connection, without any retry.
    Http2,
    /// A reqwest client as an application would use it, with its pool and its retries: what a user of such
    /// a library sees. The strict clients see more.
    Reqwest,
}

impl Client {
    /// The word for scenarios and reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Reqwest => "reqwest",
        }
    }
}

/// How long the bytes of a request and of an answer take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// From the head to the last byte of a request's body, which goes out in pieces; 0 means at once.
    pub upload_ns: u64,
    /// From the first to the last byte of an answer, which is read in pieces; 0 means at once.
    pub download_ns: u64,
}

/// How a stream uses connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "mode")]
pub enum ConnectionMode {
    /// A new connection for each attempt, closed by the client after the answer.
    New,
    /// A pool of `connections` kept alive, opened at the start and used in turn (least recently used
    /// first). When all are busy a further one is opened: sending never waits for an answer.
    Reused { connections: u32 },
    /// As `Reused`, but a connection rests for at least `wait_ns` after an answer before it is used again.
    Idle { connections: u32, wait_ns: u64 },
    /// A new connection for each attempt, opened `wait_ns` before the attempt is due.
    ConnectWait { wait_ns: u64 },
    /// As `Reused`, but up to `depth` requests are sent on a connection before the first is answered.
    Pipelined { connections: u32, depth: u32 },
}

impl ConnectionMode {
    /// The word for scenarios and reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Reused { .. } => "reused",
            Self::Idle { .. } => "idle",
            Self::ConnectWait { .. } => "connect-wait",
            Self::Pipelined { .. } => "pipelined",
        }
    }

    /// Connections that are opened before the load begins.
    #[must_use]
    pub fn pool(self) -> u32 {
        match self {
            Self::Reused { connections }
            | Self::Idle { connections, .. }
            | Self::Pipelined { connections, .. } => connections,
            Self::New | Self::ConnectWait { .. } => 0,
        }
    }

    /// Attempts that may be under way on one connection.
    #[must_use]
    pub fn depth(self) -> u32 {
        match self {
            Self::Pipelined { depth, .. } => depth,
            Self::New | Self::Reused { .. } | Self::Idle { .. } | Self::ConnectWait { .. } => 1,
        }
    }

    /// Connections live on after an answer.
    #[must_use]
    pub fn keeps_alive(self) -> bool {
        match self {
            Self::Reused { .. } | Self::Idle { .. } | Self::Pipelined { .. } => true,
            Self::New | Self::ConnectWait { .. } => false,
        }
    }
}

/// Distribution of the times between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrival {
    Uniform,
    Poisson,
    /// A closed loop: each connection sends the next request when the last one is answered. Its figures hide
    /// the waiting of those who would have come meanwhile; it is here to be compared with other generators.
    Closed,
}

/// One kind of request in a stream's mix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestPlan {
    /// Name in reports, for example `list` or `GET /`.
    pub name: String,
    /// Relative frequency, at least 1.
    pub weight: u32,
    pub op: Op,
}

/// What a request does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "op")]
pub enum Op {
    /// `GET /event/list` of the reference server.
    List,
    /// `GET /event/info?id=N` of the reference server, events in turn.
    Info,
    /// As `Info`, but the answer is wanted only after a sale, or after a second (RFC 7240, `wait`).
    Long,
    /// `POST /orders` of the reference server: a user, an event, a fresh idempotency key.
    Buy,
    /// `GET /orders/{id}` of an order acknowledged earlier (an `Info` while there is none).
    Order,
    /// Any request to any server.
    Http {
        method: String,
        /// Path and query, starting with `/`.
        path: String,
        headers: Vec<(String, String)>,
        body: String,
        /// Statuses that count as served; empty means 200 to 399.
        accept: Vec<u16>,
        /// SHA-256 that the answer's body must have, in hex; `None` takes any.
        sha256: Option<String>,
    },
}

/// A planned action during the load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventPlan {
    /// Unique, for example `upgrade-7`.
    pub id: String,
    /// When it is due. Upgrades, commands, requests and signals run one after the other, and beside them changes
    /// and faults likewise: a late predecessor delays the next.
    pub at_ns: u64,
    pub action: Action,
}

/// What an event does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Action {
    /// Swap the reference server's binary: next release folder, link switched, upgrade asked for.
    Upgrade {
        /// Another binary for this one event instead of the plan's.
        binary: Option<PathBuf>,
        /// What the server must answer; `false` means that the upgrade has to be refused or to fail.
        expect_ok: bool,
    },
    /// A shell command (`sh -c`), with its time limit.
    Exec { command: String, timeout_ms: u64 },
    /// One request to the target beside the load, such as one that makes it reload.
    Http(HttpAction),
    /// A signal to the process that the harness has started, or to the pid in a file; its name without `SIG`.
    Signal { signal: String, pid_file: Option<PathBuf> },
    /// Change what the reference server is configured with.
    Reload(ReloadAction),
    /// Break a service, the way to it or the server, and mend it.
    Fault(FaultAction),
}

/// A request as an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HttpAction {
    pub side: Side,
    pub method: String,
    /// Path and query, starting with `/`.
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// Statuses that mean success; empty means 200 to 399.
    pub accept: Vec<u16>,
    /// For the whole answer.
    pub timeout_ms: u64,
}

/// The listening side of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Where the load goes.
    Public,
    /// The reference server's admin side; the harness adds its token.
    Admin,
}

impl Action {
    /// The word for reports: `upgrade`, `exec`, `http`, `signal`, `reload` or `fault`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Upgrade { .. } => "upgrade",
            Self::Exec { .. } => "exec",
            Self::Http(_) => "http",
            Self::Signal { .. } => "signal",
            Self::Reload(_) => "reload",
            Self::Fault(_) => "fault",
        }
    }
}
