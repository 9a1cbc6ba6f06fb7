//! What can change while the process serves, and how a change arrives.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One of the kinds of data that change at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Datum {
    /// Users who may not buy.
    Blacklist,
    /// Log level, limits, switches and pool sizes.
    Cluster,
    /// What is sold, when, and how much of it.
    Activities,
    /// The processes that serve.
    Nodes,
}

/// How a change arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// Read when the process started.
    Start,
    /// Asked for every few seconds.
    Timer,
    /// Told by the file system.
    File,
    /// Told by etcd.
    Etcd,
    /// Sent to the admin side.
    Push,
    /// The admin side asked for the sources to be read again.
    Ask,
}

/// Where a change came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub mechanism: Mechanism,
    /// A path, an address, a key, or who sent it.
    pub place: String,
}

impl Datum {
    /// All of them that a source can bring.
    pub const SOURCED: [Self; 3] = [Self::Blacklist, Self::Cluster, Self::Activities];

    /// The word of paths, keys and reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Blacklist => "blacklist",
            Self::Cluster => "cluster",
            Self::Activities => "activities",
            Self::Nodes => "nodes",
        }
    }
}

impl Mechanism {
    /// The words of `[reload.<datum>] by`.
    pub const WORDS: [(&str, Self); 4] =
        [("file", Self::File), ("timer", Self::Timer), ("etcd", Self::Etcd), ("push", Self::Push)];

    /// The word of settings and reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Timer => "timer",
            Self::File => "file",
            Self::Etcd => "etcd",
            Self::Push => "push",
            Self::Ask => "ask",
        }
    }
}

impl Origin {
    #[must_use]
    pub fn new(mechanism: Mechanism, place: impl Into<String>) -> Self {
        Self { mechanism, place: place.into() }
    }
}

impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
