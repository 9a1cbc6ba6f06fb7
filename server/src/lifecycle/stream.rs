//! A connection's socket, whatever it came through: TCP or a unix socket.

use std::{
    io,
    os::fd::OwnedFd,
    pin::Pin,
    task::{Context, Poll},
};

use rustix::net::{AddressFamily, sockopt};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

use crate::http::Sender;

/// A connected socket in this process's reactor.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Takes a connected socket that does not block.
    ///
    /// # Errors
    /// When it is of another family, or cannot be registered.
    pub(super) fn from_socket(socket: OwnedFd) -> io::Result<Self> {
        match sockopt::socket_domain(&socket)? {
            AddressFamily::INET | AddressFamily::INET6 => TcpStream::from_std(socket.into()).map(Self::Tcp),
            AddressFamily::UNIX => UnixStream::from_std(socket.into()).map(Self::Unix),
            other => Err(io::Error::other(format!("a connection of family {other:?}"))),
        }
    }

    /// Takes it out of the reactor.
    ///
    /// # Errors
    /// Those of `epoll_ctl(2)`.
    pub(super) fn into_socket(self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(stream) => stream.into_std().map(OwnedFd::from),
            Self::Unix(stream) => stream.into_std().map(OwnedFd::from),
        }
    }

    /// Answers are small and complete: waiting to fill a segment only delays them.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(super) fn set_nodelay(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nodelay(true),
            Self::Unix(_) => Ok(()),
        }
    }

    /// Who is at the other end. A unix socket has no address of its client, but the kernel knows his user.
    pub(super) fn sender(&self) -> Option<Sender> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok().map(|address| Sender::Address(address.ip())),
            Self::Unix(stream) => stream.peer_cred().ok().map(|client| Sender::User(client.uid())),
        }
    }

    /// Closed, it is reset. A unix socket has no such thing.
    #[cfg(debug_assertions)]
    pub(super) fn set_zero_linger(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_zero_linger(),
            Self::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }
}
