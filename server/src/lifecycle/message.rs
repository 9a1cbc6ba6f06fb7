//! What the old and the new process say to each other while one takes over from the other.
//!
//! ```text
//! new                                         old
//!  | -- Hello --------------------------------> |   who I am, which protocol I speak
//!  | <------- Welcome + control, listeners ---- |   or Refuse with the reason
//!  |   loads what it serves                     |
//!  | -- Ready --------------------------------> |   or Failed with the reason
//!  | <------- Connection (the old one's own) -- |   probe: a request through the listener, answered
//!  | -- Adopted ------------------------------> |   by the new process, seen by the old one
//!  |                                            |   probation: does it stay alive?
//!  | <------- State (in pieces) --------------- |   what the old one has in memory
//!  | -- Taken --------------------------------> |   or Failed with the reason
//!  | <------- Commit -------------------------- |
//!  |   accepts                                  |
//!  | -- Committed ----------------------------> |   stops to accept
//!  | <------- State --------------------------- |   what came in between
//!  | <------- Stopped ------------------------- |   no request begins here any more
//!  |   publishes                                |
//!  | <------- Connection + socket ------------- |   as each comes to a boundary
//!  | -- Adopted ------------------------------> |   only now the old one lets go of its copy
//!  | <------- State --------------------------- |   the rest
//!  | <------- Done ---------------------------- |   and ends
//! ```
//!
//! Where no `Commit` is awaited (`reuseport`, `reuseport-drain`, `stop-start`) the new one says `Loaded` in the place
//! of `Ready`, gets its `State` at once, and says `Ready` when it serves.
//!
//! Until `Commit` only the old process accepts, so a new one that dies before it takes nothing along.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ProcessGeneration, UpgradeReport, program::Program};
use crate::{
    config::Strategy,
    http::Side,
    state::{Digests, Generation},
};

/// Raised whenever an old and a new process could misunderstand each other; they refuse then.
pub(super) const PROTOCOL: u32 = 4;

/// One message; descriptors and raw bytes travel beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub(super) enum Message {
    Hello(Hello),
    /// Descriptors: the control socket, standard error if `stderr`, then a listener for each of `listeners`.
    Welcome(Welcome),
    /// The old process serves on; the new one has to go.
    Refuse {
        reason: String,
    },
    /// The new process, which waits for no `Commit`, has loaded what it serves.
    Loaded,
    /// The new process has loaded what it serves and holds its listeners; where it waits for no `Commit`, it serves.
    Ready,
    /// The new process cannot serve.
    Failed {
        detail: String,
    },
    /// Bytes: a piece of a document with what the old process has in memory.
    State {
        more: bool,
    },
    /// The document is understood, and this process goes on from it.
    Taken,
    /// Serve from now on.
    Commit {
        /// The last that the old process has served, and what it was made of.
        generation: Generation,
        digests: Digests,
        /// So many milliseconds from now no request begins in the old process any more, even if it cannot say so
        /// (`handoff-live`).
        closes_ms: Option<u64>,
    },
    /// I accept connections.
    Committed,
    /// No request begins here any more (`handoff-live`): what you publish from now on goes back in no answer.
    Stopped,
    /// A connection. Bytes: what was read of it and not used. Descriptor: its socket.
    Connection {
        id: u64,
        side: Side,
    },
    /// Several of which nothing is left to use, from number `first` on. Descriptors: their sockets.
    Connections {
        first: u64,
        sides: Vec<Side>,
    },
    /// The connections up to this one are served here.
    Adopted {
        through: u64,
    },
    /// Everything is yours.
    Done {
        /// What became of the upgrade. One that is older does not say.
        #[serde(default)]
        report: Option<Box<UpgradeReport>>,
    },
}

/// The new process's greeting. Fields may be added, never removed: it is read before the protocols are
/// compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) protocol: u32,
    pub(super) pid: u32,
    /// Release label.
    pub(super) version: String,
    /// What its configuration asks for; decides when nobody asked the old process for an upgrade.
    pub(super) strategy: Strategy,
    /// Of what it takes along from memory. One that is older does not say.
    #[serde(default)]
    pub(super) state: u32,
    /// Proof that the old process started it.
    pub(super) ticket: Option<String>,
    /// How many descriptors it may have. One that is older does not say.
    #[serde(default)]
    pub(super) descriptors: Option<u64>,
    /// Takes [`Message::Connections`], too.
    #[serde(default)]
    pub(super) batches: bool,
}

/// The old process's answer to a greeting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Welcome {
    pub(super) strategy: Strategy,
    /// The new process's generation.
    pub(super) process: ProcessGeneration,
    /// The last generation of the configuration that the old process served.
    pub(super) config_generation: u64,
    /// Where the old process keeps orders. One that is older does not say.
    #[serde(default)]
    pub(super) orders: Option<String>,
    /// What the old process runs, and what ran before it.
    #[serde(default)]
    pub(super) program: Option<Program>,
    #[serde(default)]
    pub(super) previous: Option<Program>,
    pub(super) stderr: bool,
    pub(super) listeners: Vec<Side>,
    /// Files of unix sockets that the last process of the chain has to remove. One that is older has none.
    #[serde(default)]
    pub(super) files: Vec<PathBuf>,
}
