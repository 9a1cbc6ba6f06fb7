//! The embedded store: SQLite in WAL mode. (Skeleton.)

use std::path::Path;

use crate::{
    lifecycle::ProcessGeneration,
    seckill::{EventId, GoodsId, Order, OrderId, Outcome, Purchase, UserId},
    state::Activities,
};

/// The store of this process.
#[derive(Debug)]
pub struct Store {}

/// Numbers.
#[derive(Debug, Clone, Copy)]
pub struct StoreCounters {}

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    #[error("the store is closing")]
    Closed,
}

impl Store {
    /// Opens.
    ///
    /// # Errors
    /// None yet.
    pub fn open(_path: &Path, _activities: &Activities, _process: ProcessGeneration) -> Result<Self, Error> {
        Ok(Self {})
    }

    /// Buys.
    ///
    /// # Errors
    /// None yet.
    pub async fn buy(&self, _purchase: Purchase) -> Result<Outcome, Unavailable> {
        Err(Unavailable::Closed)
    }

    /// One order of `user`.
    ///
    /// # Errors
    /// None yet.
    pub async fn order(&self, _id: OrderId, _user: UserId) -> Result<Option<Order>, Unavailable> {
        Err(Unavailable::Closed)
    }

    /// What is left of an event's goods.
    ///
    /// # Errors
    /// None yet.
    pub async fn left(&self, _event: EventId) -> Result<Vec<(GoodsId, u64)>, Unavailable> {
        Err(Unavailable::Closed)
    }

    /// Flushes and joins the threads. May be called more than once.
    pub fn close(&self) {}
}
