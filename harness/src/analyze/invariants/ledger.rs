//! Buying attempts and stored orders, ready to be looked up. References in order, no copies: an entry
//! costs eight bytes.

use crate::observe::{Background, Buy, BuyOutcome, OrderId, StoredOrder};

/// Buying attempts by what the client knows of them, and what the store says. The warm-up is included:
/// its orders are orders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Orders {
    pub acknowledged: u64,
    pub rejected: u64,
    /// No whole answer came.
    pub unknown: u64,
    /// Those of `unknown` whose order is stored; `None` when the store was not read.
    pub unknown_stored: Option<u64>,
    /// Orders in the store; `None` when it was not read.
    pub stored: Option<u64>,
}

/// The store's orders and the buying attempts, sorted by what they are looked up with.
pub(super) struct Ledger<'a> {
    pub(super) background: &'a Background,
    orders_by_id: Vec<&'a StoredOrder>,
    pub(super) orders_by_key: Vec<&'a StoredOrder>,
    /// Buying attempts that reached the wire.
    buys_by_key: Vec<&'a Buy>,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(background: &'a Background) -> Self {
        let Background { orders, buys, .. } = background;
        let mut orders_by_id: Vec<_> = orders.iter().collect();
        orders_by_id.sort_unstable_by_key(|order| &order.id);
        let mut orders_by_key: Vec<_> = orders.iter().collect();
        orders_by_key.sort_unstable_by_key(|order| order_key(order));
        let mut buys_by_key: Vec<_> = buys.iter().filter(|buy| buy.outcome != BuyOutcome::Unsent).collect();
        buys_by_key.sort_unstable_by_key(|buy| buy_key(buy));
        Self { background, orders_by_id, orders_by_key, buys_by_key }
    }

    pub(super) fn orders_with_id(&self, id: &OrderId) -> &[&'a StoredOrder] {
        let from = self.orders_by_id.partition_point(|order| order.id < *id);
        let length = self.orders_by_id[from..].partition_point(|order| order.id == *id);
        &self.orders_by_id[from..from + length]
    }

    fn is_stored(&self, buy: &Buy) -> bool {
        self.orders_by_key.binary_search_by_key(&buy_key(buy), |order| order_key(order)).is_ok()
    }

    /// Each stored order with the buying attempts that have its key, in the order of keys. Both are walked once: to
    /// search for millions took longer than everything else.
    pub(super) fn orders_with_buys(&self) -> impl Iterator<Item = (&'a StoredOrder, &[&'a Buy])> {
        let mut buys = &*self.buys_by_key;
        self.orders_by_key.iter().map(move |order| {
            let key = order_key(order);
            buys = &buys[buys.iter().take_while(|buy| buy_key(buy) < key).count()..];
            (*order, &buys[..buys.iter().take_while(|buy| buy_key(buy) == key).count()])
        })
    }

    /// Each stored order whose key only one buying attempt has, with that, so that no replay is taken for the first
    /// answer.
    pub(super) fn orders_asked_once(&self) -> impl Iterator<Item = (&'a StoredOrder, &'a Buy)> {
        self.orders_with_buys().filter_map(|(order, buys)| match buys {
            [buy] => Some((order, *buy)),
            _ => None,
        })
    }

    pub(super) fn count(&self) -> Orders {
        let mut orders = Orders::default();
        let mut unknown_stored = 0;
        for buy in &self.background.buys {
            match buy.outcome {
                BuyOutcome::Acknowledged { .. } => orders.acknowledged += 1,
                BuyOutcome::Rejected { .. } => orders.rejected += 1,
                BuyOutcome::Unsent => {}
                BuyOutcome::Unknown => {
                    orders.unknown += 1;
                    unknown_stored += u64::from(self.is_stored(buy));
                }
            }
        }
        if self.background.environment.store_read {
            orders.unknown_stored = Some(unknown_stored);
            orders.stored = Some(self.background.orders.len() as u64);
        }
        orders
    }
}

/// An idempotency key belongs to its user.
pub(super) fn order_key(order: &StoredOrder) -> (u32, &str) {
    (order.user, &order.key)
}

fn buy_key(buy: &Buy) -> (u32, &str) {
    (buy.user, &buy.key)
}
