//! What is about to be served, as far as its copy is concerned.

use std::io;

use jiff::Timestamp;

use crate::{
    reload::{Candidate, Content},
    state::{Datum, Delta, Mechanism, Origin},
};

/// Something that is about to be served.
#[derive(Debug, Clone)]
pub(in crate::reload) struct Brought {
    pub(in crate::reload) datum: Datum,
    pub(in crate::reload) origin: Origin,
    pub(in crate::reload) copied_at: Option<Timestamp>,
    /// The version of the watched place that was seen last.
    pub(in crate::reload) version: Option<String>,
    pub(in crate::reload) delta: Option<Delta>,
}

/// What is served and could not be kept.
#[derive(Debug)]
pub(in crate::reload) struct NotKept {
    pub(in crate::reload) datum: Datum,
    pub(in crate::reload) place: String,
    pub(in crate::reload) reason: String,
}

impl Brought {
    pub(in crate::reload) fn of(candidate: &Candidate, seen: Option<&String>) -> Self {
        let Candidate { datum, origin, copied_at, version, content, .. } = candidate;
        let delta = match content {
            Ok(Content::BlacklistDelta(delta)) => Some(delta.clone()),
            _ => None,
        };
        let version = version.as_ref().or(seen).cloned();
        Self { datum: *datum, origin: origin.clone(), copied_at: *copied_at, version, delta }
    }
}

/// Refuses what would be nowhere then; of everything else a warning is enough.
pub(super) fn not_kept(brought: &Brought, error: &io::Error) -> Result<(), NotKept> {
    let datum = brought.datum;
    if brought.origin.mechanism == Mechanism::Push {
        return Err(NotKept { datum, place: brought.origin.place.clone(), reason: error.to_string() });
    }
    tracing::warn!(%datum, %error, "there is no copy of what is served now");
    Ok(())
}
