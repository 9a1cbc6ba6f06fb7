//! What the one that publishes knows of what is served: where each kind of data came from, and which version of each
//! watched place was seen last.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Candidate, Terms, copies::Brought};
use crate::{
    clock,
    state::{Change, ChangeOutcome, Datum, Generation, Origin, Publisher},
};

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) publisher: Publisher,
    /// What is served of each kind, by where it came from.
    pub(super) from: BTreeMap<Datum, Brought>,
    /// The version of each watched place that was seen last and taken.
    pub(super) seen: BTreeMap<Datum, String>,
}

impl Writer {
    /// Without what a watched place shows again: it was taken when it was new, and what came since by another way is
    /// newer.
    pub(super) fn new_only(&self, candidates: Vec<Candidate>, terms: &Terms) -> Vec<Candidate> {
        let is_new = |candidate: &Candidate| {
            terms.again
                || candidate.version.is_none()
                || candidate.version.as_ref() != self.seen.get(&candidate.datum)
        };
        candidates.into_iter().filter(is_new).collect()
    }

    pub(super) fn brought(&self, candidates: &[Candidate]) -> Vec<Brought> {
        let of = |candidate: &Candidate| Brought::of(candidate, self.seen.get(&candidate.datum));
        candidates.iter().map(of).collect()
    }

    /// It was taken.
    pub(super) fn see(&mut self, brought: &[Brought]) {
        let versions = brought.iter().filter_map(|brought| Some((brought.datum, brought.version.clone()?)));
        self.seen.extend(versions);
    }
}

/// What the history keeps of a candidate.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) datum: Datum,
    origin: Origin,
    bytes: u64,
    pub(super) digest: String,
    begun: Timestamp,
    copied_at: Option<Timestamp>,
}

impl Told {
    pub(super) fn of(candidate: &Candidate) -> Self {
        let Candidate { datum, origin, bytes, begun, copied_at, .. } = candidate;
        let (origin, digest) = (origin.clone(), candidate.digest());
        Self { datum: *datum, origin, bytes: *bytes, digest, begun: *begun, copied_at: *copied_at }
    }

    pub(super) fn change(
        self,
        outcome: ChangeOutcome,
        generation: Generation,
        reason: Option<String>,
    ) -> Change {
        let at = clock::now();
        let Self { datum, origin, bytes, digest, begun, copied_at } = self;
        let took_us = at.duration_since(begun).as_micros();
        let took_ms = f64::from(u32::try_from(took_us.max(0)).unwrap_or(u32::MAX)) / 1e3;
        Change { at, datum, origin, bytes, digest, took_ms, outcome, generation, copied_at, reason }
    }
}
