//! What a process has in memory and hands on to the next one in an upgrade, so that it does not start from zero
//! there: how much of the limits is used up, what was counted, and since when a service is away.
//!
//! Every [`Carried`] is something to be added: the first one holds all since the start of the chain, each later one
//! ([`Carried::since`]) what came after the one before. What has been used up of a limit is told as the time that is
//! left of it, so no clock of one process means anything to the other: a document that is some milliseconds on its
//! way keeps a user waiting for as much longer.
//! Deliberately absent: what is served (it goes along in the copies on disk), and what may be asked anew (stock).

mod document;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

pub use self::document::{BYTES_MAX, Refused, VERSION, decode, encode};
use crate::seckill::UserId;

/// What goes along.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Carried {
    pub counts: Counts,
    /// Answers by side and status.
    pub answers: Vec<Answers>,
    pub routes: Routes,
    pub away: Away,
    /// What is left of what users have used up, in nanoseconds; a second at most. Travels beside the rest.
    #[serde(skip)]
    pub users: Vec<(UserId, u32)>,
}

/// Counters of `GET /metrics`, by their names there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    pub connections_accepted: u64,
    pub connections_adopted: u64,
    pub connections_handed_over: u64,
    pub connections_cut: u64,
    pub streams_opened: u64,
    pub streams_refused: u64,
    pub streams_slow: u64,
    pub streams_cut: u64,
    pub upgrades_ok: u64,
    pub upgrades_failed: u64,
    pub upgrades_refused: u64,
    pub orders_placed: u64,
    pub orders_replayed: u64,
    pub orders_refused: u64,
    pub orders_unavailable: u64,
    pub store_commits: u64,
    pub orders_written: u64,
}

/// So many answers of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answers {
    /// On the admin side; else on the public one.
    pub admin: bool,
    pub status: u16,
    pub count: u64,
}

/// What is left of what all users together have used up of a route, in nanoseconds; a second at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Routes {
    pub event_list: u32,
    pub event_info: u32,
    pub orders: u32,
    pub order: u32,
}

/// How long services of the store have been away, in milliseconds. `None`: they are there, or there are none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Away {
    pub redis_ms: Option<u64>,
    pub mysql_ms: Option<u64>,
}

impl Carried {
    /// What came after `before`, which was taken `elapsed_ns` earlier.
    #[must_use]
    pub fn since(&self, before: &Self, elapsed_ns: u64) -> Self {
        let added = |now: u32, then: u32| now.saturating_sub(left(then, elapsed_ns));
        let users: HashMap<UserId, u32> = before.users.iter().copied().collect();
        let users = self.users.iter().map(|&(user, now)| (user, added(now, *users.get(&user).unwrap_or(&0))));
        let counted = |answers: &&Answers| (answers.admin, answers.status);
        let answers = self.answers.iter().map(|answers| {
            let then = before.answers.iter().find(|then| counted(then) == counted(&answers));
            Answers { count: answers.count.saturating_sub(then.map_or(0, |then| then.count)), ..*answers }
        });
        Self {
            counts: self.counts.since(&before.counts),
            answers: answers.filter(|answers| answers.count > 0).collect(),
            routes: Routes {
                event_list: added(self.routes.event_list, before.routes.event_list),
                event_info: added(self.routes.event_info, before.routes.event_info),
                orders: added(self.routes.orders, before.routes.orders),
                order: added(self.routes.order, before.routes.order),
            },
            away: self.away,
            users: users.filter(|(_, added)| *added > 0).collect(),
        }
    }
}

impl Counts {
    fn since(&self, before: &Self) -> Self {
        Self {
            connections_accepted: self.connections_accepted.saturating_sub(before.connections_accepted),
            connections_adopted: self.connections_adopted.saturating_sub(before.connections_adopted),
            connections_handed_over: self
                .connections_handed_over
                .saturating_sub(before.connections_handed_over),
            connections_cut: self.connections_cut.saturating_sub(before.connections_cut),
            streams_opened: self.streams_opened.saturating_sub(before.streams_opened),
            streams_refused: self.streams_refused.saturating_sub(before.streams_refused),
            streams_slow: self.streams_slow.saturating_sub(before.streams_slow),
            streams_cut: self.streams_cut.saturating_sub(before.streams_cut),
            upgrades_ok: self.upgrades_ok.saturating_sub(before.upgrades_ok),
            upgrades_failed: self.upgrades_failed.saturating_sub(before.upgrades_failed),
            upgrades_refused: self.upgrades_refused.saturating_sub(before.upgrades_refused),
            orders_placed: self.orders_placed.saturating_sub(before.orders_placed),
            orders_replayed: self.orders_replayed.saturating_sub(before.orders_replayed),
            orders_refused: self.orders_refused.saturating_sub(before.orders_refused),
            orders_unavailable: self.orders_unavailable.saturating_sub(before.orders_unavailable),
            store_commits: self.store_commits.saturating_sub(before.store_commits),
            orders_written: self.orders_written.saturating_sub(before.orders_written),
        }
    }
}

/// What is left of `debt_ns` after `elapsed_ns`.
fn left(debt_ns: u32, elapsed_ns: u64) -> u32 {
    debt_ns.saturating_sub(u32::try_from(elapsed_ns).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_one_is_what_was_added() {
        let users =
            |pairs: &[(u64, u32)]| pairs.iter().map(|&(user, ns)| (UserId(user), ns)).collect::<Vec<_>>();
        let answers = |count| Answers { admin: false, status: 201, count };
        let before = Carried {
            counts: Counts { orders_placed: 7, ..Counts::default() },
            answers: vec![answers(5)],
            routes: Routes { orders: 900, ..Routes::default() },
            users: users(&[(1, 1_000), (2, 1_000), (3, 50)]),
            away: Away { redis_ms: Some(4), mysql_ms: None },
        };
        let now = Carried {
            counts: Counts { orders_placed: 9, ..Counts::default() },
            answers: vec![answers(8), Answers { admin: true, ..answers(1) }],
            routes: Routes { orders: 1_300, ..Routes::default() },
            // The first has asked for nothing more, the third had nothing left, and the fourth is new.
            users: users(&[(1, 900), (2, 1_400), (3, 70), (4, 10)]),
            away: Away { redis_ms: Some(5), mysql_ms: None },
        };
        let added = now.since(&before, 100);
        assert_eq!(added.counts, Counts { orders_placed: 2, ..Counts::default() });
        assert_eq!(added.answers, [answers(3), Answers { admin: true, ..answers(1) }]);
        assert_eq!(added.routes, Routes { orders: 500, ..Routes::default() });
        assert_eq!(added.users, users(&[(2, 500), (3, 70), (4, 10)]));
        assert_eq!(added.away, now.away);
        let nothing = before.since(&before, 0);
        assert_eq!(nothing, Carried { away: before.away, ..Carried::default() });
    }
}
