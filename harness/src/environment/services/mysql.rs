//! MySQL and MariaDB as far as the harness asks them. A connection asks a few things and is closed.

use std::{future::Future, time::Duration};

use mysql_async::{Conn, Opts, OptsBuilder, prelude::Queryable};
use tokio::time::timeout;

use super::Error;
use crate::plan::Access;

/// A connection.
#[derive(Debug)]
pub(super) struct Mysql {
    connection: Conn,
    address: String,
    /// For each question and its answer.
    limit: Duration,
}

impl Mysql {
    /// Connects, with the handshake and its authentication.
    pub(super) async fn connect(access: &Access, limit: Duration) -> Result<Self, Error> {
        let address = access.address.clone();
        let connection = within(&address, limit, Conn::new(options(access))).await?;
        Ok(Self { connection, address, limit })
    }

    /// Runs a statement whose rows are of no interest.
    pub(super) async fn run(&mut self, statement: &str) -> Result<(), Error> {
        within(&self.address, self.limit, self.connection.query_drop(statement)).await
    }

    /// Runs a statement; each row turned into something.
    pub(super) async fn rows<T: Send + 'static>(
        &mut self,
        statement: &str,
        mut read: impl FnMut(mysql_async::Row) -> Option<T> + Send,
    ) -> Result<Vec<T>, Error> {
        let asked = self.connection.query::<mysql_async::Row, _>(statement);
        let rows = within(&self.address, self.limit, asked).await?;
        let unreadable = || Error::Ledger {
            what: format!("MySQL at {}", self.address),
            why: format!("`{statement}` gives other columns than were agreed on"),
        };
        rows.into_iter().map(|row| read(row).ok_or_else(unreadable)).collect()
    }

    /// Says goodbye, so that the server logs no lost connection.
    pub(super) async fn close(self) {
        // It is gone either way.
        let _gone = timeout(self.limit, self.connection.disconnect()).await;
    }
}

/// Does something within a time.
async fn within<T>(
    address: &str,
    limit: Duration,
    asked: impl Future<Output = Result<T, mysql_async::Error>>,
) -> Result<T, Error> {
    let address = || address.to_owned();
    match timeout(limit, asked).await {
        Ok(answered) => {
            answered.map_err(|source| Error::Mysql { address: address(), source: Box::new(source) })
        }
        Err(_) => Err(Error::MysqlSilent { address: address(), limit_ms: limit.as_millis() }),
    }
}

fn options(access: &Access) -> Opts {
    let (host, port) = access.address.rsplit_once(':').unwrap_or((&access.address, ""));
    let builder = OptsBuilder::default()
        .ip_or_hostname(host.trim_matches(['[', ']']))
        .tcp_port(port.parse().unwrap_or(3306))
        .user(Some(&access.username))
        .pass(Some(&access.password.0).filter(|password| !password.is_empty()))
        .db_name(Some(&access.database))
        // The address is what was asked for, not a socket that the server names.
        .prefer_socket(false);
    Opts::from(builder)
}
