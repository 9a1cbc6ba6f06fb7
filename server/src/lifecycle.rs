//! The life of the process: its phases, its listeners and connections, and how another binary takes over.

mod activation;
mod binding;
mod carrying;
mod channel;
mod connection;
mod connections;
mod control;
mod descriptors;
mod ending;
mod gate;
mod inheritance;
mod life;
mod listeners;
mod main_loop;
mod message;
mod newcomer;
mod pid_file;
mod predecessor;
mod probe;
mod program;
mod report;
mod service_manager;
mod signals;
mod socket_file;
mod start;
mod stream;
mod streams;
mod successor;
mod transfer;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::{
    control::{Control, ControlRequest, UpgradeTo},
    program::{Program, Programs},
    report::{ConnectionCounts, PhaseTimes, ProcessIdentity, UpgradeError, UpgradeOutcome, UpgradeReport},
    start::{Error, serve},
};

/// Where the process is in its life. Announced only after the handlers of the phase are installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Configuration and state are being loaded.
    Starting,
    /// The listening sockets are ours, nobody is served yet.
    Bound,
    /// Serving.
    Ready,
    /// Connections are moving to the successor.
    HandingOver,
    /// No new connections; requests in flight are finished.
    Draining,
    /// Nothing is served any more.
    Stopped,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Bound => "bound",
            Self::Ready => "ready",
            Self::HandingOver => "handing-over",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        })
    }
}

/// Number of a process in a chain of upgrades, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProcessGeneration(pub u32);

impl ProcessGeneration {
    /// The first process of a chain.
    pub const FIRST: Self = Self(1);

    /// The generation of the process that follows this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for ProcessGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
