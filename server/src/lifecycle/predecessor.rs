//! The new process's side of taking over: greets the old one, takes its sockets, later its connections.

use std::{io, os::fd::OwnedFd, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::timeout;

use super::{
    UpgradeReport,
    carrying::{self, Pieces},
    channel::{self, Channel, ControlSocket},
    connections::Connections,
    listeners::Listener,
    message::{Hello, Message, PROTOCOL, Welcome},
    stream::Stream,
};
#[cfg(debug_assertions)]
use crate::faults::{self, Fault};
use crate::{
    config::Strategy,
    http::Side,
    state::{Digests, Generation},
};

/// Environment variable with the ticket that an upgrade gives to the process it starts.
pub(super) const TICKET_VARIABLE: &str = "SECKILL_UPGRADE_TICKET";

/// Why this process cannot take over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reach the process that serves now at {0}")]
    Connect(String, #[source] io::Error),
    #[error("talk to the process that serves now")]
    Channel(#[from] channel::Error),
    #[error("take over: the process that serves now refuses: {0}")]
    Refused(String),
    #[error("take over: the process that serves now does not answer; is it stopped?")]
    Silent,
    #[error("take over: the process that served ended before it answered; start this one again")]
    Ended,
    #[error("take over: {0}")]
    Protocol(String),
    #[error("use an inherited socket")]
    Socket(#[source] io::Error),
}

/// A process that serves and has agreed to be replaced by this one.
#[derive(Debug)]
pub(super) struct Predecessor {
    pub(super) channel: Channel,
    pub(super) welcome: Welcome,
    pub(super) control: ControlSocket,
    pub(super) listeners: Vec<Listener>,
}

impl Predecessor {
    /// Greets the process that serves now and waits `patience` for its answer. `None`: there is none.
    pub(super) async fn find(
        path: &Path,
        strategy: Strategy,
        version: &str,
        descriptors: u64,
        patience: Duration,
    ) -> Result<Option<Self>, Error> {
        let ticket = std::env::var(TICKET_VARIABLE).ok();
        let channel = match Channel::connect(path) {
            Ok(channel) => channel,
            Err(error)
                if ticket.is_none()
                    && matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(Error::Connect(path.display().to_string(), error)),
        };
        let hello = Hello {
            protocol: PROTOCOL,
            pid: std::process::id(),
            version: version.to_owned(),
            strategy,
            state: carrying::version(),
            ticket,
            descriptors: Some(descriptors),
            batches: true,
        };
        channel.send(&Message::Hello(hello), &[], &[]).await?;
        let answer = match timeout(patience, channel.receive()).await {
            Ok(Err(channel::Error::Gone)) => return Err(Error::Ended),
            Ok(answer) => answer?,
            Err(_) => return Err(Error::Silent),
        };
        match answer.message {
            Message::Welcome(welcome) => Self::welcomed(channel, welcome, answer.descriptors).map(Some),
            Message::Refuse { reason } => Err(Error::Refused(reason)),
            other => Err(Error::Protocol(format!("unexpected answer {other:?}"))),
        }
    }

    fn welcomed(channel: Channel, welcome: Welcome, descriptors: Vec<OwnedFd>) -> Result<Self, Error> {
        let expected = 1 + usize::from(welcome.stderr) + welcome.listeners.len();
        if descriptors.len() != expected {
            let got = descriptors.len();
            return Err(Error::Protocol(format!("{expected} descriptors announced, {got} arrived")));
        }
        let mut descriptors = descriptors.into_iter();
        let mut next =
            || descriptors.next().ok_or_else(|| Error::Protocol("a descriptor is missing".to_owned()));
        let control = ControlSocket::inherited(next()?).map_err(Error::Socket)?;
        if welcome.stderr {
            rustix::stdio::dup2_stderr(next()?).map_err(|error| Error::Socket(error.into()))?;
        }
        let listeners = welcome
            .listeners
            .iter()
            .map(|side| Listener::inherited(*side, next()?).map_err(Error::Socket))
            .collect::<Result<_, _>>()?;
        Ok(Self { channel, welcome, control, listeners })
    }
}

/// What the old process wants next.
#[derive(Debug, PartialEq)]
pub(super) enum Turn {
    /// Serve from now on, and go on from what the old process served last.
    Commit { generation: Generation, digests: Digests },
    /// A document with what the old process has in memory, whole.
    State(Vec<u8>),
    /// No request begins in the old process any more.
    Stopped,
    /// Everything is handed over, and that is what became of the upgrade.
    Done(Option<Box<UpgradeReport>>),
    /// It ended without a word: whatever it left is ours.
    Gone,
    /// It serves on; this process has to go.
    Refused(String),
}

/// Serves the connections that the old process sends, until it wants something else.
///
/// # Errors
/// When it does not keep to the protocol, or a socket cannot be used.
pub(super) async fn adopt(channel: &Channel, connections: &Arc<Connections>) -> Result<Turn, Error> {
    let mut pieces = Pieces::default();
    loop {
        let received = match channel.receive().await {
            Ok(received) => received,
            Err(channel::Error::Gone) => return Ok(Turn::Gone),
            Err(error) => return Err(error.into()),
        };
        match received.message {
            Message::Connection { id, side } => {
                take(channel, connections, id, &[side], received.bytes, received.descriptors).await?;
            }
            Message::Connections { first, sides } => {
                take(channel, connections, first, &sides, Vec::new(), received.descriptors).await?;
            }
            Message::Commit { generation, digests } => return Ok(Turn::Commit { generation, digests }),
            Message::State { more } => {
                if let Some(document) = pieces.add(&received.bytes, more)? {
                    return Ok(Turn::State(document));
                }
            }
            Message::Stopped => return Ok(Turn::Stopped),
            Message::Done { report } => return Ok(Turn::Done(report)),
            Message::Refuse { reason } => return Ok(Turn::Refused(reason)),
            other => return Err(Error::Protocol(format!("unexpected message {other:?}"))),
        }
    }
}

/// Serves connections that have arrived, the first of them with what was read of it.
async fn take(
    channel: &Channel,
    connections: &Arc<Connections>,
    first: u64,
    sides: &[Side],
    bytes: Vec<u8>,
    sockets: Vec<OwnedFd>,
) -> Result<(), Error> {
    if sides.is_empty() || sockets.len() != sides.len() {
        return Err(Error::Protocol("a connection came without its socket".to_owned()));
    }
    let streams = sockets.into_iter().map(|socket| {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Stream::from_socket(socket)
    });
    let streams = streams.collect::<Result<Vec<_>, _>>().map_err(Error::Socket)?;
    #[cfg(debug_assertions)]
    faults::hang(if first == 0 { Fault::HangProbe } else { Fault::HangTransfer }).await;
    let through = first + (sides.len() as u64 - 1);
    // Said before the first byte is read: what the old process takes back is untouched.
    channel.tell(&Message::Adopted { through }).await?;
    let mut bytes = Bytes::from(bytes);
    for (stream, side) in streams.into_iter().zip(sides) {
        connections.metrics().connections_adopted.inc();
        connections.serve(stream, std::mem::take(&mut bytes), *side);
    }
    Ok(())
}
