//! What becomes of a purchase, given what is stored.
//!
//! An order that is stored already is answered again whatever has changed since: the sale may be over and
//! the goods sold out or buying closed, the client that asks a second time only did not hear the first answer.

use std::fmt;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::{EventId, GoodsId, IdempotencyKey, OrderRequest, RequestDigest, UserId};
use crate::lifecycle::ProcessGeneration;

/// Somebody's wish to buy, complete but for what the store knows.
#[derive(Debug, Clone)]
pub struct Purchase {
    /// What the order will be called if it is placed.
    pub id: OrderId,
    pub created_at: Timestamp,
    pub user: UserId,
    pub request: OrderRequest,
    pub key: IdempotencyKey,
    pub digest: RequestDigest,
    /// How many of these goods one user may order; 0: any number.
    pub limit_per_user: u32,
    /// Why a new order cannot be taken, if the sale itself forbids it.
    pub closed: Option<Refusal>,
}

/// What the store knows about a purchase.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts {
    /// The digest of the order that the user has under this key.
    pub stored: Option<RequestDigest>,
    /// How many of these goods the user has ordered.
    pub bought: u64,
    /// How many are left; `None` when the goods have no stock at all.
    pub left: Option<u64>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Take one from the stock and store the order.
    Place,
    /// Answer with the order that is stored.
    Replay,
    Refuse(Refusal),
}

/// Why a purchase is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The key belongs to an order with another body.
    KeyReused,
    /// The user has as many of these goods as one user may have.
    LimitReached,
    SoldOut,
    NotStarted,
    Ended,
    /// The operator has closed buying.
    BuyingClosed,
    UnknownGoods,
}

/// What became of a purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The order is on disk.
    Placed(Order),
    /// The order has been on disk since an earlier request.
    Replayed(Order),
    Refused(Refusal),
}

/// An order as it is stored and answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Order {
    pub id: OrderId,
    pub event: EventId,
    pub goods: GoodsId,
    pub user: UserId,
    /// The process that took it.
    pub process: ProcessGeneration,
    pub created_at: Timestamp,
}

/// Name of an order: a UUID of version 7, so that later orders sort after earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId(Uuid);

/// Decides. Nothing is bought twice under one key, beyond the limit, or out of nothing.
#[must_use]
pub fn decide(purchase: &Purchase, facts: &Facts) -> Decision {
    match facts.stored {
        Some(digest) if digest == purchase.digest => return Decision::Replay,
        Some(_) => return Decision::Refuse(Refusal::KeyReused),
        None => {}
    }
    if let Some(refusal) = purchase.closed {
        return Decision::Refuse(refusal);
    }
    let limit = u64::from(purchase.limit_per_user);
    if limit > 0 && facts.bought >= limit {
        return Decision::Refuse(Refusal::LimitReached);
    }
    match facts.left {
        None => Decision::Refuse(Refusal::UnknownGoods),
        Some(0) => Decision::Refuse(Refusal::SoldOut),
        Some(_) => Decision::Place,
    }
}

impl OrderId {
    /// A name that nobody has.
    #[must_use]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// Reads the one form that we write: lower case with hyphens.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let id = Self(Uuid::try_parse(text).ok()?);
        (id.to_string() == text).then_some(id)
    }
}

impl Default for OrderId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for OrderId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purchase(limit_per_user: u32, closed: Option<Refusal>) -> Purchase {
        let request = OrderRequest { event: EventId(1), goods: GoodsId(1) };
        Purchase {
            id: OrderId::new(),
            created_at: Timestamp::UNIX_EPOCH,
            user: UserId(7),
            request,
            key: IdempotencyKey::parse(b"key").unwrap(),
            digest: request.digest(),
            limit_per_user,
            closed,
        }
    }

    #[test]
    fn decisions() {
        let same = Some(purchase(0, None).digest);
        let other = Some([0; 32]);
        let check = |limit, closed, stored, bought, left, expected| {
            let decision = decide(&purchase(limit, closed), &Facts { stored, bought, left });
            assert_eq!(decision, expected, "{limit} {closed:?} {stored:?} {bought} {left:?}");
        };
        check(1, None, None, 0, Some(1), Decision::Place);
        check(0, None, None, 1_000, Some(1), Decision::Place);
        check(2, None, None, 1, Some(1), Decision::Place);
        check(2, None, None, 2, Some(1), Decision::Refuse(Refusal::LimitReached));
        check(1, None, None, 0, Some(0), Decision::Refuse(Refusal::SoldOut));
        check(1, None, None, 0, None, Decision::Refuse(Refusal::UnknownGoods));
        check(1, Some(Refusal::Ended), None, 0, Some(1), Decision::Refuse(Refusal::Ended));
        // A stored order outlives everything that would forbid a new one.
        check(1, Some(Refusal::Ended), same, 1, Some(0), Decision::Replay);
        check(1, None, same, 1, None, Decision::Replay);
        check(1, None, other, 1, Some(1), Decision::Refuse(Refusal::KeyReused));
        check(1, Some(Refusal::Ended), other, 1, Some(1), Decision::Refuse(Refusal::KeyReused));
    }

    #[test]
    fn an_order_id_has_one_spelling() {
        let id = OrderId::new();
        assert_eq!(OrderId::parse(&id.to_string()), Some(id));
        assert_eq!(OrderId::parse(&id.to_string().to_uppercase()), None);
        assert_eq!(OrderId::parse(&id.to_string().replace('-', "")), None);
        assert_eq!(OrderId::parse("1"), None);
    }
}
