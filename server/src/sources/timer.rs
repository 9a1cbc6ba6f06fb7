//! The source `timer`: looks at a place every T, whatever the place is.
//!
//! How the method works, in three sentences. A look costs next to nothing while nothing has changed: of a file only
//! its metadata is read, an address is asked with the `ETag` that it gave, the keys of etcd are read and compared. T is the longest
//! time between two looks, and up to a tenth of it is left out by chance, so that many nodes that were started
//! together do not ask together. So what is served is never older than T and the time that one look takes, and on
//! average by half of that; whoever needs it sooner pays with looks, or takes a mechanism that is told.

use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use super::{
    Look, Version,
    etcd::Asked,
    file::{self, Stood},
    http::Address,
    mysql::Table,
};
use crate::{
    config::{Config, Place},
    state::{Datum, Mechanism, Origin},
};

/// How soon to look again at what is being written.
const UNSETTLED: Duration = Duration::from_millis(3);

/// Looks at one place.
#[derive(Debug)]
pub(super) struct Timer {
    datum: Datum,
    origin: Origin,
    at: At,
    every: Duration,
    next: Instant,
    /// The file that was too young the last time.
    young: Option<Version>,
}

#[derive(Debug)]
enum At {
    File(std::path::PathBuf),
    Address(Address),
    Key(Box<Asked>),
    Table(Box<Table>),
}

impl Timer {
    /// `None`: this build cannot look at the place.
    pub(super) fn new(config: &Config, datum: Datum) -> Option<Self> {
        let feed = config.reload.feed(datum);
        let at = match &feed.from {
            Place::File(path) => At::File(path.clone()),
            Place::Http(url) => At::Address(Address::new(url, config.reload.push_bytes_max)),
            Place::Mysql => At::Table(Box::new(Table::new(config.mysql.as_ref()?))),
            Place::Etcd(key) => At::Key(Box::new(Asked::new(config.etcd.as_ref()?, key, datum))),
        };
        let origin = Origin::new(Mechanism::Timer, feed.from.to_string());
        Some(Self { datum, origin, at, every: feed.every, next: Instant::now(), young: None })
    }

    /// Waits until a look is due.
    pub(super) async fn due(&self) {
        sleep_until(self.next.into()).await;
    }

    /// Looks again at `at`, or sooner.
    pub(super) fn again(&mut self, at: Instant) {
        self.next = self.next.min(at);
    }

    pub(super) async fn look(&mut self, known: Option<&Version>, mechanism: Mechanism) -> Look {
        let begun = Instant::now();
        let origin = Origin { mechanism, ..self.origin.clone() };
        let look = match &mut self.at {
            At::File(path) => {
                let look =
                    file::look(path.clone(), self.datum, origin.clone(), known.cloned(), Stood::BY_ITSELF)
                        .await;
                match look {
                    // Whoever puts a new file there each time is done with each of them.
                    Look::Unsettled { which: Some(which), .. }
                        if self.young.as_ref().is_some_and(|young| *young != which) =>
                    {
                        let known = known.cloned();
                        file::look(path.clone(), self.datum, origin, known, Stood::REPLACED).await
                    }
                    look => look,
                }
            }
            At::Address(address) => address.look(self.datum, origin, known).await,
            At::Key(asked) => asked.look(origin, known).await,
            At::Table(table) => table.look(self.datum, origin, known).await,
        };
        self.next = next(begun, self.every);
        self.young = None;
        if let Look::Unsettled { which, .. } = &look {
            self.young.clone_from(which);
            self.again(Instant::now() + UNSETTLED);
        }
        look
    }
}

/// When to look after a look at `begun`: `every` later, or up to a tenth of it sooner.
pub(super) fn next(begun: Instant, every: Duration) -> Instant {
    // Without chance there would be nodes that ask together, and nothing worse.
    let chance = getrandom::u32().unwrap_or(0);
    begun + sooner(every, chance)
}

/// Nine to ten tenths of `every`.
fn sooner(every: Duration, chance: u32) -> Duration {
    every - every.mul_f64(f64::from(chance) / f64::from(u32::MAX) / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_to_a_tenth_is_left_to_chance_and_never_more_is_waited() {
        let every = Duration::from_millis(1000);
        let check = |chance, expected_ms| assert_eq!(sooner(every, chance).as_millis(), expected_ms);
        check(0, 1000);
        check(u32::MAX / 2, 950);
        check(u32::MAX, 900);
    }
}
