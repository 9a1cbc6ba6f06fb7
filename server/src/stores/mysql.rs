//! MySQL: the orders for good, and what is known without Redis.
//!
//! A pool of connections of our own, small because whoever asks has a time limit and knows before whether MySQL is
//! there: one task asks all the time, sets up the tables when it comes, and tells of it when it goes. Deliberately
//! absent: a statement that is sent a second time by itself; every one that writes may be repeated by who sent it.

mod activities;
mod fence;
mod tables;

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use mysql_async::{Conn, Opts, OptsBuilder, prelude::Queryable as _};
use tokio::{
    sync::{Semaphore, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

pub use self::activities::ActivityTable;
pub(super) use self::{fence::Epoch, tables::Position};
use super::{absence::Absence, patience::within};
use crate::{
    config::{self, MysqlSettings},
    telemetry::chain,
};

/// Between two tries to connect.
const REST: Duration = Duration::from_millis(50);
/// Between two looks whether it is there.
const BEAT: Duration = Duration::from_millis(200);
/// Connections where the cluster configuration says nothing: one that writes, and some for who asks for his order.
const CONNECTIONS: u32 = 4;
/// How long tables may take to be set up; another process may do it at the same time.
const MIGRATION_MAX: Duration = Duration::from_secs(10);

/// A connection that nobody has used for so long is not used any more.
const IDLE_MAX: Duration = Duration::from_secs(1);
/// With every connection. Who stops in mid-transaction, or whose machine dies, keeps his locks for two seconds, not
/// for the eight hours that a connection may be idle by default.
const INIT: [&str; 3] = [
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION time_zone = '+00:00'",
    "SET SESSION wait_timeout = 2",
];

/// What MySQL says where there is no such table.
const UNKNOWN_TABLE: u16 = 1146;
/// What MySQL says when it has become a replica, or was told to change nothing.
const READ_ONLY: [u16; 3] = [1290, 1792, 1836];
/// What MySQL says when it knows us and will not let us in: access to the server, to the database, no such database.
const REFUSALS: [u16; 4] = [1044, 1045, 1049, 1698];

/// The way to MySQL. Copies share it.
#[derive(Clone)]
pub(super) struct Mysql(Arc<Shared>);

struct Shared {
    opts: Opts,
    limit: Duration,
    /// Those that nobody uses, and since when.
    idle: Mutex<Vec<(Conn, Instant)>>,
    size: AtomicU32,
    permits: ArcSwap<Semaphore>,
    up: watch::Sender<bool>,
    trouble: Mutex<Option<Trouble>>,
    absence: Absence,
}

/// Why it is away.
#[derive(Debug, Clone)]
struct Trouble {
    text: String,
    is_refusal: bool,
}

/// Why MySQL did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read the password of mysql")]
    Password(#[source] config::PasswordError),
    #[error("ask mysql, which is away")]
    Away,
    #[error(
        "get a connection to mysql within {limit_ms} ms; pools.mysql of the cluster configuration is too small"
    )]
    Busy { limit_ms: u128 },
    #[error("get an answer of mysql within {limit_ms} ms (mysql.timeout_ms)")]
    Late { limit_ms: u128 },
    #[error("ask mysql: {0}")]
    Asked(mysql_async::Error),
    #[error("use mysql, which is read only: a replica, or one that was told to change nothing")]
    ReadOnly,
    #[error("write orders that were read from redis before it was compared with mysql; they are read again")]
    Fenced,
    #[error("wait for another process that sets up the tables of mysql")]
    Locked,
    #[error("use what mysql answers: {0}")]
    Strange(&'static str),
}

impl Mysql {
    /// Connects to nothing before [`Mysql::keep`].
    ///
    /// # Errors
    /// The password cannot be read.
    pub(super) fn new(settings: &MysqlSettings) -> Result<Self, Error> {
        Ok(Self(Arc::new(Shared {
            opts: opts(settings)?,
            limit: settings.timeout,
            idle: Mutex::default(),
            size: AtomicU32::new(CONNECTIONS),
            permits: ArcSwap::from_pointee(semaphore(CONNECTIONS)),
            up: watch::Sender::new(false),
            trouble: Mutex::new(None),
            absence: Absence::default(),
        })))
    }

    /// Holds so many connections at most from now on; those that are in use are given up when they are not.
    pub(super) fn resize(&self, connections: Option<u32>) {
        let connections = connections.unwrap_or(CONNECTIONS);
        if self.0.size.swap(connections, Ordering::Relaxed) != connections {
            self.0.permits.store(Arc::new(semaphore(connections)));
            let kept = usize::try_from(connections).unwrap_or(usize::MAX);
            self.idle(|idle| idle.truncate(kept));
        }
    }

    /// Tells whether it is there.
    #[must_use]
    pub(super) fn up(&self) -> watch::Receiver<bool> {
        self.0.up.subscribe()
    }

    /// Why it is away, as far as that was told.
    #[must_use]
    pub(super) fn trouble(&self) -> Option<String> {
        let trouble = self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.as_ref().map(|trouble| trouble.text.clone())
    }

    /// Since when it is away.
    pub(super) fn absence(&self) -> &Absence {
        &self.0.absence
    }

    /// It is there and will not let us in, however long we wait.
    #[must_use]
    pub(super) fn refusal(&self) -> Option<String> {
        let trouble = self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.as_ref().filter(|trouble| trouble.is_refusal).map(|trouble| trouble.text.clone())
    }

    /// Looks whether it is there until `stop`, and sets up its tables when it comes.
    pub(super) async fn keep(self, stop: CancellationToken) {
        let mut told = false;
        loop {
            let is_up = *self.0.up.borrow();
            let looked = tokio::select! {
                () = stop.cancelled() => return,
                looked = async { if is_up { self.ping().await } else { self.set_up().await } } => looked,
            };
            match looked {
                Ok(()) if !is_up => {
                    if std::mem::take(&mut told) {
                        tracing::info!("mysql is there");
                    }
                    self.trouble_is(None);
                    self.0.up.send_replace(true);
                }
                // All connections are used by others, whose own limits tell whether it is there.
                Ok(()) | Err(Error::Busy { .. }) => {}
                Err(error) => {
                    let is_refusal = matches!(&error,
                        Error::Asked(mysql_async::Error::Server(refused)) if REFUSALS.contains(&refused.code));
                    let text = format!("failed to {}", chain(&error));
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(error = text, "mysql is away; orders wait in redis");
                    }
                    self.trouble_is(Some(Trouble { text, is_refusal }));
                    self.gone();
                }
            }
            let pause = if *self.0.up.borrow() { BEAT } else { REST };
            let mut up = self.up();
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
                // Somebody else has found out.
                _ = up.wait_for(|up| !*up), if pause == BEAT => {}
            }
        }
    }

    async fn ping(&self) -> Result<(), Error> {
        self.work(self.0.limit, |mut conn| async move {
            let done = conn.ping().await;
            (conn, done)
        })
        .await
    }

    async fn set_up(&self) -> Result<(), Error> {
        let limit_ms = self.0.limit.as_millis();
        let connecting = within(self.0.limit, Conn::new(self.0.opts.clone()));
        let mut conn = connecting.await.ok_or(Error::Late { limit_ms })??;
        let asking = within(self.0.limit, conn.query_first::<String, _>("SELECT @@GLOBAL.read_only"));
        let read_only = asking.await.ok_or(Error::Late { limit_ms })??;
        if read_only.is_some_and(|read_only| !["0", "OFF"].contains(&read_only.as_str())) {
            return Err(Error::ReadOnly);
        }
        let migrating = within(MIGRATION_MAX, tables::migrate(&mut conn));
        migrating.await.ok_or(Error::Late { limit_ms: MIGRATION_MAX.as_millis() })??;
        self.idle(|idle| idle.push((conn, Instant::now())));
        Ok(())
    }

    /// How long a statement may take.
    fn limit(&self) -> Duration {
        self.0.limit
    }

    /// How long a batch may take. That MySQL is away ends it before.
    fn batch_limit(&self) -> Duration {
        8 * self.0.limit
    }

    /// Has `work` done on a connection, within `limit`. It gives the connection back.
    async fn work<T, F>(&self, limit: Duration, work: impl FnOnce(Conn) -> F) -> Result<T, Error>
    where
        F: Future<Output = (Conn, mysql_async::Result<T>)>,
    {
        if !*self.0.up.borrow() {
            return Err(Error::Away);
        }
        let limit_ms = limit.as_millis();
        let permits = self.0.permits.load_full();
        let permit = within(self.0.limit, permits.acquire()).await;
        let _permit = permit.ok_or(Error::Busy { limit_ms: self.0.limit.as_millis() })?;
        // The last that was used: if it is old all of them are, and go.
        let idle = self.idle(|idle| {
            let last = idle.pop().filter(|(_, since)| since.elapsed() < IDLE_MAX);
            if last.is_none() {
                idle.clear();
            }
            last.map(|(conn, _)| conn)
        });
        let mut up = self.up();
        let working = async {
            let conn = match idle {
                Some(conn) => conn,
                None => within(self.0.limit, Conn::new(self.0.opts.clone()))
                    .await
                    .ok_or(Error::Late { limit_ms: self.0.limit.as_millis() })??,
            };
            let (conn, done) = work(conn).await;
            let kept = usize::try_from(self.0.size.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
            if !done.as_ref().is_err_and(mysql_async::Error::is_fatal) {
                self.idle(|idle| {
                    if idle.len() < kept {
                        idle.push((conn, Instant::now()));
                    }
                });
            }
            done.map_err(Error::Asked)
        };
        let done = tokio::select! {
            done = within(limit, working) => done.unwrap_or(Err(Error::Late { limit_ms })),
            // What is waited for does not come any more.
            _ = up.wait_for(|up| !*up) => Err(Error::Away),
        };
        match &done {
            Err(Error::Late { .. }) => self.gone(),
            Err(Error::Asked(error)) if error.is_fatal() => self.gone(),
            // Another one may be behind its address by now.
            Err(Error::Asked(mysql_async::Error::Server(refused))) if READ_ONLY.contains(&refused.code) => {
                self.gone();
            }
            _ => {}
        }
        done
    }

    /// Nobody waits for it any more until it has been looked for.
    fn gone(&self) {
        self.idle(Vec::clear);
        self.0.up.send_if_modified(|up| std::mem::replace(up, false));
    }

    fn trouble_is(&self, trouble: Option<Trouble>) {
        match trouble {
            Some(_) => self.0.absence.begin(),
            None => self.0.absence.end(),
        }
        *self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    fn idle<T>(&self, work: impl FnOnce(&mut Vec<(Conn, Instant)>) -> T) -> T {
        work(&mut self.0.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How to connect.
fn opts(settings: &MysqlSettings) -> Result<Opts, Error> {
    let (host, port) = config::halves(&settings.address);
    let password = settings.password.read().map_err(Error::Password)?;
    let opts = OptsBuilder::default()
        .ip_or_hostname(host)
        .tcp_port(port)
        .user(Some(settings.username.as_str()))
        .pass(Some(password.expose()))
        .db_name(Some(settings.database.as_str()))
        // Else it would look for a unix socket after it has connected.
        .prefer_socket(false)
        .tcp_nodelay(true)
        .init(INIT.to_vec());
    Ok(opts.into())
}

fn semaphore(connections: u32) -> Semaphore {
    Semaphore::new(usize::try_from(connections).unwrap_or(Semaphore::MAX_PERMITS))
}

impl From<mysql_async::Error> for Error {
    fn from(error: mysql_async::Error) -> Self {
        // Its text repeats its cause.
        Self::Asked(error)
    }
}

impl fmt::Debug for Mysql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mysql").field("up", &*self.0.up.borrow()).finish_non_exhaustive()
    }
}
