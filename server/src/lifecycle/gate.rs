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
//!   latch: once it is closed no connection begins another request, noticed or not;
//! - [`Owed`]: a response body that tells the ledger when hyper has taken its last byte.
//!
//! Invariant: [`Ledger::at_boundary`] is true only if hyper's write buffer is empty and no request is in
//! flight. hyper calls `poll_flush` of the socket only after its own buffer is written out
//! (`proto/h1/io.rs`), and drops the response body only after its last frame is in that buffer.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Nothing is owed: the connection is idle.
const IDLE: u8 = 0;
/// A request has been parsed and its answer is not complete.
const IN_FLIGHT: u8 = 1;
/// The answer is complete in hyper's write buffer, but not flushed.
const BUFFERED: u8 = 2;

/// What one connection owes its client.
///
/// All parts of a connection run in one task, so the atomics only make it `Sync`; relaxed order is enough.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    debt: AtomicU8,
    /// The body of the request in flight has not been read to its end.
    body_open: AtomicBool,
    /// The request in flight waits for the outcome of the upgrade that is going on.
    asks_upgrade: AtomicBool,
}

impl Ledger {
    /// A request was parsed; `has_body`: its body is still to be read.
    pub(super) fn begin(&self, has_body: bool, asks_upgrade: bool) {
        self.debt.store(IN_FLIGHT, Ordering::Relaxed);
        self.body_open.store(has_body, Ordering::Relaxed);
        self.asks_upgrade.store(asks_upgrade, Ordering::Relaxed);
    }

    /// The request's body was read to its end.
    pub(super) fn body_read(&self) {
        self.body_open.store(false, Ordering::Relaxed);
    }

    fn answered(&self) {
        self.debt.store(BUFFERED, Ordering::Relaxed);
    }

    fn flushed(&self) {
        let _other_debt = self.debt.compare_exchange(BUFFERED, IDLE, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The connection may leave: everything parsed is answered and everything answered is on the wire.
    pub(super) fn at_boundary(&self) -> bool {
        self.debt.load(Ordering::Relaxed) == IDLE
    }

    /// The connection cannot leave before the upgrade is over, because its client waits for the outcome.
    pub(super) fn asks_upgrade(&self) -> bool {
        self.debt.load(Ordering::Relaxed) != IDLE && self.asks_upgrade.load(Ordering::Relaxed)
    }
}

/// Closes every gate of the process at once.
#[derive(Debug, Clone, Default)]
pub(super) struct Latch(Arc<AtomicBool>);

impl Latch {
    /// Closed, hyper is given nothing but the rest of a body that it is reading.
    pub(super) fn close(&self, closed: bool) {
        self.0.store(closed, Ordering::Release);
    }

    fn is_closed(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A connection's socket with bytes that were read before put back in front of it.
#[derive(Debug)]
pub(super) struct Gate {
    front: Bytes,
    stream: TokioIo<TcpStream>,
    ledger: Arc<Ledger>,
    latch: Latch,
}

impl Gate {
    pub(super) fn new(front: Bytes, stream: TcpStream, ledger: Arc<Ledger>, latch: Latch) -> Self {
        Self { front, stream: TokioIo::new(stream), ledger, latch }
    }

    /// The socket, and what of the bytes in front was not read.
    pub(super) fn into_parts(self) -> (TcpStream, Bytes) {
        (self.stream.into_inner(), self.front)
    }
}

impl Read for Gate {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.latch.is_closed() && !self.ledger.body_open.load(Ordering::Relaxed) {
            // No waker is kept: the task is woken by what is in flight, or takes the connection apart.
            return Poll::Pending;
        }
        if self.front.has_remaining() {
            let taken = self.front.len().min(buf.remaining());
            buf.put_slice(&self.front.split_to(taken));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for Gate {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.ledger.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}

/// A response body that settles the ledger when it is dropped, which hyper does once it has the last byte.
#[derive(Debug)]
pub(super) struct Owed<B> {
    body: B,
    ledger: Arc<Ledger>,
}

impl<B> Owed<B> {
    pub(super) fn new(body: B, ledger: Arc<Ledger>) -> Self {
        Self { body, ledger }
    }
}

impl<B: Body + Unpin> Body for Owed<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Owed<B> {
    fn drop(&mut self) {
        self.ledger.answered();
    }
}
