//! The fence between what was read from Redis before it lost something, and MySQL.
//!
//! Each comparison of Redis with MySQL begins with a new epoch, which Redis is told too. Whoever writes orders names
//! the epoch that Redis had before they were read, and a transaction holds it as it was until its end. So when a
//! comparison begins, everything that is still written was written before it, and what is in somebody's hand will
//! never be: he has to read it from Redis again, if it is still there.

use mysql_async::{Conn, Transaction, TxOpts, prelude::Queryable as _};

use super::{Error, Mysql, tables::Position};

/// The number of a comparison; 0: there was none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::stores) struct Epoch(pub(in crate::stores) u64);

/// What a comparison begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::stores) struct Begun {
    /// That of the comparison before.
    pub(in crate::stores) before: Epoch,
    pub(in crate::stores) epoch: Epoch,
    /// How far the stream is written, and nobody writes it any further under an older epoch.
    pub(in crate::stores) written: Position,
}

impl Mysql {
    /// The epoch of the last comparison.
    pub(in crate::stores) async fn epoch(&self) -> Result<Epoch, Error> {
        let found: Option<u64> = self
            .work(self.limit(), |mut conn| async move {
                let found = conn.query_first("SELECT epoch FROM compared WHERE `row` = 1").await;
                (conn, found)
            })
            .await?;
        found.map(Epoch).ok_or(Error::Strange("nothing in `compared`"))
    }

    /// Begins a comparison. It waits for whoever is writing.
    pub(in crate::stores) async fn begin(&self) -> Result<Begun, Error> {
        let begun = self
            .work(self.batch_limit(), |mut conn| async move {
                let begun = begin(&mut conn).await;
                (conn, begun)
            })
            .await?;
        begun.ok_or(Error::Strange("nothing in `compared` or in `written`"))
    }
}

async fn begin(conn: &mut Conn) -> mysql_async::Result<Option<Begun>> {
    let mut transaction = conn.start_transaction(TxOpts::default()).await?;
    let before: Option<u64> =
        transaction.query_first("SELECT epoch FROM compared WHERE `row` = 1 FOR UPDATE").await?;
    let written: Option<(u64, u64)> =
        transaction.query_first("SELECT ms, sequence FROM written WHERE `row` = 1").await?;
    transaction.query_drop("UPDATE compared SET epoch = epoch + 1 WHERE `row` = 1").await?;
    transaction.commit().await?;
    Ok(before.zip(written).map(|(before, (ms, sequence))| Begun {
        before: Epoch(before),
        epoch: Epoch(before + 1),
        written: Position { ms, sequence },
    }))
}

/// Keeps the epoch as it is until the end of the transaction, beside others who do. `false`: it is another one.
pub(super) async fn hold(transaction: &mut Transaction<'_>, epoch: Epoch) -> mysql_async::Result<bool> {
    let select = "SELECT epoch FROM compared WHERE `row` = 1 LOCK IN SHARE MODE";
    Ok(transaction.query_first::<u64, _>(select).await? == Some(epoch.0))
}
