//! Messages with descriptors between two processes, over a unix socket that keeps message boundaries.
//!
//! A message is one packet: a JSON head, a zero byte, then raw bytes. `SOCK_SEQPACKET` delivers each packet
//! whole with its descriptors, so there is no framing to get wrong, and the end of the peer is an end of
//! file. Only processes of the same user are listened to (`SO_PEERCRED`), before a byte is believed.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rustix::{
    fs::{Mode, chmod, unlink},
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketAddrUnix, SocketFlags,
        SocketType, bind, connect, listen, recvmsg, sendmsg, shutdown, socket_with,
    },
};
use tokio::{
    io::Interest,
    net::{UnixListener, UnixStream},
};

use super::message::Message;
use crate::config::LISTENERS_MAX;

/// Largest packet: a connection's unread bytes (hyper's buffer and what was put back before it) and a head.
/// The kernel's default send buffer (`net.core.wmem_default`, 208 KiB) holds it.
const PACKET_BYTES_MAX: usize = 160 * 1024;

/// Most descriptors in one packet: the control socket, standard error, and the listeners.
pub(super) const DESCRIPTORS_MAX: usize = 2 + 2 * LISTENERS_MAX;

/// What the kernel takes in one packet (`SCM_MAX_FD`).
const _: () = assert!(DESCRIPTORS_MAX <= 253, "a packet must be small enough for the kernel");

/// Why a message did not get through.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the other process has gone")]
    Gone,
    #[error("use the socket between the processes")]
    Io(#[source] io::Error),
    #[error("understand the other process: {0}")]
    Protocol(String),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::Gone,
            _ => Self::Io(error),
        }
    }
}

/// A message as it arrived.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) message: Message,
    pub(super) bytes: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
}

/// One end of the socket between two processes. Copies share it.
///
/// tokio's `UnixStream` is only the socket's registration here; what is sent and received are packets.
#[derive(Debug, Clone)]
pub(super) struct Channel(Arc<End>);

#[derive(Debug)]
struct End {
    socket: UnixStream,
    /// Room for a packet, which is not asked for anew with each.
    room: Mutex<Vec<u8>>,
}

impl Channel {
    /// Reaches the process that listens at `path`.
    ///
    /// # Errors
    /// `NotFound` and `ConnectionRefused` mean that nobody listens.
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        let socket = seqpacket()?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        Self::of_same_user(UnixStream::from_std(socket.into())?)
    }

    fn of_same_user(socket: UnixStream) -> io::Result<Self> {
        if socket.peer_cred()?.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the peer is another user's process",
            ));
        }
        Ok(Self(Arc::new(End { socket, room: Mutex::default() })))
    }

    /// Sends one message; waits while the other side has too much unread.
    pub(super) async fn send(
        &self,
        message: &Message,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), Error> {
        let mut head = serde_json::to_vec(message).map_err(|error| Error::Protocol(error.to_string()))?;
        head.push(0);
        if head.len() + bytes.len() > PACKET_BYTES_MAX || descriptors.len() > DESCRIPTORS_MAX {
            return Err(Error::Protocol("the message is too large".to_owned()));
        }
        let socket = &self.0.socket;
        socket
            .async_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
                let mut ancillary = SendAncillaryBuffer::new(&mut space);
                if !descriptors.is_empty() {
                    ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
                }
                let parts = [IoSlice::new(&head), IoSlice::new(bytes)];
                Ok(sendmsg(socket, &parts, &mut ancillary, SendFlags::NOSIGNAL)?)
            })
            .await?;
        Ok(())
    }

    /// The same for a bare message. That the other side has gone is no error: what it has sent before is read in the
    /// next step, and that it has gone.
    pub(super) async fn tell(&self, message: &Message) -> Result<(), Error> {
        match self.send(message, &[], &[]).await {
            Err(Error::Gone) => Ok(()),
            told => told,
        }
    }

    /// From now on the other side cannot send anything more, and is told so when it tries. What it has sent before is
    /// received yet, and then its end.
    pub(super) fn refuse_more(&self) -> Result<(), Error> {
        Ok(shutdown(&self.0.socket, Shutdown::Read).map_err(io::Error::from)?)
    }

    /// Waits for the next message.
    pub(super) async fn receive(&self) -> Result<Received, Error> {
        let socket = &self.0.socket;
        let (packet, descriptors, flags) = socket
            .async_io(Interest::READABLE, || {
                let mut room = self.0.room.lock().unwrap_or_else(PoisonError::into_inner);
                room.resize(PACKET_BYTES_MAX, 0);
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
                let mut ancillary = RecvAncillaryBuffer::new(&mut space);
                let mut parts = [IoSliceMut::new(&mut room)];
                let mut next = || recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC);
                let got = match next() {
                    // A peer that has left something unread; told once, before its own last messages.
                    Err(Errno::CONNRESET) => next(),
                    got => got,
                }?;
                let descriptors: Vec<OwnedFd> = ancillary
                    .drain()
                    .filter_map(|message| match message {
                        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
                        _ => None,
                    })
                    .flatten()
                    .collect();
                Ok((room.get(..got.bytes).unwrap_or_default().to_vec(), descriptors, got.flags))
            })
            .await?;
        if packet.is_empty() {
            return Err(Error::Gone);
        }
        if flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(Error::Protocol(
                "a message was cut: too large, or too few descriptors left".to_owned(),
            ));
        }
        let end = packet.iter().position(|byte| *byte == 0).unwrap_or(packet.len());
        let message = serde_json::from_slice(packet.get(..end).unwrap_or_default())
            .map_err(|error| Error::Protocol(error.to_string()))?;
        let bytes = packet.get(end + 1..).unwrap_or_default().to_vec();
        Ok(Received { message, bytes, descriptors })
    }
}

/// The socket at which a successor reports. It is handed on like the listeners, so its path is never
/// unbound while a process serves.
#[derive(Debug)]
pub(super) struct ControlSocket(UnixListener);

impl ControlSocket {
    /// Listens at `path`; what a dead process left there is replaced.
    ///
    /// # Errors
    /// When the path cannot be bound, for example because its folder is missing or it is too long.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        let socket = seqpacket()?;
        let address = SocketAddrUnix::new(path)?;
        match unlink(path) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        bind(&socket, &address)?;
        chmod(path, Mode::RUSR | Mode::WUSR)?;
        listen(&socket, 16)?;
        Ok(Self(UnixListener::from_std(socket.into())?))
    }

    /// Removes what was bound at `path`, so that nobody waits there for an answer.
    pub(super) fn remove(path: &Path) {
        // Gone already is as good.
        _ = unlink(path);
    }

    /// Takes over the socket of the predecessor.
    ///
    /// # Errors
    /// When it cannot be registered, that is, when no descriptor is left.
    pub(super) fn inherited(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self(UnixListener::from_std(socket.into())?))
    }

    /// Waits for the next process that reports. One of another user is turned away with an error.
    pub(super) async fn accept(&self) -> io::Result<Channel> {
        let (socket, _) = self.0.accept().await?;
        Channel::of_same_user(socket)
    }
}

impl AsFd for ControlSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn seqpacket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};

    use super::*;
    use crate::http::Side;

    async fn pair() -> (Channel, Channel, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let control = ControlSocket::bind(&path).unwrap();
        let near = Channel::connect(&path).unwrap();
        let far = control.accept().await.unwrap();
        (near, far, folder)
    }

    #[tokio::test]
    async fn a_message_arrives_whole_with_bytes_and_descriptor() {
        let (near, far, _folder) = pair().await;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"the same file").unwrap();
        let message = Message::Connection { id: 7, side: Side::Public };
        let raw = vec![0_u8; 100_000];
        near.send(&message, &raw, &[file.as_fd()]).await.unwrap();
        let received = far.receive().await.unwrap();
        assert_eq!(received.message, message);
        assert_eq!(received.bytes, raw);
        let mut same = std::fs::File::from(received.descriptors.into_iter().next().unwrap());
        same.rewind().unwrap();
        let mut text = String::new();
        same.read_to_string(&mut text).unwrap();
        assert_eq!(text, "the same file");
    }

    #[tokio::test]
    async fn the_end_of_the_peer_is_told_after_its_last_message() {
        let (near, far, _folder) = pair().await;
        near.send(&Message::Stopped, &[], &[]).await.unwrap();
        drop(near);
        assert_eq!(far.receive().await.unwrap().message, Message::Stopped);
        assert!(matches!(far.receive().await, Err(Error::Gone)));
        assert!(matches!(far.send(&Message::Ready, &[], &[]).await, Err(Error::Gone)));
    }

    #[tokio::test]
    async fn the_last_message_of_a_peer_that_has_left_something_unread_is_received() {
        let (near, far, _folder) = pair().await;
        far.send(&Message::Ready, &[], &[]).await.unwrap();
        near.send(&Message::Refuse { reason: "it stops".to_owned() }, &[], &[]).await.unwrap();
        drop(near);
        assert_eq!(far.receive().await.unwrap().message, Message::Refuse { reason: "it stops".to_owned() });
        assert!(matches!(far.receive().await, Err(Error::Gone)));
    }

    #[tokio::test]
    async fn who_refuses_more_hears_what_was_sent_before_and_the_other_one_is_told() {
        let (near, far, _folder) = pair().await;
        near.send(&Message::Ready, &[], &[]).await.unwrap();
        far.refuse_more().unwrap();
        assert!(matches!(near.send(&Message::Taken, &[], &[]).await, Err(Error::Gone)));
        assert_eq!(far.receive().await.unwrap().message, Message::Ready);
        assert!(matches!(far.receive().await, Err(Error::Gone)));
        far.send(&Message::Committed, &[], &[]).await.unwrap();
        assert_eq!(near.receive().await.unwrap().message, Message::Committed);
    }

    #[tokio::test]
    async fn what_is_too_large_is_refused_before_it_is_sent() {
        let (near, _far, _folder) = pair().await;
        let refused = near.send(&Message::Stopped, &vec![1; PACKET_BYTES_MAX], &[]).await;
        assert!(matches!(refused, Err(Error::Protocol(_))));
    }

    #[tokio::test]
    async fn garbage_is_a_protocol_error_not_a_message() {
        let (near, far, _folder) = pair().await;
        rustix::net::send(&near.0.socket, b"GET / HTTP/1.1\r\n\r\n", SendFlags::empty()).unwrap();
        assert!(matches!(far.receive().await, Err(Error::Protocol(_))));
    }
}
