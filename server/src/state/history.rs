//! What became of everything that was offered as a change, the latest of it.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::Serialize;

use super::{Datum, Generation, Origin};

/// Changes that are remembered, the refused ones among them.
pub(super) const HISTORY_MAX: usize = 64;

/// What became of something that was offered as a change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    pub at: Timestamp,
    pub datum: Datum,
    #[serde(flatten)]
    pub origin: Origin,
    /// Size of what was offered.
    pub bytes: u64,
    /// Of what was offered: equal for equal content. Empty when nothing could be read.
    pub digest: String,
    /// From the first byte read to the moment at which it was served or refused.
    pub took_ms: f64,
    pub outcome: ChangeOutcome,
    /// The generation that was served afterwards.
    pub generation: Generation,
    /// When the copy on disk was made that it was read from, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copied_at: Option<Timestamp>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether a change is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeOutcome {
    Published,
    Refused,
}

/// The latest changes, oldest first.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Change>);

impl History {
    pub(super) fn push(&mut self, change: Change) {
        if self.0.len() == HISTORY_MAX {
            self.0.pop_front();
        }
        self.0.push_back(change);
    }

    pub(super) fn to_vec(&self) -> Vec<Change> {
        self.0.iter().cloned().collect()
    }
}
