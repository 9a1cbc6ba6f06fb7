//! The tables, how they are set up, and the statements on them.
//!
//! A later release only adds to them, because the one before goes on using them during an upgrade and after one
//! that was taken back.

use jiff::{Timestamp, civil, tz::TimeZone};
use mysql_async::{Conn, Row, TxOpts, Value, prelude::Queryable as _};

use super::{
    Error, Mysql, UNKNOWN_TABLE,
    fence::{self, Epoch},
};
use crate::{
    lifecycle::ProcessGeneration,
    seckill::{EventId, GoodsId, IdempotencyKey, Order, OrderId, RequestDigest, UserId},
    state::Stock,
    stores::redis::Entry,
};

/// Who sets up the tables holds this lock of the server, of which the name has at most 64 characters.
const LOCK: &str = "CONCAT('seckill.', LEFT(MD5(DATABASE()), 32))";
/// How long the other process may take, in seconds.
const LOCK_S: u32 = 8;

/// What each version adds, from version 1 on. A statement that a process did before it died can be repeated.
const MIGRATIONS: &[&[&str]] = &[FIRST, SECOND];

const FIRST: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS orders (
        id VARCHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
        user BIGINT UNSIGNED NOT NULL,
        event BIGINT UNSIGNED NOT NULL,
        goods BIGINT UNSIGNED NOT NULL,
        `key` VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
        digest BINARY(32) NOT NULL,
        process BIGINT UNSIGNED NOT NULL,
        created_at DATETIME(6) NOT NULL,
        UNIQUE KEY user_key (user, `key`)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE IF NOT EXISTS stock (
        event BIGINT UNSIGNED NOT NULL,
        goods BIGINT UNSIGNED NOT NULL,
        initial BIGINT UNSIGNED NOT NULL,
        PRIMARY KEY (event, goods)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    // How far the stream of orders is in here: the largest id of it that was written.
    "CREATE TABLE IF NOT EXISTS written (
        `row` INT UNSIGNED NOT NULL PRIMARY KEY,
        ms BIGINT UNSIGNED NOT NULL,
        sequence BIGINT UNSIGNED NOT NULL
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "INSERT IGNORE INTO written (`row`, ms, sequence) VALUES (1, 0, 0)",
    // One row for each event, as in `activities.json`.
    "CREATE TABLE IF NOT EXISTS activities (
        event BIGINT UNSIGNED NOT NULL PRIMARY KEY,
        document LONGTEXT NOT NULL
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
];

/// A table of its own: those who write share its lock, and `written` is locked by one at a time.
const SECOND: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS compared (
        `row` INT UNSIGNED NOT NULL PRIMARY KEY,
        epoch BIGINT UNSIGNED NOT NULL
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "INSERT IGNORE INTO compared (`row`, epoch) VALUES (1, 0)",
];

const ORDER_COLUMNS: &str = "id, user, event, goods, `key`, digest, process, created_at";

/// Where in the stream something is: `ms-sequence`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::stores) struct Position {
    pub(in crate::stores) ms: u64,
    pub(in crate::stores) sequence: u64,
}

/// What became of a batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::stores) struct Written {
    /// Orders that were not there before.
    pub(in crate::stores) new: u64,
    /// Orders that cannot be there, because another one has their key.
    pub(in crate::stores) conflicting: Vec<OrderId>,
}

/// Brings the tables to the version of this program, one process after the other. Tables of a later one are left
/// alone.
pub(super) async fn migrate(conn: &mut Conn) -> Result<(), Error> {
    // Nobody has to wait for a lock when there is nothing to do.
    if version(conn).await?.is_some_and(|found| found >= MIGRATIONS.len()) {
        return Ok(());
    }
    let locked: Option<Option<u32>> = conn.query_first(format!("SELECT GET_LOCK({LOCK}, {LOCK_S})")).await?;
    if locked != Some(Some(1)) {
        return Err(Error::Locked);
    }
    // If this fails the connection is given up, and the lock with it.
    conn.query_drop(
        "CREATE TABLE IF NOT EXISTS migrations (
            version INT UNSIGNED NOT NULL PRIMARY KEY,
            applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
        ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    )
    .await?;
    let found = version(conn).await?.unwrap_or(0);
    for (version, statements) in (1..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        for statement in *statements {
            conn.query_drop(*statement).await?;
        }
        conn.exec_drop("INSERT INTO migrations (version) VALUES (?)", (version,)).await?;
        tracing::info!(version, "the tables of mysql are set up");
    }
    conn.query_drop(format!("DO RELEASE_LOCK({LOCK})")).await?;
    Ok(())
}

/// Of the tables. `None`: there are none.
async fn version(conn: &mut Conn) -> Result<Option<usize>, Error> {
    match conn.query_first::<Option<usize>, _>("SELECT MAX(version) FROM migrations").await {
        Ok(found) => Ok(found.flatten()),
        Err(mysql_async::Error::Server(error)) if error.code == UNKNOWN_TABLE => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Mysql {
    /// Writes a batch, and that the stream is written up to `position`, in one transaction. What is there already
    /// stays as it is, so that a batch may come again. `epoch`: that of Redis before the batch was read.
    pub(in crate::stores) async fn write(
        &self,
        entries: &[Entry],
        position: Position,
        epoch: Epoch,
    ) -> Result<Written, Error> {
        let rows = vec!["(?, ?, ?, ?, ?, ?, ?, ?)"; entries.len()].join(", ");
        let insert =
            format!("INSERT INTO orders ({ORDER_COLUMNS}) VALUES {rows} ON DUPLICATE KEY UPDATE id = id");
        let values: Vec<Value> = entries.iter().flat_map(values).collect();
        let ids: Vec<Value> = entries.iter().map(|entry| entry.order.id.to_string().into()).collect();
        let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        let stored = self
            .work(self.batch_limit(), |mut conn| async move {
                let done = write(&mut conn, insert, values, ids, count, position, epoch).await;
                (conn, done)
            })
            .await?;
        let stored = match stored {
            Stored::Fenced => return Err(Error::Fenced),
            Stored::AllNew => return Ok(Written { new: count, conflicting: Vec::new() }),
            Stored::Some(stored) => stored,
        };
        let conflicting: Vec<OrderId> = entries
            .iter()
            .map(|entry| entry.order.id)
            .filter(|id| !stored.ids.contains(&id.to_string()))
            .collect();
        Ok(Written { new: stored.new, conflicting })
    }

    /// The order called `id`, if it is `user`'s.
    pub(in crate::stores) async fn order(&self, id: OrderId, user: UserId) -> Result<Option<Order>, Error> {
        let row: Option<Row> = self
            .work(self.limit(), |mut conn| async move {
                let select = format!("SELECT {ORDER_COLUMNS} FROM orders WHERE id = ? AND user = ?");
                let found = conn.exec_first(select, (id.to_string(), user.0)).await;
                (conn, found)
            })
            .await?;
        row.map(|row| entry(row).map(|entry| entry.order)).transpose()
    }

    /// At most `count` orders after `id` in the order of their ids.
    pub(in crate::stores) async fn orders_after(&self, id: &str, count: usize) -> Result<Vec<Entry>, Error> {
        let id = id.to_owned();
        let rows: Vec<Row> = self
            .work(self.batch_limit(), |mut conn| async move {
                let select =
                    format!("SELECT {ORDER_COLUMNS} FROM orders WHERE id > ? ORDER BY id LIMIT {count}");
                let found = conn.exec(select, (id,)).await;
                (conn, found)
            })
            .await?;
        rows.into_iter().map(entry).collect()
    }

    /// Remembers how many of some goods there were. What is known stays as it is.
    pub(in crate::stores) async fn put_stock(&self, stock: &[Stock]) -> Result<(), Error> {
        if stock.is_empty() {
            return Ok(());
        }
        let rows = vec!["(?, ?, ?)"; stock.len()].join(", ");
        let insert = format!(
            "INSERT INTO stock (event, goods, initial) VALUES {rows} ON DUPLICATE KEY UPDATE initial = initial"
        );
        let values = stock.iter().flat_map(|stock| [stock.event.0, stock.goods.0, stock.initial]);
        let values: Vec<Value> = values.map(Value::from).collect();
        self.work(self.limit(), |mut conn| async move {
            let done = conn.exec_drop(insert, values).await;
            (conn, done)
        })
        .await
    }

    /// How many there were of everything that was ever sold.
    pub(in crate::stores) async fn stock(&self) -> Result<Vec<Stock>, Error> {
        let rows: Vec<(u64, u64, u64)> = self
            .work(self.limit(), |mut conn| async move {
                let found = conn.query("SELECT event, goods, initial FROM stock").await;
                (conn, found)
            })
            .await?;
        let stock = |(event, goods, initial)| Stock { event: EventId(event), goods: GoodsId(goods), initial };
        Ok(rows.into_iter().map(stock).collect())
    }
}

/// What became of a batch in the tables.
enum Stored {
    /// Redis has been compared with MySQL since it was read.
    Fenced,
    AllNew,
    Some(Found),
}

/// What is in the table of a batch that was not all new.
struct Found {
    new: u64,
    ids: Vec<String>,
}

async fn write(
    conn: &mut Conn,
    insert: String,
    values: Vec<Value>,
    ids: Vec<Value>,
    count: u64,
    position: Position,
    epoch: Epoch,
) -> mysql_async::Result<Stored> {
    let mut transaction = conn.start_transaction(TxOpts::default()).await?;
    if !fence::hold(&mut transaction, epoch).await? {
        transaction.rollback().await?;
        return Ok(Stored::Fenced);
    }
    transaction.exec_drop(insert, values).await?;
    let new = transaction.affected_rows();
    let mut stored = Stored::AllNew;
    if new < count {
        let marks = vec!["?"; ids.len()].join(", ");
        let ids = transaction.exec(format!("SELECT id FROM orders WHERE id IN ({marks})"), ids).await?;
        stored = Stored::Some(Found { new, ids });
    }
    let Position { ms, sequence } = position;
    transaction
        .exec_drop(
            "UPDATE written SET ms = ?, sequence = ? WHERE `row` = 1 AND (ms < ? OR (ms = ? AND sequence < ?))",
            (ms, sequence, ms, ms, sequence),
        )
        .await?;
    transaction.commit().await?;
    Ok(stored)
}

fn values(entry: &Entry) -> [Value; 8] {
    let Entry { order, key, digest } = entry;
    [
        order.id.to_string().into(),
        order.user.0.into(),
        order.event.0.into(),
        order.goods.0.into(),
        key.as_str().into(),
        digest.to_vec().into(),
        order.process.0.into(),
        date(order.created_at),
    ]
}

/// To the microsecond, which is all that an order has.
fn date(time: Timestamp) -> Value {
    let at = TimeZone::UTC.to_datetime(time);
    let small = |number: i8| u8::try_from(number).unwrap_or(0);
    let micros = u32::try_from(at.subsec_nanosecond() / 1_000).unwrap_or(0);
    Value::Date(
        u16::try_from(at.year()).unwrap_or(0),
        small(at.month()),
        small(at.day()),
        small(at.hour()),
        small(at.minute()),
        small(at.second()),
        micros,
    )
}

fn timestamp(value: &Value) -> Option<Timestamp> {
    let Value::Date(year, month, day, hour, minute, second, micros) = *value else { return None };
    let small = |number: u8| i8::try_from(number).ok();
    let date = civil::DateTime::new(
        i16::try_from(year).ok()?,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second)?,
        i32::try_from(micros).ok()?.checked_mul(1_000)?,
    );
    TimeZone::UTC.to_timestamp(date.ok()?).ok()
}

fn entry(mut row: Row) -> Result<Entry, Error> {
    let strange = Error::Strange("a row of `orders` is no order");
    let read = || {
        let id: String = row.take_opt(0)?.ok()?;
        let mut number = |column: usize| row.take_opt::<u64, _>(column)?.ok();
        let (user, event, goods) = (number(1)?, number(2)?, number(3)?);
        let process = u32::try_from(number(6)?).ok()?;
        let key: String = row.take_opt(4)?.ok()?;
        let digest: Vec<u8> = row.take_opt(5)?.ok()?;
        let created_at: Value = row.take_opt(7)?.ok()?;
        let order = Order {
            id: OrderId::parse(&id)?,
            event: EventId(event),
            goods: GoodsId(goods),
            user: UserId(user),
            process: ProcessGeneration(process),
            created_at: timestamp(&created_at)?,
        };
        let key = IdempotencyKey::parse(key.as_bytes()).ok()?;
        Some(Entry { order, key, digest: RequestDigest::try_from(digest).ok()? })
    };
    let mut read = read;
    read().ok_or(strange)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_it_was_written() {
        for text in ["2026-08-23T10:00:00.123456Z", "1970-01-01T00:00:00Z", "2100-12-31T23:59:59.999999Z"] {
            let time: Timestamp = text.parse().unwrap();
            assert_eq!(timestamp(&date(time)), Some(time), "{text}");
        }
        assert_eq!(timestamp(&Value::NULL), None);
        assert_eq!(timestamp(&Value::Date(2026, 13, 1, 0, 0, 0, 0)), None);
    }
}
