//! The scripted target: a server whose faults are known, because it counts and times what it does itself.
//!
//! It runs on one thread of its own and reads the run's clock, so that truth and measurement share a zero.
//! What it says is the truth of a calibration: when it really fell silent and spoke again, by its own
//! readings of the clock around what it did, and not when the script wanted it to. A target that the machine
//! held up knows that as well.
//!
//! Deliberately absent: request bodies, TLS, HTTP/2, and anything that a file could ask for. It listens on a
//! free loopback port, and serves nobody but the run that started it.

mod server;
mod ways;

use std::{
    io,
    net::SocketAddr,
    os::unix::net::UnixStream,
    thread::{Builder, JoinHandle},
};

use rustix::io::Errno;

use self::server::Server;
pub(super) use self::ways::{Way, digest};
use super::Error;
use crate::{analyze::intervals::Interval, clock::RunClock};

/// What the target is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Script {
    /// In order of time, none overlapping another.
    pub(super) steps: Vec<Step>,
    pub(super) kills: Option<Kills>,
}

/// Something that the target does to everybody for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) kind: StepKind,
    pub(super) at_ns: u64,
    pub(super) for_ns: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StepKind {
    /// Accepts and reads, answers nothing; then answers everything.
    Stall,
    /// The listener is closed; connections that are there are served on.
    Refuse,
    /// The listener is closed and every connection reset; then it is back on the same port.
    Away,
}

/// Requests that do not get their answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kills {
    pub(super) way: Way,
    pub(super) victims: Victims,
    /// One of so many that are eligible.
    pub(super) every: u64,
    pub(super) count: u64,
}

/// Which requests are eligible to be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Victims {
    /// The first one of a connection.
    Fresh,
    /// Any later one.
    Reused,
}

/// What the target really did. All times are nanoseconds of the run's clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Truth {
    /// Requests read in full.
    pub(super) requests: u64,
    /// Requests that got their whole and right answer.
    pub(super) answered: u64,
    pub(super) killed: u64,
    pub(super) stalls: Vec<TrueStall>,
    pub(super) outages: Vec<TrueOutage>,
    /// From when a step of the script was due until the target's thread got to it, where that took time.
    pub(super) late: Vec<Interval>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TrueStall {
    /// Its last answer before.
    pub(super) silent_since_ns: u64,
    /// From here on nothing was answered ...
    pub(super) begun_ns: u64,
    /// ... until here, right before the first answer that had been held back.
    pub(super) ended_ns: u64,
    /// Right after the last of those.
    pub(super) answered_ns: u64,
    /// The longest that a request waited, from when it was read until it was answered.
    pub(super) held_max_ns: u64,
    /// Answers that were held back.
    pub(super) held: u64,
}

/// A time without a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TrueOutage {
    /// Right before and right after the listener (and, when away, every connection) was closed.
    pub(super) down: Interval,
    /// Right before and right after it listened again.
    pub(super) up: Interval,
}

/// A target at work.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    thread: JoinHandle<Result<Truth, Errno>>,
    /// The thread ends when this end is closed.
    stop: UnixStream,
}

impl Target {
    /// Starts a target on a free loopback port.
    ///
    /// # Errors
    /// When the kernel refuses a socket or a thread.
    pub(super) fn start(script: Script, clock: RunClock) -> Result<Self, Error> {
        let (stop, stopped) = UnixStream::pair().map_err(Error::Target)?;
        let server = Server::new(script, clock, stopped).map_err(refused)?;
        let address = server.address();
        let thread = Builder::new()
            .name("calibrate-target".to_owned())
            .spawn(move || server.run())
            .map_err(Error::Target)?;
        Ok(Self { address, thread, stop })
    }

    /// Ends it and asks what it did.
    ///
    /// # Errors
    /// When the kernel refused what the script asked for: then there is no truth to compare with.
    pub(super) fn stop(self) -> Result<Truth, Error> {
        drop(self.stop);
        match self.thread.join() {
            Ok(truth) => truth.map_err(refused),
            Err(_) => Err(Error::Target(io::Error::other("its thread panicked"))),
        }
    }
}

fn refused(errno: Errno) -> Error {
    Error::Target(errno.into())
}

#[cfg(test)]
mod tests;
