//! Where stock and orders are kept.
//!
//! An order is answered only when it is kept for good, whichever process took it; two processes may use the
//! same store at once, because an upgrade makes them. [`embedded`] keeps everything in a file of this machine;
//! with `[redis]` and `[mysql]` in the settings [`redis`] decides and [`mysql`] remembers.

mod absence;
mod counters;
mod embedded;
mod mysql;
mod patience;
mod redis;
mod sales;

use std::{path::Path, sync::Arc};

use prometheus_client::metrics::gauge::Gauge;
use serde::Serialize;
use tokio::sync::watch;

pub use self::{counters::StoreCounters, mysql::ActivityTable, redis::Services};
use self::{mysql::Mysql, redis::Wanted};
use crate::{
    carried::Away,
    config::Config,
    lifecycle::ProcessGeneration,
    seckill::{EventId, GoodsId, Order, OrderId, Outcome, Purchase, UserId},
    state::{Activities, Event, Pools},
};

/// Where orders are kept as the settings have it. Two processes that sell the same must agree on it.
#[must_use]
pub fn place(config: &Config) -> String {
    match (&config.redis, &config.mysql) {
        (Some(redis), Some(mysql)) => {
            format!("redis at {}, mysql at {}, database {}", redis.address, mysql.address, mysql.database)
        }
        _ => {
            let path = &config.store.path;
            format!("the file {}", std::path::absolute(path).as_ref().unwrap_or(path).display())
        }
    }
}

/// The store of this process. Dropping it closes it.
#[derive(Debug)]
pub enum Store {
    /// In SQLite.
    Embedded(embedded::Store),
    /// In Redis, and from there in MySQL.
    Redis(Box<redis::Store>),
}

/// Puts in the stock of goods before anybody can ask for them.
#[derive(Debug, Clone)]
pub enum Stocking {
    /// Into the database at this path.
    Embedded(std::path::PathBuf),
    /// By the task that keeps Redis in step.
    Redis(Arc<Wanted>),
}

/// How the store stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// `embedded` or `redis`.
    pub kind: &'static str,
    /// Absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<Services>,
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQLite cannot be used.
    #[error(transparent)]
    Embedded(#[from] embedded::Error),
    /// Redis or MySQL cannot be used as the settings have it. That one of them is away is no error.
    #[error(transparent)]
    Redis(#[from] redis::Error),
}

/// Why the store gives no answer. Nothing is known of the purchase: the client may ask again with the
/// same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    #[error("too many requests are waiting for the store")]
    QueueFull,
    #[error("the store could not commit in time")]
    Failed,
    #[error("the store is closed")]
    Closed,
    /// Known before anything was sent.
    #[error("redis is away")]
    RedisAway,
    #[error("redis gave no answer in time")]
    RedisLate,
    /// It may have lost what is known in MySQL.
    #[error("redis was started anew and is not compared with mysql yet")]
    RedisUnverified,
    #[error("mysql is away")]
    MysqlAway,
    /// `redis.orders_waiting_max` is reached.
    #[error("too many orders wait to be written into mysql")]
    TooManyWaiting,
    #[error("the stock of these goods is not put in yet")]
    NotStocked,
}

impl Unavailable {
    /// A service of the store is away, and comes back without us.
    #[must_use]
    pub fn is_of_a_service(self) -> bool {
        !matches!(self, Self::QueueFull | Self::Failed | Self::Closed)
    }
}

impl Stocking {
    /// As the settings have it. With services, [`Store::open`] has to be called with the same one.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        if config.redis.is_some() {
            Self::Redis(Arc::default())
        } else {
            Self::Embedded(config.store.path.clone())
        }
    }

    /// Puts in the stock of goods that are not known yet; what is known stays as it is. Blocks, but not for a
    /// service that is away: then it is done when that is back. To be called on a thread that may block.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn put(&self, activities: &Activities) -> Result<(), Error> {
        match self {
            Self::Embedded(path) => embedded::put_stock(path, activities)?,
            Self::Redis(wanted) => wanted.put(activities),
        }
        Ok(())
    }
}

impl Store {
    /// Opens the store that the settings ask for, and puts in the stock of goods that it does not know yet. Of
    /// services that are away it waits a second at most. Two processes may do it at once.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn open(
        config: &Config,
        stocking: &Stocking,
        activities: &Activities,
        process: ProcessGeneration,
    ) -> Result<Self, Error> {
        match (stocking, &config.redis, &config.mysql) {
            (Stocking::Redis(wanted), Some(redis), Some(mysql)) => {
                let node = config.node.called(&config.api.bind);
                let mysql = Mysql::new(mysql).map_err(redis::Error::Mysql)?;
                let wanted = Arc::clone(wanted);
                let store = redis::Store::open(redis, mysql, wanted, activities, process, node).await?;
                Ok(Self::Redis(Box::new(store)))
            }
            _ => Self::embedded(&config.store.path, activities, process),
        }
    }

    /// Opens the database at `path`. Blocks.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn embedded(path: &Path, activities: &Activities, process: ProcessGeneration) -> Result<Self, Error> {
        Ok(Self::Embedded(embedded::Store::open(path, activities, process)?))
    }

    /// Buys. The order is kept when this returns.
    ///
    /// # Errors
    /// See [`Unavailable`].
    pub async fn buy(&self, purchase: Purchase) -> Result<Outcome, Unavailable> {
        match self {
            Self::Embedded(store) => store.buy(purchase).await,
            Self::Redis(store) => store.buy(purchase).await,
        }
    }

    /// The order called `id`, if it is `user`'s.
    ///
    /// # Errors
    /// See [`Unavailable`].
    pub async fn order(&self, id: OrderId, user: UserId) -> Result<Option<Order>, Unavailable> {
        match self {
            Self::Embedded(store) => store.order(id, user).await,
            Self::Redis(store) => store.order(id, user).await,
        }
    }

    /// How many are left of each of an event's goods, as the caller knows them, ascending by id.
    ///
    /// # Errors
    /// See [`Unavailable`].
    pub async fn left(&self, event: &Event) -> Result<Vec<(GoodsId, u64)>, Unavailable> {
        match self {
            Self::Embedded(store) => store.left(event.id).await,
            Self::Redis(store) => store.left(event).await,
        }
    }

    /// Changes when this process has sold some of an event's goods after this call.
    #[must_use]
    pub fn sales(&self, event: EventId) -> watch::Receiver<()> {
        match self {
            Self::Embedded(store) => store.sales(event),
            Self::Redis(store) => store.sales(event),
        }
    }

    /// How many connections to other services may be held from now on.
    pub fn size_pools(&self, pools: Pools) {
        match self {
            Self::Embedded(store) => store.size_pools(pools),
            Self::Redis(store) => store.size_pools(pools),
        }
    }

    /// How many connections to other services may be held.
    #[must_use]
    pub fn pools(&self) -> Pools {
        match self {
            Self::Embedded(store) => store.pools(),
            Self::Redis(store) => store.pools(),
        }
    }

    /// What the store has done so far.
    #[must_use]
    pub fn counters(&self) -> &StoreCounters {
        match self {
            Self::Embedded(store) => store.counters(),
            Self::Redis(store) => store.counters(),
        }
    }

    /// What is measured of its services, by name and meaning.
    #[must_use]
    pub fn gauges(&self) -> Vec<(&'static str, &'static str, Gauge)> {
        match self {
            Self::Embedded(_) => Vec::new(),
            Self::Redis(store) => store.gauges(),
        }
    }

    /// How it stands now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match self {
            Self::Embedded(_) => Standing { kind: "embedded", services: None },
            Self::Redis(store) => Standing { kind: "redis", services: Some(store.services()) },
        }
    }

    /// How long its services have been away, for the next process.
    #[must_use]
    pub fn away(&self) -> Away {
        match self {
            Self::Embedded(_) => Away::default(),
            Self::Redis(store) => store.away(),
        }
    }

    /// Another process has found its services away for so long. Whether they are there this one finds out by itself:
    /// it sells nothing before they have answered.
    pub fn was_away(&self, away: Away) {
        match self {
            Self::Embedded(_) => {}
            Self::Redis(store) => store.was_away(away),
        }
    }

    /// Finishes what was begun and closes it. Once closed, every request is answered with
    /// [`Unavailable::Closed`]. A second call changes nothing.
    pub async fn close(&self) {
        match self {
            Self::Embedded(store) => store.close(),
            Self::Redis(store) => store.close().await,
        }
    }
}
