//! Carries orders from the stream into MySQL.
//!
//! A batch is written, and only then acknowledged and taken out of the stream, in one step. Whoever dies in between
//! leaves it to be written again, which changes nothing. At its start a process first does what it had in hand
//! under the same name; what another one has had in hand for too long it claims.

use std::time::{Duration, Instant};

use prometheus_client::metrics::gauge::Gauge;
use redis::{Cmd, FromRedisValue, Value, aio::MultiplexedConnection, cmd, pipe};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Error, Mysql,
    keeper::{make_group, position},
    link::Links,
    script::{CONSUMERS, Entry, GROUP, MALFORMED, STREAM},
};
#[cfg(debug_assertions)]
use crate::faults::{self, Fault};
use crate::{
    stores::{StoreCounters, mysql, mysql::Position},
    telemetry::chain,
};

/// Orders in a batch. More are not written faster, and are more to write again.
const BATCH_MAX: usize = 500;
/// How long the stream is waited for.
const BLOCK: Duration = Duration::from_millis(200);
/// Between two tries of what failed.
const REST: Duration = Duration::from_millis(50);
/// Batches that are still written when the process is to end, while there are any.
const LAST_BATCHES: u32 = 20;
/// Who has not asked for so long is gone.
const GONE_AFTER: Duration = Duration::from_secs(5);

/// The task that does it.
pub(super) struct Consumer {
    links: Links,
    mysql: Mysql,
    name: String,
    claim_after: Duration,
    counters: StoreCounters,
    conflicts: Gauge,
}

/// Something in the stream, and what it says if that is an order.
struct Message {
    id: String,
    fields: Vec<String>,
}

/// Where a look at the stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// What was delivered under this name before.
    Own,
    /// What was delivered to nobody.
    New { block: bool },
}

impl Consumer {
    pub(super) fn new(
        links: Links,
        mysql: Mysql,
        name: String,
        claim_after: Duration,
        counters: StoreCounters,
        conflicts: Gauge,
    ) -> Self {
        Self { links, mysql, name, claim_after, counters, conflicts }
    }

    /// Writes until `stop`, and then what is there.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut failed = 0_u32;
        while !stop.is_cancelled() {
            let begun = Instant::now();
            match self.session(&stop).await {
                Ok(()) => return,
                // That is told by who looks for it.
                Err(Error::Away | Error::Mysql(mysql::Error::Away)) => {}
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
        let taken = self.links.take().ok_or(Error::Away)?;
        make_group(&self.links, &taken).await?;
        drop(taken);
        let mut connection = self.links.own().await?;
        loop {
            let messages = self.read(&mut connection, From::Own).await?;
            if messages.is_empty() {
                break;
            }
            self.carry(&mut connection, messages, stop).await?;
        }
        let mut look_at = Instant::now();
        while !stop.is_cancelled() {
            if look_at <= Instant::now() {
                look_at = Instant::now() + self.claim_after / 2;
                let claimed = self.claim(&mut connection).await?;
                self.carry(&mut connection, claimed, stop).await?;
                self.tidy(&mut connection, false).await?;
            }
            let messages = self.read(&mut connection, From::New { block: true }).await?;
            self.carry(&mut connection, messages, stop).await?;
        }
        for _ in 0..LAST_BATCHES {
            let messages = self.read(&mut connection, From::New { block: false }).await?;
            if messages.is_empty() {
                break;
            }
            self.carry(&mut connection, messages, stop).await?;
        }
        self.tidy(&mut connection, true).await
    }

    /// Writes a batch and takes it out of the stream.
    async fn carry(
        &self,
        connection: &mut MultiplexedConnection,
        messages: Vec<Message>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        if messages.is_empty() {
            return Ok(());
        }
        let mut done = pipe();
        done.atomic();
        let (mut entries, mut last) = (Vec::with_capacity(messages.len()), Position::default());
        for message in &messages {
            match Entry::from_fields(&message.fields) {
                Some(entry) => {
                    last = last.max(position(&message.id).unwrap_or_default());
                    entries.push(entry);
                }
                // It has been taken out since it was delivered.
                None if message.fields.is_empty() => {}
                None => {
                    tracing::error!(id = message.id, "no order; it is moved to {MALFORMED}");
                    done.cmd("XADD").arg(MALFORMED).arg("*").arg(&message.fields).ignore();
                }
            }
        }
        self.write(&entries, last, stop).await?;
        for command in ["XACK", "XDEL"] {
            let adding = done.cmd(command).arg(STREAM);
            if command == "XACK" {
                adding.arg(GROUP);
            }
            for message in &messages {
                adding.arg(&message.id);
            }
            adding.ignore();
        }
        let limit = self.links.limit();
        let limit_ms = limit.as_millis();
        let done = timeout(limit, done.query_async::<()>(connection)).await;
        Ok(done.map_err(|_| Error::Late { limit_ms })??)
    }

    /// Writes until it is done, however long MySQL is away, unless the process is to end.
    async fn write(&self, entries: &[Entry], last: Position, stop: &CancellationToken) -> Result<(), Error> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut up = self.mysql.up();
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
                _ = self.mysql.write(&[again], last).await;
            }
            match self.mysql.write(entries, last).await {
                Ok(written) => {
                    self.counters.commits.inc();
                    self.counters.written.inc_by(written.new);
                    for id in &written.conflicting {
                        self.conflicts.inc();
                        tracing::error!(%id, "an order is not in mysql: another one has its user and key");
                    }
                    return Ok(());
                }
                Err(mysql::Error::Away) => {}
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(error, orders = entries.len(), "orders are not written yet");
                    sleep(REST).await;
                }
            }
        }
    }

    async fn read(&self, connection: &mut MultiplexedConnection, from: From) -> Result<Vec<Message>, Error> {
        let mut reading = cmd("XREADGROUP");
        reading.arg("GROUP").arg(GROUP).arg(&self.name).arg("COUNT").arg(BATCH_MAX);
        let mut limit = self.links.limit();
        if from == (From::New { block: true }) {
            limit += BLOCK;
            reading.arg("BLOCK").arg(u64::try_from(BLOCK.as_millis()).unwrap_or(0));
        }
        reading.arg("STREAMS").arg(STREAM).arg(if from == From::Own { "0" } else { ">" });
        let answer = ask(connection, limit, &reading).await?;
        // A list of streams, each a pair of its name and a list of messages.
        Ok(list(answer).into_iter().flat_map(|stream| messages(list(stream).pop())).collect())
    }

    /// What somebody else has had in hand for too long.
    async fn claim(&self, connection: &mut MultiplexedConnection) -> Result<Vec<Message>, Error> {
        let mut claiming = cmd("XAUTOCLAIM");
        claiming.arg(STREAM).arg(GROUP).arg(&self.name);
        claiming.arg(u64::try_from(self.claim_after.as_millis()).unwrap_or(u64::MAX));
        claiming.arg("0-0").arg("COUNT").arg(BATCH_MAX);
        // Where to go on, the messages, and the ids of those that are not there any more.
        let answer = ask(connection, self.links.limit(), &claiming).await?;
        let claimed = messages(list(answer).into_iter().nth(1));
        if !claimed.is_empty() {
            tracing::info!(orders = claimed.len(), "orders that were left by others are written");
        }
        Ok(claimed)
    }

    async fn tidy(&self, connection: &mut MultiplexedConnection, leaves: bool) -> Result<(), Error> {
        let gone = GONE_AFTER.max(2 * self.claim_after);
        let mut tidying = cmd("EVAL");
        tidying.arg(CONSUMERS).arg(1).arg(STREAM).arg(GROUP);
        tidying.arg(u64::try_from(gone.as_millis()).unwrap_or(u64::MAX)).arg(&self.name);
        tidying.arg(u8::from(leaves));
        ask(connection, self.links.limit(), &tidying).await.map(drop)
    }
}

async fn ask(connection: &mut MultiplexedConnection, limit: Duration, command: &Cmd) -> Result<Value, Error> {
    let answer = timeout(limit, command.query_async(connection)).await;
    Ok(answer.map_err(|_| Error::Late { limit_ms: limit.as_millis() })??)
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
