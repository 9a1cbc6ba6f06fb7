//! What one retry would have saved, where HTTP permits a client to repeat a request by itself.
//!
//! Permitted is the repetition of
//! - what was never applied: no connection came about or nothing was written (RFC 9110, 9.2.2), or the
//!   server of an HTTP/2 connection said that it had not begun to process the request, by `REFUSED_STREAM`
//!   or by a GOAWAY below its number (RFC 9113, 8.7); whatever the method;
//! - an idempotent request (RFC 9110, 9.2.2) whose reused connection closed without a byte of the answer
//!   (RFC 9112, 9.3.1).
//!
//! The specification would let a client repeat an idempotent request on a connection that had been fresh,
//! too, and one whose answer had begun. Common clients do not, and neither does this: what it promises is
//! less. A timeout is not repeated either: nothing says that the first one is over. There is one retry,
//! because a client should not repeat a repetition by itself (RFC 9110, 9.2.2).
//!
//! Whether the retry would have been served is read from the log, not assumed: it meets the fate of the
//! next attempt that was sent on a fresh connection, in any stream (of the next one at all, when the whole
//! log has no fresh one; without a next one it fails). So nobody is rescued in the middle of an outage.

use crate::{
    observe::{Attempt, Cause, Phase},
    plan::{Op, Plan},
};

/// Failed attempts that may be repeated, and what the repetition would have met.
#[derive(Debug, Clone, Default)]
pub struct Retries {
    /// When each of them ended.
    ended_ns: Vec<u64>,
    /// Attempts on fresh connections, warm-up included.
    fresh: Vec<Witness>,
    /// All attempts, as long as none was on a fresh connection.
    any: Vec<Witness>,
}

/// When an attempt was sent, doubled, and one more when it was served. In this order, of several that were
/// sent in the same nanosecond a failed one comes first: the doubt counts against us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Witness(u64);

impl Witness {
    fn new(attempt: &Attempt) -> Self {
        Self(attempt.sent_ns.saturating_mul(2) | u64::from(attempt.ok()))
    }

    fn sent_ns(self) -> u64 {
        self.0 / 2
    }

    fn served(self) -> bool {
        self.0 % 2 == 1
    }
}

impl Retries {
    /// Takes an attempt that reached the target: a repetition may have met the same.
    pub fn witness(&mut self, attempt: &Attempt) {
        let witness = Witness::new(attempt);
        if !attempt.reused() {
            self.fresh.push(witness);
            self.any = Vec::new();
        } else if self.fresh.is_empty() {
            self.any.push(witness);
        }
    }

    /// Takes a counted attempt that failed and may be repeated.
    pub fn add(&mut self, attempt: &Attempt) {
        self.ended_ns.push(attempt.ended_ns);
    }

    pub fn merge(&mut self, other: Self) {
        self.ended_ns.extend(other.ended_ns);
        self.fresh.extend(other.fresh);
        if self.fresh.is_empty() {
            self.any.extend(other.any);
        } else {
            self.any = Vec::new();
        }
    }

    /// How many of the failed attempts one immediate retry would have saved.
    #[must_use]
    pub fn rescued(self) -> u64 {
        let Self { mut ended_ns, fresh, any } = self;
        if ended_ns.is_empty() {
            return 0;
        }
        ended_ns.sort_unstable();
        let mut by_sent = if fresh.is_empty() { any } else { fresh };
        by_sent.sort_unstable();
        let mut next = by_sent.into_iter().peekable();
        let mut rescued = 0;
        for ended_ns in ended_ns {
            while next.next_if(|witness| witness.sent_ns() < ended_ns).is_some() {}
            rescued += u64::from(next.peek().is_some_and(|witness| witness.served()));
        }
        rescued
    }
}

/// Whether HTTP permits a client to repeat a failed attempt by itself.
#[must_use]
pub fn is_permitted(plan: &Plan, attempt: &Attempt) -> bool {
    match (attempt.phase, attempt.cause) {
        (Phase::Send | Phase::Resolve | Phase::Connect | Phase::Tls, _) => true,
        (Phase::Write | Phase::Wait, _) if attempt.first_byte_ns > 0 => false,
        (Phase::Write | Phase::Wait, Cause::Goaway | Cause::RefusedStream) => true,
        (Phase::Write | Phase::Wait, Cause::Reset | Cause::Eof) => {
            attempt.reused() && is_idempotent(plan, attempt)
        }
        (Phase::Done | Phase::Write | Phase::Wait | Phase::Body | Phase::Validate, _) => false,
    }
}

/// The idempotent methods are those of RFC 9110, 9.2.2.
fn is_idempotent(plan: &Plan, attempt: &Attempt) -> bool {
    let stream = plan.load.streams.get(usize::from(attempt.stream));
    let request = stream.and_then(|stream| stream.requests.get(usize::from(attempt.request)));
    match request.map(|request| &request.op) {
        Some(Op::List | Op::Info | Op::Long | Op::Order) => true,
        Some(Op::Http { method, .. }) => {
            matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
        }
        Some(Op::Buy) | None => false,
    }
}
