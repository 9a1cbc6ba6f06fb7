//! The rules of the sale, pure: no clock, no file, no tokio; whoever calls them brings the time.
//!
//! Who the buyer is ([`TokenKey`]), what an order asks for ([`OrderRequest`], [`IdempotencyKey`]), how
//! often somebody may ask ([`UserLimit`], [`SharedLimit`]) and what becomes of a purchase ([`decide`]).

mod decision;
mod rate;
mod request;
mod token;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::{
    decision::{Decision, Facts, Order, OrderId, Outcome, Purchase, Refusal, decide},
    rate::{SharedLimit, UserLimit},
    request::{IdempotencyKey, InvalidKey, OrderRequest, RequestDigest},
    token::{TokenError, TokenKey},
};

/// The largest id of anything: what the database and JSON readers of other languages agree on is the
/// signed 64-bit integer.
pub const ID_MAX: u64 = i64::MAX as u64;

/// Somebody who buys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(pub u64);

/// A sale with its beginning and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub u64);

/// Something on sale in an event; the number means something only together with the event's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GoodsId(pub u64);

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for GoodsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
