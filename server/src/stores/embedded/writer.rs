//! The thread that writes: groups of purchases, each group one transaction.

use std::{
    str::FromStr as _,
    sync::mpsc::{Receiver, TryRecvError},
};

use rusqlite::{
    Connection, OptionalExtension as _, Row, Statement, Transaction, TransactionBehavior, params, types::Type,
};
use tokio::sync::oneshot;

use super::{schema::sql, turn::Turns};
use crate::{
    lifecycle::ProcessGeneration,
    seckill::{
        Decision, EventId, Facts, GoodsId, Order, OrderId, Outcome, Purchase, Refusal, RequestDigest, UserId,
        decide,
    },
    stores::{StoreCounters, Unavailable, sales::Sales},
};

#[cfg(debug_assertions)]
use crate::faults;

/// Purchases in one commit. A group of this size takes about 20 ms, the time the last of them waits.
const GROUP_MAX: usize = 1_024;

/// What the writer is asked for.
#[derive(Debug)]
pub(super) enum Job {
    Buy {
        purchase: Purchase,
        answer: oneshot::Sender<Result<Outcome, Unavailable>>,
    },
    /// Commit what came before, then stop.
    Close,
}

type Waiting = (Purchase, oneshot::Sender<Result<Outcome, Unavailable>>);

/// Commits group after group until it is told to close or nobody is left to ask.
pub(super) fn run(
    connection: &Connection,
    turns: &mut Turns,
    jobs: &Receiver<Job>,
    process: ProcessGeneration,
    counters: &StoreCounters,
    sales: &Sales,
) {
    let mut statements = match Statements::prepare(connection) {
        Ok(statements) => statements,
        Err(error) => {
            tracing::error!("failed to prepare the statements of a purchase: {error}");
            return;
        }
    };
    let mut group = Vec::with_capacity(GROUP_MAX);
    let mut open = true;
    while open {
        open = collect(jobs, &mut group);
        if group.is_empty() {
            continue;
        }
        let committed = {
            let _turn = turns.take();
            commit(connection, &mut statements, &group, process)
        };
        match committed {
            Ok(outcomes) => {
                counters.commits.inc();
                let placed = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Placed(_))).count();
                counters.written.inc_by(u64::try_from(placed).unwrap_or(0));
                sales.tell(outcomes.iter().filter_map(|outcome| match outcome {
                    Outcome::Placed(order) => Some(order.event),
                    Outcome::Replayed(_) | Outcome::Refused(_) => None,
                }));
                for ((_, answer), outcome) in group.drain(..).zip(outcomes) {
                    // Whoever asked may be gone; the order stays, and his key finds it again.
                    drop(answer.send(Ok(outcome)));
                }
            }
            Err(error) => {
                tracing::error!("failed to commit {} purchases: {error}", group.len());
                for (_, answer) in group.drain(..) {
                    drop(answer.send(Err(Unavailable::Failed)));
                }
            }
        }
    }
}

/// Waits for the first job and takes whatever else is there already. `false`: it is time to stop.
fn collect(jobs: &Receiver<Job>, group: &mut Vec<Waiting>) -> bool {
    let mut next = jobs.recv().map_err(|_| TryRecvError::Disconnected);
    loop {
        match next {
            Ok(Job::Buy { purchase, answer }) => group.push((purchase, answer)),
            Ok(Job::Close) | Err(TryRecvError::Disconnected) => return false,
            Err(TryRecvError::Empty) => return true,
        }
        if group.len() == GROUP_MAX {
            return true;
        }
        next = jobs.try_recv();
    }
}

/// All of the group in one transaction, or none of it.
fn commit(
    connection: &Connection,
    statements: &mut Statements<'_>,
    group: &[Waiting],
    process: ProcessGeneration,
) -> rusqlite::Result<Vec<Outcome>> {
    // The write lock comes first: what is read under it stays true until the commit.
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let outcomes = group.iter().map(|(purchase, _)| statements.buy(purchase, process));
    // An error drops the transaction, which takes back what it did.
    let outcomes = outcomes.collect::<rusqlite::Result<Vec<_>>>()?;
    transaction.commit()?;
    Ok(outcomes)
}

/// The statements of a purchase, compiled once per connection.
struct Statements<'c> {
    stored: Statement<'c>,
    bought: Statement<'c>,
    left: Statement<'c>,
    take: Statement<'c>,
    insert: Statement<'c>,
    count: Statement<'c>,
}

impl<'c> Statements<'c> {
    fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            stored: connection.prepare(
                "SELECT id, user, event, goods, process, created_at, digest FROM orders
                 WHERE user = ?1 AND key = ?2",
            )?,
            bought: connection
                .prepare("SELECT count FROM bought WHERE user = ?1 AND event = ?2 AND goods = ?3")?,
            left: connection.prepare(r#"SELECT "left" FROM stock WHERE event = ?1 AND goods = ?2"#)?,
            take: connection.prepare(
                r#"UPDATE stock SET "left" = "left" - 1 WHERE event = ?1 AND goods = ?2 AND "left" > 0"#,
            )?,
            insert: connection.prepare(
                "INSERT INTO orders (id, user, event, goods, process, created_at, digest, key)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?,
            count: connection.prepare(
                "INSERT INTO bought (user, event, goods, count) VALUES (?1, ?2, ?3, 1)
                 ON CONFLICT DO UPDATE SET count = count + 1",
            )?,
        })
    }

    fn buy(&mut self, purchase: &Purchase, process: ProcessGeneration) -> rusqlite::Result<Outcome> {
        let (user, key) = (sql(purchase.user.0), purchase.key.as_str());
        let (event, goods) = (sql(purchase.request.event.0), sql(purchase.request.goods.0));
        let stored = self
            .stored
            .query_row(params![user, key], |row| Ok((order(row)?, row.get::<_, RequestDigest>(6)?)))
            .optional()?;
        let bought: Option<i64> = self.bought.query_row([user, event, goods], |row| row.get(0)).optional()?;
        let left: Option<i64> = self.left.query_row([event, goods], |row| row.get(0)).optional()?;
        let facts = Facts {
            stored: stored.as_ref().map(|(_, digest)| *digest),
            bought: bought.and_then(|bought| u64::try_from(bought).ok()).unwrap_or(0),
            left: left.and_then(|left| u64::try_from(left).ok()),
        };
        #[cfg(debug_assertions)]
        let facts = if faults::strikes(faults::Fault::Oversell) {
            Facts { left: facts.left.map(|left| left.max(1)), ..facts }
        } else {
            facts
        };
        match decide(purchase, &facts) {
            Decision::Place => {
                #[cfg(debug_assertions)]
                if faults::strikes(faults::Fault::StoreTwice) {
                    self.place(&faults::again(purchase), process)?;
                }
                self.place(purchase, process)
            }
            Decision::Refuse(refusal) => Ok(Outcome::Refused(refusal)),
            Decision::Replay => {
                let (order, _) = stored.expect("a replay must have an order to repeat");
                Ok(Outcome::Replayed(order))
            }
        }
    }

    /// Takes one from the stock and stores the order.
    fn place(&mut self, purchase: &Purchase, process: ProcessGeneration) -> rusqlite::Result<Outcome> {
        let order = Order {
            id: purchase.id,
            event: purchase.request.event,
            goods: purchase.request.goods,
            user: purchase.user,
            process,
            created_at: purchase.created_at,
        };
        let (user, event, goods) = (sql(order.user.0), sql(order.event.0), sql(order.goods.0));
        #[cfg(debug_assertions)]
        if faults::strikes(faults::Fault::LoseOrder) {
            return Ok(Outcome::Placed(order));
        }
        let taken = self.take.execute([event, goods])? > 0;
        #[cfg(debug_assertions)]
        let taken = taken || faults::strikes(faults::Fault::Oversell);
        if !taken {
            return Ok(Outcome::Refused(Refusal::SoldOut));
        }
        self.insert.execute(params![
            order.id.to_string(),
            user,
            event,
            goods,
            order.process.0,
            order.created_at.to_string(),
            purchase.digest,
            purchase.key.as_str(),
        ])?;
        self.count.execute([user, event, goods])?;
        Ok(Outcome::Placed(order))
    }
}

/// The order in a row of `id, user, event, goods, process, created_at`.
pub(super) fn order(row: &Row<'_>) -> rusqlite::Result<Order> {
    let number = |column| {
        let value: i64 = row.get(column)?;
        u64::try_from(value).map_err(|error| unreadable(column, Type::Integer, error))
    };
    let id = OrderId::parse(row.get_ref(0)?.as_str()?);
    let created_at = row.get_ref(5)?.as_str()?;
    Ok(Order {
        id: id.ok_or_else(|| unreadable(0, Type::Text, InvalidOrderId))?,
        user: UserId(number(1)?),
        event: EventId(number(2)?),
        goods: GoodsId(number(3)?),
        process: ProcessGeneration(row.get(4)?),
        created_at: jiff::Timestamp::from_str(created_at)
            .map_err(|error| unreadable(5, Type::Text, error))?,
    })
}

/// The database holds something that we never wrote.
#[derive(Debug, thiserror::Error)]
#[error("not an order's id")]
struct InvalidOrderId;

fn unreadable(
    column: usize,
    kind: Type,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(error))
}
