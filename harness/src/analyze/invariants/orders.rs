//! The buying attempts held against the target's store.

use std::collections::BTreeMap;

use super::{
    Invariant, is_refused,
    ledger::{Ledger, Orders, order_key},
};
use crate::{
    observe::{Background, Buy, BuyOutcome, StoredOrder},
    plan::TargetPlan,
};

/// One check, given its name.
type Check = fn(&'static str, &Ledger<'_>) -> Invariant;

pub(super) fn check(ledger: &Ledger<'_>) -> Vec<Invariant> {
    const CHECKS: [(&str, Check); 7] = [
        ("not-oversold", not_oversold),
        ("acknowledged-orders-stored", acknowledged_orders_stored),
        ("refused-orders-not-stored", refused_orders_not_stored),
        ("no-unasked-order", no_unasked_order),
        ("no-duplicate-key", no_duplicate_key),
        ("limit-per-user", limit_per_user),
        ("one-process-per-order", one_process_per_order),
    ];
    if !ledger.background.environment.store_read {
        let why = "the target's store was not read";
        return CHECKS.map(|(name, _)| Invariant::not_checked(name, why)).into();
    }
    CHECKS.map(|(name, check)| check(name, ledger)).into()
}

/// No more orders than stock, no negative stock, and what left the stock is in the orders.
fn not_oversold(name: &'static str, ledger: &Ledger<'_>) -> Invariant {
    let Background { stock, orders, .. } = ledger.background;
    if stock.is_empty() {
        return Invariant::not_checked(name, "the store holds no stock");
    }
    let mut sold: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    for order in orders {
        *sold.entry((order.event, order.goods)).or_default() += 1;
    }
    let mut violations = Vec::new();
    let mut initial = 0;
    for row in stock {
        let good = format!("event {} goods {}", row.event, row.goods);
        let orders = sold.remove(&(row.event, row.goods)).unwrap_or(0);
        initial += row.initial;
        if row.left < 0 {
            violations.push(format!("{good}: {} left in stock", row.left));
        } else if orders > row.initial {
            violations.push(format!("{good}: {orders} orders for a stock of {}", row.initial));
        } else if i128::from(row.initial) - i128::from(row.left) != i128::from(orders) {
            let (from, to) = (row.initial, row.left);
            violations.push(format!("{good}: stock fell from {from} to {to} but {orders} orders are stored"));
        }
    }
    for ((event, goods), orders) in sold {
        violations.push(format!("event {event} goods {goods}: {orders} orders for a good without stock"));
    }
    let checked = format!("{} orders for a stock of {initial} in {} goods", orders.len(), stock.len());
    Invariant::from_violations(name, violations, checked)
}

/// Each acknowledged order is stored exactly once, as it was asked for.
fn acknowledged_orders_stored(name: &'static str, ledger: &Ledger<'_>) -> Invariant {
    let mut violations = Vec::new();
    let mut acknowledged = 0_u64;
    for buy in &ledger.background.buys {
        let BuyOutcome::Acknowledged { order } = &buy.outcome else { continue };
        acknowledged += 1;
        let asked = format!("user {} event {} goods {} key {}", buy.user, buy.event, buy.goods, buy.key);
        match ledger.orders_with_id(order) {
            [] => violations.push(format!("order {order} ({asked}) was acknowledged but is not stored")),
            [stored] if matches_request(stored, buy) => {}
            [stored] => {
                let StoredOrder { user, event, goods, key, .. } = stored;
                violations.push(format!(
                    "order {order} was acknowledged for {asked} but is stored for user {user} event {event} \
                     goods {goods} key {key}"
                ));
            }
            copies => violations.push(format!("order {order} is stored {} times", copies.len())),
        }
    }
    if acknowledged == 0 {
        return Invariant::not_checked(name, "no order was acknowledged");
    }
    let Orders { unknown, unknown_stored, .. } = ledger.count();
    let mut checked = format!("{acknowledged} acknowledged, all stored");
    if unknown > 0 {
        let found = unknown_stored.unwrap_or(0);
        checked.push_str(&format!("; {found} of {unknown} with an unknown outcome are stored"));
    }
    Invariant::from_violations(name, violations, checked)
}

fn matches_request(order: &StoredOrder, buy: &Buy) -> bool {
    (order.user, order.event, order.goods, &order.key) == (buy.user, buy.event, buy.goods, &buy.key)
}

/// Who was refused has no order.
fn refused_orders_not_stored(name: &'static str, ledger: &Ledger<'_>) -> Invariant {
    let refused = ledger.background.buys.iter().filter(|buy| is_refused(&buy.outcome)).count();
    if refused == 0 {
        return Invariant::not_checked(name, "no order was refused");
    }
    let violations = ledger.background.orders.iter().filter_map(|order| {
        let buy = ledger.only_buy(order).filter(|buy| is_refused(&buy.outcome))?;
        Some(format!("order {} (user {} key {}) was refused but is stored", order.id, buy.user, buy.key))
    });
    Invariant::from_violations(name, violations, format!("{refused} refused, none stored"))
}

/// Each stored order was asked for by its user, with its key, for its good.
fn no_unasked_order(name: &'static str, ledger: &Ledger<'_>) -> Invariant {
    let Background { orders, instrument, .. } = ledger.background;
    if orders.is_empty() {
        return Invariant::not_checked(name, "the store holds no order");
    }
    let is_asked =
        |order: &&StoredOrder| ledger.buys_for(order).iter().any(|buy| matches_request(order, buy));
    let violations: Vec<String> = orders
        .iter()
        .filter(|order| !is_asked(order))
        .map(|StoredOrder { id, user, event, goods, key, .. }| {
            format!("order {id} (user {user} event {event} goods {goods} key {key}) was never asked for")
        })
        .collect();
    if !violations.is_empty() && (instrument.interrupted || !instrument.gaps.is_empty()) {
        let why = "orders without a request, but the log has gaps, so nobody can tell";
        return Invariant::not_checked(name, why);
    }
    Invariant::from_violations(name, violations, format!("{} stored orders were asked for", orders.len()))
}

/// At most one order for a user's key.
fn no_duplicate_key(name: &'static str, ledger: &Ledger<'_>) -> Invariant {
    let orders = &ledger.background.orders;
    if orders.is_empty() {
        return Invariant::not_checked(name, "the store holds no order");
    }
    let violations = ledger
        .orders_by_key
        .chunk_by(|one, next| order_key(one) == order_key(next))
        .filter(|orders| orders.len() > 1)
        .map(|orders| format!("user {} key {} has {} orders", orders[0].user, orders[0].key, orders.len()));
    let checked = format!("{} stored orders have as many keys", orders.len());
    Invariant::from_violations(name, violations, checked)
}

/// No user has more of a good than the plan allows.
fn limit_per_user(name: &'static str, ledger: &Ledger<'_>) -> Invariant {
    let Background { orders, plan, .. } = ledger.background;
    let TargetPlan::Reference(reference) = &plan.target else {
        return Invariant::not_checked(name, "the plan knows no limit per user for this target");
    };
    if orders.is_empty() {
        return Invariant::not_checked(name, "the store holds no order");
    }
    let mut bought: BTreeMap<(u32, u32, u32), u32> = BTreeMap::new();
    for order in orders {
        *bought.entry((order.user, order.event, order.goods)).or_default() += 1;
    }
    let limit = reference.limit_per_user;
    let violations =
        bought.iter().filter(|&(_, &orders)| orders > limit).map(|((user, event, goods), orders)| {
            format!("user {user} has {orders} orders of event {event} goods {goods}, the limit is {limit}")
        });
    let most = bought.values().max().copied().unwrap_or(0);
    Invariant::from_violations(name, violations, format!("at most {most} of {limit} per user and good"))
}

/// The process that acknowledged an order is the one that stored it: no request ran in two processes.
///
/// A request in flight during a swap is finished by the process that began it, so this holds across swaps.
/// Only keys that were used once are looked at: a repeated one may be answered by any process.
fn one_process_per_order(name: &'static str, ledger: &Ledger<'_>) -> Invariant {
    let mut compared = 0_u64;
    let mut violations = Vec::new();
    for order in &ledger.background.orders {
        let Some(buy) = ledger.only_buy(order) else { continue };
        if !matches!(buy.outcome, BuyOutcome::Acknowledged { .. }) || buy.process == 0 {
            continue;
        }
        compared += 1;
        if buy.process != order.process {
            let (stored, answered) = (order.process, buy.process);
            violations.push(format!(
                "order {} was stored by process {stored} but acknowledged by process {answered}",
                order.id
            ));
        }
    }
    if compared == 0 {
        return Invariant::not_checked(name, "no acknowledged order tells its process");
    }
    Invariant::from_violations(name, violations, format!("{compared} orders stored by who answered"))
}
