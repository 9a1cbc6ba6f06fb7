//! Moves live connections to the successor, one message each, and keeps a copy until it is acknowledged.

use std::{
    collections::VecDeque,
    io,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{sync::mpsc, time::timeout};

use super::{
    channel::{self, Channel},
    connections::{Directive, Parcel},
    life::Life,
    message::Message,
};
use crate::http::Side;

/// Connections that are sent and not acknowledged. The kernel limits descriptors in flight between
/// processes (`RLIMIT_NOFILE`, error `ETOOMANYREFS`), and each is a copy that we still hold.
const WINDOW: usize = 128;

/// How long the successor may take to acknowledge one.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(5);

/// When the transfer is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Only connections are left that wait for the outcome of the upgrade.
    Quiet,
    /// None is left.
    Empty,
}

/// What was moved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moved {
    pub(super) handed_over: u32,
    /// Until the last of the connections that were idle at the start had gone.
    pub(super) idle_moved: Duration,
}

/// The successor failed in the middle. What it had not acknowledged is served here again.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) detail: String,
    /// Acknowledged before, and lost with it.
    pub(super) handed_over: u32,
}

struct Sent {
    id: u64,
    side: Side,
    stream: std::net::TcpStream,
    bytes: Bytes,
    idle: bool,
}

/// Moves connections as they come to a boundary. After `limit` what is not at one is cut.
pub(super) async fn run(
    life: &Life,
    channel: &Channel,
    until: Until,
    limit: Duration,
) -> Result<Moved, Failure> {
    let mut parcels = life.parcels.lock().await;
    let mut transfer = Transfer {
        channel,
        began: Instant::now(),
        next_id: 1,
        sent: VecDeque::new(),
        handed_over: 0,
        idle_moved: Duration::ZERO,
    };
    let result = transfer.run(life, &mut parcels, until, limit).await;
    life.connections.metrics().connections_handed_over.inc_by(transfer.handed_over.into());
    match result {
        Ok(()) => Ok(Moved { handed_over: transfer.handed_over, idle_moved: transfer.idle_moved }),
        Err(error) => {
            transfer.take_back(life, &mut parcels);
            Err(Failure { detail: error.to_string(), handed_over: transfer.handed_over })
        }
    }
}

struct Transfer<'a> {
    channel: &'a Channel,
    began: Instant,
    next_id: u64,
    sent: VecDeque<Sent>,
    handed_over: u32,
    idle_moved: Duration,
}

impl Transfer<'_> {
    async fn run(
        &mut self,
        life: &Life,
        parcels: &mut mpsc::UnboundedReceiver<Parcel>,
        until: Until,
        limit: Duration,
    ) -> Result<(), channel::Error> {
        let over = async {
            match until {
                Until::Quiet => life.connections.quiet(limit).await,
                Until::Empty => life.connections.gone(limit).await,
            }
        };
        let mut over = std::pin::pin!(over);
        let mut is_over = false;
        loop {
            // A connection's task gives its parcel away before it is counted as ended, so after `over`
            // nothing is on its way that is not in the channel.
            if is_over && self.sent.is_empty() && parcels.is_empty() {
                return Ok(());
            }
            tokio::select! {
                biased;
                received = acknowledged(self.channel, !self.sent.is_empty()) => {
                    self.acknowledge(&received?.message)?;
                }
                parcel = parcels.recv(), if self.sent.len() < WINDOW => {
                    if let Some(parcel) = parcel {
                        self.send(parcel).await?;
                    }
                }
                () = &mut over, if !is_over => is_over = true,
            }
        }
    }

    async fn send(&mut self, parcel: Parcel) -> Result<(), channel::Error> {
        let Parcel { side, stream, bytes, idle } = parcel;
        // Takes it out of our reactor, before another process puts it into its own.
        let stream = stream.into_std().map_err(channel::Error::Io)?;
        let id = self.next_id;
        self.next_id += 1;
        let message = Message::Connection { id, side };
        self.sent.push_back(Sent { id, side, stream, bytes, idle });
        let Some(sent) = self.sent.back() else { return Ok(()) };
        let descriptors = [sent.stream.as_fd()];
        in_time(self.channel.send(&message, &sent.bytes, &descriptors)).await
    }

    fn acknowledge(&mut self, message: &Message) -> Result<(), channel::Error> {
        let &Message::Adopted { through } = message else {
            return Err(channel::Error::Protocol(format!("unexpected message {message:?}")));
        };
        while let Some(sent) = self.sent.pop_front_if(|sent| sent.id <= through) {
            self.handed_over += 1;
            if sent.idle {
                self.idle_moved = self.began.elapsed();
            }
        }
        Ok(())
    }

    /// Serves again what was not acknowledged, and what had not even been sent.
    fn take_back(&mut self, life: &Life, parcels: &mut mpsc::UnboundedReceiver<Parcel>) {
        life.connections.direct(Directive::Serve);
        for sent in self.sent.drain(..) {
            match tokio::net::TcpStream::from_std(sent.stream) {
                Ok(stream) => life.connections.serve(stream, sent.bytes, sent.side),
                Err(error) => tracing::warn!(%error, "a connection could not be taken back"),
            }
        }
        while let Ok(parcel) = parcels.try_recv() {
            life.connections.serve(parcel.stream, parcel.bytes, parcel.side);
        }
    }
}

async fn acknowledged(channel: &Channel, awaited: bool) -> Result<channel::Received, channel::Error> {
    if awaited { in_time(channel.receive()).await } else { channel.receive().await }
}

async fn in_time<T>(step: impl Future<Output = Result<T, channel::Error>>) -> Result<T, channel::Error> {
    timeout(ACKNOWLEDGE_TIMEOUT, step).await.unwrap_or_else(|_| {
        Err(channel::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "the new process does not answer")))
    })
}
