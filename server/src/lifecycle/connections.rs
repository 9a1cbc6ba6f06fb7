//! All connections of the process: how many there are, and what they do when it is about to leave.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use super::{
    ConnectionCounts,
    connection::{self, End},
    gate::{Latch, Ledger},
    stream::Stream,
};
use crate::{
    http::{App, Side},
    tasks::Tasks,
    telemetry::Metrics,
};

/// What the connections do now; see [`connection`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Directive {
    Serve,
    Move,
    /// Idle connections may be used for one more request, or are closed after the grace.
    LastAnswer {
        grace: Duration,
    },
    Close,
}

/// Which connections have to end at once, because the drain time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cut {
    None,
    /// All but those that wait for the outcome of the upgrade.
    Others,
    All,
}

/// A connection on its way to another process: the socket, and what was read of it but not used.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) side: Side,
    pub(super) stream: Stream,
    pub(super) bytes: Bytes,
    /// It was idle when it was told to move: nothing had to be waited for.
    pub(super) idle: bool,
}

/// What every connection's task shares.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) app: Arc<App>,
    pub(super) directive: watch::Sender<Directive>,
    /// Closed under [`Directive::Move`].
    pub(super) latch: Latch,
    /// Which connections have to end at once.
    pub(super) cut: watch::Sender<Cut>,
    /// Tasks of HTTP/2 streams.
    pub(super) streams: Tasks,
    open: watch::Sender<Open>,
    ended: Ended,
    parcels: mpsc::UnboundedSender<Parcel>,
}

/// Connections that are open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Open {
    all: u32,
    /// Those that wait for the outcome of the upgrade, and so cannot leave before it is over.
    asking: u32,
}

#[derive(Debug, Default)]
struct Ended {
    finished: AtomicU32,
    closed: AtomicU32,
    cut: AtomicU32,
}

impl Shared {
    /// Counts a connection that waits for the outcome of the upgrade, until the value is dropped.
    pub(super) fn asking(self: &Arc<Self>, ledger: &Arc<Ledger>) -> Asking {
        if ledger.ask() {
            self.open.send_modify(|open| open.asking += 1);
        }
        Asking(Arc::clone(self), Arc::clone(ledger))
    }

    /// Lets a connection leave, or gives it back if the successor failed in the meantime.
    ///
    /// The directive stays as it is until the parcel is on its way, so once another one is given no parcel
    /// can follow those that are in the channel.
    fn give_away(&self, parcel: Parcel) -> Option<Parcel> {
        let directive = self.directive.borrow();
        if *directive == Directive::Move {
            // The receiver lives as long as the process serves.
            self.parcels.send(parcel).err().map(|unsent| unsent.0)
        } else {
            Some(parcel)
        }
    }
}

/// See [`Shared::asking`].
#[derive(Debug)]
pub(super) struct Asking(Arc<Shared>, Arc<Ledger>);

impl Drop for Asking {
    fn drop(&mut self) {
        if self.1.told() {
            self.0.open.send_modify(|open| open.asking -= 1);
        }
    }
}

/// Takes the connection out of the count, also when its task panics.
struct Counted(Arc<Shared>);

impl Counted {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.open.send_modify(|open| open.all += 1);
        shared.app.metrics().connections_open.inc();
        Self(Arc::clone(shared))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.app.metrics().connections_open.dec();
        self.0.open.send_modify(|open| open.all -= 1);
    }
}

/// The set of connections.
#[derive(Debug)]
pub(super) struct Connections {
    shared: Arc<Shared>,
    tasks: Tasks,
}

impl Connections {
    /// An empty set, and the end where connections come out under [`Directive::Move`].
    ///
    /// The channel is not bounded by itself: it never holds more than the connections that there are.
    pub(super) fn new(app: Arc<App>) -> (Self, mpsc::UnboundedReceiver<Parcel>) {
        let (parcels, out) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            app,
            directive: watch::Sender::new(Directive::Serve),
            latch: Latch::default(),
            cut: watch::Sender::new(Cut::None),
            streams: Tasks::default(),
            open: watch::Sender::default(),
            ended: Ended::default(),
            parcels,
        });
        (Self { shared, tasks: Tasks::default() }, out)
    }

    /// Serves a connection; `front` is what was read of it before.
    pub(super) fn serve(&self, stream: Stream, front: Bytes, side: Side) {
        if stream.set_nodelay().is_err() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let counted = Counted::new(&shared);
        drop(self.tasks.spawn(async move {
            let ended = &shared.ended;
            let mut next = Some((stream, front));
            while let Some((stream, front)) = next.take() {
                match connection::serve(stream, front, side, Arc::clone(&shared)).await {
                    End::Finished => _ = ended.finished.fetch_add(1, Ordering::Relaxed),
                    End::Closed => _ = ended.closed.fetch_add(1, Ordering::Relaxed),
                    End::Cut => {
                        ended.cut.fetch_add(1, Ordering::Relaxed);
                        shared.app.metrics().connections_cut.inc();
                    }
                    End::Moved(parcel) => {
                        next = shared.give_away(parcel).map(|parcel| (parcel.stream, parcel.bytes));
                    }
                }
            }
            drop(counted);
        }));
    }

    /// The counters of the process.
    pub(super) fn metrics(&self) -> &Metrics {
        self.shared.app.metrics()
    }

    /// How many are open.
    pub(super) fn open(&self) -> u32 {
        self.shared.open.borrow().all
    }

    /// Waits until fewer than `limit` connections are open.
    pub(super) async fn below(&self, limit: u32) {
        // The sender is ours, so the wait cannot fail.
        _ = self.shared.open.subscribe().wait_for(|open| open.all < limit).await;
    }

    /// Tells every connection what to do from now on.
    pub(super) fn direct(&self, directive: Directive) {
        self.shared.cut.send_replace(Cut::None);
        self.shared.latch.close(directive == Directive::Move);
        self.shared.directive.send_replace(directive);
    }

    /// After `limit` no request of HTTP/1.1 begins any more until the next directive.
    pub(super) fn close_after(&self, limit: Duration) {
        self.shared.latch.close_after(limit);
    }

    /// Waits until only those connections are open that wait for the outcome of the upgrade. After `limit`
    /// the others are cut.
    pub(super) async fn quiet(&self, limit: Duration) {
        let mut open = self.shared.open.subscribe();
        if timeout(limit, open.wait_for(|open| open.all <= open.asking)).await.is_err() {
            self.shared.cut.send_replace(Cut::Others);
            _ = open.wait_for(|open| open.all <= open.asking).await;
            // Who is left may read the outcome in peace.
            self.shared.cut.send_replace(Cut::None);
        }
    }

    /// Waits until none is open. After `limit` what is left is cut.
    pub(super) async fn gone(&self, limit: Duration) {
        let mut open = self.shared.open.subscribe();
        if timeout(limit, open.wait_for(|open| open.all == 0)).await.is_err() {
            self.shared.cut.send_replace(Cut::All);
            _ = open.wait_for(|open| open.all == 0).await;
        }
    }

    /// How connections ended so far, but for those handed over.
    pub(super) fn ended(&self) -> ConnectionCounts {
        let ended = &self.shared.ended;
        ConnectionCounts {
            handed_over: 0,
            finished: ended.finished.load(Ordering::Relaxed),
            closed: ended.closed.load(Ordering::Relaxed),
            cut: ended.cut.load(Ordering::Relaxed),
        }
    }
}
