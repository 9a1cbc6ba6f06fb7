//! The embedded store: SQLite in WAL mode, one writer thread and one reader thread per process.
//!
//! Purchases are queued and committed in groups: the writer takes whatever has come in while the commit
//! before was on its way to the disk, so that one flush pays for all of them. Nobody is told of an order
//! before its commit has returned, with `synchronous=FULL`. Between processes the database's own write
//! lock decides; every rule is checked under it, so two processes cannot oversell together.
//!
//! Deliberately absent: a cache of stock or orders, which the other process would make wrong.

mod reader;
mod schema;
#[cfg(test)]
mod tests;
mod turn;
mod writer;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
};

use tokio::sync::{oneshot, watch};

use self::{reader::Question, writer::Job};
use super::{StoreCounters, Unavailable, sales::Sales};
use crate::{
    lifecycle::ProcessGeneration,
    seckill::{EventId, GoodsId, Order, OrderId, Outcome, Purchase, UserId},
    state::{Activities, Pools},
};

/// Purchases that wait for the writer; at 20,000 a second this is less than half a second of waiting.
const PURCHASES_QUEUED_MAX: usize = 8_192;

/// Reads that wait for the reader.
const QUESTIONS_QUEUED_MAX: usize = 8_192;

/// The store of this process. Dropping it closes it.
pub struct Store {
    jobs: SyncSender<Job>,
    questions: SyncSender<Question>,
    counters: StoreCounters,
    sales: Sales,
    pools: watch::Sender<Pools>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database refuses to be opened or set up.
    #[error("open the store {}; its folder must exist and be writable", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    /// The files beside it, whose locks tell which process writes next, cannot be made.
    #[error("make {db}-next and {db}-turn beside the store; its folder must be writable", db = path.display())]
    Turns {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The tables are of a later release.
    #[error("use the store {}: its tables have version {found}, this program knows version {known}", path.display())]
    Version { path: PathBuf, found: i64, known: i64 },
    /// No thread could be started.
    #[error("start the store's {thread} thread")]
    Thread {
        thread: &'static str,
        #[source]
        source: io::Error,
    },
}

/// Puts in the stock of goods that the database at `path` does not know yet; what it knows stays as it is.
/// Blocks.
///
/// # Errors
/// See [`Error`].
pub(super) fn put_stock(path: &Path, activities: &Activities) -> Result<(), Error> {
    schema::open_and_migrate(path, activities).map(drop)
}

impl Store {
    /// Opens the database at `path`, makes its tables if need be, and puts in the stock of goods that it
    /// does not know yet. Blocks. Two processes may do it at once.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn open(path: &Path, activities: &Activities, process: ProcessGeneration) -> Result<Self, Error> {
        let (writing, mut turns) = schema::open_and_migrate(path, activities)?;
        let reading =
            schema::connect(path).map_err(|source| Error::Open { path: path.to_path_buf(), source })?;
        let (counters, sales) = (StoreCounters::default(), Sales::default());
        let (jobs, job_queue) = sync_channel(PURCHASES_QUEUED_MAX);
        let (questions, question_queue) = sync_channel(QUESTIONS_QUEUED_MAX);
        let (counted, told) = (counters.clone(), sales.clone());
        let writer =
            start("writer", move || writer::run(&writing, &mut turns, &job_queue, process, &counted, &told))?;
        let reader = start("reader", move || reader::run(&reading, &question_queue))?;
        let (pools, threads) = (watch::Sender::default(), Mutex::new(vec![reader, writer]));
        Ok(Self { jobs, questions, counters, sales, pools, threads })
    }

    /// Buys. The order is on disk when this returns.
    ///
    /// # Errors
    /// See [`Unavailable`].
    pub async fn buy(&self, purchase: Purchase) -> Result<Outcome, Unavailable> {
        let (answer, outcome) = oneshot::channel();
        let sent = self.jobs.try_send(Job::Buy { purchase, answer });
        let outcome = match sent.map_err(|error| not_queued(&error)) {
            Ok(()) => outcome.await.unwrap_or(Err(Unavailable::Closed)),
            Err(unavailable) => Err(unavailable),
        };
        self.counters.count(&outcome);
        outcome
    }

    /// The order called `id`, if it is `user`'s.
    ///
    /// # Errors
    /// See [`Unavailable`].
    pub async fn order(&self, id: OrderId, user: UserId) -> Result<Option<Order>, Unavailable> {
        let (answer, order) = oneshot::channel();
        self.ask(Question::Order { id, user, answer })?;
        order.await.unwrap_or(Err(Unavailable::Closed))
    }

    /// How many are left of each of an event's goods, ascending by id.
    ///
    /// # Errors
    /// See [`Unavailable`].
    pub async fn left(&self, event: EventId) -> Result<Vec<(GoodsId, u64)>, Unavailable> {
        let (answer, left) = oneshot::channel();
        self.ask(Question::Left { event, answer })?;
        left.await.unwrap_or(Err(Unavailable::Closed))
    }

    /// Changes when this process has sold some of an event's goods after this call.
    #[must_use]
    pub fn sales(&self, event: EventId) -> watch::Receiver<()> {
        self.sales.of(event)
    }

    /// How many connections to other services may be held from now on. This store holds none.
    pub fn size_pools(&self, pools: Pools) {
        self.pools.send_if_modified(|sizes| std::mem::replace(sizes, pools) != pools);
    }

    /// How many connections to other services may be held.
    #[must_use]
    pub fn pools(&self) -> Pools {
        *self.pools.borrow()
    }

    /// What the store has done so far.
    #[must_use]
    pub fn counters(&self) -> &StoreCounters {
        &self.counters
    }

    /// Commits what is queued, ends both threads and closes the database. Blocks; once closed, every
    /// request is answered with [`Unavailable::Closed`]. A second call changes nothing.
    pub fn close(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if threads.is_empty() {
            return;
        }
        // The reader goes first: only a connection that closes as the last one clears the log away. An
        // error of `send` means that the thread has ended already, which the join then tells.
        let (reader, writer) = (self.questions.send(Question::Close), self.jobs.send(Job::Close));
        tracing::debug!("closing the store: {:?}", (reader.is_ok(), writer.is_ok()));
        for thread in threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store has panicked; this is a bug");
            }
        }
    }

    fn ask(&self, question: Question) -> Result<(), Unavailable> {
        self.questions.try_send(question).map_err(|error| not_queued(&error))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("counters", &self.counters).finish_non_exhaustive()
    }
}

fn not_queued<T>(error: &TrySendError<T>) -> Unavailable {
    match error {
        TrySendError::Full(_) => Unavailable::QueueFull,
        TrySendError::Disconnected(_) => Unavailable::Closed,
    }
}

fn start(thread: &'static str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    let name = format!("store-{thread}");
    thread::Builder::new().name(name).spawn(run).map_err(|source| Error::Thread { thread, source })
}
