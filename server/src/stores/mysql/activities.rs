//! The table of what is sold, for whoever publishes it.

use std::fmt;

use mysql_async::{Conn, prelude::Queryable as _};

use super::{Error, UNKNOWN_TABLE, opts};
use crate::{config::MysqlSettings, stores::patience::within};

/// The table, and a connection of its own that is kept: nobody waits for who looks now and then.
pub struct ActivityTable {
    settings: MysqlSettings,
    conn: Option<Conn>,
}

impl ActivityTable {
    /// Connects to nothing yet.
    #[must_use]
    pub fn new(settings: &MysqlSettings) -> Self {
        Self { settings: settings.clone(), conn: None }
    }

    /// All events as one document, ascending by id. `None`: there are none, or no table yet.
    ///
    /// # Errors
    /// MySQL does not answer within `mysql.timeout_ms`.
    pub async fn read(&mut self) -> Result<Option<String>, Error> {
        let limit = self.settings.timeout;
        // What is broken off in the middle is not asked on.
        let kept = self.conn.take();
        let (conn, documents) = within(limit, documents(&self.settings, kept))
            .await
            .ok_or(Error::Late { limit_ms: limit.as_millis() })??;
        self.conn = Some(conn);
        Ok((!documents.is_empty()).then(|| format!("{{\"events\":[{}]}}", documents.join(",\n"))))
    }
}

async fn documents(settings: &MysqlSettings, kept: Option<Conn>) -> Result<(Conn, Vec<String>), Error> {
    const SELECT: &str = "SELECT document FROM activities ORDER BY event";
    if let Some(mut conn) = kept
        && let Ok(documents) = conn.query(SELECT).await
    {
        return Ok((conn, documents));
    }
    let mut conn = Conn::new(opts(settings)?).await?;
    let documents = match conn.query(SELECT).await {
        Err(mysql_async::Error::Server(error)) if error.code == UNKNOWN_TABLE => Vec::new(),
        documents => documents?,
    };
    Ok((conn, documents))
}

impl fmt::Debug for ActivityTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActivityTable").field("address", &self.settings.address).finish_non_exhaustive()
    }
}
