//! The server under test: found, started, watched and stopped.
//!
//! Invariant: whatever was started here is gone when the [`Environment`] is dropped, on success, failure,
//! panic and interruption alike. What is deliberately absent: load and the timeline of events (`drive`).

mod ask;
mod build;
mod command;
mod contents;
mod control;
mod external;
mod gateway;
mod group;
mod holding;
mod log;
mod machine;
mod manager;
mod pages;
mod ports;
mod processes;
mod reference;
mod release;
mod services;
mod settings;
mod store;

use std::{io, net::SocketAddr, path::Path, path::PathBuf};

use jiff::Timestamp;
use rustix::process::{Pid, Signal};

use crate::{
    plan::{Plan, TargetPlan},
    tls,
};

pub use self::{
    ask::Reply,
    command::CommandTarget,
    contents::{Content, Contents},
    control::{Answer, Control, Identity},
    external::External,
    gateway::Gateway,
    group::{Group, GroupWatch},
    machine::{RunFacts, record},
    pages::Pages,
    reference::{Activated, Reference, Stopped},
    release::{Release, Releases},
    services::{Conduct, Error as ServicesError, Queue, Running, Services, lacks_etcd},
    settings::Place,
    store::Stored,
};
pub(crate) use self::{
    control::{chain, client},
    machine::shown,
};

/// The target of a run, ready to be loaded.
#[derive(Debug)]
pub enum Environment {
    Reference(Box<Reference>),
    Command(Box<CommandTarget>),
    External(External),
}

/// A target that the harness has started, and so can break and mend.
pub(crate) trait Started {
    /// Kills all of its processes at once.
    fn kill(&mut self);
    /// Sends a signal to all of its processes.
    fn signal(&mut self, signal: Signal);
    /// Starts it once more; returns when it is ready.
    async fn start_again(&mut self) -> Result<(), Error>;
    /// Returns when it is ready, at the latest after what it may take to start.
    async fn become_ready(&mut self) -> Result<(), Error>;
}

impl Environment {
    /// Starts what the plan's target asks for, or checks that it is there. The server's log and its work
    /// directory go into `folder`; its sales are open at `now`.
    ///
    /// # Errors
    /// When the target cannot be started or reached; whatever was started until then is stopped.
    pub async fn start(plan: &Plan, folder: &Path, now: Timestamp) -> Result<Self, Error> {
        match &plan.target {
            TargetPlan::Reference(reference) => {
                Ok(Self::Reference(Box::new(Reference::start(reference, plan.seed, folder, now).await?)))
            }
            TargetPlan::Command(command) => {
                Ok(Self::Command(Box::new(CommandTarget::start(command, folder).await?)))
            }
            TargetPlan::External(external) => Ok(Self::External(External::reach(external).await?)),
        }
    }

    /// Where the load goes.
    #[must_use]
    pub fn target(&self) -> SocketAddr {
        match self {
            Self::Reference(reference) => reference.api(),
            Self::Command(command) => command.at().address,
            Self::External(external) => external.address,
        }
    }

    /// The `Host` header for the load.
    #[must_use]
    pub fn host(&self) -> String {
        match self {
            Self::Reference(reference) => reference.api().to_string(),
            Self::Command(command) => command.at().host.clone(),
            Self::External(external) => external.host.clone(),
        }
    }

    /// Bearer tokens, the one of user 1 first; none for a target that is not ours.
    #[must_use]
    pub fn tokens(&self) -> &[String] {
        match self {
            Self::Reference(reference) => reference.tokens(),
            Self::Command(_) | Self::External(_) => &[],
        }
    }

    /// The process that serves; `None` when it is not ours.
    pub fn serving_pid(&mut self) -> Option<Pid> {
        match self {
            Self::Reference(reference) => reference.serving_pid(),
            Self::Command(command) => command.pid(),
            Self::External(_) => None,
        }
    }

    /// A handle that tells whether the target's processes live; `None` when they are not ours.
    #[must_use]
    pub fn watch(&self) -> Option<GroupWatch> {
        match self {
            Self::Reference(reference) => Some(reference.watch()),
            Self::Command(command) => Some(command.watch()),
            Self::External(_) => None,
        }
    }
}

/// Why the target could not be started, reached or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("find the server binary: there is no `seckill` in {looked_in}; give one with --old")]
    NoBinary { looked_in: PathBuf },
    #[error("use {path} as the server binary: it is not a file; give an executable with --old and --new")]
    NotABinary { path: PathBuf },
    #[error("build the server: `{command}` ended with {status}; mend what it says above")]
    Build { command: String, status: String },
    #[error("run `{command}`")]
    Run {
        command: String,
        #[source]
        source: io::Error,
    },
    #[error("{what} {path}")]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("find a free port on 127.0.0.1")]
    Port(#[source] io::Error),
    #[error("ask etcd at {address}")]
    Etcd {
        address: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("serve pages on 127.0.0.1")]
    Pages(#[source] io::Error),
    #[error("hold the server's sockets, as a service manager does")]
    Manager(#[source] io::Error),
    #[error("become the parent of the server's successors (PR_SET_CHILD_SUBREAPER)")]
    Subreaper(#[source] io::Error),
    #[error("see the server ready: {how}; its log is {log}, which ends with:\n{tail}")]
    NotReady { how: String, log: PathBuf, tail: String },
    #[error(
        "see an answer of the server that `{command}` starts: {how}; its log is {log}, which ends with:\n{tail}"
    )]
    NoAnswer { command: String, how: String, log: PathBuf, tail: String },
    #[error(
        "start `{command}`: somebody answers at {url} already, and the load would go there; end that server, or \
         write kind = \"external\" if it is the one you mean"
    )]
    Occupied { command: String, url: String },
    #[error("ask the target whether it is ready")]
    Asking(#[source] reqwest::Error),
    #[error(transparent)]
    Tls(tls::Error),
    #[error("break the server with {missing}: its binary has no such fault; use a debug build")]
    NoFaults { missing: String },
    #[error("mint user tokens: `{command}` {how}")]
    Tokens { command: String, how: String },
    #[error("talk to the server's admin side")]
    Control(#[source] reqwest::Error),
    #[error("use {url} as the target: {why}")]
    Url { url: String, why: String },
    #[error("reach {url}: start the server that it names, then run this again")]
    Unreachable {
        url: String,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Services(#[from] ServicesError),
    #[error("read orders and stock from {path}")]
    Store {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
}

impl Error {
    /// For `map_err` on file operations.
    fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { what, path: path.to_owned(), source }
    }
}
