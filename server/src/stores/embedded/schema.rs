//! The tables, and how a connection to them is set up.

use std::{path::Path, thread, time::Duration};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::{Error, turn::Turns};
use crate::state::{Activities, Stock};

/// Version of the tables, kept in the database's `user_version`. 0: there are none yet.
const VERSION: i64 = 1;

/// `bought` repeats what could be counted in `orders`, so that a limit is checked in constant time for
/// a buyer of thousands too.
const TABLES: &str = r#"
    CREATE TABLE stock (
        event INTEGER NOT NULL,
        goods INTEGER NOT NULL,
        initial INTEGER NOT NULL,
        "left" INTEGER NOT NULL CHECK ("left" >= 0),
        PRIMARY KEY (event, goods)
    ) WITHOUT ROWID;
    CREATE TABLE orders (
        id TEXT PRIMARY KEY,
        user INTEGER NOT NULL,
        event INTEGER NOT NULL,
        goods INTEGER NOT NULL,
        key TEXT NOT NULL,
        digest BLOB NOT NULL,
        process INTEGER NOT NULL,
        created_at TEXT NOT NULL,
        UNIQUE (user, key)
    ) WITHOUT ROWID;
    CREATE TABLE bought (
        user INTEGER NOT NULL,
        event INTEGER NOT NULL,
        goods INTEGER NOT NULL,
        count INTEGER NOT NULL,
        PRIMARY KEY (user, event, goods)
    ) WITHOUT ROWID;
    PRAGMA user_version = 1;
"#;

/// How a connection behaves. The log is copied back into the database every 16 MB, and what it has
/// grown to beyond 64 MB is given back to the disk.
const PRAGMAS: &str = "
    PRAGMA synchronous = FULL;
    PRAGMA cache_size = -32768;
    PRAGMA temp_store = MEMORY;
    PRAGMA wal_autocheckpoint = 4096;
    PRAGMA journal_size_limit = 67108864;
";

/// How long to wait between two tries for a lock that the other process has. SQLite's own waits grow to
/// 100 ms; a commit is over in one or two.
pub(super) const BUSY_WAIT: Duration = Duration::from_micros(150);

/// Tries for a lock, about four seconds of them, after which the purchases fail: where the disk is kept busy by others
/// a single flush may take seconds, and few wait longer than five for an answer.
const BUSY_TRIES_MAX: i32 = 20_000;

/// Opens the database for writing, with its tables made and the stock of new goods put in.
pub(super) fn open_and_migrate(path: &Path, activities: &Activities) -> Result<(Connection, Turns), Error> {
    let failed = |source| Error::Open { path: path.to_path_buf(), source };
    let mut connection = connect(path).map_err(failed)?;
    let mut turns = Turns::of(path).map_err(|source| Error::Turns { path: path.to_path_buf(), source })?;
    let turn = turns.take();
    // Taking the write lock before looking makes two processes that start at once do it one after the other.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let found = transaction.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    match found {
        0 => transaction.execute_batch(TABLES).map_err(failed)?,
        VERSION => {}
        _ => return Err(Error::Version { path: path.to_path_buf(), found, known: VERSION }),
    }
    put_stock(&transaction, activities).map_err(failed)?;
    transaction.commit().map_err(failed)?;
    drop(turn);
    Ok((connection, turns))
}

/// A connection that waits for locks and flushes at every commit.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_handler(Some(wait_for_lock))?;
    set_wal_mode(&connection)?;
    connection.execute_batch(PRAGMAS)?;
    Ok(connection)
}

/// Turns a new database to WAL. SQLite does not wait for the lock that this takes when another process
/// does the same.
fn set_wal_mode(connection: &Connection) -> rusqlite::Result<()> {
    let mut tries = 0;
    loop {
        match connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())) {
            Err(error) if is_busy(&error) && wait_for_lock(tries) => tries += 1,
            other => return other,
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn put_stock(connection: &Connection, activities: &Activities) -> rusqlite::Result<()> {
    let mut insert = connection
        .prepare(r#"INSERT OR IGNORE INTO stock (event, goods, initial, "left") VALUES (?1, ?2, ?3, ?3)"#)?;
    for Stock { event, goods, initial } in activities.stock() {
        insert.execute([sql(event.0), sql(goods.0), sql(initial)])?;
    }
    Ok(())
}

/// Called by SQLite on one of the store's own threads while another connection has the lock.
#[expect(clippy::disallowed_methods, reason = "SQLite offers no way to be woken when the lock is free")]
fn wait_for_lock(tries: i32) -> bool {
    if tries < BUSY_TRIES_MAX {
        thread::sleep(BUSY_WAIT);
    }
    tries < BUSY_TRIES_MAX
}

/// The number as SQLite has it. Everything that gets here is at most [`crate::seckill::ID_MAX`]; a larger
/// number becomes one that nothing has.
pub(super) fn sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(-1)
}
