//! The attempts that were not served, by what became of them, and how old the reused connections were on
//! which they failed.
//!
//! A class is where an attempt ended, why, whether its connection was new or reused, and whether HTTP lets
//! a client repeat it by itself ([`super::retry`]). Whose fault it is follows from the cause; attempts that
//! the harness itself could not send are classes too, though they are in no other figure.

use std::collections::BTreeMap;

use super::{
    latency::{Spread, Times},
    retry,
};
use crate::{
    observe::{Attempt, Background, Cause, Phase},
    plan::Plan,
};

/// What became of an attempt that was not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class {
    pub phase: Phase,
    pub cause: Cause,
    /// On a connection that had carried another attempt.
    pub reused: bool,
    pub retry_safe: bool,
}

/// The attempts of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassFigures {
    pub count: u64,
    /// Of their connections when they were sent; `None` on new ones, and where the log does not tell.
    pub age_ns: Option<Spread>,
    /// How long these had carried nothing.
    pub idle_us: Option<Spread>,
    /// How many attempts these had carried before.
    pub requests: Option<Spread>,
}

/// The classes of some of a run's attempts.
#[derive(Debug, Clone)]
pub struct Taxonomy<'a> {
    plan: &'a Plan,
    /// When each connection that carried more than one attempt was opened, by its number.
    opened_ns: BTreeMap<u32, u64>,
    classes: BTreeMap<Class, Failed>,
}

#[derive(Debug, Clone, Default)]
struct Failed {
    count: u64,
    reused: Option<Box<Reused>>,
}

#[derive(Debug, Clone, Default)]
struct Reused {
    age_ns: Times,
    idle_us: Times,
    requests: Times,
}

impl<'a> Taxonomy<'a> {
    #[must_use]
    pub fn new(background: &'a Background) -> Self {
        let reused = background.connections.iter().filter(|connection| connection.requests > 1);
        Self {
            plan: &background.plan,
            opened_ns: reused.map(|connection| (connection.id, connection.opened_ns)).collect(),
            classes: BTreeMap::new(),
        }
    }

    /// Takes an attempt after the warm-up that was not served.
    pub fn add(&mut self, attempt: &Attempt) {
        let class = Class {
            phase: attempt.phase,
            cause: attempt.cause,
            reused: attempt.reused(),
            retry_safe: retry::is_permitted(self.plan, attempt),
        };
        let failed = self.classes.entry(class).or_default();
        failed.count += 1;
        if class.reused {
            let reused = failed.reused.get_or_insert_default();
            if let Some(opened_ns) = self.opened_ns.get(&attempt.connection) {
                reused.age_ns.record(attempt.sent_ns.saturating_sub(*opened_ns));
            }
            reused.idle_us.record(attempt.idle_us.into());
            reused.requests.record(attempt.connection_requests.into());
        }
    }

    pub fn merge(&mut self, other: Self) {
        for (class, other) in other.classes {
            let own = self.classes.entry(class).or_default();
            own.count += other.count;
            if let Some(other) = other.reused {
                let own = own.reused.get_or_insert_default();
                own.age_ns.merge(&other.age_ns);
                own.idle_us.merge(&other.idle_us);
                own.requests.merge(&other.requests);
            }
        }
    }

    /// The classes that occurred, the most frequent first.
    #[must_use]
    pub fn finish(self) -> Vec<(Class, ClassFigures)> {
        let figures = |failed: Failed| {
            let spread = |pick: fn(&Reused) -> &Times| pick(failed.reused.as_deref()?).spread();
            ClassFigures {
                count: failed.count,
                age_ns: spread(|reused| &reused.age_ns),
                idle_us: spread(|reused| &reused.idle_us),
                requests: spread(|reused| &reused.requests),
            }
        };
        let mut classes: Vec<_> =
            self.classes.into_iter().map(|(class, failed)| (class, figures(failed))).collect();
        classes.sort_by_key(|(class, figures)| (u64::MAX - figures.count, *class));
        classes
    }
}

#[cfg(test)]
mod tests {
    use super::{Class, Spread};
    use crate::{
        analyze::{
            analyze,
            fixture::{BUY, Log, MS, NEW, REUSED},
        },
        observe::{
            Cause::{self, Eof, NoPorts, Refused, Reset},
            ClosedBy,
            Phase::{Connect, Send, Wait},
        },
    };

    #[test]
    fn only_what_occurred_the_most_frequent_first() {
        let mut log = Log::new();
        log.steady(NEW, 0, 100);
        for sent_ms in [10, 20, 30] {
            log.push(REUSED, sent_ms, sent_ms + 1, Reset);
        }
        log.push(REUSED, 40, 41, Reset).last().request = BUY;
        log.bad(50, 50, Refused).bad(51, 52, Eof).bad(60, 60, NoPorts);
        let class = |phase, cause: Cause, reused, retry_safe| Class { phase, cause, reused, retry_safe };
        let found: Vec<_> = analyze(&log.finish())
            .classes
            .into_iter()
            .map(|(class, figures)| (class, figures.count))
            .collect();
        assert_eq!(
            found,
            [
                (class(Wait, Reset, true, true), 3),
                (class(Send, NoPorts, false, true), 1),
                (class(Connect, Refused, false, true), 1),
                (class(Wait, Reset, true, false), 1),
                (class(Wait, Eof, false, false), 1),
            ]
        );
    }

    /// Age, idle time and requests are told for reused connections; the age only where the log knows it.
    #[test]
    fn reused_connections_have_an_age() {
        let mut log = Log::new();
        log.connection(1, 5, ClosedBy::Server).observations.connections[0].requests = 9;
        for (sent_ms, idle_us, requests) in [(10, 4_000, 1), (30, 500, 7), (20, 3_000, 2)] {
            let attempt = log.push(REUSED, sent_ms, sent_ms + 1, Eof).last();
            (attempt.connection, attempt.idle_us, attempt.connection_requests) = (1, idle_us, requests);
        }
        log.bad(40, 40, Refused);
        let classes = analyze(&log.finish()).classes;
        let exact = |spread: Option<Spread>| spread.map(|spread| (spread.min, spread.max));
        let (_, reused) = classes[0];
        assert_eq!(exact(reused.age_ns), Some((5 * MS, 25 * MS)));
        assert_eq!(exact(reused.idle_us), Some((500, 4_000)));
        assert_eq!(reused.requests, Some(Spread { min: 1, median: 2, max: 7 }));
        let (_, new) = classes[1];
        assert_eq!((new.age_ns, new.idle_us, new.requests), (None, None, None));
        log.observations.connections.clear();
        assert_eq!(analyze(&log.finish()).classes[0].1.age_ns, None);
    }
}
