//! Changes of the configuration: how each kind of data comes to the reference server, and what an event does
//! to it.
//!
//! Every change of a run has a number, and its content follows from seed and number alone: who is blacklisted
//! can be said of any change without having seen it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A kind of data that changes at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Datum {
    /// Users who may not buy.
    Blacklist,
    /// What all nodes share.
    Cluster,
    /// What is sold.
    Activities,
}

/// The mechanism by which a change arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    File,
    Etcd,
    Push,
    Timer,
}

/// Where a kind of data is kept. The harness chooses the path, the address or the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kept {
    /// A file in the run's folder.
    File,
    /// An address that the harness serves, with an `etag`.
    Http,
    /// A key of etcd.
    Etcd,
}

/// `[target.reload.<datum>]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedPlan {
    pub by: By,
    pub from: Kept,
    /// Between two looks of the timer; `None` leaves it to the server.
    pub every_ms: Option<u64>,
}

/// How each kind of data comes; what is not in it comes as the server has it without settings.
pub type Feeds = BTreeMap<Datum, FeedPlan>;

/// A change of a kind of data, or many of them in a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReloadAction {
    pub datum: Datum,
    pub by: By,
    /// Where it is changed; `None` for a push.
    pub kept: Option<Kept>,
    /// For a file.
    pub how: How,
    /// Something that has to be refused.
    pub bad: Option<Bad>,
    /// So many changes in a row instead of one; only the last of them has to arrive.
    pub storm: Option<Storm>,
    /// A push of the difference to what is listed, instead of the whole blacklist.
    pub delta: bool,
    /// A key of its own below the document's, for a single value of the cluster configuration in etcd.
    pub single_key: bool,
    /// Within this time it has to have arrived, or to have been refused.
    pub timeout_ms: u64,
    /// For so long after the change nobody asks the server what became of it, so that the processor time that it
    /// uses meanwhile is the change's and the load's.
    #[serde(default)]
    pub rest_ms: u64,
}

/// How a file is changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Written beside it and renamed over it.
    #[default]
    Rename,
    /// Opened, written from its beginning, cut to length, closed.
    InPlace,
    /// Emptied, and written in pieces with a rest after each.
    Pieces,
    /// Deleted and made again.
    DeleteCreate,
    /// In a new folder, to which a symbolic link is switched: the way of configuration maps.
    Symlink,
    /// Its folder deleted and made again.
    Folder,
}

/// What is wrong with a change that has to be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bad {
    /// It is not of its format.
    Malformed,
    /// Its end is missing, as when a machine dies while it is written.
    Torn,
    /// Of its format, with a value that nobody may want.
    OutOfRange,
    /// A push on the condition that an older generation is served.
    Overtaken,
}

/// Changes in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storm {
    pub changes: u32,
    /// The time that they are spread over.
    pub within_ms: u64,
}

impl Datum {
    pub const ALL: [Self; 3] = [Self::Blacklist, Self::Cluster, Self::Activities];

    /// The word of scenarios, settings, paths and reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Blacklist => "blacklist",
            Self::Cluster => "cluster",
            Self::Activities => "activities",
        }
    }
}

impl By {
    /// The word of scenarios, settings and reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Etcd => "etcd",
            Self::Push => "push",
            Self::Timer => "timer",
        }
    }
}

/// The first and the last of the users whom change `number` lists; the start's number is 0. `None`: nobody.
///
/// One block of `listed` users after the other, so that no two changes in a row list the same ones.
#[must_use]
pub fn listed(users: u32, listed: u32, number: u64) -> Option<(u32, u32)> {
    let blocks = u64::from(users.checked_div(listed)?);
    let block = u32::try_from(number.checked_rem(blocks)?).ok()?;
    Some((block * listed + 1, (block + 1) * listed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listed_users_go_round() {
        for (users, count, number, expected) in [
            (500, 10, 0, Some((1, 10))),
            (500, 10, 1, Some((11, 20))),
            (500, 10, 49, Some((491, 500))),
            (500, 10, 50, Some((1, 10))),
            (25, 10, 2, Some((1, 10))),
            (500, 0, 3, None),
            (5, 10, 3, None),
        ] {
            assert_eq!(listed(users, count, number), expected, "{users} {count} {number}");
        }
    }
}
