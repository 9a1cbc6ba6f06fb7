//! Orders and stock as the reference server's embedded store holds them after the run.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row};

use super::Error;
use crate::observe::{StoredOrder, StoredQueue, StoredStock};

/// Everything that the order invariants need of the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// In order of id.
    pub orders: Vec<StoredOrder>,
    /// In order of event and goods.
    pub stock: Vec<StoredStock>,
    /// Of a server that buys through Redis and MySQL.
    pub queue: Option<StoredQueue>,
}

/// Reads the SQLite file without changing it. The server must be stopped, or the figures move.
///
/// # Errors
/// When the file is missing, or its tables are not the ones agreed on.
pub(super) fn read(path: &Path) -> Result<Stored, Error> {
    let failed = |source| Error::Store { path: path.to_owned(), source };
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    let orders =
        rows(&connection, r"SELECT id, user, event, goods, key, process FROM orders ORDER BY id", |row| {
            Ok(StoredOrder {
                id: row.get::<_, String>(0)?.into(),
                user: row.get(1)?,
                event: row.get(2)?,
                goods: row.get(3)?,
                key: row.get(4)?,
                process: row.get(5)?,
            })
        })
        .map_err(failed)?;
    let stock = rows(
        &connection,
        r#"SELECT event, goods, initial, "left" FROM stock ORDER BY event, goods"#,
        |row| {
            let initial: i64 = row.get(2)?;
            let initial =
                u64::try_from(initial).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(2, initial))?;
            Ok(StoredStock { event: row.get(0)?, goods: row.get(1)?, initial, left: row.get(3)? })
        },
    )
    .map_err(failed)?;
    Ok(Stored { orders, stock, queue: None })
}

fn rows<T>(
    connection: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare(sql)?.query_map([], read)?.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"
        PRAGMA journal_mode = WAL;
        CREATE TABLE stock(event INTEGER, goods INTEGER, initial INTEGER NOT NULL,
            "left" INTEGER NOT NULL CHECK("left" >= 0), PRIMARY KEY(event, goods));
        CREATE TABLE orders(id TEXT PRIMARY KEY, user INTEGER NOT NULL, event INTEGER NOT NULL,
            goods INTEGER NOT NULL, key TEXT NOT NULL, digest BLOB NOT NULL, process INTEGER NOT NULL,
            created_at TEXT NOT NULL, UNIQUE(user, key));
        INSERT INTO stock VALUES (1, 1, 10, 8), (2, 2, 10, 10);
        INSERT INTO orders VALUES ('b', 7, 1, 1, 'k2', x'00', 3, '2026-01-01T00:00:00Z'),
                                  ('a', 6, 1, 1, 'k1', x'00', 1, '2026-01-01T00:00:00Z');"#;

    fn expected() -> Stored {
        let order = |id: &str, user, key: &str, process| StoredOrder {
            id: id.into(),
            user,
            event: 1,
            goods: 1,
            key: key.to_owned(),
            process,
        };
        Stored {
            orders: vec![order("a", 6, "k1", 1), order("b", 7, "k2", 3)],
            stock: vec![
                StoredStock { event: 1, goods: 1, initial: 10, left: 8 },
                StoredStock { event: 2, goods: 2, initial: 10, left: 10 },
            ],
            queue: None,
        }
    }

    #[test]
    fn a_store_closed_in_order_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seckill.db");
        let writer = Connection::open(&path).unwrap();
        writer.execute_batch(SCHEMA).unwrap();
        writer.close().unwrap();
        assert_eq!(read(&path).unwrap(), expected());
    }

    #[test]
    fn a_store_whose_writer_was_killed_is_read_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seckill.db");
        let writer = Connection::open(&path).unwrap();
        writer.execute_batch(SCHEMA).unwrap();
        // What a killed process leaves behind: the files of a writer that never closed.
        let left_behind = tempfile::tempdir().unwrap();
        for name in ["seckill.db", "seckill.db-wal"] {
            std::fs::copy(dir.path().join(name), left_behind.path().join(name)).unwrap();
        }
        assert_eq!(read(&left_behind.path().join("seckill.db")).unwrap(), expected());
    }

    #[test]
    fn a_missing_or_foreign_store_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seckill.db");
        for prepare in [|_: &Path| {}, |path: &Path| std::fs::write(path, "not a database").unwrap()] {
            prepare(&path);
            let error = read(&path).unwrap_err().to_string();
            assert!(
                error.starts_with("read orders and stock from") && error.ends_with("seckill.db"),
                "{error}"
            );
        }
    }
}
