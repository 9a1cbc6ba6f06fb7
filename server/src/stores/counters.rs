//! What the store has done since it was opened.

use prometheus_client::metrics::counter::Counter;

use super::Unavailable;
use crate::seckill::Outcome;

/// Counters; a clone counts on with the same numbers.
#[derive(Debug, Clone, Default)]
pub struct StoreCounters {
    /// Orders stored for the first time.
    pub placed: Counter,
    /// Orders answered again.
    pub replayed: Counter,
    /// Purchases refused by the rules.
    pub refused: Counter,
    /// Purchases that got no answer.
    pub unavailable: Counter,
    /// Groups of purchases that were committed.
    pub commits: Counter,
    /// Orders that were put into the database.
    pub written: Counter,
}

impl StoreCounters {
    pub(super) fn count(&self, outcome: &Result<Outcome, Unavailable>) {
        match outcome {
            Ok(Outcome::Placed(_)) => &self.placed,
            Ok(Outcome::Replayed(_)) => &self.replayed,
            Ok(Outcome::Refused(_)) => &self.refused,
            Err(_) => &self.unavailable,
        }
        .inc();
    }
}
