//! Moves live connections to the successor, and keeps a copy of each until it is acknowledged.
//!
//! One that was read of goes in a message of its own with its bytes, others go together, as many as wait.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{sync::mpsc, time::timeout};

use super::{
    channel::{self, Channel},
    connections::Parcel,
    life::Life,
    message::Message,
    stream::Stream,
};
use crate::http::Side;

/// Connections that are sent and not acknowledged. The kernel limits descriptors in flight between
/// processes (`RLIMIT_NOFILE`, error `ETOOMANYREFS`), and each is a copy that we still hold.
const WINDOW: usize = 256;

/// Connections in one message.
const BATCH: usize = 64;
const _: () = assert!(BATCH <= channel::DESCRIPTORS_MAX, "a batch must fit into one message");

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

/// The successor failed in the middle.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: channel::Error,
    /// What it had not acknowledged. Not to be served here before its end is certain: it may only be slow.
    pub(super) back: Vec<Parcel>,
    /// Acknowledged before, and lost with it.
    pub(super) handed_over: u32,
}

struct Sent {
    id: u64,
    side: Side,
    socket: OwnedFd,
    bytes: Bytes,
    idle: bool,
}

impl Sent {
    fn back(self) -> Option<Parcel> {
        let Self { side, socket, bytes, idle, .. } = self;
        Stream::from_socket(socket)
            .inspect_err(|error| tracing::warn!(%error, "a connection cannot be taken back"))
            .map(|stream| Parcel { side, stream, bytes, idle })
            .ok()
    }
}

/// Moves connections as they come to a boundary. After `limit` what is not at one is cut.
pub(super) async fn run(
    life: &Life,
    channel: &Channel,
    until: Until,
    limit: Duration,
    batches: bool,
) -> Result<Moved, Failure> {
    let mut parcels = life.parcels.lock().await;
    let mut transfer = Transfer {
        channel,
        batch: if batches { BATCH } else { 1 },
        began: Instant::now(),
        next_id: 1,
        sent: VecDeque::new(),
        handed_over: 0,
        idle_moved: Duration::ZERO,
        patience: life.config.upgrade.transfer_timeout,
    };
    let result = transfer.run(life, &mut parcels, until, limit).await;
    life.connections.metrics().connections_handed_over.inc_by(transfer.handed_over.into());
    match result {
        Ok(()) => Ok(Moved { handed_over: transfer.handed_over, idle_moved: transfer.idle_moved }),
        Err(error) => {
            transfer.settle().await;
            let back = transfer.sent.into_iter().filter_map(Sent::back).collect();
            Err(Failure { error, back, handed_over: transfer.handed_over })
        }
    }
}

struct Transfer<'a> {
    channel: &'a Channel,
    batch: usize,
    began: Instant,
    next_id: u64,
    sent: VecDeque<Sent>,
    handed_over: u32,
    idle_moved: Duration,
    /// How long the successor may take to acknowledge one.
    patience: Duration,
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
                received = acknowledged(self.channel, !self.sent.is_empty(), self.patience) => {
                    self.acknowledge(&received?.message)?;
                }
                parcel = parcels.recv(), if self.sent.len() < WINDOW => {
                    let others = std::iter::from_fn(|| parcels.try_recv().ok()).take(self.batch - 1);
                    let batch: Vec<Parcel> = parcel.into_iter().chain(others).collect();
                    self.send_all(batch).await?;
                }
                () = &mut over, if !is_over => is_over = true,
            }
        }
    }

    /// What is acknowledged by now is the successor's, and nothing will be any more. One that was stopped, and goes on,
    /// finds connections in its socket that are served here again; it cannot acknowledge them, and leaves them alone.
    async fn settle(&mut self) {
        if let Err(error) = self.channel.refuse_more() {
            tracing::error!(%error, "the new process may take connections that are served here again");
            return;
        }
        while let Ok(received) = self.channel.receive().await {
            // Of anything else it can be asked no more.
            _ = self.acknowledge(&received.message);
        }
    }

    async fn send_all(&mut self, batch: Vec<Parcel>) -> Result<(), channel::Error> {
        let (whole, plain): (Vec<_>, Vec<_>) = batch.into_iter().partition(|parcel| !parcel.bytes.is_empty());
        // All of them are ours until they are acknowledged, whichever message fails.
        let whole = whole.into_iter().map(|parcel| self.keep(parcel)).collect::<Result<Vec<u64>, _>>()?;
        let plain = plain.into_iter().map(|parcel| self.keep(parcel)).collect::<Result<Vec<u64>, _>>()?;
        for id in whole {
            self.send_one(id).await?;
        }
        match plain.as_slice() {
            [] => Ok(()),
            [id] => self.send_one(*id).await,
            [first, ..] => self.send_together(*first).await,
        }
    }

    /// Takes it out of our reactor, before another process puts it into its own; its number.
    fn keep(&mut self, parcel: Parcel) -> Result<u64, channel::Error> {
        let Parcel { side, stream, bytes, idle } = parcel;
        let socket = stream.into_socket().map_err(channel::Error::Io)?;
        let id = self.next_id;
        self.next_id += 1;
        self.sent.push_back(Sent { id, side, socket, bytes, idle });
        Ok(id)
    }

    async fn send_one(&self, id: u64) -> Result<(), channel::Error> {
        let Some(sent) = self.sent.iter().find(|sent| sent.id == id) else { return Ok(()) };
        let message = Message::Connection { id, side: sent.side };
        in_time(self.channel.send(&message, &sent.bytes, &[sent.socket.as_fd()]), self.patience).await
    }

    /// All from number `first` on.
    async fn send_together(&self, first: u64) -> Result<(), channel::Error> {
        let batch: Vec<&Sent> = self.sent.iter().filter(|sent| sent.id >= first).collect();
        let message = Message::Connections { first, sides: batch.iter().map(|sent| sent.side).collect() };
        let descriptors: Vec<_> = batch.iter().map(|sent| sent.socket.as_fd()).collect();
        in_time(self.channel.send(&message, &[], &descriptors), self.patience).await
    }

    fn acknowledge(&mut self, message: &Message) -> Result<(), channel::Error> {
        let through = match message {
            Message::Adopted { through } => *through,
            // It is alive, and waits to hear that it has to go.
            Message::Failed { detail } => return Err(channel::Error::Protocol(detail.clone())),
            _ => return Err(channel::Error::Protocol(format!("unexpected message {message:?}"))),
        };
        while let Some(sent) = self.sent.pop_front_if(|sent| sent.id <= through) {
            self.handed_over += 1;
            if sent.idle {
                self.idle_moved = self.began.elapsed();
            }
        }
        Ok(())
    }
}

async fn acknowledged(
    channel: &Channel,
    awaited: bool,
    patience: Duration,
) -> Result<channel::Received, channel::Error> {
    if awaited { in_time(channel.receive(), patience).await } else { channel.receive().await }
}

async fn in_time<T>(
    step: impl Future<Output = Result<T, channel::Error>>,
    patience: Duration,
) -> Result<T, channel::Error> {
    timeout(patience, step).await.unwrap_or_else(|_| {
        Err(channel::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "the new process does not answer")))
    })
}
