//! The bytes of a connection, watched: what became of its socket, and in which order it is read and written.
//!
//! The library tells the streams of a connection that has ended nothing but "broken pipe"; whether it was an
//! end in order or a reset is seen here.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{drive::load::clients::desk::io_cause, observe::Cause};

/// What is known of a connection's socket.
#[derive(Debug, Default)]
pub(super) struct Fate {
    ended: Cell<Option<Cause>>,
    /// A request was begun, and is to be written before anything more is read.
    write_first: Cell<bool>,
}

impl Fate {
    /// How the socket ended, if it did.
    pub(super) fn ended(&self) -> Option<Cause> {
        self.ended.get()
    }

    /// Has the next look at the socket write and not read.
    ///
    /// A server that leaves announces it, asks for a sign of life, and takes what came before the answer to
    /// it (RFC 9113 section 6.8). The library gives that answer before it writes the requests that were
    /// begun meanwhile; they would be lost by our own order of writing.
    pub(super) fn write_first(&self) {
        self.write_first.set(true);
    }

    fn note(&self, cause: Cause) {
        if self.ended.get().is_none() {
            self.ended.set(Some(cause));
        }
    }
}

/// A stream of bytes whose fate is noted.
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    fate: Rc<Fate>,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, fate: Rc<Fate>) -> Self {
        Self { stream, fate }
    }

    fn watch<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.fate.note(io_cause(error.kind()));
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.fate.write_first.take() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        if result.is_ok() && buffer.filled().len() == before && buffer.remaining() > 0 {
            self.fate.note(Cause::Eof);
        }
        Poll::Ready(self.watch(result))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        Poll::Ready(self.watch(result))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices));
        Poll::Ready(self.watch(result))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
