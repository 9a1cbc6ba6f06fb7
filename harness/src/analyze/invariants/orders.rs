//! The buying attempts held against the target's store.

use std::collections::BTreeMap;

use super::{
    Invariant, is_refused,
    ledger::{Ledger, Orders, order_key},
    process::kills,
};
use crate::{
    observe::{Background, Buy, BuyOutcome, StoredInitial, StoredOrder, StoredStock},
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
    const OF_TWO_STORES: (&str, Check) = ("stores-agree", stores_agree);
    let checks = CHECKS.into_iter().chain(ledger.background.plan.target.has_store().then_some(OF_TWO_STORES));
    if !ledger.background.environment.store_read {
        let why = "the target's store was not read";
        return checks.map(|(name, _)| Invariant::not_checked(name, why)).collect();
    }
    checks.map(|(name, check)| check(name, ledger)).collect()
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
    let mut acknowledged = None;
    for row in stock {
        let good = format!("event {} goods {}", row.event, row.goods);
        let orders = sold.remove(&(row.event, row.goods)).unwrap_or(0);
        initial += row.initial;
        if row.left < 0 {
            violations.push(format!("{good}: {} left in stock", row.left));
        } else if orders > row.initial {
            // Sorted out once, for whatever number of goods.
            let acknowledged = acknowledged.get_or_insert_with(|| acknowledged_by_good(ledger));
            let one_too_many = one_too_many(acknowledged, row).unwrap_or_default();
            violations.push(format!("{good}: {orders} orders for a stock of {}{one_too_many}", row.initial));
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

/// The acknowledged attempts of each good, in the order of their answers.
fn acknowledged_by_good<'l>(ledger: &Ledger<'l>) -> BTreeMap<(u32, u32), Vec<&'l Buy>> {
    let mut by_good: BTreeMap<_, Vec<&Buy>> = BTreeMap::new();
    for buy in &ledger.background.buys {
        if matches!(buy.outcome, BuyOutcome::Acknowledged { .. }) {
            by_good.entry((buy.event, buy.goods)).or_default().push(buy);
        }
    }
    for sold in by_good.values_mut() {
        sold.sort_unstable_by(|a, b| (a.ended_ns, a.attempt, &a.key).cmp(&(b.ended_ns, b.attempt, &b.key)));
    }
    by_good
}

/// The acknowledgement that went beyond the stock, if there are so many.
fn one_too_many(acknowledged: &BTreeMap<(u32, u32), Vec<&Buy>>, row: &StoredStock) -> Option<String> {
    let sold = acknowledged.get(&(row.event, row.goods))?;
    let buy = sold.get(usize::try_from(row.initial).ok()?)?;
    Some(format!("; the first too many is {}", history(buy)))
}

/// A buying attempt as the client saw it.
fn history(Buy { attempt, invoked_ns, ended_ns, process, outcome, .. }: &Buy) -> String {
    let (from, to) = (invoked_ns / 1_000, ended_ns / 1_000);
    let outcome = match outcome {
        BuyOutcome::Acknowledged { order } => format!("acknowledged as {order}"),
        BuyOutcome::Rejected { status } => format!("refused with {status}"),
        BuyOutcome::Unsent => "not sent".to_owned(),
        BuyOutcome::Unknown => "without an answer".to_owned(),
    };
    let process = if *process == 0 { String::new() } else { format!(" by process {process}") };
    format!("attempt {attempt}, sent at {from} us, {outcome}{process} at {to} us")
}

/// The first ids of some orders.
fn ids(orders: &[&StoredOrder]) -> String {
    const SHOWN_MAX: usize = 5;
    let mut ids: Vec<String> = orders.iter().map(|order| order.id.to_string()).collect();
    ids.sort_unstable();
    let more = if ids.len() > SHOWN_MAX { ", .." } else { "" };
    ids.truncate(SHOWN_MAX);
    format!("{}{more}", ids.join(", "))
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
            [] => {
                let history = history(buy);
                violations
                    .push(format!("order {order} ({asked}) was acknowledged but is not stored: {history}"));
            }
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
    let violations =
        ledger.orders_asked_once().filter(|(_, buy)| is_refused(&buy.outcome)).map(|(order, buy)| {
            format!("order {} (user {} key {}) was refused but is stored", order.id, buy.user, buy.key)
        });
    Invariant::from_violations(name, violations, format!("{refused} refused, none stored"))
}

/// Each stored order was asked for by its user, with its key, for its good.
fn no_unasked_order(name: &'static str, ledger: &Ledger<'_>) -> Invariant {
    let Background { orders, instrument, .. } = ledger.background;
    if orders.is_empty() {
        return Invariant::not_checked(name, "the store holds no order");
    }
    let violations: Vec<String> = ledger
        .orders_with_buys()
        .filter(|(order, buys)| !buys.iter().any(|buy| matches_request(order, buy)))
        .map(|(StoredOrder { id, user, event, goods, key, .. }, _)| {
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
        .map(|orders| {
            let StoredOrder { user, key, .. } = orders[0];
            format!("user {user} key {key} has {} orders: {}", orders.len(), ids(orders))
        });
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
    let mut bought: BTreeMap<(u32, u32, u32), Vec<&StoredOrder>> = BTreeMap::new();
    for order in orders {
        bought.entry((order.user, order.event, order.goods)).or_default().push(order);
    }
    let limit = reference.limit_per_user;
    let violations = bought.iter().filter(|(_, orders)| orders.len() > limit as usize).map(
        |((user, event, goods), orders)| {
            let (count, ids) = (orders.len(), ids(orders));
            format!(
                "user {user} has {count} orders of event {event} goods {goods}, the limit is {limit}: {ids}"
            )
        },
    );
    let most = bought.values().map(Vec::len).max().unwrap_or(0);
    Invariant::from_violations(name, violations, format!("at most {most} of {limit} per user and good"))
}

/// The process that acknowledged an order is the one that stored it: no request ran in two processes.
///
/// A request in flight during a swap is finished by the process that began it, so this holds across swaps.
/// Only keys that were used once are looked at: a repeated one may be answered by any process. A server that was killed
/// begins anew with process 1, so that its lives are not told apart.
fn one_process_per_order(name: &'static str, ledger: &Ledger<'_>) -> Invariant {
    let mut compared = 0_u64;
    let mut violations = Vec::new();
    for (order, buy) in ledger.orders_asked_once() {
        if !matches!(buy.outcome, BuyOutcome::Acknowledged { .. }) || buy.process == 0 {
            continue;
        }
        compared += 1;
        if buy.process != order.process {
            let (stored, answered) = (order.process, buy.process);
            let (id, history) = (&order.id, history(buy));
            violations.push(format!(
                "order {id} was stored by process {stored} but acknowledged by process {answered}: {history}"
            ));
        }
    }
    if compared == 0 {
        return Invariant::not_checked(name, "no acknowledged order tells its process");
    }
    let lives = match kills(ledger.background).count() {
        0 => String::new(),
        kills => format!(
            "; the server was killed {kills} times, and processes before and after have the same numbers"
        ),
    };
    Invariant::from_violations(name, violations, format!("{compared} orders stored by who answered{lives}"))
}

/// Once everything has come to rest, MySQL has as many orders of each good as Redis has sold, and both began with the
/// same stock.
fn stores_agree(name: &'static str, ledger: &Ledger<'_>) -> Invariant {
    let Background { stock, orders, queue, .. } = ledger.background;
    let Some(queue) = queue else {
        return Invariant::not_checked(name, "how orders went from one to the other was not read");
    };
    let mut violations = Vec::new();
    if queue.waiting > 0 {
        let (waiting, waited_ms) = (queue.waiting, queue.waited_ms);
        violations.push(format!("{waiting} orders had not arrived in MySQL {waited_ms} ms after the load"));
    }
    let mut arrived: BTreeMap<(u32, u32), i128> = BTreeMap::new();
    for order in orders {
        *arrived.entry((order.event, order.goods)).or_default() += 1;
    }
    let mut initial: BTreeMap<(u32, u32), u64> = queue
        .initial
        .iter()
        .map(|&StoredInitial { event, goods, initial }| ((event, goods), initial))
        .collect();
    for row in stock {
        let good = (row.event, row.goods);
        let named = format!("event {} goods {}", row.event, row.goods);
        match initial.remove(&good) {
            Some(initial) if initial != row.initial => violations
                .push(format!("{named}: Redis began with {}, MySQL has {initial} as the stock", row.initial)),
            Some(_) => {}
            None => violations.push(format!("{named}: Redis has stock of it, MySQL does not know it")),
        }
        let sold = i128::from(row.initial) - i128::from(row.left);
        let arrived = arrived.get(&good).copied().unwrap_or(0);
        if sold != arrived {
            violations.push(format!("{named}: Redis has sold {sold}, MySQL has {arrived} orders"));
        }
    }
    for (event, goods) in initial.into_keys() {
        violations.push(format!("event {event} goods {goods}: MySQL knows it, Redis has no stock of it"));
    }
    let checked = format!("{} goods alike in both, {} ms after the load", stock.len(), queue.waited_ms);
    Invariant::from_violations(name, violations, checked)
}
