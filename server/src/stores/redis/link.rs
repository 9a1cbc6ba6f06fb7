//! The connections to Redis: a few that everybody shares, each kept by a task of its own, and known to be there
//! or not, so that nobody waits for a Redis that is away.
//!
//! Commands of many requests go over one connection one behind the other, without waiting for the answers in
//! between. Every command has a time limit. The first that is not answered in time opens the circuit: all
//! connections count as broken, and are used again when a new one has been answered. Deliberately absent: a
//! command that is sent a second time by itself.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use prometheus_client::metrics::gauge::Gauge;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo as _,
    Pipeline, RedisConnectionInfo, RedisError, ServerErrorKind, aio::MultiplexedConnection, cmd,
};
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    Error,
    script::{BUY, STREAM},
};
use crate::{
    config::{self, RedisSettings},
    stores::{absence::Absence, patience::within},
    tasks::Tasks,
};

/// Between two tries to connect.
const REST: Duration = Duration::from_millis(50);
/// Between two looks whether an idle connection is answered.
const BEAT: Duration = Duration::from_millis(100);
/// Connections where the cluster configuration says nothing. Each is used by one thread of Redis at a time, so
/// that more of them only help where one cannot be written as fast as it is read.
const CONNECTIONS: u32 = 2;
/// Commands that may wait to be written to one connection.
const WRITTEN_AHEAD: usize = 4_096;

/// Everybody's connections. Copies share them.
#[derive(Clone)]
pub(super) struct Links(Arc<Shared>);

struct Shared {
    client: Client,
    limit: Duration,
    slots: ArcSwap<Vec<Arc<Slot>>>,
    next: AtomicUsize,
    /// Rises whenever a connection comes or goes.
    changed: watch::Sender<u64>,
    waiting: Gauge,
    trouble: Mutex<Option<Trouble>>,
    absence: Absence,
    tasks: Tasks,
    stop: CancellationToken,
}

/// Why there is no connection.
#[derive(Debug, Clone)]
struct Trouble {
    text: String,
    /// Redis is there and does not let us in.
    is_refusal: bool,
}

/// The place of one connection.
struct Slot {
    line: ArcSwapOption<Line>,
    stop: CancellationToken,
}

/// A connection that was answered.
pub(super) struct Line {
    connection: MultiplexedConnection,
    since: Instant,
    /// Somebody has found out that it is of no use.
    broken: Notify,
    /// The `run_id` of the Redis at its other end: another one after every start.
    pub(super) instance: String,
    /// By which the script is called.
    pub(super) buy: String,
    /// It keeps a log of what it does, and so knows it after a start.
    pub(super) has_log: bool,
}

/// A connection as somebody uses it.
#[derive(Clone)]
pub(super) struct Taken {
    slot: Arc<Slot>,
    pub(super) line: Arc<Line>,
}

impl Links {
    /// Connects to nothing before [`Links::resize`].
    pub(super) fn new(
        settings: &RedisSettings,
        tasks: &Tasks,
        stop: &CancellationToken,
    ) -> Result<Self, Error> {
        Ok(Self(Arc::new(Shared {
            client: client(settings)?,
            limit: settings.timeout,
            slots: ArcSwap::default(),
            next: AtomicUsize::new(0),
            changed: watch::Sender::new(0),
            waiting: Gauge::default(),
            trouble: Mutex::new(None),
            absence: Absence::default(),
            tasks: tasks.clone(),
            stop: stop.clone(),
        })))
    }

    /// How long a command may take.
    pub(super) fn limit(&self) -> Duration {
        self.0.limit
    }

    /// Holds so many connections from now on. What is sent over one that goes is still answered.
    pub(super) fn resize(&self, connections: Option<u32>) {
        let wanted = usize::try_from(connections.unwrap_or(CONNECTIONS)).unwrap_or(usize::MAX);
        let mut slots = Vec::clone(&self.0.slots.load());
        for slot in slots.drain(wanted.min(slots.len())..) {
            slot.stop.cancel();
        }
        while slots.len() < wanted {
            let stop = self.0.stop.child_token();
            let slot = Arc::new(Slot { line: ArcSwapOption::empty(), stop });
            drop(self.0.tasks.spawn(keep(Arc::clone(&self.0), Arc::clone(&slot))));
            slots.push(slot);
        }
        self.0.slots.store(Arc::new(slots));
    }

    /// A connection whose turn it is. `None`: Redis is away.
    pub(super) fn take(&self) -> Option<Taken> {
        let slots = self.0.slots.load();
        let first = self.0.next.fetch_add(1, Ordering::Relaxed);
        (0..slots.len()).find_map(|offset| {
            let slot = &slots[first.wrapping_add(offset) % slots.len()];
            let line = slot.line.load_full()?;
            Some(Taken { slot: Arc::clone(slot), line })
        })
    }

    /// Sends one command and waits for its answer, within the limit.
    pub(super) async fn ask<T: FromRedisValue>(&self, taken: &Taken, command: &Cmd) -> Result<T, Error> {
        let mut connection = taken.line.connection.clone();
        let sent = Instant::now();
        match within(self.0.limit, command.query_async(&mut connection)).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => {
                if is_of_the_line(&error) {
                    self.broken(&taken.slot, &taken.line);
                } else if is_of_a_replica(&error) {
                    self.all_broken(sent);
                }
                Err(Error::Asked(error))
            }
            None => {
                self.all_broken(sent);
                Err(Error::Late { limit_ms: self.0.limit.as_millis() })
            }
        }
    }

    /// Whoever comes next does not wait as long. What was opened since `sent` was answered since.
    fn all_broken(&self, sent: Instant) {
        for slot in self.0.slots.load().iter() {
            let line = slot.line.load_full();
            if let Some(line) = line.filter(|line| line.since <= sent) {
                self.broken(slot, &line);
            }
        }
    }

    /// Sends several commands behind each other; the answers in their order. What one of them does stays done when
    /// another one fails.
    pub(super) async fn ask_all<T: FromRedisValue>(
        &self,
        taken: &Taken,
        commands: &[Cmd],
    ) -> Result<Vec<T>, Error> {
        self.send(taken, &pipeline(commands)).await
    }

    /// As [`Links::ask_all`], and nobody sees some of them done and others not.
    pub(super) async fn ask_together<T: FromRedisValue>(
        &self,
        taken: &Taken,
        commands: &[Cmd],
    ) -> Result<Vec<T>, Error> {
        self.send(taken, pipeline(commands).atomic()).await
    }

    async fn send<T: FromRedisValue>(&self, taken: &Taken, pipeline: &Pipeline) -> Result<Vec<T>, Error> {
        let mut connection = taken.line.connection.clone();
        let limit_ms = self.0.limit.as_millis();
        let answers = within(self.0.limit, pipeline.query_async(&mut connection)).await;
        Ok(answers.ok_or(Error::Late { limit_ms })??)
    }

    /// Nobody uses the line any more, and its slot opens another one.
    fn broken(&self, slot: &Slot, line: &Arc<Line>) {
        let before = slot.line.compare_and_swap(line, None);
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, line)) {
            line.broken.notify_one();
            self.0.changed.send_modify(|changes| *changes += 1);
        }
    }

    /// A connection for somebody who waits in it, which nobody else shares.
    pub(super) async fn own(&self) -> Result<MultiplexedConnection, Error> {
        let limit_ms = self.0.limit.as_millis();
        let connecting = connect(&self.0.client, self.0.limit);
        within(self.0.limit, connecting).await.ok_or(Error::Late { limit_ms })?.map_err(Error::Asked)
    }

    /// Tells of connections that come and go.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// How many connections there are.
    pub(super) fn up(&self) -> usize {
        self.0.slots.load().iter().filter(|slot| slot.line.load().is_some()).count()
    }

    /// Orders in the stream, as they were counted last.
    pub(super) fn waiting(&self) -> &Gauge {
        &self.0.waiting
    }

    /// Why there is no connection, as far as that was told.
    pub(super) fn trouble(&self) -> Option<String> {
        let trouble = self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.as_ref().map(|trouble| trouble.text.clone())
    }

    /// Since when Redis is away.
    pub(super) fn absence(&self) -> &Absence {
        &self.0.absence
    }

    /// Redis is there and will not let us in, however long we wait.
    pub(super) fn refusal(&self) -> Option<String> {
        let trouble = self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.as_ref().filter(|trouble| trouble.is_refusal).map(|trouble| trouble.text.clone())
    }
}

fn client(settings: &RedisSettings) -> Result<Client, Error> {
    let (host, port) = config::halves(&settings.address);
    let mut login = RedisConnectionInfo::default();
    let auth = settings.auth.read().map_err(Error::Password)?;
    if !auth.expose().is_empty() {
        login = login.set_password(auth.expose());
    }
    let address = ConnectionAddr::Tcp(host.to_owned(), port).into_connection_info().map_err(Error::Asked)?;
    Client::open(address.set_redis_settings(login)).map_err(Error::Asked)
}

async fn connect(client: &Client, limit: Duration) -> Result<MultiplexedConnection, RedisError> {
    // Whoever asks limits the answers.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(limit))
        .set_response_timeout(None)
        .set_pipeline_buffer_size(WRITTEN_AHEAD);
    client.get_multiplexed_async_connection_with_config(&config).await
}

fn pipeline(commands: &[Cmd]) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(commands.len());
    for command in commands {
        pipeline.add_command(command.clone());
    }
    pipeline
}

fn is_of_the_line(error: &RedisError) -> bool {
    error.is_io_error() || error.is_connection_dropped()
}

/// Another server may be behind the address by now, which a new connection finds.
fn is_of_a_replica(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown))
}

/// Connects, and finds out to whom. A replica is none to buy from.
async fn open(client: &Client, limit: Duration) -> Result<Line, RedisError> {
    let mut connection = connect(client, limit).await?;
    let server: String = cmd("INFO").arg("server").query_async(&mut connection).await?;
    let role: String = cmd("INFO").arg("replication").query_async(&mut connection).await?;
    if member(&role, "role") == Some("slave") {
        let kind = ErrorKind::Server(ServerErrorKind::ReadOnly);
        return Err(RedisError::from((kind, "it is a replica; redis.address has to be that of its master")));
    }
    let log: String = cmd("INFO").arg("persistence").query_async(&mut connection).await?;
    let buy = cmd("SCRIPT").arg("LOAD").arg(BUY).query_async(&mut connection).await?;
    let instance = member(&server, "run_id").unwrap_or_default().to_owned();
    let has_log = member(&log, "aof_enabled") == Some("1");
    Ok(Line { connection, since: Instant::now(), broken: Notify::new(), instance, buy, has_log })
}

fn member<'t>(info: &'t str, name: &str) -> Option<&'t str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Keeps one connection until its slot is given up.
async fn keep(shared: Arc<Shared>, slot: Arc<Slot>) {
    loop {
        let opened = tokio::select! {
            () = slot.stop.cancelled() => return,
            opened = within(shared.limit, open(&shared.client, shared.limit)) => opened,
        };
        let trouble = match opened {
            Some(Ok(line)) => {
                shared.hold(&slot, Arc::new(line)).await;
                None
            }
            Some(Err(error)) => {
                let refusals = [ErrorKind::AuthenticationFailed, ErrorKind::Server(ServerErrorKind::NoPerm)];
                let is_refusal =
                    refusals.contains(&error.kind()) || matches!(error.code(), Some("NOAUTH" | "WRONGPASS"));
                Some(Trouble { text: error.to_string(), is_refusal })
            }
            None => {
                let text = format!("no answer within {} ms", shared.limit.as_millis());
                Some(Trouble { text, is_refusal: false })
            }
        };
        if let Some(trouble) = trouble {
            shared.tell(trouble);
        }
        tokio::select! {
            () = slot.stop.cancelled() => return,
            () = sleep(REST) => {}
        }
    }
}

impl Shared {
    /// Lets everybody use it until it is broken or given up.
    async fn hold(&self, slot: &Slot, line: Arc<Line>) {
        if self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            tracing::info!("redis is there");
        }
        self.absence.end();
        slot.line.store(Some(Arc::clone(&line)));
        self.changed.send_modify(|changes| *changes += 1);
        let mut connection = line.connection.clone();
        loop {
            tokio::select! {
                () = slot.stop.cancelled() => break,
                () = line.broken.notified() => break,
                () = sleep(BEAT) => {}
            }
            let counting = cmd("XLEN").arg(STREAM).clone();
            match within(self.limit, counting.query_async::<i64>(&mut connection)).await {
                Some(Ok(waiting)) => _ = self.waiting.set(waiting),
                Some(Err(error)) if !is_of_the_line(&error) => {}
                _ => break,
            }
        }
        slot.line.store(None);
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// Says once that Redis is away.
    fn tell(&self, trouble: Trouble) {
        let mut told = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none() {
            tracing::warn!(error = trouble.text, "redis is away; nothing can be bought");
        }
        *told = Some(trouble);
        self.absence.begin();
        drop(told);
        self.changed.send_modify(|changes| *changes += 1);
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").field("up", &self.up()).finish_non_exhaustive()
    }
}
