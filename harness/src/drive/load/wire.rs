//! The bytes of one connection, plain or through TLS.
//!
//! TLS is rustls without a runtime: its records go through the same non-blocking socket, read and written
//! when the sender comes by. Nothing of a request is handed to it before its handshake is done, so that a
//! failure is known to be of the handshake or of the request.

use std::{
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    io::{Errno, ioctl_fionread},
    net::{RecvFlags, SendFlags, recv, send, sockopt::socket_error},
};
use rustls::ClientConnection;

pub(super) struct Wire {
    socket: OwnedFd,
    tls: Option<Box<ClientConnection>>,
    /// The peer has taken part: TCP's handshake is done.
    connected: bool,
}

/// What receiving brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    Bytes(usize),
    /// The end of the stream. `announced`: the peer said that it was the end; TLS without `close_notify` may
    /// have been cut off by anyone (RFC 8446 section 6.1), and plain TCP cannot tell.
    End {
        announced: bool,
    },
}

/// Why bytes do not pass. [`Errno::AGAIN`] means for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    Errno(Errno),
    /// The peer does not speak TLS, not ours, or is not whom we trust.
    Tls,
}

impl Wire {
    pub(super) fn new(socket: OwnedFd, tls: Option<Box<ClientConnection>>) -> Self {
        Self { socket, tls, connected: false }
    }

    pub(super) fn connected(&self) -> bool {
        self.connected
    }

    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// TLS is spoken, and its handshake is not done.
    pub(super) fn shakes_hands(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// Bytes for a request can be sent.
    pub(super) fn ready(&self) -> bool {
        self.connected && !self.shakes_hands()
    }

    /// Bytes that were taken have not reached the socket.
    pub(super) fn pending(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Asks whether the connection has come about, and begins TLS's handshake when it has.
    pub(super) fn confirm(&mut self) -> Result<(), Broken> {
        let confirmed = socket_error(&self.socket).and_then(|error| error);
        confirmed.map_err(|errno| self.broken(errno))?;
        self.connected = true;
        match self.flush() {
            Err(Errno::AGAIN) => Ok(()),
            flushed => flushed.map_err(|errno| self.broken(errno)),
        }
    }

    /// Sends as much as can be; how many bytes were taken.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        if self.tls.is_some() {
            return self.send_tls(bytes);
        }
        let sent = send(&self.socket, bytes, SendFlags::NOSIGNAL).map_err(|errno| self.broken(errno))?;
        self.connected = true;
        Ok(sent)
    }

    /// Receives what is there, no more than the buffer takes. Under TLS the buffer also bounds what is taken
    /// from the socket at once.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Result<Received, Broken> {
        if self.tls.is_some() {
            return self.receive_tls(buffer);
        }
        match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => Ok(Received::End { announced: true }),
            Ok((received, _)) => Ok(Received::Bytes(received)),
            Err(errno) => Err(self.broken(errno)),
        }
    }

    /// How many bytes wait in the socket.
    pub(super) fn there(&self) -> usize {
        ioctl_fionread(&self.socket).map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// Tells the peer that nothing more will come, as far as that is possible without waiting.
    pub(super) fn say_goodbye(&mut self) {
        if let Some(tls) = self.tls.as_mut().filter(|tls| !tls.is_handshaking()) {
            tls.send_close_notify();
            // It is a courtesy: whoever does not take it sees the end of the stream behind it.
            let _gone = self.flush();
        }
    }

    fn send_tls(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        self.flush().map_err(|errno| self.broken(errno))?;
        let Some(tls) = self.tls.as_mut().filter(|tls| !tls.is_handshaking()) else {
            return Err(Broken::Errno(Errno::AGAIN));
        };
        let taken = tls.writer().write(bytes).map_err(|_| Broken::Tls)?;
        match self.flush() {
            Err(errno) if errno != Errno::AGAIN => Err(self.broken(errno)),
            _ if taken == 0 && !bytes.is_empty() => Err(Broken::Errno(Errno::AGAIN)),
            _ => Ok(taken),
        }
    }

    fn receive_tls(&mut self, buffer: &mut [u8]) -> Result<Received, Broken> {
        loop {
            let tls = self.tls.as_mut().expect("it must be asked only where TLS is spoken");
            match tls.reader().read(buffer) {
                Ok(0) => return Ok(Received::End { announced: true }),
                Ok(received) => return Ok(Received::Bytes(received)),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(Received::End { announced: false });
                }
                // Nothing decrypted is left.
                Err(_) => {}
            }
            let most = if tls.is_handshaking() { u64::MAX } else { buffer.len() as u64 };
            match tls.read_tls(&mut Socket(&self.socket).take(most)) {
                Ok(0) if tls.is_handshaking() => return Ok(Received::End { announced: false }),
                Ok(_) => self.connected = true,
                Err(error) => return Err(self.broken(errno(&error))),
            }
            let processed = tls.process_new_packets();
            // An answer of the handshake or an alert; what the socket does not take now goes out later.
            let flushed = self.flush();
            processed.map_err(|_| Broken::Tls)?;
            match flushed {
                Err(errno) if errno != Errno::AGAIN && self.shakes_hands() => return Err(self.broken(errno)),
                _ => {}
            }
        }
    }

    /// TCP's handshake was done when a reset comes, even before anything was sent.
    fn broken(&mut self, errno: Errno) -> Broken {
        self.connected |= matches!(errno, Errno::CONNRESET | Errno::PIPE);
        Broken::Errno(errno)
    }

    /// Brings what TLS has to say to the socket.
    fn flush(&mut self) -> Result<(), Errno> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_write() {
            tls.write_tls(&mut Socket(&self.socket)).map_err(|error| errno(&error))?;
            self.connected = true;
        }
        Ok(())
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("socket", &self.socket).field("connected", &self.connected).finish()
    }
}

/// The socket as rustls reads and writes it.
struct Socket<'a>(&'a OwnedFd);

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.0, &mut *buffer, RecvFlags::empty())?.0)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(self.0, bytes, SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
