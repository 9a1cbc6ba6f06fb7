//! The new process's side of taking over: greets the old one, takes its sockets, later its connections.

use std::{io, os::fd::OwnedFd, path::Path, time::Duration};

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
    Commit { generation: Generation, digests: Digests, closes: Option<Duration> },
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

/// Connections that came when the old process took no acknowledgement any more. They are its own, unless it is done or
/// dead.
#[derive(Debug, Default)]
pub(super) struct Held(Vec<(Stream, Bytes, Side)>);

impl Held {
    /// Serves them here: there is nobody else who could.
    pub(super) fn serve(self, connections: &Connections) {
        for (stream, bytes, side) in self.0 {
            serve(connections, stream, bytes, side);
        }
    }
}

fn serve(connections: &Connections, stream: Stream, bytes: Bytes, side: Side) {
    connections.metrics().connections_adopted.inc();
    connections.serve(stream, bytes, side);
}

/// Serves the connections that the old process sends, until it wants something else.
///
/// # Errors
/// When it does not keep to the protocol, or a socket cannot be used.
pub(super) async fn adopt(
    channel: &Channel,
    connections: &Connections,
    held: &mut Held,
) -> Result<Turn, Error> {
    let mut pieces = Pieces::default();
    loop {
        let received = match channel.receive().await {
            Ok(received) => received,
            Err(channel::Error::Gone) => return Ok(Turn::Gone),
            Err(error) => return Err(error.into()),
        };
        match received.message {
            Message::Connection { id, side } => {
                let arrived = arrive(&[side], received.bytes, received.descriptors)?;
                take(channel, connections, held, id, arrived).await?;
            }
            Message::Connections { first, sides } => {
                let arrived = arrive(&sides, Vec::new(), received.descriptors)?;
                take(channel, connections, held, first, arrived).await?;
            }
            Message::Commit { generation, digests, closes_ms } => {
                let closes = closes_ms.map(Duration::from_millis);
                return Ok(Turn::Commit { generation, digests, closes });
            }
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

/// The connections of one message, the first of them with what was read of it.
fn arrive(sides: &[Side], bytes: Vec<u8>, sockets: Vec<OwnedFd>) -> Result<Held, Error> {
    if sides.is_empty() || sockets.len() != sides.len() {
        return Err(Error::Protocol("a connection came without its socket".to_owned()));
    }
    let mut bytes = Bytes::from(bytes);
    let arrived = sockets.into_iter().zip(sides).map(|(socket, side)| {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok((Stream::from_socket(socket)?, std::mem::take(&mut bytes), *side))
    });
    arrived.collect::<io::Result<_>>().map(Held).map_err(Error::Socket)
}

/// Serves connections that have arrived, from number `first` on, if they are this process's to serve.
async fn take(
    channel: &Channel,
    connections: &Connections,
    held: &mut Held,
    first: u64,
    arrived: Held,
) -> Result<(), Error> {
    #[cfg(debug_assertions)]
    faults::hang(if first == 0 { Fault::HangProbe } else { Fault::HangTransfer }).await;
    let through = first + (arrived.0.len() as u64 - 1);
    // Said before the first byte is read: what the old process takes back is untouched.
    match channel.send(&Message::Adopted { through }, &[], &[]).await {
        Ok(()) => arrived.serve(connections),
        Err(channel::Error::Gone) => held.0.extend(arrived.0),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
