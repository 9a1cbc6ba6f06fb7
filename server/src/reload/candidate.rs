//! Something that may replace a part of what is served.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::{
    clock, hex,
    state::{Activities, Blacklist, Cluster, Datum, Delta, Node, Origin, Snapshot},
};

/// Something that may replace a part of what is served, read and checked by itself.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub datum: Datum,
    pub origin: Origin,
    /// Size of what was read.
    pub bytes: u64,
    /// When its first byte was read.
    pub begun: Timestamp,
    /// The version of the watched place when this was read there, or was seen there last.
    pub version: Option<String>,
    /// When the copy on disk was made that this was read from, if it was.
    pub copied_at: Option<Timestamp>,
    /// Or what is wrong with it.
    pub content: Result<Content, String>,
}

/// The parts of a snapshot.
#[derive(Debug, Clone)]
pub enum Content {
    Blacklist(Arc<Blacklist>),
    /// What is to change in the list that is served when it is published, whichever that is.
    BlacklistDelta(Delta),
    Cluster(Arc<Cluster>),
    Activities(Arc<Activities>),
    Nodes(Arc<[Node]>),
}

impl Candidate {
    /// One of what was read at its place just now.
    #[must_use]
    pub fn new(
        datum: Datum,
        origin: Origin,
        bytes: u64,
        begun: Timestamp,
        content: Result<Content, String>,
    ) -> Self {
        Self { datum, origin, bytes, begun, version: None, copied_at: None, content }
    }

    /// Makes one of the text of a file, a key or a body.
    #[must_use]
    pub fn parse(datum: Datum, origin: Origin, text: &[u8]) -> Self {
        let begun = clock::now();
        let content = match datum {
            Datum::Blacklist => told(Blacklist::parse(text)).map(Content::Blacklist),
            Datum::Cluster => told(Cluster::parse(text)).map(Content::Cluster),
            Datum::Activities => told(Activities::parse(text)).map(Content::Activities),
            Datum::Nodes => Err("nodes are registered, not written".to_owned()),
        };
        Self::new(datum, origin, length(text), begun, content)
    }

    /// Makes one of the text of a delta of the blacklist.
    #[must_use]
    pub fn delta(origin: Origin, text: &[u8]) -> Self {
        let begun = clock::now();
        let content = Delta::parse(text).map(Content::BlacklistDelta).map_err(|faults| faults.to_string());
        Self::new(Datum::Blacklist, origin, length(text), begun, content)
    }

    /// One that could not even be read.
    #[must_use]
    pub fn unreadable(datum: Datum, origin: Origin, reason: String) -> Self {
        Self::new(datum, origin, 0, clock::now(), Err(reason))
    }

    /// Equal for equal content; empty when it has faults.
    #[must_use]
    pub fn digest(&self) -> String {
        self.content.as_ref().map(Content::digest).unwrap_or_default()
    }
}

fn length(text: &[u8]) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

fn told<T, E: std::fmt::Display>(parsed: Result<T, E>) -> Result<Arc<T>, String> {
    parsed.map(Arc::new).map_err(|faults| faults.to_string())
}

impl Content {
    /// Equal for equal content, however it is spelt.
    #[must_use]
    pub fn digest(&self) -> String {
        match self {
            Self::Blacklist(list) => list.digest(),
            Self::BlacklistDelta(delta) => sha256_of(&delta.words().collect::<Vec<_>>()),
            Self::Cluster(cluster) => sha256_of(&**cluster),
            Self::Activities(activities) => sha256(&activities.list_body()),
            Self::Nodes(nodes) => sha256_of(&**nodes),
        }
    }

    /// Replaces its part of a snapshot.
    pub(super) fn put_into(self, snapshot: &mut Snapshot) {
        let digest = self.digest();
        match self {
            Self::Blacklist(list) => (snapshot.blacklist, snapshot.digests.blacklist) = (list, digest),
            Self::BlacklistDelta(delta) => {
                let list = snapshot.blacklist.with(&delta);
                snapshot.digests.blacklist = list.digest();
                snapshot.blacklist = Arc::new(list);
            }
            Self::Cluster(cluster) => {
                if snapshot.digests.nodes.is_empty() {
                    // Nothing registers them.
                    snapshot.nodes = cluster.nodes.as_slice().into();
                }
                (snapshot.cluster, snapshot.digests.cluster) = (cluster, digest);
            }
            Self::Activities(activities) => {
                (snapshot.activities, snapshot.digests.activities) = (activities, digest);
            }
            Self::Nodes(nodes) => (snapshot.nodes, snapshot.digests.nodes) = (nodes, digest),
        }
    }
}

fn sha256_of<T: Serialize + ?Sized>(value: &T) -> String {
    sha256(&serde_json::to_vec(value).expect("it must be writable as JSON"))
}

fn sha256(bytes: &[u8]) -> String {
    hex::digits(&Sha256::digest(bytes))
}
