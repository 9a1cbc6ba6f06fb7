//! One connection and the attempt under way on it: what its system calls say, as values.
//!
//! The strict client lives here. Nothing is tried twice, and an answer that is already there is read
//! before the error behind it. Deliberately absent: the decision what to do next, which is the sender's.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send, sockopt::socket_error},
};

use super::{
    response::{Answer, Ending, Malformed, Progress, Question},
    target::connect_failure,
    workload::Purchase,
};
use crate::{
    clock::RunClock,
    observe::{Attempt, Cause, ClosedBy, Connection, Phase},
};

/// Where and why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) phase: Phase,
    pub(super) cause: Cause,
}

/// An attempt under way.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) attempt: Attempt,
    pub(super) purchase: Option<Purchase>,
    pub(super) answer: Answer,
}

#[derive(Debug)]
pub(super) struct OpenConnection {
    socket: OwnedFd,
    pub(super) id: u32,
    pub(super) stream: u16,
    opened_ns: u64,
    pub(super) established: bool,
    /// Attempts so far, the one under way included.
    pub(super) requests: u32,
    pub(super) idle_since_ns: u64,
    /// `None` while it is idle.
    pub(super) exchange: Option<Exchange>,
    /// The request's bytes; kept from attempt to attempt for its memory.
    pub(super) request: Vec<u8>,
    written: usize,
    /// The server took a part of the request and then no more.
    cut_off: bool,
}

/// What reading brought.
#[derive(Debug)]
pub(super) enum Reading {
    /// Nothing more for now.
    Pending,
    /// The whole answer, so many bytes after it, and whether nothing is left to be read for now.
    Answered {
        surplus: usize,
        drained: bool,
    },
    Failed(Failure),
    /// An idle connection ended, or the server sent what nobody asked for.
    Over,
}

impl OpenConnection {
    pub(super) fn new(socket: OwnedFd, id: u32, stream: u16, opened_ns: u64) -> Self {
        Self {
            socket,
            id,
            stream,
            opened_ns,
            established: false,
            requests: 0,
            idle_since_ns: opened_ns,
            exchange: None,
            request: Vec::new(),
            written: 0,
            cut_off: false,
        }
    }

    /// Takes an attempt; its bytes are in `request` and go out with [`OpenConnection::write`].
    pub(super) fn begin(&mut self, mut attempt: Attempt, purchase: Option<Purchase>) {
        attempt.connection = self.id;
        attempt.connection_requests = self.requests;
        if self.established {
            let idle_us = attempt.sent_ns.saturating_sub(self.idle_since_ns) / 1_000;
            attempt.idle_us = u32::try_from(idle_us).unwrap_or(u32::MAX);
        }
        self.requests += 1;
        self.written = 0;
        self.cut_off = false;
        self.exchange = Some(Exchange { attempt, purchase, answer: Answer::default() });
    }

    /// A part of the request is still to be written.
    pub(super) fn unwritten(&self) -> bool {
        self.exchange.is_some() && self.written < self.request.len()
    }

    /// Writes as much of the request as the socket takes.
    pub(super) fn write(&mut self) -> Result<(), Failure> {
        while self.unwritten() && !self.cut_off {
            match send(&self.socket, &self.request[self.written..], SendFlags::NOSIGNAL) {
                Ok(written) => {
                    self.established = true;
                    self.written += written;
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                // The server may have answered before it closed: reading tells.
                Err(Errno::PIPE | Errno::CONNRESET) if self.written > 0 => self.cut_off = true,
                Err(errno) => return Err(self.broken(errno)),
            }
        }
        Ok(())
    }

    /// Asks whether an idle connection has come about; the error when it cannot any more.
    pub(super) fn confirm(&mut self) -> Result<(), Errno> {
        socket_error(&self.socket).and_then(|error| error)?;
        self.established = true;
        Ok(())
    }

    /// Reads until there is news. `hangup`: the end of the stream is behind what can be read, and a short
    /// read does not mean that nothing more will come.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        question: Option<Question<'_>>,
        hangup: bool,
        clock: &RunClock,
    ) -> Reading {
        loop {
            let read = match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((read, _)) => read,
                Err(Errno::AGAIN) => return Reading::Pending,
                Err(Errno::INTR) => continue,
                Err(_) if self.exchange.is_none() => return Reading::Over,
                Err(_) if self.cut_off => return self.ended(),
                Err(errno) => return Reading::Failed(self.broken(errno)),
            };
            let (Some(exchange), Some(question)) = (&mut self.exchange, question) else {
                return Reading::Over;
            };
            if read == 0 {
                return self.ended();
            }
            if !exchange.answer.begun() {
                exchange.attempt.first_byte_ns = clock.now_ns();
            }
            let drained = read < buffer.len() && !hangup;
            match exchange.answer.feed(&buffer[..read], question) {
                Ok(Progress::Whole { surplus }) => return Reading::Answered { surplus, drained },
                Ok(Progress::More) if drained => return Reading::Pending,
                Ok(Progress::More) => {}
                Err(Malformed) => {
                    return Reading::Failed(Failure { phase: Phase::Body, cause: Cause::Parse });
                }
            }
        }
    }

    /// The step that the attempt under way has come to.
    pub(super) fn phase(&self) -> Phase {
        let begun = self.exchange.as_ref().is_some_and(|exchange| exchange.answer.begun());
        match () {
            () if !self.established => Phase::Connect,
            () if begun => Phase::Body,
            () if self.unwritten() => Phase::Write,
            () => Phase::Wait,
        }
    }

    /// Its line in the log.
    pub(super) fn record(&self, closed_ns: u64, closed_by: ClosedBy) -> Connection {
        Connection {
            id: self.id,
            stream: self.stream,
            opened_ns: self.opened_ns,
            closed_ns,
            requests: self.requests,
            closed_by: if self.established { closed_by } else { ClosedBy::Unopened },
        }
    }

    fn ended(&self) -> Reading {
        let phase = self.phase();
        let failed = |phase, cause| Reading::Failed(Failure { phase, cause });
        match self.exchange.as_ref().map(|exchange| exchange.answer.end()) {
            None => Reading::Over,
            Some(Ending::Nothing) if self.cut_off => failed(Phase::Write, Cause::Reset),
            Some(Ending::Nothing) => failed(phase, Cause::Eof),
            Some(Ending::Head) => failed(Phase::Body, Cause::Eof),
            Some(Ending::ShortBody) => failed(Phase::Body, Cause::ShortBody),
            Some(Ending::Whole) => Reading::Answered { surplus: 0, drained: true },
        }
    }

    fn broken(&self, errno: Errno) -> Failure {
        match errno {
            // The handshake was done when these come, even before anything was written.
            Errno::CONNRESET | Errno::PIPE if !self.established => {
                Failure { phase: Phase::Write, cause: Cause::Reset }
            }
            Errno::CONNRESET | Errno::PIPE => Failure { phase: self.phase(), cause: Cause::Reset },
            errno if !self.established => connect_failure(errno),
            _ => Failure { phase: self.phase(), cause: Cause::Network },
        }
    }
}

impl AsFd for OpenConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
