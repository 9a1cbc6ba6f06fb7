//! One connection and the attempts under way on it: what its system calls say, as values.
//!
//! The strict client lives here. Nothing is tried twice, and an answer that is already there is read
//! before the error behind it. Deliberately absent: the decision what to do next, which is the sender's.

use std::{
    collections::VecDeque,
    mem,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::io::Errno;

use super::{
    pace::{Download, Upload},
    response::{Answer, Ending, Malformed, Progress, Question},
    target::connect_failure,
    wire::{Broken, Received, Wire},
    workload::Purchase,
};
use crate::{
    clock::RunClock,
    observe::{Attempt, Cause, ClosedBy, Connection, Phase},
    plan::Pace,
};

/// A server may say this to a connection that it closes because nothing was asked (RFC 9110 section
/// 15.5.9). It is a farewell and no answer.
const FAREWELL: &[u8] = b"HTTP/1.1 408";

/// Where and why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) phase: Phase,
    pub(super) cause: Cause,
}

pub(super) const SERVED: Failure = Failure { phase: Phase::Done, cause: Cause::None };

/// An attempt under way.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) attempt: Attempt,
    pub(super) purchase: Option<Purchase>,
    pub(super) answer: Answer,
    /// Bytes of the connection up to the end of its request.
    request_end: u64,
}

#[derive(Debug)]
pub(super) struct OpenConnection {
    wire: Wire,
    pub(super) id: u32,
    pub(super) stream: u16,
    opened_ns: u64,
    /// The sender knows that it can be used.
    greeted: bool,
    /// Attempts so far, those under way included.
    pub(super) requests: u32,
    pub(super) idle_since_ns: u64,
    /// The attempt whose answer comes next; `None` while it is idle.
    pub(super) exchange: Option<Exchange>,
    /// Those whose answers come after it.
    behind: VecDeque<Exchange>,
    /// Bytes behind the last whole answer that belong to the next one.
    leftover: Vec<u8>,
    /// How it was lost before it was used, when somebody is still to hear of it.
    pub(super) lost: Option<Failure>,
    /// The last attempt that was served: recorded when nothing more can come of it.
    pub(super) unsettled: Option<Attempt>,
    /// Requests that are not wholly written; kept from attempt to attempt for its memory.
    request: Vec<u8>,
    /// Bytes of `request` that are written.
    written: usize,
    /// Bytes written before those in `request`.
    written_before: u64,
    /// Bytes of `request` that may be written by now.
    allowed: usize,
    upload: Option<Upload>,
    download: Option<Download>,
    /// The server took a part of the request and then no more.
    cut_off: bool,
}

/// What reading brought.
#[derive(Debug)]
pub(super) enum Reading {
    /// Nothing more for now.
    Pending,
    /// As [`Reading::Pending`], and from now on the connection can be used.
    Ready,
    /// The whole answer, so many bytes after it, and whether nothing is left to be read for now.
    Answered {
        surplus: usize,
        drained: bool,
    },
    Failed(Failure),
    /// A connection without an attempt ended, or the server sent what nobody asked for.
    Over(Failure),
}

impl OpenConnection {
    pub(super) fn new(wire: Wire, id: u32, stream: u16, opened_ns: u64) -> Self {
        Self {
            wire,
            id,
            stream,
            opened_ns,
            greeted: false,
            requests: 0,
            idle_since_ns: opened_ns,
            exchange: None,
            behind: VecDeque::new(),
            leftover: Vec::new(),
            lost: None,
            unsettled: None,
            request: Vec::new(),
            written: 0,
            written_before: 0,
            allowed: 0,
            upload: None,
            download: None,
            cut_off: false,
        }
    }

    /// Where the bytes of the next request are to be appended.
    pub(super) fn room(&mut self) -> &mut Vec<u8> {
        if self.written == self.request.len() {
            self.written_before += self.written as u64;
            self.request.clear();
            self.written = 0;
        }
        &mut self.request
    }

    /// Takes an attempt; its bytes are in [`OpenConnection::room`] and go out with
    /// [`OpenConnection::write`].
    pub(super) fn begin(&mut self, mut attempt: Attempt, purchase: Option<Purchase>, pace: Pace) {
        attempt.connection = self.id;
        attempt.connection_requests = self.requests;
        if self.wire.ready() && self.exchange.is_none() {
            let idle_us = attempt.sent_ns.saturating_sub(self.idle_since_ns) / 1_000;
            attempt.idle_us = u32::try_from(idle_us).unwrap_or(u32::MAX);
        }
        self.requests += 1;
        self.greeted = true;
        self.upload = upload(&self.request, attempt.sent_ns, pace);
        self.download = Download::new(pace);
        self.allow(attempt.sent_ns);
        let request_end = self.written_before + self.request.len() as u64;
        let exchange = Exchange { attempt, purchase, answer: Answer::default(), request_end };
        match &self.exchange {
            None => self.exchange = Some(exchange),
            Some(_) => self.behind.push_back(exchange),
        }
    }

    /// The time of the next piece of a slow body or answer has come.
    pub(super) fn next_piece(&mut self, now_ns: u64) {
        self.allow(now_ns);
        if let Some(download) = &mut self.download {
            download.next_turn();
        }
    }

    /// The first attempt under way is over: the next one's answer is to come.
    pub(super) fn advance(&mut self) {
        self.exchange = self.behind.pop_front();
    }

    /// How many attempts are under way.
    pub(super) fn under_way(&self) -> usize {
        usize::from(self.exchange.is_some()) + self.behind.len()
    }

    /// An attempt is under way here.
    pub(super) fn carries(&self, attempt: u64) -> bool {
        self.exchange.iter().chain(&self.behind).any(|exchange| exchange.attempt.id == attempt)
    }

    /// TCP's handshake is done, and TLS's where it is spoken.
    pub(super) fn ready(&self) -> bool {
        self.wire.ready()
    }

    pub(super) fn connected(&self) -> bool {
        self.wire.connected()
    }

    /// It can be used and nobody was told yet; who asks is told.
    pub(super) fn greet(&mut self) -> bool {
        self.ready() && !mem::replace(&mut self.greeted, true)
    }

    /// Something can be written as soon as the socket takes it.
    pub(super) fn can_write(&self) -> bool {
        self.exchange.is_some() && (self.written < self.allowed || self.wire.pending())
    }

    /// A part of the request whose answer comes next is still to be written.
    pub(super) fn unwritten(&self) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| !self.has_written(exchange))
    }

    /// Writes as much of the requests as the socket takes and the pace allows.
    pub(super) fn write(&mut self) -> Result<(), Failure> {
        while self.can_write() && !self.cut_off {
            match self.wire.send(&self.request[self.written..self.allowed]) {
                Ok(written) => self.written += written,
                Err(Broken::Errno(Errno::AGAIN)) => break,
                Err(Broken::Errno(Errno::INTR)) => {}
                // The server may have answered before it closed: reading tells.
                Err(Broken::Errno(Errno::PIPE | Errno::CONNRESET)) if self.has_begun_to_write() => {
                    self.cut_off = true;
                }
                Err(broken) => return Err(self.broken(broken)),
            }
        }
        Ok(())
    }

    /// Asks whether a connection without an attempt has come about; why not when it cannot any more.
    pub(super) fn confirm(&mut self) -> Result<(), Failure> {
        self.wire.confirm().map_err(|broken| self.broken(broken))
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
        let Some(question) = question else { return self.read_unasked(buffer) };
        let leftover = mem::take(&mut self.leftover);
        if !leftover.is_empty()
            && let Some(reading) = self.feed(&leftover, question, false, clock)
        {
            return reading;
        }
        loop {
            let limit = self.readable(clock).min(buffer.len());
            if limit == 0 {
                return Reading::Pending;
            }
            let received = match self.wire.receive(&mut buffer[..limit]) {
                Ok(Received::Bytes(received)) => received,
                Ok(Received::End { announced }) => return self.ended(announced),
                // With TLS's handshake done the request can go out.
                Err(Broken::Errno(Errno::AGAIN)) => {
                    return self.write().map_or_else(Reading::Failed, |()| Reading::Pending);
                }
                Err(Broken::Errno(Errno::INTR)) => continue,
                Err(_) if self.cut_off => return self.ended(true),
                Err(broken) => return Reading::Failed(self.broken(broken)),
            };
            let drained = received < limit && !hangup && self.download.is_none() && !self.wire.is_tls();
            if let Some(reading) = self.feed(&buffer[..received], question, drained, clock) {
                return reading;
            }
            if drained {
                return Reading::Pending;
            }
        }
    }

    /// The step that the attempt whose answer comes next has come to.
    pub(super) fn phase(&self) -> Phase {
        match &self.exchange {
            _ if !self.wire.connected() => Phase::Connect,
            _ if self.wire.shakes_hands() => Phase::Tls,
            // Lost before anything of a request was written.
            None => Phase::Connect,
            Some(exchange) if exchange.answer.begun() => Phase::Body,
            Some(exchange) if !self.has_written(exchange) => Phase::Write,
            Some(_) => Phase::Wait,
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
            closed_by: if self.ready() { closed_by } else { ClosedBy::Unopened },
        }
    }

    /// Tells the server that the connection ends, where its protocol has words for it.
    pub(super) fn say_goodbye(&mut self) {
        self.wire.say_goodbye();
    }

    /// Reads where no answer is awaited.
    fn read_unasked(&mut self, buffer: &mut [u8]) -> Reading {
        loop {
            let cause = match self.wire.receive(buffer) {
                Ok(Received::Bytes(received)) if buffer[..received].starts_with(FAREWELL) => Cause::Eof,
                Ok(Received::Bytes(_)) => Cause::Surplus,
                Ok(Received::End { .. }) => Cause::Eof,
                Err(Broken::Errno(Errno::AGAIN)) if self.greet() => return Reading::Ready,
                Err(Broken::Errno(Errno::AGAIN)) => return Reading::Pending,
                Err(Broken::Errno(Errno::INTR)) => continue,
                Err(broken) => return Reading::Over(self.broken(broken)),
            };
            return Reading::Over(Failure { phase: self.phase(), cause });
        }
    }

    /// Hands bytes to the answer that comes next; `None` when it is not whole.
    fn feed(
        &mut self,
        bytes: &[u8],
        question: Question<'_>,
        drained: bool,
        clock: &RunClock,
    ) -> Option<Reading> {
        let exchange = self.exchange.as_mut().expect("a question must have its attempt");
        if !exchange.answer.begun() {
            exchange.attempt.first_byte_ns = clock.now_ns();
            if let Some(download) = &mut self.download {
                download.begin(exchange.attempt.first_byte_ns);
            }
        }
        match exchange.answer.feed(bytes, question) {
            Ok(Progress::Whole { surplus }) if surplus > 0 && !self.behind.is_empty() => {
                self.leftover = bytes[bytes.len() - surplus..].to_vec();
                Some(Reading::Answered { surplus: 0, drained: false })
            }
            Ok(Progress::Whole { surplus }) => Some(Reading::Answered { surplus, drained }),
            Ok(Progress::More) => None,
            Err(Malformed) => Some(Reading::Failed(Failure { phase: Phase::Body, cause: Cause::Parse })),
        }
    }

    /// How many bytes the pace allows to be read now.
    fn readable(&mut self, clock: &RunClock) -> usize {
        match &mut self.download {
            None => usize::MAX,
            Some(download) => download.allowed(clock.now_ns(), self.wire.there()),
        }
    }

    fn allow(&mut self, now_ns: u64) {
        let allowed = self.upload.map_or(usize::MAX, |upload| upload.allowed(now_ns));
        self.allowed = allowed.min(self.request.len());
    }

    fn has_written(&self, exchange: &Exchange) -> bool {
        self.written_before + self.written as u64 >= exchange.request_end
    }

    /// A byte of what is under way has gone out.
    fn has_begun_to_write(&self) -> bool {
        self.written > 0 || !self.behind.is_empty()
    }

    fn ended(&self, announced: bool) -> Reading {
        let failed = |phase, cause| Reading::Failed(Failure { phase, cause });
        match self.exchange.as_ref().map(|exchange| exchange.answer.end()) {
            None => Reading::Over(Failure { phase: self.phase(), cause: Cause::Eof }),
            Some(Ending::Nothing) if self.cut_off => failed(self.phase(), Cause::Reset),
            Some(Ending::Nothing) => failed(self.phase(), Cause::Eof),
            Some(Ending::Head) => failed(Phase::Body, Cause::Eof),
            Some(Ending::Whole) if announced => Reading::Answered { surplus: 0, drained: true },
            Some(Ending::Whole | Ending::ShortBody) => failed(Phase::Body, Cause::ShortBody),
        }
    }

    fn broken(&self, broken: Broken) -> Failure {
        let Broken::Errno(errno) = broken else {
            return Failure { phase: self.phase(), cause: Cause::Tls };
        };
        match errno {
            Errno::CONNRESET | Errno::PIPE => Failure { phase: self.phase(), cause: Cause::Reset },
            errno if !self.connected() => connect_failure(errno),
            _ => Failure { phase: self.phase(), cause: Cause::Network },
        }
    }
}

impl AsFd for OpenConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wire.as_fd()
    }
}

/// How a request's body goes out, when that is to take time.
fn upload(request: &[u8], begun_ns: u64, pace: Pace) -> Option<Upload> {
    let over_ns = Some(pace.upload_ns).filter(|ns| *ns > 0)?;
    let end = request.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = end + 4;
    Some(Upload { begun_ns, over_ns, head, body: request.len() - head })
}
