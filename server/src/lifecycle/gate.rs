//! Finds the moment at which an HTTP/1.1 connection can leave this process without losing a byte.
//!
//! A connection may move between two requests: nothing parsed is unanswered, nothing answered is
//! unflushed, and what has been read beyond the last request is still at hand as raw bytes. hyper says
//! none of this by itself, and its `graceful_shutdown` closes idle connections instead of giving them
//! back, so the three parts here watch it from the outside:
//!
//! - [`Ledger`]: what is owed on the connection right now;
//! - [`Gate`]: the socket as hyper sees it. Closed, it gives hyper no further bytes, except the rest of a
//!   request body, so that even a client that never pauses comes to a boundary. All connections share one
//!   latch: once it is closed no connection reads another request, noticed or not; those that hyper has
//!   read already, at most its buffer full, are still answered here;
//! - [`Owed`]: a response body that tells the ledger when hyper has taken its last byte.
//!
//! Invariant: [`Ledger::at_boundary`] is true only if hyper's write buffer is empty, no request is in
//! flight, and none of an answered request's body is still to come. hyper calls `poll_flush` of the socket
//! only after its own buffer is written out (`proto/h1/io.rs`), and drops the response body only after its
//! last frame is in that buffer.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::time::{Sleep, sleep};

use super::{stream::Stream, streams::Endless};
#[cfg(debug_assertions)]
use crate::faults;

/// What one connection owes its client.
///
/// The parts of an HTTP/1.1 connection run in one task; HTTP/2 has a task for each stream, and is only
/// counted here, so relaxed order is enough.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Requests that have been parsed and whose answer is not complete; at most one on HTTP/1.1.
    in_flight: AtomicU32,
    /// There is something in hyper's write buffer that is not flushed.
    unflushed: AtomicBool,
    /// A request's body has not been read to its end. It stays so when the body is refused: what follows on
    /// the connection is no request.
    body_open: AtomicBool,
    /// Requests in flight that wait for the outcome of the upgrade that is going on.
    asking: AtomicU32,
    pub(super) endless: Endless,
    /// What is wrong on purpose with the next answer.
    #[cfg(debug_assertions)]
    pub(super) answering: faults::Answering,
}

impl Ledger {
    /// A request was parsed; `has_body`: its body is still to be read from this connection.
    pub(super) fn begin(self: &Arc<Self>, has_body: bool) -> Debt {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.body_open.store(has_body, Ordering::Relaxed);
        self.endless.pass();
        Debt(Arc::clone(self))
    }

    /// The request's body was read to its end.
    pub(super) fn body_read(&self) {
        self.body_open.store(false, Ordering::Relaxed);
    }

    /// The connection may leave: everything parsed is answered and everything answered is on the wire.
    pub(super) fn at_boundary(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) == 0
            && !self.unflushed.load(Ordering::Relaxed)
            && !self.body_open.load(Ordering::Relaxed)
    }

    /// A request begins to wait for the outcome of an upgrade. `true`: it is the only one.
    pub(super) fn ask(&self) -> bool {
        self.asking.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// It waits no longer. `true`: it was the last one.
    pub(super) fn told(&self) -> bool {
        self.asking.fetch_sub(1, Ordering::Relaxed) == 1
    }

    /// The connection cannot leave before the upgrade is over, because its client waits for the outcome.
    pub(super) fn asks_upgrade(&self) -> bool {
        self.asking.load(Ordering::Relaxed) != 0
    }
}

/// A request in flight. Dropped, its answer is complete, or nobody wants it any more.
#[derive(Debug)]
pub(super) struct Debt(Arc<Ledger>);

impl Drop for Debt {
    fn drop(&mut self) {
        self.0.unflushed.store(true, Ordering::Relaxed);
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Closes every gate of the process at once.
#[derive(Debug, Clone, Default)]
pub(super) struct Latch(Arc<Bolt>);

#[derive(Debug)]
struct Bolt {
    closed: AtomicBool,
    /// It falls by itself so many nanoseconds after `made`, or [`NEVER`].
    falls_ns: AtomicU64,
    made: Instant,
}

const NEVER: u64 = u64::MAX;

impl Default for Bolt {
    fn default() -> Self {
        Self { closed: AtomicBool::new(false), falls_ns: AtomicU64::new(NEVER), made: Instant::now() }
    }
}

impl Latch {
    /// Closed, hyper is given nothing but the rest of a body that it is reading.
    pub(super) fn close(&self, closed: bool) {
        self.0.closed.store(closed, Ordering::Release);
        self.0.falls_ns.store(NEVER, Ordering::Release);
    }

    /// Closed after `limit`, unless something else is said before: also if this process is stopped meanwhile, and can
    /// say nothing.
    pub(super) fn close_after(&self, limit: Duration) {
        let falls = (self.0.made.elapsed() + limit).as_nanos();
        self.0.falls_ns.store(u64::try_from(falls).unwrap_or(NEVER), Ordering::Release);
    }

    fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
            || self.falls().is_some_and(|falls| self.0.made.elapsed() >= falls)
    }

    fn falls(&self) -> Option<Duration> {
        let falls = self.0.falls_ns.load(Ordering::Acquire);
        (falls != NEVER).then(|| Duration::from_nanos(falls))
    }
}

/// A connection's socket with bytes that were read before put back in front of it.
#[derive(Debug)]
pub(super) struct Gate {
    front: Bytes,
    stream: TokioIo<Stream>,
    ledger: Arc<Ledger>,
    latch: Latch,
    /// How long a shutdown waits for the client's end, and until when once it has begun.
    linger: Duration,
    lingers: Option<Pin<Box<Sleep>>>,
}

impl Gate {
    pub(super) fn new(front: Bytes, stream: Stream, ledger: Arc<Ledger>, latch: Latch) -> Self {
        let linger = Duration::ZERO;
        Self { front, stream: TokioIo::new(stream), ledger, latch, linger, lingers: None }
    }

    /// A shutdown takes the time for the client's end, at most `linger`.
    pub(super) fn lingering(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// The socket, and what of the bytes in front was not read.
    pub(super) fn into_parts(self) -> (Stream, Bytes) {
        (self.stream.into_inner(), self.front)
    }
}

impl Read for Gate {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.holds_back() {
            // No waker is kept: the task is woken by what is in flight, or takes the connection apart.
            return Poll::Pending;
        }
        if self.front.has_remaining() {
            let taken = self.front.len().min(buf.remaining());
            buf.put_slice(&self.front.split_to(taken));
            return Poll::Ready(Ok(()));
        }
        if self.latch.falls().is_some() {
            return self.poll_read_in_time(cx, buf);
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Gate {
    fn holds_back(&self) -> bool {
        self.latch.is_closed() && !self.ledger.body_open.load(Ordering::Relaxed)
    }

    /// While the latch may fall it is looked at once more when the bytes are there: between the first look and the
    /// reading the process may have been stopped for however long, and what came meanwhile is the successor's.
    fn poll_read_in_time(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [0_u8; 4096];
        let room = bytes.len().min(buf.remaining());
        let mut read = ReadBuf::new(&mut bytes[..room]);
        ready!(Pin::new(&mut self.stream).poll_read(cx, read.unfilled()))?;
        if self.holds_back() {
            self.front = Bytes::copy_from_slice(read.filled());
            return Poll::Pending;
        }
        buf.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl Write for Gate {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.ledger.unflushed.store(true, Ordering::Relaxed);
        #[cfg(debug_assertions)]
        if let Some(fault) = self.ledger.answering.take() {
            return faults::write(fault, Pin::new(&mut self.stream), cx, buf);
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.ledger.unflushed.store(false, Ordering::Relaxed);
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        if gate.lingers.is_none() {
            ready!(Pin::new(&mut gate.stream).poll_shutdown(cx))?;
        }
        let over = gate.lingers.get_or_insert_with(|| Box::pin(sleep(gate.linger)));
        let mut sink = [0_u8; 4096];
        while over.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut sink);
            match Pin::new(&mut gate.stream).poll_read(cx, buf.unfilled()) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                // However it ends, the connection is over.
                Poll::Ready(_) => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.ledger.unflushed.store(true, Ordering::Relaxed);
        #[cfg(debug_assertions)]
        if let Some(fault) = self.ledger.answering.take() {
            let answer: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
            return faults::write(fault, Pin::new(&mut self.stream), cx, &answer);
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}

/// A response body with its debt, which hyper drops once it has the last byte.
#[derive(Debug)]
pub(super) struct Owed<B> {
    body: B,
    is_endless: bool,
    debt: Debt,
}

impl<B> Owed<B> {
    pub(super) fn new(body: B, debt: Debt) -> Self {
        Self { body, is_endless: false, debt }
    }

    /// One that ends when the process leaves. `alone`: nothing else can be answered on the connection meanwhile.
    pub(super) fn endless(body: B, debt: Debt, alone: bool) -> Self {
        debt.0.endless.begin(alone);
        Self { body, is_endless: true, debt }
    }
}

impl<B> Drop for Owed<B> {
    fn drop(&mut self) {
        if self.is_endless {
            self.debt.0.endless.end();
        }
    }
}

impl<B: Body + Unpin> Body for Owed<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.is_endless {
            self.debt.0.endless.take();
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
