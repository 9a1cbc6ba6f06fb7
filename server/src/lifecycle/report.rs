//! The outcome of an upgrade, as the one who asked for it gets it.

use serde::{Deserialize, Serialize};

use super::ProcessGeneration;

/// What became of an upgrade, told when it is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpgradeReport {
    pub outcome: UpgradeOutcome,
    /// The word of `[upgrade].strategy`.
    pub strategy: String,
    pub old: ProcessIdentity,
    /// `None` when no new process got as far as naming itself.
    pub new: Option<ProcessIdentity>,
    /// Listening sockets that were handed over.
    pub sockets: u32,
    pub connections: ConnectionCounts,
    pub phases_ms: PhaseTimes,
    /// Present unless the outcome is `ok`.
    pub error: Option<UpgradeError>,
}

/// How an upgrade ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpgradeOutcome {
    /// The new process serves and the old one is done.
    Ok,
    /// The old process serves on as if nothing had happened, unless the error says otherwise.
    Failed,
    /// Nothing was tried.
    Refused,
}

/// One process of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    pub pid: u32,
    /// Release label.
    pub version: String,
    pub process: ProcessGeneration,
}

/// What became of the connections that were open when the swap began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionCounts {
    /// Live on in the new process.
    pub handed_over: u32,
    /// Ended in order: by the client, or after a last answer that announced it.
    pub finished: u32,
    /// Closed by us while idle.
    pub closed: u32,
    /// Cut at the end of the drain time with a request in flight.
    pub cut: u32,
}

/// Milliseconds of each step; a step that was not reached is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PhaseTimes {
    /// From the spawn to the new process's greeting.
    pub start: Option<f64>,
    /// From the greeting until it said that its state is loaded.
    pub load: Option<f64>,
    /// A request through the inherited listener, answered by the new process.
    pub probe: Option<f64>,
    /// Watching whether the new process stays alive.
    pub probation: Option<f64>,
    /// Making, sending and taking what the old process has in memory.
    pub state: Option<f64>,
    /// Moving the idle connections.
    pub transfer: Option<f64>,
    /// Waiting for the requests in flight.
    pub drain: Option<f64>,
    pub total: Option<f64>,
}

/// Why an upgrade did not happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeError {
    /// The step that failed: `start`, `load`, `probe`, `probation`, `state`, `commit`, `transfer`, `drain`.
    pub step: String,
    /// One word: `missing`, `not-executable`, `not-a-program`, `exited`, `timeout`, `refused`, `died`,
    /// `protocol`, `state-version`, `failed`, `busy`; of a rollback also `no-previous` and `changed`.
    pub kind: String,
    /// What happened and how to mend it.
    pub detail: String,
    /// The last lines that the new process wrote to its standard error.
    pub stderr: String,
}

impl UpgradeError {
    pub(super) fn new(step: &str, kind: &str, detail: String) -> Self {
        Self { step: step.to_owned(), kind: kind.to_owned(), detail, stderr: String::new() }
    }

    /// Before there is a new process.
    pub(super) fn at_start(kind: &str, detail: String) -> Self {
        Self::new("start", kind, detail)
    }
}
