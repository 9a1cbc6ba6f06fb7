//! How each source stands, for whoever asks; and whose turn it is to bring something.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::{
    config::ReloadSettings,
    state::{Datum, Mechanism},
};

/// How a source learns of changes, at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is told.
    Watching,
    /// It asks every now and then.
    Polling,
    /// It should be told and is not, so it asks every now and then.
    Fallback { reason: String },
    /// Who should tell it is away; what is served stays.
    Away { reason: String },
    /// There is nothing at its place.
    Absent,
    /// Whoever has something brings it.
    Waiting,
}

/// How one source stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceState {
    pub datum: Datum,
    pub by: Mechanism,
    pub from: String,
    pub state: Standing,
    /// When its place was looked at last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looked_at: Option<Timestamp>,
    /// What that found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

/// How all sources stand. Whoever looks at a place and publishes what he finds takes his turn before the look and
/// keeps it until it is published, so that nobody publishes what was there before over what is there now.
#[derive(Debug)]
pub struct SourceStates {
    list: Mutex<Vec<SourceState>>,
    turn: RwLock<()>,
}

impl SourceStates {
    /// Nobody has looked at anything yet.
    #[must_use]
    pub fn new(settings: &ReloadSettings) -> Self {
        let list = Datum::SOURCED.map(|datum| {
            let feed = settings.feed(datum);
            let state = match feed.by {
                Mechanism::File | Mechanism::Etcd => Standing::Watching,
                Mechanism::Timer => Standing::Polling,
                Mechanism::Push | Mechanism::Start | Mechanism::Ask => Standing::Waiting,
            };
            SourceState {
                datum,
                by: feed.by,
                from: feed.from.to_string(),
                state,
                looked_at: None,
                found: None,
            }
        });
        Self { list: Mutex::new(list.into()), turn: RwLock::default() }
    }

    /// All of them.
    #[must_use]
    pub fn list(&self) -> Vec<SourceState> {
        self.locked().clone()
    }

    /// Changes what is told of the source of `datum`.
    pub fn update(&self, datum: Datum, change: impl FnOnce(&mut SourceState)) {
        if let Some(state) = self.locked().iter_mut().find(|state| state.datum == datum) {
            change(state);
        }
    }

    /// The turn of the source of one kind of data; those of the others may have theirs at the same time.
    pub async fn turn(&self) -> RwLockReadGuard<'_, ()> {
        self.turn.read().await
    }

    /// The turn of somebody who looks at everything.
    pub async fn turn_of_all(&self) -> RwLockWriteGuard<'_, ()> {
        self.turn.write().await
    }

    fn locked(&self) -> MutexGuard<'_, Vec<SourceState>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Watching => f.write_str("watching"),
            Self::Polling => f.write_str("polling"),
            Self::Fallback { reason } => write!(f, "fallback: {reason}"),
            Self::Away { reason } => write!(f, "away: {reason}"),
            Self::Absent => f.write_str("absent"),
            Self::Waiting => f.write_str("waiting"),
        }
    }
}

impl Serialize for Standing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
