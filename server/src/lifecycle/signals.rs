//! The signals that the process acts on.
//!
//! | signal | what it does |
//! |---|---|
//! | SIGINT, SIGTERM | an orderly stop; a second one ends the process at once |
//! | SIGHUP | tells in the log which fixed settings differ from the file |
//! | SIGUSR2 | an upgrade to what now lies where this process was started from; the log has the outcome |

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The installed handlers.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    user: Signal,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    Stop,
    TellPending,
    Upgrade,
}

impl Signals {
    /// Installs the handlers. Do it before the process becomes known to anybody.
    pub(super) fn install() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.interrupt.recv() => Request::Stop,
            _ = self.terminate.recv() => Request::Stop,
            _ = self.hangup.recv() => Request::TellPending,
            _ = self.user.recv() => Request::Upgrade,
        }
    }
}
