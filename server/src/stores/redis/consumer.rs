//! Carries orders from the stream into MySQL.
//!
//! A batch is written, and only then acknowledged and taken out of the stream, in one step. Whoever dies in between
//! leaves it to be written again, which changes nothing. At its start a process first does what was in hand under the
//! name of its node, whichever process of it had it; what has been in hand for too long it claims. A batch that was
//! read before Redis was compared with MySQL is not written but read again, if it is still there.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus_client::metrics::gauge::Gauge;
use redis::{Cmd, FromRedisValue, Value, aio::MultiplexedConnection, cmd};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    Error, Mysql,
    compare::{make_group, position},
    keeper::Wanted,
    link::Links,
    script::{CONSUMERS, DONE, EPOCH, Entry, GROUP, MALFORMED, STREAM},
};
#[cfg(debug_assertions)]
use crate::faults::{self, Fault};
use crate::{
    stores::{
        StoreCounters,
        mysql::{self, Epoch, Position},
        patience::within,
    },
    telemetry::chain,
};

/// Orders in a batch. More are not written faster, and are more to write again.
const BATCH_MAX: usize = 500;
/// How long the stream is waited for.
const BLOCK: Duration = Duration::from_millis(200);
/// Between two tries of what failed.
const REST: Duration = Duration::from_millis(50);
/// So often it is looked for what others have left, in the time after which it counts as left.
const LOOKS: u32 = 4;
/// Batches that are still written when the process is to end, while there are any.
const LAST_BATCHES: u32 = 20;
/// Who has not asked for so long is gone.
const GONE_AFTER: Duration = Duration::from_secs(5);

/// The task that does it.
pub(super) struct Consumer {
    pub(super) links: Links,
    pub(super) mysql: Mysql,
    pub(super) wanted: Arc<Wanted>,
    /// The node's.
    pub(super) name: String,
    pub(super) claim_after: Duration,
    pub(super) counters: StoreCounters,
    pub(super) conflicts: Gauge,
}

/// Something in the stream, and what it says if that is an order.
struct Message {
    id: String,
    fields: Vec<String>,
}

/// Where a look at the stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// What was delivered under this name before, and is not acknowledged.
    Own,
    /// What was delivered to nobody.
    New { block: bool },
}

/// What a batch is read and written with.
struct Session {
    connection: MultiplexedConnection,
    /// That of Redis, before anything was read.
    epoch: Epoch,
}

impl Consumer {
    /// Writes until `stop`, and then what is there.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut failed = 0_u32;
        while !stop.is_cancelled() {
            let begun = Instant::now();
            match self.session(&stop).await {
                Ok(()) => return,
                // That is told by who looks for it.
                Err(Error::Away | Error::Mysql(mysql::Error::Away)) => {}
                // Whoever compares has to find out, or is at work already.
                Err(Error::Uncompared) => self.wanted.look_again(),
                Err(Error::Mysql(error @ mysql::Error::Fenced)) => {
                    tracing::warn!(error = chain(&error), "orders are not written for the moment");
                    self.wanted.look_again();
                }
                Err(error) => {
                    failed = if begun.elapsed() > GONE_AFTER { 1 } else { failed.saturating_add(1) };
                    if failed == 1 {
                        let error = chain(&error);
                        tracing::warn!(error, "orders are not written for the moment");
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(REST) => {}
            }
        }
    }

    /// Writes until `stop`, or until Redis goes away.
    async fn session(&self, stop: &CancellationToken) -> Result<(), Error> {
        let mut session = self.begin().await?;
        loop {
            let messages = self.read(&mut session, From::Own).await?;
            let is_last = messages.len() < BATCH_MAX;
            self.carry(&mut session, messages, stop).await?;
            if is_last {
                break;
            }
        }
        let mut look_at = Instant::now();
        while !stop.is_cancelled() {
            if look_at <= Instant::now() {
                look_at = Instant::now() + self.claim_after / LOOKS;
                // Who has something in hand waits for MySQL, too.
                if *self.mysql.up().borrow() {
                    let claimed = self.claim(&mut session).await?;
                    self.carry(&mut session, claimed, stop).await?;
                }
                self.tidy(&mut session).await;
            }
            let messages = self.read(&mut session, From::New { block: true }).await?;
            self.carry(&mut session, messages, stop).await?;
        }
        for _ in 0..LAST_BATCHES {
            let messages = self.read(&mut session, From::New { block: false }).await?;
            if messages.is_empty() {
                break;
            }
            self.carry(&mut session, messages, stop).await?;
        }
        Ok(())
    }

    async fn begin(&self) -> Result<Session, Error> {
        let mut connection = self.links.own().await?;
        let epoch = ask(&mut connection, self.links.limit(), cmd("GET").arg(EPOCH)).await?;
        let epoch = Option::from_redis_value(epoch).map_err(|error| Error::Strange(error.to_string()))?;
        Ok(Session { connection, epoch: Epoch(epoch.ok_or(Error::Uncompared)?) })
    }

    /// Writes a batch and takes it out of the stream.
    async fn carry(
        &self,
        session: &mut Session,
        messages: Vec<Message>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        if messages.is_empty() {
            return Ok(());
        }
        let mut done = cmd("EVAL");
        done.arg(DONE).arg(1).arg(STREAM).arg(GROUP);
        let (mut entries, mut last) = (Vec::with_capacity(messages.len()), Position::default());
        let mut is_any_done = false;
        for message in &messages {
            match Entry::from_fields(&message.fields) {
                Some(entry) => {
                    last = last.max(position(&message.id).unwrap_or_default());
                    entries.push(entry);
                }
                // It has been taken out since it was delivered.
                None if message.fields.is_empty() => {}
                None if self.put_aside(session, message).await => {}
                None => continue,
            }
            is_any_done = true;
            done.arg(&message.id);
        }
        self.write(&entries, last, session.epoch, stop).await?;
        if is_any_done {
            ask(&mut session.connection, self.links.limit(), &done).await?;
        }
        Ok(())
    }

    /// Keeps what is no order where it holds up nobody. `false`: it is still in hand, and is claimed again.
    async fn put_aside(&self, session: &mut Session, message: &Message) -> bool {
        let mut putting = cmd("XADD");
        putting.arg(MALFORMED).arg("*").arg(&message.fields);
        let put = ask(&mut session.connection, self.links.limit(), &putting).await;
        match &put {
            Ok(_) => tracing::error!(id = message.id, "no order; it is moved to {MALFORMED}"),
            Err(error) => tracing::error!(id = message.id, error = chain(error), "no order; it stays there"),
        }
        put.is_ok()
    }

    /// Writes until it is done, however long MySQL is away, unless the process is to end.
    async fn write(
        &self,
        entries: &[Entry],
        last: Position,
        epoch: Epoch,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut up = self.mysql.up();
        let mut told = false;
        loop {
            let away = Error::Mysql(mysql::Error::Away);
            tokio::select! {
                _ = up.wait_for(|up| *up) => {}
                () = stop.cancelled(), if !*self.mysql.up().borrow() => return Err(away),
            }
            #[cfg(debug_assertions)]
            if faults::strikes(Fault::WriteTwice)
                && let Some(again) = entries.first().map(twice)
            {
                _ = self.mysql.write(&[again], last, epoch).await;
            }
            match self.mysql.write(entries, last, epoch).await {
                Ok(written) => {
                    self.counters.commits.inc();
                    self.counters.written.inc_by(written.new);
                    for id in &written.conflicting {
                        self.conflicts.inc();
                        tracing::error!(%id, "an order is not in mysql: another one has its user and key");
                    }
                    return Ok(());
                }
                Err(error @ mysql::Error::Fenced) => return Err(error.into()),
                Err(error) if stop.is_cancelled() => return Err(error.into()),
                Err(mysql::Error::Away) => {}
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        let error = chain(&error);
                        tracing::warn!(error, orders = entries.len(), "orders are not written yet");
                    }
                    sleep(REST).await;
                }
            }
        }
    }

    async fn read(&self, session: &mut Session, from: From) -> Result<Vec<Message>, Error> {
        let mut reading = cmd("XREADGROUP");
        reading.arg("GROUP").arg(GROUP).arg(&self.name).arg("COUNT").arg(BATCH_MAX);
        let mut limit = self.links.limit();
        if from == (From::New { block: true }) {
            limit += BLOCK;
            reading.arg("BLOCK").arg(u64::try_from(BLOCK.as_millis()).unwrap_or(0));
        }
        reading.arg("STREAMS").arg(STREAM).arg(if from == From::Own { "0" } else { ">" });
        let answer = match ask(&mut session.connection, limit, &reading).await {
            // It is made only where there is none: a Redis that is full would refuse, and could not be emptied.
            Err(Error::Asked(error)) if error.code() == Some("NOGROUP") => {
                let taken = self.links.take().ok_or(Error::Away)?;
                make_group(&self.links, &taken).await?;
                ask(&mut session.connection, limit, &reading).await?
            }
            answer => answer?,
        };
        // A list of streams, each a pair of its name and a list of messages.
        Ok(list(answer).into_iter().flat_map(|stream| messages(list(stream).pop())).collect())
    }

    /// What somebody else has had in hand for too long.
    async fn claim(&self, session: &mut Session) -> Result<Vec<Message>, Error> {
        let mut claiming = cmd("XAUTOCLAIM");
        claiming.arg(STREAM).arg(GROUP).arg(&self.name);
        claiming.arg(u64::try_from(self.claim_after.as_millis()).unwrap_or(u64::MAX));
        claiming.arg("0-0").arg("COUNT").arg(BATCH_MAX);
        // Where to go on, the messages, and the ids of those that are not there any more.
        let answer = ask(&mut session.connection, self.links.limit(), &claiming).await?;
        let claimed = messages(list(answer).into_iter().nth(1));
        if !claimed.is_empty() {
            tracing::info!(orders = claimed.len(), "orders that were left by others are written");
        }
        Ok(claimed)
    }

    /// If it fails nothing is lost by it.
    async fn tidy(&self, session: &mut Session) {
        let gone = GONE_AFTER.max(2 * self.claim_after);
        let mut tidying = cmd("EVAL");
        tidying.arg(CONSUMERS).arg(1).arg(STREAM).arg(GROUP);
        tidying.arg(u64::try_from(gone.as_millis()).unwrap_or(u64::MAX)).arg(&self.name);
        if let Err(error) = ask(&mut session.connection, self.links.limit(), &tidying).await {
            tracing::debug!(error = chain(&error), "who has gone is still in the group");
        }
    }
}

async fn ask(connection: &mut MultiplexedConnection, limit: Duration, command: &Cmd) -> Result<Value, Error> {
    let answer = within(limit, command.query_async(connection)).await;
    Ok(answer.ok_or(Error::Late { limit_ms: limit.as_millis() })??)
}

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        _ => Vec::new(),
    }
}

/// Each a pair of its id and its fields; `nil` is one that is gone.
fn messages(value: Option<Value>) -> Vec<Message> {
    let pairs = value.map(list).unwrap_or_default().into_iter();
    let message = |pair: Value| {
        let mut pair = list(pair).into_iter();
        let id = String::from_redis_value(pair.next()?).ok()?;
        let fields = pair.next().and_then(|fields| Vec::from_redis_value(fields).ok()).unwrap_or_default();
        Some(Message { id, fields })
    };
    pairs.filter_map(message).collect()
}

/// The same order under a name and a key that nobody sent, as a consumer would write it that does not know what it
/// has written.
#[cfg(debug_assertions)]
fn twice(entry: &Entry) -> Entry {
    let mut again = entry.clone();
    (again.order.id, again.key) = faults::another();
    again
}
