//! The thread that reads, beside the writer and never waiting for it.

use std::sync::mpsc::Receiver;

use rusqlite::{Connection, OptionalExtension as _, Statement, params};
use tokio::sync::oneshot;

use super::{schema::sql, writer::order};
use crate::{
    seckill::{EventId, GoodsId, Order, OrderId, UserId},
    stores::Unavailable,
};

/// What the reader is asked.
#[derive(Debug)]
pub(super) enum Question {
    Order {
        id: OrderId,
        user: UserId,
        answer: oneshot::Sender<Result<Option<Order>, Unavailable>>,
    },
    Left {
        event: EventId,
        answer: oneshot::Sender<Result<Vec<(GoodsId, u64)>, Unavailable>>,
    },
    /// Stop.
    Close,
}

/// Answers one question after another, each in a read of its own, so that no old view of the database
/// keeps its log from being cut.
pub(super) fn run(connection: &Connection, questions: &Receiver<Question>) {
    let mut statements = match Statements::prepare(connection) {
        Ok(statements) => statements,
        Err(error) => {
            tracing::error!("failed to prepare the statements of a read: {error}");
            return;
        }
    };
    while let Ok(question) = questions.recv() {
        match question {
            Question::Order { id, user, answer } => reply(answer, statements.order(id, user)),
            Question::Left { event, answer } => reply(answer, statements.left(event)),
            Question::Close => return,
        }
    }
}

fn reply<T>(answer: oneshot::Sender<Result<T, Unavailable>>, found: rusqlite::Result<T>) {
    let found = found.map_err(|error| {
        tracing::error!("failed to read from the store: {error}");
        Unavailable::Failed
    });
    // Whoever asked may be gone.
    drop(answer.send(found));
}

struct Statements<'c> {
    order: Statement<'c>,
    left: Statement<'c>,
}

impl<'c> Statements<'c> {
    fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            order: connection.prepare(
                "SELECT id, user, event, goods, process, created_at FROM orders WHERE id = ?1 AND user = ?2",
            )?,
            left: connection.prepare(r#"SELECT goods, "left" FROM stock WHERE event = ?1 ORDER BY goods"#)?,
        })
    }

    fn order(&mut self, id: OrderId, user: UserId) -> rusqlite::Result<Option<Order>> {
        self.order.query_row(params![id.to_string(), sql(user.0)], order).optional()
    }

    fn left(&mut self, event: EventId) -> rusqlite::Result<Vec<(GoodsId, u64)>> {
        let number = |value: i64| u64::try_from(value).unwrap_or(0);
        self.left
            .query_map([sql(event.0)], |row| Ok((GoodsId(number(row.get(0)?)), number(row.get(1)?))))?
            .collect()
    }
}
