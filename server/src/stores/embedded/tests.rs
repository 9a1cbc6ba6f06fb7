//! What must hold with one process and with two: nothing oversold, one order per key, nothing lost.

use std::{
    collections::HashSet,
    iter,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Barrier},
    task::Poll,
};

use jiff::Timestamp;
use rusqlite::Connection;

use super::*;
use crate::seckill::{IdempotencyKey, OrderRequest, Refusal};

const EVENT: EventId = EventId(1);

/// Goods 1: limit 1; goods 2: no limit.
fn activities(stock: u64) -> Activities {
    let text = format!(
        r#"{{"events":[{{"id":1,"name":"e","starts_at":"2020-01-01T00:00:00Z","ends_at":"2030-01-01T00:00:00Z",
        "goods":[{{"id":1,"name":"one each","price_cents":1,"stock":{stock},"limit_per_user":1}},
                 {{"id":2,"name":"as you like","price_cents":1,"stock":{stock},"limit_per_user":0}}]}}]}}"#
    );
    Activities::parse(text.as_bytes()).unwrap()
}

struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("seckill.db")
    }

    fn open(&self, stock: u64, process: u32) -> Store {
        Store::open(&self.path(), &activities(stock), ProcessGeneration(process)).unwrap()
    }

    /// Looks with other eyes than the store's.
    fn count(&self, sql: &str) -> i64 {
        count(&self.path(), sql)
    }
}

fn count(path: &Path, sql: &str) -> i64 {
    Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

fn purchase(user: u64, goods: u64, key: &str) -> Purchase {
    let request = OrderRequest { event: EVENT, goods: GoodsId(goods) };
    Purchase {
        id: OrderId::new(),
        created_at: Timestamp::from_microsecond(1_787_000_000_123_456).unwrap(),
        user: UserId(user),
        request,
        key: IdempotencyKey::parse(key.as_bytes()).unwrap(),
        digest: request.digest(),
        limit_per_user: u32::from(goods == 1),
        closed: None,
    }
}

/// Waits for the answer without a runtime of many threads.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn buy(store: &Store, purchase: Purchase) -> Outcome {
    block_on(store.buy(purchase)).unwrap()
}

fn placed(outcome: Outcome) -> Order {
    match outcome {
        Outcome::Placed(order) => order,
        other => panic!("not placed: {other:?}"),
    }
}

#[test]
fn an_order_is_placed_read_and_repeated() {
    let fixture = Fixture::new();
    let store = fixture.open(10, 3);
    let first = purchase(7, 1, "k");
    let order = placed(buy(&store, first.clone()));
    assert_eq!((order.id, order.user, order.process.0), (first.id, UserId(7), 3));
    assert_eq!(block_on(store.order(order.id, UserId(7))), Ok(Some(order.clone())));
    assert_eq!(block_on(store.order(order.id, UserId(8))), Ok(None), "somebody else's");
    assert_eq!(block_on(store.order(OrderId::new(), UserId(7))), Ok(None));
    assert_eq!(block_on(store.left(EVENT)), Ok(vec![(GoodsId(1), 9), (GoodsId(2), 10)]));

    assert_eq!(buy(&store, purchase(7, 1, "k")), Outcome::Replayed(order.clone()), "the same again");
    let over = Purchase { closed: Some(Refusal::Ended), ..purchase(7, 1, "k") };
    assert_eq!(buy(&store, over), Outcome::Replayed(order), "although the sale is over");
    assert_eq!(buy(&store, purchase(7, 2, "k")), Outcome::Refused(Refusal::KeyReused));
    assert_eq!(buy(&store, purchase(7, 1, "k2")), Outcome::Refused(Refusal::LimitReached));
    let over = Purchase { closed: Some(Refusal::Ended), ..purchase(8, 1, "k") };
    assert_eq!(buy(&store, over), Outcome::Refused(Refusal::Ended));
    let _other_users_key = placed(buy(&store, purchase(8, 1, "k")));

    let counters = store.counters();
    assert_eq!((counters.placed.get(), counters.replayed.get(), counters.refused.get()), (2, 2, 3));
    assert_eq!(fixture.count("SELECT count(*) FROM orders"), 2);
    assert_eq!(fixture.count("SELECT sum(count) FROM bought"), 2);
}

#[test]
fn sold_out_is_told_and_stock_never_goes_below_zero() {
    let fixture = Fixture::new();
    let store = fixture.open(1, 1);
    let _last = placed(buy(&store, purchase(1, 1, "k")));
    assert_eq!(buy(&store, purchase(2, 1, "k")), Outcome::Refused(Refusal::SoldOut));
    store.close();
    let connection = Connection::open(fixture.path()).unwrap();
    let error = connection.execute(r#"UPDATE stock SET "left" = -1"#, []).unwrap_err();
    assert!(error.to_string().contains("CHECK constraint failed"), "{error}");
}

#[test]
fn goods_without_stock_are_unknown() {
    let fixture = Fixture::new();
    let store = fixture.open(1, 1);
    assert_eq!(buy(&store, purchase(1, 99, "k")), Outcome::Refused(Refusal::UnknownGoods));
}

#[test]
fn the_stock_that_is_left_survives_a_new_start() {
    let fixture = Fixture::new();
    let store = fixture.open(5, 1);
    let _order = placed(buy(&store, purchase(1, 1, "k")));
    store.close();
    let store = fixture.open(100, 2);
    assert_eq!(block_on(store.left(EVENT)), Ok(vec![(GoodsId(1), 4), (GoodsId(2), 5)]));
}

/// Buys from `threads` threads in each of two stores on the same file; gives all outcomes.
fn storm(
    fixture: &Fixture,
    stock: u64,
    threads: u64,
    each: u64,
    of: impl Fn(u64, u64) -> Purchase + Sync,
) -> Vec<Outcome> {
    let stores = [fixture.open(stock, 1), fixture.open(stock, 2)];
    let barrier = Barrier::new(2 * usize::try_from(threads).unwrap());
    let (stores, barrier, of) = (&stores, &barrier, &of);
    thread::scope(|scope| {
        let buyers: Vec<_> = (0..2 * threads)
            .map(|buyer| {
                scope.spawn(move || {
                    let store = &stores[usize::try_from(buyer % 2).unwrap()];
                    let answer = |turn| block_on(store.buy(of(buyer, turn)));
                    barrier.wait();
                    let first = answer(0);
                    // However they are scheduled, both stores have been asked before one is asked for the rest.
                    barrier.wait();
                    let answers = iter::once(first).chain((1..each).map(answer));
                    answers.map(Result::unwrap).collect::<Vec<_>>()
                })
            })
            .collect();
        buyers.into_iter().flat_map(|buyer| buyer.join().unwrap()).collect()
    })
}

#[test]
fn two_processes_cannot_oversell() {
    let fixture = Fixture::new();
    let outcomes = storm(&fixture, 300, 8, 40, |buyer, turn| purchase(buyer, 2, &format!("{turn}")));
    let orders: HashSet<OrderId> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Placed(order) => Some(order.id),
            Outcome::Replayed(_) | Outcome::Refused(_) => None,
        })
        .collect();
    let sold_out = outcomes.iter().filter(|outcome| **outcome == Outcome::Refused(Refusal::SoldOut)).count();
    assert_eq!((orders.len(), sold_out), (300, 640 - 300));
    assert_eq!(fixture.count("SELECT count(*) FROM orders WHERE goods = 2"), 300);
    assert_eq!(fixture.count(r#"SELECT "left" FROM stock WHERE goods = 2"#), 0);
    assert_eq!(fixture.count("SELECT count(DISTINCT process) FROM orders"), 2, "both have sold");
}

#[test]
fn one_key_in_two_processes_at_once_is_one_order() {
    let fixture = Fixture::new();
    let outcomes = storm(&fixture, 1_000, 8, 40, |_, turn| purchase(7, 2, &format!("{turn}")));
    let mut ids = HashSet::new();
    let mut placed = 0;
    for outcome in outcomes {
        match outcome {
            Outcome::Placed(order) => {
                placed += 1;
                ids.insert(order.id);
            }
            Outcome::Replayed(order) => {
                ids.insert(order.id);
            }
            Outcome::Refused(refusal) => panic!("{refusal:?}"),
        }
    }
    assert_eq!((placed, ids.len()), (40, 40));
    assert_eq!(fixture.count("SELECT count(*) FROM orders"), 40);
    assert_eq!(fixture.count(r#"SELECT "left" FROM stock WHERE goods = 2"#), 960);
}

#[test]
fn the_limit_per_user_holds_across_processes() {
    let fixture = Fixture::new();
    let outcomes = storm(&fixture, 1_000, 4, 20, |buyer, turn| purchase(turn, 1, &format!("{buyer}-{turn}")));
    let placed = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Placed(_))).count();
    assert_eq!(placed, 20, "one for each of twenty users");
    assert_eq!(fixture.count("SELECT max(n) FROM (SELECT count(*) AS n FROM orders GROUP BY user)"), 1);
}

#[test]
fn an_acknowledged_order_is_on_disk_when_the_process_dies() {
    let fixture = Fixture::new();
    let store = fixture.open(100, 1);
    let orders: Vec<Order> = (0..20).map(|user| placed(buy(&store, purchase(user, 1, "k")))).collect();
    // What a killed process leaves behind: the files as they are, without the shared memory. They are
    // copied by another process, because closing them in this one would drop the store's locks.
    let after = tempfile::tempdir().unwrap();
    for name in ["seckill.db", "seckill.db-wal"] {
        let from = fixture.folder.path().join(name);
        assert!(Command::new("cp").arg(from).arg(after.path()).status().unwrap().success());
    }
    let path = after.path().join("seckill.db");
    let survivor = Store::open(&path, &activities(100), ProcessGeneration(2)).unwrap();
    for order in orders {
        assert_eq!(block_on(survivor.order(order.id, order.user)), Ok(Some(order)));
    }
    assert_eq!(block_on(survivor.left(EVENT)).unwrap()[0], (GoodsId(1), 80));
}

#[test]
fn many_may_open_a_new_store_at_once() {
    // A few at a time, so that on a slow disk the last one gets its turn in time; and again, so that they meet.
    for _ in 0..3 {
        let fixture = Fixture::new();
        let barrier = Barrier::new(4);
        thread::scope(|scope| {
            for process in 1..=4 {
                let (fixture, barrier) = (&fixture, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let store = fixture.open(10, process);
                    let _order = placed(buy(&store, purchase(u64::from(process), 2, "k")));
                });
            }
        });
        assert_eq!(fixture.count(r#"SELECT "left" FROM stock WHERE goods = 2"#), 6);
    }
}

#[test]
fn a_closed_store_says_so_and_has_committed_what_was_queued() {
    let fixture = Fixture::new();
    let store = Arc::new(fixture.open(1_000, 1));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let outcomes = runtime.block_on(async {
        let (mut outcomes, mut waiting) = (Vec::new(), Vec::new());
        for user in 0..500 {
            let mut buying = Box::pin(store.buy(purchase(user, 1, "k")));
            // The first poll puts the purchase into the queue.
            match std::future::poll_fn(|context| Poll::Ready(buying.as_mut().poll(context))).await {
                Poll::Ready(outcome) => outcomes.push(outcome),
                Poll::Pending => waiting.push(buying),
            }
        }
        store.close();
        for buying in waiting {
            outcomes.push(buying.await);
        }
        outcomes
    });
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(Outcome::Placed(_)))), "{outcomes:?}");
    store.close();
    assert_eq!(block_on(store.buy(purchase(1, 1, "late"))), Err(Unavailable::Closed));
    assert_eq!(block_on(store.left(EVENT)), Err(Unavailable::Closed));
    assert_eq!(fixture.count("SELECT count(*) FROM orders"), 500);
}

#[test]
fn a_lock_that_is_never_given_up_is_a_503_and_never_a_wrong_answer() {
    let fixture = Fixture::new();
    let store = fixture.open(10, 1);
    let other = Connection::open(fixture.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(block_on(store.buy(purchase(1, 1, "k"))), Err(Unavailable::Failed));
    assert_eq!(block_on(store.left(EVENT)).unwrap()[0], (GoodsId(1), 10), "reading goes on");
    other.execute_batch("ROLLBACK").unwrap();
    let _order = placed(buy(&store, purchase(1, 1, "k")));
}

/// Without copying back, the log of this many orders passes the bound (tried with `wal_autocheckpoint = 0`).
#[test]
fn the_log_does_not_grow_without_bound() {
    let fixture = Fixture::new();
    let store = fixture.open(1_000_000, 1);
    let buyer = &|buyer: u64| {
        for turn in 0..500 {
            // Far from each other, so that each order changes pages of its own.
            let user = (buyer * 500 + turn) * 7_919 % 1_000_003;
            let _order = placed(buy(&store, purchase(user, 2, &"k".repeat(100))));
        }
    };
    thread::scope(|scope| (0..16).for_each(|number| drop(scope.spawn(move || buyer(number)))));
    let log = std::fs::metadata(fixture.folder.path().join("seckill.db-wal")).unwrap().len();
    assert!(log < 24 << 20, "{log} bytes");
}

#[test]
fn tables_of_a_later_release_are_refused() {
    let fixture = Fixture::new();
    fixture.open(1, 1).close();
    Connection::open(fixture.path()).unwrap().execute_batch("PRAGMA user_version = 2").unwrap();
    let error = Store::open(&fixture.path(), &activities(1), ProcessGeneration::FIRST).unwrap_err();
    assert!(matches!(error, Error::Version { found: 2, known: 1, .. }), "{error}");
}

#[test]
fn a_folder_that_is_not_there_is_told() {
    let error =
        Store::open(Path::new("/nowhere/at/all/seckill.db"), &activities(1), ProcessGeneration::FIRST);
    assert!(matches!(error.unwrap_err(), Error::Open { .. }));
}
