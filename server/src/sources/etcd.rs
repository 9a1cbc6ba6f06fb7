//! Keys of etcd: read when somebody asks, and watched.
//!
//! One document at a key, and single members of it at the keys below ([`document`]). What etcd does not hold any more
//! is served on, and the history says so. Deliberately absent: how etcd is spoken to, which is [`crate::etcd`]'s.

mod document;

use std::time::{Duration, Instant};

use tokio::time::{sleep_until, timeout};

use super::{Look, Version};
use crate::{
    config::{Config, EtcdSettings, Place},
    etcd::{Etcd, Keys, News, Scope, Watched},
    nodes,
    state::{Datum, Mechanism, Origin},
    telemetry::chain,
};

/// How long a start waits for an etcd that does not answer.
const FIRST_MAX: Duration = Duration::from_secs(2);

/// Keys that are looked at when somebody asks.
#[derive(Debug)]
pub(super) struct Asked {
    datum: Datum,
    key: String,
    etcd: Etcd,
}

impl Asked {
    pub(super) fn new(settings: &EtcdSettings, key: &str, datum: Datum) -> Self {
        Self { datum, key: key.to_owned(), etcd: Etcd::new(settings) }
    }

    /// An etcd that is away at the start has nothing yet; at any other time it is a fault.
    pub(super) async fn look(&mut self, origin: Origin, known: Option<&Version>) -> Look {
        let scope = scope(self.datum, &self.key);
        let reading = self.etcd.read(&scope);
        if origin.mechanism == Mechanism::Start {
            return match timeout(FIRST_MAX, reading).await {
                Ok(Ok(keys)) => found(self.datum, origin, &self.key, keys, known).await,
                Ok(Err(error)) => absent(self.datum, &origin, &chain(&error)),
                Err(_) => absent(self.datum, &origin, "no endpoint answers"),
            };
        }
        match reading.await {
            Ok(keys) => found(self.datum, origin, &self.key, keys, known).await,
            Err(error) => {
                let reason = format!("failed to {}", chain(&error));
                Look::failed(self.datum, origin, reason, known)
            }
        }
    }
}

fn absent(datum: Datum, origin: &Origin, error: &str) -> Look {
    tracing::warn!(%datum, place = origin.place, error, "etcd is away");
    Look::Absent
}

/// One kind of data that etcd tells of.
#[derive(Debug)]
pub(super) struct Watch {
    datum: Datum,
    key: String,
    watched: Watched,
    /// Why nothing is told now.
    pub(super) away: Option<String>,
    /// How long the first answer is waited for, as long as it has not been.
    patience: Option<Duration>,
    /// When to look once more at what was told.
    again: Option<Instant>,
}

impl Watch {
    /// `None`: it does not come from etcd. With `is_away` the first answer is not waited for.
    pub(super) fn new(config: &Config, datum: Datum, is_away: bool) -> Option<Self> {
        let settings = config.etcd.as_ref()?;
        let key = match (datum, &config.reload.feed(datum).from) {
            (Datum::Nodes, _) => nodes::KEY.to_owned(),
            (Datum::Blacklist | Datum::Cluster | Datum::Activities, Place::Etcd(key)) => key.clone(),
            (Datum::Blacklist | Datum::Cluster | Datum::Activities, _) => return None,
        };
        let watched = Watched::new(settings, scope(datum, &key));
        let patience = Some(if is_away { Duration::ZERO } else { FIRST_MAX });
        Some(Self { datum, key, watched, away: None, patience, again: None })
    }

    /// Waits until there is something to look at, or etcd goes away. Nothing is lost when the wait is given up.
    pub(super) async fn due(&mut self) {
        let again = self.again;
        let news = async {
            match self.patience {
                Some(limit) => timeout(limit, self.watched.next()).await.ok(),
                None => Some(self.watched.next().await),
            }
        };
        let news = tokio::select! {
            news = news => news,
            () = at(again) => {
                self.again = None;
                return;
            }
        };
        self.patience = None;
        let reason = match news {
            Some(News::Keys) => {
                if self.away.take().is_some() {
                    tracing::info!(datum = %self.datum, key = self.key, "etcd is back");
                }
                return;
            }
            Some(News::Away(error)) => format!("failed to {}", chain(&error)),
            None => "no endpoint of etcd answers".to_owned(),
        };
        tracing::warn!(datum = %self.datum, key = self.key, reason, "etcd is away; what is served stays");
        self.away = Some(reason);
    }

    /// Looks again at `at`, or sooner.
    pub(super) fn again(&mut self, at: Instant) {
        self.again = Some(self.again.map_or(at, |before| before.min(at)));
    }

    /// What etcd has told last; `None`: it is away and there is nothing new.
    pub(super) async fn look(&self, known: Option<&Version>, mechanism: Mechanism) -> Option<Look> {
        if self.away.is_some() {
            return (mechanism == Mechanism::Start).then_some(Look::Absent);
        }
        let origin = Origin::new(mechanism, Place::Etcd(self.key.clone()).to_string());
        Some(found(self.datum, origin, &self.key, self.watched.keys().clone(), known).await)
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

fn scope(datum: Datum, key: &str) -> Scope {
    match datum {
        // A list has no members.
        Datum::Blacklist => Scope::Key(key.to_owned()),
        Datum::Cluster | Datum::Activities | Datum::Nodes => Scope::Tree(key.to_owned()),
    }
}

/// What the keys are, read on a thread of its own.
async fn found(datum: Datum, origin: Origin, key: &str, keys: Keys, known: Option<&Version>) -> Look {
    if keys.is_empty() && datum != Datum::Nodes {
        return Look::Absent;
    }
    let (key, known) = (key.to_owned(), known.cloned());
    let reading = move || {
        let version = Version(keys.digest());
        if known.as_ref() == Some(&version) {
            return Look::Same;
        }
        Look::Found { candidate: Box::new(document::candidate(datum, origin, &key, &keys)), version }
    };
    let read = tokio::task::spawn_blocking(reading).await;
    read.expect("keys must be readable without a panic")
}
