//! Each invariant violated once and caught.

use super::{Invariant, InvariantOutcome};
use crate::{
    analyze::{
        analyze,
        fixture::{Log, MS, NEW, REUSED, upgrade},
    },
    observe::{
        BuyOutcome::{self, Acknowledged, Rejected, Unknown, Unsent},
        Cause, ClosedBy, EventRecord, StoredInitial, StoredQueue,
    },
    plan::{Action, EventPlan, ExternalPlan, Fault, FaultAction, Service, TargetPlan, Victim},
};

fn check(log: &Log) -> Vec<Invariant> {
    analyze(&log.finish()).invariants
}

/// The invariants that fail, in order, each with its proof.
#[track_caller]
fn check_violations(log: &Log, expected: &[&str]) {
    let failed: Vec<String> = check(log)
        .into_iter()
        .filter(|invariant| invariant.outcome == InvariantOutcome::Fail)
        .map(|invariant| format!("{}: {}", invariant.name, invariant.detail))
        .collect();
    assert_eq!(failed, expected);
}

fn acknowledged(order: &str) -> BuyOutcome {
    Acknowledged { order: order.into() }
}

/// Everything that can be checked, and holds.
fn sound() -> Log {
    let mut log = Log::new();
    log.bought("o1", "k1").bought("o2", "k2").buy("k3", Rejected { status: 410 });
    log.buy("k4", Unknown).buy("k5", Unsent);
    log.steady(NEW, 0, 10).event(upgrade(1, 20, 30)).good(40, 41);
    log.connection(11, 40, ClosedBy::Client);
    log
}

#[test]
fn a_sound_run_passes_everything() {
    let lines: Vec<String> = check(&sound())
        .into_iter()
        .map(|invariant| format!("{} {:?} {}", invariant.name, invariant.outcome, invariant.detail))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    not-oversold Pass 2 orders for a stock of 10 in 1 goods
    acknowledged-orders-stored Pass 2 acknowledged, all stored; 0 of 1 with an unknown outcome are stored
    refused-orders-not-stored Pass 1 refused, none stored
    no-unasked-order Pass 2 stored orders were asked for
    no-duplicate-key Pass 2 stored orders have as many keys
    limit-per-user Pass at most 2 of 2 per user and good
    one-process-per-order Pass 2 orders stored by who answered
    config-generation-never-goes-back NotChecked no answer named both its process and its configuration
    no-old-process-after-upgrade Pass 1 answers after 1 upgrades
    ");
}

#[test]
fn oversold() {
    let mut log = sound();
    log.observations.stock[0].initial = 1;
    log.observations.stock[0].left = 0;
    check_violations(
        &log,
        &[
            "not-oversold: event 1 goods 1: 2 orders for a stock of 1; the first too many is attempt 0, sent at 0 us, \
           acknowledged as o2 by process 1 at 1000 us",
        ],
    );
    log.observations.stock[0].left = -1;
    check_violations(&log, &["not-oversold: event 1 goods 1: -1 left in stock"]);
}

#[test]
fn stock_that_went_nowhere() {
    let mut log = sound();
    log.observations.stock[0].left = 7;
    let detail = "not-oversold: event 1 goods 1: stock fell from 10 to 7 but 2 orders are stored";
    check_violations(&log, &[detail]);
    log.observations.stock[0].left = 8;
    log.observations.stock[0].goods = 2;
    check_violations(
        &log,
        &["not-oversold: 2 violations, for example: event 1 goods 1: 2 orders for a good without stock"],
    );
}

#[test]
fn an_acknowledged_order_is_lost() {
    let mut log = sound();
    log.buy("k6", acknowledged("o6"));
    check_violations(
        &log,
        &[
            "acknowledged-orders-stored: order o6 (user 1 event 1 goods 1 key k6) was acknowledged but is not \
             stored: attempt 11, sent at 0 us, acknowledged as o6 by process 1 at 1000 us",
        ],
    );
}

#[test]
fn an_acknowledged_order_is_stored_otherwise() {
    let mut log = sound();
    log.observations.orders[0].user = 2;
    check_violations(
        &log,
        &[
            "acknowledged-orders-stored: order o1 was acknowledged for user 1 event 1 goods 1 key k1 but is \
             stored for user 2 event 1 goods 1 key k1",
            "no-unasked-order: order o1 (user 2 event 1 goods 1 key k1) was never asked for",
        ],
    );
}

#[test]
fn an_order_is_stored_twice() {
    let mut log = sound();
    log.observations.plan.target = external();
    log.store("o1", "k1");
    check_violations(
        &log,
        &[
            "acknowledged-orders-stored: order o1 is stored 2 times",
            "no-duplicate-key: user 1 key k1 has 2 orders: o1, o1",
        ],
    );
}

#[test]
fn a_key_has_two_orders() {
    let mut log = sound();
    log.observations.plan.target = external();
    log.store("o9", "k1");
    check_violations(&log, &["no-duplicate-key: user 1 key k1 has 2 orders: o1, o9"]);
}

#[test]
fn a_refused_order_is_stored() {
    let mut log = sound();
    log.observations.plan.target = external();
    log.store("o3", "k3");
    check_violations(
        &log,
        &["refused-orders-not-stored: order o3 (user 1 key k3) was refused but is stored"],
    );
}

/// After a 503 or no answer at all the order may exist; that is counted, and no violation.
#[test]
fn an_unknown_outcome_may_be_stored_or_not() {
    let mut log = sound();
    log.observations.plan.target = external();
    log.store("o4", "k4").buy("k6", Rejected { status: 503 }).store("o6", "k6");
    check_violations(&log, &[]);
    let orders = analyze(&log.finish()).orders;
    assert_eq!((orders.unknown, orders.unknown_stored, orders.stored), (1, Some(1), Some(4)));
    assert_eq!((orders.acknowledged, orders.rejected), (2, 2));
}

#[test]
fn an_order_that_nobody_asked_for() {
    let mut log = sound();
    log.observations.plan.target = external();
    // `k5` was planned, but never reached the wire.
    log.store("o5", "k5");
    let detail = "no-unasked-order: order o5 (user 1 event 1 goods 1 key k5) was never asked for";
    check_violations(&log, &[detail]);
    // With holes in the log nobody can tell.
    log.observations.instrument.gaps.push("the log of buys could not be written".to_owned());
    check_violations(&log, &[]);
}

#[test]
fn a_user_has_too_many() {
    let mut log = sound();
    log.bought("o8", "k8");
    check_violations(
        &log,
        &["limit-per-user: user 1 has 3 orders of event 1 goods 1, the limit is 2: o1, o2, o8"],
    );
}

#[test]
fn two_processes_ran_one_request() {
    let mut log = sound();
    log.observations.orders[1].process = 2;
    check_violations(
        &log,
        &["one-process-per-order: order o2 was stored by process 2 but acknowledged by process 1: \
           attempt 0, sent at 0 us, acknowledged as o2 by process 1 at 1000 us"],
    );
    // A key that was used twice may be answered by another process than the one that stored its order.
    log.buy("k2", acknowledged("o2"));
    check_violations(&log, &[]);
}

/// Redis and MySQL, as they are when everything has come to rest.
fn with_two_stores() -> Log {
    let mut log = sound();
    let initial = vec![StoredInitial { event: 1, goods: 1, initial: 10 }];
    let TargetPlan::Reference(reference) = &mut log.observations.plan.target else { panic!("it is ours") };
    reference.services.needed = [Service::Redis, Service::Mysql].into();
    log.observations.queue = Some(StoredQueue { waiting: 0, waited_ms: 7, initial });
    log
}

#[test]
fn redis_and_mysql_do_not_agree() {
    check_violations(&with_two_stores(), &[]);
    let spoilt = |spoil: &dyn Fn(&mut StoredQueue)| {
        let mut log = with_two_stores();
        spoil(log.observations.queue.as_mut().unwrap());
        log
    };
    check_violations(
        &spoilt(&|queue| queue.waiting = 3),
        &["stores-agree: 3 orders had not arrived in MySQL 7 ms after the load"],
    );
    check_violations(
        &spoilt(&|queue| queue.initial[0].initial = 11),
        &["stores-agree: event 1 goods 1: Redis began with 10, MySQL has 11 as the stock"],
    );
    check_violations(
        &spoilt(&|queue| queue.initial.clear()),
        &["stores-agree: event 1 goods 1: Redis has stock of it, MySQL does not know it"],
    );
    check_violations(
        &spoilt(&|queue| queue.initial.push(StoredInitial { event: 2, goods: 1, initial: 1 })),
        &["stores-agree: event 2 goods 1: MySQL knows it, Redis has no stock of it"],
    );
    let mut log = with_two_stores();
    log.observations.stock[0].left = 7;
    check_violations(
        &log,
        &[
            "not-oversold: event 1 goods 1: stock fell from 10 to 7 but 2 orders are stored",
            "stores-agree: event 1 goods 1: Redis has sold 3, MySQL has 2 orders",
        ],
    );
}

/// After a kill the processes are counted anew, and nothing is an old one until the next upgrade.
#[test]
fn a_killed_server_counts_its_processes_anew() {
    let mut log = sound();
    log.good(50, 51).last().process = 1;
    check_violations(
        &log,
        &[
            "no-old-process-after-upgrade: attempt 11 was answered by process 1 after process 2 had taken over",
        ],
    );
    let killed = upgrade(9, 45, 46);
    log.observations.plan.events.push(EventPlan {
        id: killed.id.clone(),
        at_ns: killed.at_ns,
        action: Action::Fault(FaultAction { of: Victim::Server, fault: Fault::Kill, for_ms: 1 }),
    });
    log.observations.events.push(EventRecord { kind: "fault".to_owned(), ..killed });
    check_violations(&log, &[]);
}

#[test]
fn a_configuration_comes_back() {
    let mut log = sound();
    for (sent_ms, ended_ms, config) in [(60, 61, 5), (60, 62, 6), (61, 63, 5), (64, 65, 6)] {
        log.good(sent_ms, ended_ms).last().config = config;
        log.last().process = 2;
    }
    check_violations(&log, &[]);
    // Another process comes after it, where one takes over from the other at once.
    log.good(66, 67).last().config = 5;
    log.last().process = 3;
    let back = "config-generation-never-goes-back: attempt 15 was answered with generation 5 after generation 6 \
                had been seen";
    check_violations(&log, &[back]);
    let TargetPlan::Reference(reference) = &mut log.observations.plan.target else { panic!("it is ours") };
    reference.strategy = "handoff".to_owned();
    check_violations(&log, &[]);
    // Of one client on one connection it is told.
    for (sent_ms, config, process) in [(66, 6, 2), (68, 5, 3)] {
        log.push(REUSED, sent_ms, sent_ms + 1, Cause::None);
        let attempt = log.last();
        (attempt.config, attempt.process, attempt.connection) = (config, process, 77);
    }
    let back = "config-generation-never-goes-back: attempt 17 was answered with generation 5 on connection 77 \
                after generation 6 had been seen";
    check_violations(&log, &[back]);
    log.last().connection = 78;
    check_violations(&log, &[]);
    let again = log.good(66, 67).last();
    (again.config, again.process) = (5, 2);
    check_violations(
        &log,
        &["config-generation-never-goes-back: attempt 18 was answered with generation 5 of process 2 after \
             generation 6 had been seen"],
    );
    // Whoever does not say which process answers promises nothing.
    for attempt in &mut log.observations.attempts {
        attempt.process = 0;
    }
    check_violations(&log, &[]);
}

#[test]
fn an_old_process_serves_after_the_upgrade() {
    let mut log = sound();
    log.connection(12, 50, ClosedBy::Client).good(50, 51).last().process = 1;
    check_violations(
        &log,
        &[
            "no-old-process-after-upgrade: attempt 11 was answered by process 1 after process 2 had taken over",
        ],
    );
    // With a strategy that leaves connections behind, one that was open or begun before may be finished by
    // the old process; handing over promises that none is left.
    let mut left_behind = log.observations.clone();
    log.last().connection_requests = 1;
    let late =
        "no-old-process-after-upgrade: attempt 11 was answered by process 1 after process 2 had taken over";
    check_violations(&log, &[late]);
    log.observations.connections[1].opened_ns = 25 * MS;
    check_violations(&log, &[late]);
    let TargetPlan::Reference(reference) = &mut left_behind.plan.target else { panic!("it is ours") };
    reference.strategy = "reuseport".to_owned();
    log.observations = left_behind;
    check_violations(&log, &[late]);
    log.observations.connections[1].opened_ns = 25 * MS;
    check_violations(&log, &[]);
    log.observations.connections[1].opened_ns = 50 * MS;
    log.last().connection_requests = 1;
    check_violations(&log, &[]);
}

/// What cannot be looked at is never a pass.
#[test]
fn an_external_target_is_not_checked() {
    let mut log = Log::new();
    log.observations.plan.target = external();
    log.observations.environment.store_read = false;
    log.observations.stock.clear();
    log.steady(REUSED, 0, 10).push(REUSED, 10, 11, Cause::Reset);
    let invariants = check(&log);
    assert_eq!(invariants.len(), 9);
    for invariant in invariants {
        assert_eq!(invariant.outcome, InvariantOutcome::NotChecked, "{invariant:?}");
    }
}

#[test]
fn an_empty_store_is_not_checked_where_there_is_nothing_to_compare() {
    let invariants = check(&Log::new());
    let passed: Vec<_> = invariants
        .iter()
        .filter(|invariant| invariant.outcome == InvariantOutcome::Pass)
        .map(|invariant| invariant.name)
        .collect();
    assert_eq!(passed, ["not-oversold"]);
}

fn external() -> TargetPlan {
    TargetPlan::External(ExternalPlan {
        url: "http://127.0.0.1:8080".to_owned(),
        tls: None,
        process_header: None,
        config_header: None,
    })
}
