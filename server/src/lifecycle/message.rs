//! What the old and the new process say to each other while one takes over from the other.
//!
//! ```text
//! new                                         old
//!  | -- Hello --------------------------------> |   who I am, which protocol I speak
//!  | <------- Welcome + control, listeners ---- |   or Refuse with the reason
//!  |   loads its state                          |
//!  | -- Ready --------------------------------> |   or Failed with the reason
//!  | <------- Connection (the old one's own) -- |   probe: a request through the listener, answered
//!  | -- Adopted ------------------------------> |   by the new process, seen by the old one
//!  |                                            |   probation: does it stay alive?
//!  | <------- Commit -------------------------- |
//!  |   accepts                                  |
//!  | -- Committed ----------------------------> |   stops to accept
//!  | <------- Stopped ------------------------- |   no request begins here any more
//!  |   publishes                                |
//!  | <------- Connection + socket ------------- |   as each comes to a boundary
//!  | -- Adopted ------------------------------> |   only now the old one lets go of its copy
//!  | <------- Done ---------------------------- |   and ends
//! ```
//!
//! Until `Commit` only the old process accepts, so a new one that dies before it takes nothing along.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ProcessGeneration;
use crate::{
    config::Strategy,
    http::Side,
    state::{Digests, Generation},
};

/// Raised whenever an old and a new process could misunderstand each other; they refuse then.
pub(super) const PROTOCOL: u32 = 3;

/// One message; descriptors and raw bytes travel beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub(super) enum Message {
    Hello(Hello),
    /// Descriptors: the control socket, standard error if `stderr`, then a listener for each of `listeners`.
    Welcome(Welcome),
    /// The old process serves on; the new one has to go.
    Refuse {
        reason: String,
    },
    /// The new process has loaded its state and holds its listeners.
    Ready,
    /// The new process cannot serve.
    Failed {
        detail: String,
    },
    /// Serve from now on.
    Commit {
        /// The last that the old process has served, and what it was made of.
        generation: Generation,
        digests: Digests,
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
    Done,
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
    pub(super) stderr: bool,
    pub(super) listeners: Vec<Side>,
    /// Files of unix sockets that the last process of the chain has to remove. One that is older has none.
    #[serde(default)]
    pub(super) files: Vec<PathBuf>,
}
