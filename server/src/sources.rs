//! Where changes come from: files, addresses and keys, looked at by a timer or told by events.
//!
//! A source knows a [`Place`] and how to look at it; what it finds becomes a [`Candidate`] for the one writer,
//! [`crate::reload`]. [`open`] first watches and then reads, so that no change falls between; [`Sources::run`] has
//! one task for each kind of data. Deliberately absent: what is served, and any way to publish it.

mod blacklist;
mod catch_up;
mod etcd;
mod feed;
mod file;
mod http;
mod mysql;
pub mod push;
mod states;
mod timer;
mod watch;

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

pub use self::{
    catch_up::catch_up,
    states::{SourceState, SourceStates, Standing},
};
use self::{
    feed::{Eye, Feed},
    file::Stood,
    timer::Timer,
    watch::{Events, Watch},
};
use crate::{
    config::{Config, Place},
    reload::{Candidate, Copies, Reload},
    state::{Cluster, Datum, Mechanism, Origin},
    tasks::Tasks,
};

/// A place's own word for its state: equal as long as nothing has changed there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(String);

const OR_LATER: &str = " or later";

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
    Unsettled {
        reason: String,
        /// What it is that is not settled, where that can be told.
        which: Option<Version>,
    },
}

/// How long a place that somebody is writing is waited for, before what is not settled is an error. Somebody who
/// writes a file and never closes it is believed to be done before that.
const SETTLE_MAX: Duration = Duration::from_secs(4);
const SETTLE_EVERY: Duration = Duration::from_millis(5);
/// A file that has not come to rest by then is written all the time, and is taken as it was between two writes.
const RESTLESS: Duration = Duration::from_millis(250);

/// All the places that are looked at while the process serves.
#[derive(Debug)]
pub struct Sources {
    feeds: Vec<Feed>,
    states: Arc<SourceStates>,
}

/// Watches and then reads everything that there is when the process starts, or takes the last good copy where that
/// goes before. A place where nothing is counts as an empty list, with a warning in the log.
pub async fn open(config: &Arc<Config>, copies: &Arc<Copies>) -> (Sources, Vec<Candidate>) {
    let states = Arc::new(SourceStates::new(&config.reload));
    let events = Arc::new(Events::default());
    let (mut feeds, mut first) = (Vec::new(), Vec::new());
    for datum in Datum::SOURCED {
        let settings = config.reload.feed(datum);
        let eye = match (settings.by, &settings.from) {
            (Mechanism::File, Place::File(path)) => {
                let (events, path, every) = (Arc::clone(&events), path.clone(), settings.every);
                let opening = move || Watch::open(&events, datum, &path, every);
                let opened = tokio::task::spawn_blocking(opening).await;
                Some(Eye::Watch(opened.expect("to watch must not panic")))
            }
            (Mechanism::Etcd, _) => watch_etcd(config, datum, &feeds).map(|watch| Eye::Etcd(Box::new(watch))),
            (Mechanism::Timer, _) => Timer::new(config, datum).map(|timer| Eye::Timer(Box::new(timer))),
            _ => None,
        };
        let feed = eye.map(|eye| Feed::new(datum, Arc::clone(config), eye, Arc::clone(&states)));
        let found = match feed {
            Some(mut feed) => {
                let found = feed.first(SETTLE_MAX).await;
                feeds.push(feed);
                found
            }
            None => look_until_settled(config, datum, Mechanism::Start).await,
        };
        let chosen = choose(copies, datum, found).await;
        if chosen.is_none() {
            tracing::warn!(%datum, place = %settings.from, "there is nothing");
        }
        first.extend(chosen);
    }
    if let Some(watch) = watch_etcd(config, Datum::Nodes, &feeds) {
        let mut feed =
            Feed::new(Datum::Nodes, Arc::clone(config), Eye::Etcd(Box::new(watch)), Arc::clone(&states));
        first.extend(feed.first(SETTLE_MAX).await);
        feeds.push(feed);
    }
    (Sources { feeds, states }, first)
}

/// What etcd tells of one kind of data. It is waited for but once when it is away.
fn watch_etcd(config: &Config, datum: Datum, others: &[Feed]) -> Option<etcd::Watch> {
    etcd::Watch::new(config, datum, others.iter().any(Feed::misses_etcd))
}

impl Sources {
    /// How they stand, now and later.
    #[must_use]
    pub fn states(&self) -> Arc<SourceStates> {
        Arc::clone(&self.states)
    }

    /// Offers to `reload` what changes from now on, and what has changed since they were opened, until `stop`.
    pub fn run(self, tasks: &Tasks, reload: &Arc<Reload>, stop: &CancellationToken) {
        for feed in self.feeds {
            drop(tasks.spawn(feed.run(Arc::clone(reload), stop.clone())));
        }
    }
}

/// What goes before: what was found, or its copy.
async fn choose(copies: &Arc<Copies>, datum: Datum, found: Option<Candidate>) -> Option<Candidate> {
    let copies = Arc::clone(copies);
    let choosing = tokio::task::spawn_blocking(move || copies.choose(datum, found));
    choosing.await.expect("to choose must not panic")
}

/// Everything once more, because somebody asks; he needs his turn for it. A place may be empty only where nothing is
/// served from it.
pub async fn read_again(config: &Config, reload: &Arc<Reload>) -> Vec<Candidate> {
    let served = reload.cell().load();
    let writer = Arc::clone(reload);
    let telling = tokio::task::spawn_blocking(move || Datum::SOURCED.map(|datum| writer.is_pushed(datum)));
    let pushed = telling.await.expect("to tell must not panic");
    let mut again = Vec::new();
    for (datum, is_pushed) in Datum::SOURCED.into_iter().zip(pushed) {
        let found = look_until_settled(config, datum, Mechanism::Ask).await;
        let is_served = match datum {
            Datum::Blacklist => !served.blacklist.is_empty(),
            Datum::Cluster => *served.cluster != Cluster::default(),
            Datum::Activities => !served.activities.events().is_empty(),
            Datum::Nodes => false,
        };
        let is_from_there = is_served && !is_pushed;
        again.extend(found.or_else(|| is_from_there.then(|| gone(config, datum))));
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
    let origin = Origin::new(mechanism, config.reload.feed(datum).from.to_string());
    let begun = Instant::now();
    let deadline = begun + SETTLE_MAX;
    loop {
        let stood = if begun.elapsed() < RESTLESS { Stood::ASKED } else { Stood::REPLACED };
        match look(config, datum, &origin, stood).await {
            Look::Absent | Look::Same => return None,
            Look::Found { candidate, version } => return Some(version.of(*candidate)),
            Look::Unsettled { reason, .. } if Instant::now() >= deadline => {
                return Some(Candidate::unreadable(datum, origin, reason));
            }
            Look::Unsettled { .. } => sleep(SETTLE_EVERY).await,
        }
    }
}

/// Looks at the place where `datum` comes from, whatever was seen there before.
async fn look(config: &Config, datum: Datum, origin: &Origin, stood: Stood) -> Look {
    let origin = origin.clone();
    match &config.reload.feed(datum).from {
        Place::File(path) => file::look(path.clone(), datum, origin, None, stood).await,
        Place::Http(url) => {
            http::Address::new(url, config.reload.push_bytes_max).look(datum, origin, None).await
        }
        Place::Mysql => match &config.mysql {
            Some(settings) => mysql::Table::new(settings).look(datum, origin, None).await,
            None => Look::Absent,
        },
        Place::Etcd(key) => match &config.etcd {
            Some(settings) => etcd::Asked::new(settings, key, datum).look(origin, None).await,
            None => Look::Absent,
        },
    }
}

impl Version {
    /// Of a place that has no word for its state: what it holds.
    fn of_text(text: &[u8]) -> Self {
        Self(format!("sha256 {}", STANDARD.encode(Sha256::digest(text))))
    }

    /// What was read when the place had this version.
    fn of(&self, candidate: Candidate) -> Candidate {
        Candidate { version: Some(self.certain().to_owned()), ..candidate }
    }

    /// That of something that may have become something else within the same moment, without a sign of it. It is
    /// never the same as that of another look.
    fn or_later(self) -> Self {
        Self(self.0 + OR_LATER)
    }

    /// Whether this is what another look has seen, which may have missed something.
    fn confirms(&self, seen: &Self) -> bool {
        seen.0 != self.0 && seen.certain() == self.certain()
    }

    fn certain(&self) -> &str {
        self.0.strip_suffix(OR_LATER).unwrap_or(&self.0)
    }
}

impl Look {
    fn unsettled(reason: &str) -> Self {
        Self::Unsettled { reason: reason.to_owned(), which: None }
    }

    /// The place cannot be read. The same reason once more is nothing new.
    fn failed(datum: Datum, origin: Origin, reason: String, known: Option<&Version>) -> Self {
        let version = Version(reason.clone());
        if known == Some(&version) {
            return Self::Same;
        }
        Self::Found { candidate: Box::new(Candidate::unreadable(datum, origin, reason)), version }
    }

    /// For the status.
    fn word(&self) -> String {
        match self {
            Self::Absent => "nothing".to_owned(),
            Self::Same => "nothing new".to_owned(),
            Self::Found { .. } => "something new".to_owned(),
            Self::Unsettled { reason, .. } => format!("not settled: {reason}"),
        }
    }
}
