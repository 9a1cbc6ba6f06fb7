//! Where changes come from: files, addresses and keys, looked at by a timer or told by events.
//!
//! A source knows a [`Place`] and how to look at it; what it finds becomes a [`Candidate`] for the one writer,
//! [`crate::reload`]. Deliberately absent: what is served, and any way to publish it.

mod file;

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    config::{Config, Place},
    reload::Candidate,
    state::{Cluster, Datum, Mechanism, Origin, Snapshot},
};

/// A place's own word for its state: equal as long as nothing has changed there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(String);

/// What a look at a place found.
#[derive(Debug)]
pub enum Look {
    /// Nothing is there.
    Absent,
    /// What was there the last time.
    Same,
    /// Something else, or the first time anything. Its candidate may have faults.
    Found { candidate: Box<Candidate>, version: Version },
    /// Nobody can tell now, for example because somebody is writing; look again soon.
    Unsettled { reason: String },
}

/// Looks at the place where `datum` comes from. `known` is what was seen there the last time.
pub async fn look(config: &Config, datum: Datum, mechanism: Mechanism, known: Option<&Version>) -> Look {
    let place = &config.reload.feed(datum).from;
    let origin = Origin::new(mechanism, place.to_string());
    match place {
        Place::File(path) => file::look(path.clone(), datum, origin, known.cloned()).await,
        Place::Http(_) | Place::Etcd(_) => Look::Absent,
    }
}

/// How long a place that somebody is writing is waited for, before what is not settled is an error.
const SETTLE_MAX: Duration = Duration::from_secs(2);
const SETTLE_EVERY: Duration = Duration::from_millis(5);

/// Everything that there is when the process starts. A place where nothing is counts as an empty list, with a
/// warning in the log.
pub async fn read_first(config: &Config) -> Vec<Candidate> {
    let mut first = Vec::new();
    for datum in Datum::SOURCED {
        match look_until_settled(config, datum, Mechanism::Start).await {
            Some(candidate) => first.push(candidate),
            None => tracing::warn!(%datum, place = %config.reload.feed(datum).from, "there is nothing"),
        }
    }
    first
}

/// Everything once more, because somebody asks. A place may be empty only where nothing is served from it.
pub async fn read_again(config: &Config, served: &Snapshot) -> Vec<Candidate> {
    let mut again = Vec::new();
    for datum in Datum::SOURCED {
        let found = look_until_settled(config, datum, Mechanism::Ask).await;
        let is_served = match datum {
            Datum::Blacklist => !served.blacklist.is_empty(),
            Datum::Cluster => *served.cluster != Cluster::default(),
            Datum::Activities => !served.activities.events().is_empty(),
            Datum::Nodes => false,
        };
        again.extend(found.or_else(|| is_served.then(|| gone(config, datum))));
    }
    again
}

fn gone(config: &Config, datum: Datum) -> Candidate {
    let origin = Origin::new(Mechanism::Ask, config.reload.feed(datum).from.to_string());
    let reason = "it is not there any more; an empty list is an empty file".to_owned();
    Candidate::unreadable(datum, origin, reason)
}

/// What is there; `None`: nothing.
async fn look_until_settled(config: &Config, datum: Datum, mechanism: Mechanism) -> Option<Candidate> {
    let deadline = Instant::now() + SETTLE_MAX;
    loop {
        match look(config, datum, mechanism, None).await {
            Look::Absent | Look::Same => return None,
            Look::Found { candidate, .. } => return Some(*candidate),
            Look::Unsettled { reason } if Instant::now() >= deadline => {
                let origin = Origin::new(mechanism, config.reload.feed(datum).from.to_string());
                return Some(Candidate::unreadable(datum, origin, reason));
            }
            Look::Unsettled { .. } => sleep(SETTLE_EVERY).await,
        }
    }
}
