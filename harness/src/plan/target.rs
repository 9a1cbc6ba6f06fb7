//! What is loaded, and how it is had.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{Feeds, ServicesPlan};

/// The server under test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum TargetPlan {
    /// Our own server, started by the harness.
    Reference(ReferencePlan),
    /// Any server, started by the harness with a command.
    Command(CommandPlan),
    /// Any server, known by its URL; the harness neither starts nor stops it.
    External(ExternalPlan),
}

impl TargetPlan {
    /// Whether orders go through Redis into MySQL.
    #[must_use]
    pub fn has_store(&self) -> bool {
        matches!(self, Self::Reference(reference) if reference.services.has_store())
    }

    /// Where a server that is not ours answers, whoever starts it; `None` for the reference server.
    #[must_use]
    pub fn foreign(&self) -> Option<&ExternalPlan> {
        match self {
            Self::Reference(_) => None,
            Self::Command(command) => Some(&command.at),
            Self::External(external) => Some(external),
        }
    }

    /// The word of scenarios and reports.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Reference(_) => "reference",
            Self::Command(_) => "command",
            Self::External(_) => "external",
        }
    }
}

/// How the reference server is laid out and filled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReferencePlan {
    /// How the server swaps its binary: the word for `[upgrade].strategy`.
    pub strategy: String,
    /// Binary of the odd releases; `None` finds or builds `seckill`.
    pub old: Option<PathBuf>,
    /// Binary of the even releases; `None` means the same as `old`.
    pub new: Option<PathBuf>,
    /// Number of users, ids 1..=users, each with a token of its own.
    pub users: u32,
    /// Number of flash-sale events, ids 1..=events, each with one good of the same id.
    pub sale_events: u32,
    /// Stock of each good at the start.
    pub stock: u64,
    /// Orders that one user may have of one good.
    pub limit_per_user: u32,
    /// Faults that a debug build of the server is started with, for example `drop:100`; in its own words.
    pub faults: Vec<String>,
    /// Settings for `[upgrade]` of the server's file beside the strategy, for example `drain_ms`.
    pub upgrade: BTreeMap<String, u64>,
    /// Ids on the blacklist beside those of the load's users; drawn from the seed.
    pub blacklist: u64,
    /// So many of the load's users are on it too, others after every change of it.
    pub listed: u32,
    pub reload: Feeds,
    pub services: ServicesPlan,
}

/// A server that the harness starts with a command, and of which it knows nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandPlan {
    /// For `sh -c`, in the folder in which the harness was started. It has to stay in the foreground.
    pub command: String,
    /// What is asked until there is an answer, whatever its status.
    pub ready_path: String,
    /// There has to be one within so long after the start.
    pub ready_timeout_ms: u64,
    pub at: ExternalPlan,
}

/// Where a server that is not ours answers, and what its answers tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExternalPlan {
    /// `http://host:port` or `https://host:port`, no path. Loopback only.
    pub url: String,
    /// How TLS is spoken; `None` for `http`.
    pub tls: Option<TlsPlan>,
    /// Name of the answer's header that tells the process generation, if it has one.
    pub process_header: Option<String>,
    /// Name of the answer's header that tells the configuration generation, if it has one.
    pub config_header: Option<String>,
}

/// Whom TLS trusts. Sessions are not resumed: every handshake is a full one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsPlan {
    /// Certificates in PEM, one of which has to have signed the server's; `None` trusts anyone.
    pub ca: Option<PathBuf>,
}
