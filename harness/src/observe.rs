//! What was seen: the only language between `drive` and `analyze`.
//!
//! Everything here is written to the run's folder while the run goes on, and read back by the
//! analysis, so that a run can be analysed again from disk. All times are nanoseconds after `t0`.

mod held;
mod json;
mod machine;
mod order_id;
pub mod record;
mod run_dir;

use std::{io, path::PathBuf};

use serde::{Deserialize, Serialize};

pub use held::{Held, Holding, MEMORY_KEY};
pub use json::{JsonLines, JsonLinesWriter, word};
pub use machine::MachineSample;
pub use order_id::OrderId;
pub use run_dir::{Background, Observations, RunDir};

/// What can go wrong while a run's folder is written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("create {}", path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("open {}: is this the folder of a run?", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("write {}: is the disk full?", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("read {}: it is no {expected} log (it begins with \"{}\")", path.display(), found.escape_ascii())]
    Magic { path: PathBuf, expected: &'static str, found: [u8; 8] },
    #[error(
        "read {}: its schema version is {found}, this harness reads {expected}; use the harness that wrote it",
        path.display()
    )]
    Version { path: PathBuf, expected: u32, found: u32 },
    #[error(
        "read {}: its records have {found} bytes instead of {expected}; use the harness that wrote it",
        path.display()
    )]
    RecordSize { path: PathBuf, expected: u32, found: u32 },
    #[error("read {}: it breaks off after {whole} whole records; the run was not finished", path.display())]
    Truncated { path: PathBuf, whole: u64 },
    #[error("read {}: record {index} has {value} for its {field}; the file is damaged", path.display())]
    Value { path: PathBuf, index: u64, field: &'static str, value: u8 },
    #[error("read {} at line {line}", path.display())]
    Json { path: PathBuf, line: usize, source: serde_json::Error },
}

/// One request put on the wire. A failed one is a value like any other, never a counted string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Unique in the run: the stream's number in the upper 16 bits, the sequence number below.
    pub id: u64,
    /// Index in the plan's streams.
    pub stream: u16,
    /// Index in the stream's requests.
    pub request: u16,
    pub intended_ns: u64,
    /// First system call for it: the connect of a fresh connection, else the write. That of a connection
    /// opened ahead is the write as well.
    pub sent_ns: u64,
    /// First byte of the answer; 0 when none came.
    pub first_byte_ns: u64,
    pub ended_ns: u64,
    /// Number of the connection in the run, from 1; 0 when none could be made.
    pub connection: u32,
    /// Attempts on this connection before this one; 0 is a fresh connection.
    pub connection_requests: u32,
    /// How long the connection had been idle when the attempt was sent, microseconds.
    pub idle_us: u32,
    /// Status of the answer; 0 when none came.
    pub status: u16,
    /// Where it ended; `Phase::Done` when it was served.
    pub phase: Phase,
    /// Why it failed; `Cause::None` when it was served.
    pub cause: Cause,
    /// Process generation the answer named; 0 when it named none.
    pub process: u32,
    /// Configuration generation the answer named; 0 when it named none.
    pub config: u32,
}

impl Attempt {
    /// Served as the plan asked for.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.cause == Cause::None
    }

    /// Sent on a connection that had carried another attempt before.
    #[must_use]
    pub fn reused(&self) -> bool {
        self.connection_requests > 0
    }
}

/// The step an attempt reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Phase {
    Done = 0,
    /// Before the first system call: the generator's own fault.
    Send = 1,
    /// The target's name was looked up.
    Resolve = 2,
    /// The connection was made, or was lost again before a byte of a request was written.
    Connect = 3,
    /// The TLS handshake.
    Tls = 4,
    Write = 5,
    /// Written, no byte of an answer yet.
    Wait = 6,
    /// The head or the body had begun.
    Body = 7,
    /// A whole answer, but not the right one.
    Validate = 8,
}

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Cause {
    None = 0,
    Refused = 1,
    Reset = 2,
    /// The connection ended in order, before the answer did.
    Eof = 3,
    Timeout = 4,
    /// The body ended before its announced length.
    ShortBody = 5,
    BadStatus = 6,
    /// The answer is not HTTP.
    Parse = 7,
    /// Another network error (unreachable and the like).
    Network = 8,
    /// No local port was free: the instrument's fault.
    NoPorts = 9,
    /// No file descriptor was free: the instrument's fault.
    NoDescriptors = 10,
    /// As many attempts were in flight as the plan allows: the instrument's fault.
    InFlightMax = 11,
    /// The load was over before its turn came: the instrument's fault.
    Late = 12,
    /// HTTP/2: the server announced the connection's end, and this request is not among those it answers.
    Goaway = 13,
    /// HTTP/2: the server refused the stream before it looked at the request.
    RefusedStream = 14,
    /// HTTP/2: the server reset the stream for another reason.
    StreamReset = 15,
    /// The TLS handshake failed, or a record could not be decrypted.
    Tls = 16,
    /// A whole answer whose body has another SHA-256 than the plan asks for.
    WrongDigest = 17,
    /// The server sent more than the answer that was asked for, for example a second one, with it or before
    /// anything else was asked on its connection.
    Surplus = 18,
    /// The target's name has no address.
    Unresolved = 19,
}

impl Cause {
    /// Whose fault a failure is.
    #[must_use]
    pub fn blame(self) -> Blame {
        match self {
            Self::NoPorts | Self::NoDescriptors | Self::InFlightMax | Self::Late => Blame::Harness,
            Self::Network | Self::Unresolved => Blame::Network,
            Self::None
            | Self::Refused
            | Self::Reset
            | Self::Eof
            | Self::Timeout
            | Self::ShortBody
            | Self::BadStatus
            | Self::Parse
            | Self::Goaway
            | Self::RefusedStream
            | Self::StreamReset
            | Self::Tls
            | Self::WrongDigest
            | Self::Surplus => Blame::Target,
        }
    }
}

/// Whose fault a failed attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blame {
    Target,
    Network,
    Harness,
}

/// The life of one connection of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// From 1.
    pub id: u32,
    pub stream: u16,
    pub opened_ns: u64,
    /// 0 while it is open.
    pub closed_ns: u64,
    /// Attempts that it carried.
    pub requests: u32,
    pub closed_by: ClosedBy,
}

/// Who ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum ClosedBy {
    /// It was never established.
    Unopened = 0,
    /// The load ended, or the stream uses a connection once.
    Client = 1,
    /// The server closed or reset it, announced it with `Connection: close`, or made it useless by sending
    /// what nobody had asked for.
    Server = 2,
}

/// One buying attempt, in the terms of a history: invoked, then acknowledged, rejected or unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Buy {
    /// The attempt's id.
    pub attempt: u64,
    pub user: u32,
    pub event: u32,
    pub goods: u32,
    /// The idempotency key.
    pub key: String,
    pub invoked_ns: u64,
    pub ended_ns: u64,
    pub outcome: BuyOutcome,
    /// Process generation that answered; 0 when none did.
    pub process: u32,
}

/// What the client knows of a buying attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum BuyOutcome {
    /// 201 with this order's id.
    Acknowledged { order: OrderId },
    /// A complete answer that refuses.
    Rejected { status: u16 },
    /// It never reached the wire.
    Unsent,
    /// No whole answer came: the order may exist or not.
    Unknown,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventRecord {
    pub id: String,
    /// `upgrade`, `exec`, `http` or `signal`.
    pub kind: String,
    pub at_ns: u64,
    pub started_ns: u64,
    /// When the one who was asked said that it is done.
    pub acked_ns: u64,
    pub ended_ns: u64,
    pub outcome: EventOutcome,
    /// The plan expected this outcome.
    pub as_expected: bool,
    /// What the one who was asked answered, for example the server's upgrade report.
    pub detail: serde_json::Value,
}

/// How an event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventOutcome {
    Ok,
    Failed,
    Refused,
}

/// An order as the target's store holds it after the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredOrder {
    pub id: OrderId,
    pub user: u32,
    pub event: u32,
    pub goods: u32,
    pub key: String,
    /// Process generation that wrote it.
    pub process: u32,
}

/// Stock as the target's store holds it after the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredStock {
    pub event: u32,
    pub goods: u32,
    pub initial: u64,
    pub left: i64,
}

/// The way of orders from Redis to MySQL, when it had come to rest or the time for that was over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredQueue {
    /// Orders in Redis that MySQL is not known to have.
    pub waiting: u64,
    /// From the end of the load.
    pub waited_ms: u64,
    /// Stock at the start as MySQL has it, in order of event and goods.
    pub initial: Vec<StoredInitial>,
}

/// Stock of a good at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredInitial {
    pub event: u32,
    pub goods: u32,
    pub initial: u64,
}

/// What the generator says of itself at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instrument {
    /// Attempts in the schedule.
    pub planned: u64,
    /// Attempts put on the wire.
    pub sent: u64,
    pub in_flight_max: u32,
    /// Processor time of the sending threads, microseconds.
    pub cpu_us: u64,
    /// The run was cut short by Ctrl-C or SIGTERM.
    pub interrupted: bool,
    /// A thread of the harness panicked, a log could not be written: reasons why nothing may pass.
    pub gaps: Vec<String>,
}

/// Where the run took place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentRecord {
    pub run_id: String,
    /// RFC 3339, the load's zero.
    pub started_at: String,
    pub command: Vec<String>,
    pub kernel: String,
    pub cpus: usize,
    /// Kernel settings that decide about lost connections, for example `net.ipv4.tcp_migrate_req`.
    pub sysctls: std::collections::BTreeMap<String, String>,
    /// `embedded` and the like, by service.
    pub services: std::collections::BTreeMap<String, String>,
    /// `reference`, `command` or `external`.
    pub target: String,
    pub strategy: Option<String>,
    pub old: Option<String>,
    pub new: Option<String>,
    /// The store was read after the run; without it the order invariants cannot be checked.
    pub store_read: bool,
    /// What the server held before and after the load; absent where no gate asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
}
