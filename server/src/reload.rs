//! The single writer: what a file says -> parsed and checked -> published, or refused with its reason.
//!
//! Nobody else may publish. The files are read at the start, and again whenever the admin side asks for it;
//! whatever else will offer changes has to come through [`Reload::offer`].

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    clock,
    config::Config,
    state::{
        Activities, ActivityFaults, Blacklist, BlacklistFaults, Generation, Publisher, Snapshot, SnapshotCell,
    },
};

/// Owns the right to publish.
#[derive(Debug)]
pub struct Reload {
    cell: Arc<SnapshotCell>,
    publisher: Publisher,
}

/// The text of something that may replace what is served, and where it came from.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Such as the file's path; shown in the history.
    pub origin: String,
    pub blacklist: Option<Vec<u8>>,
    pub activities: Option<Vec<u8>>,
}

/// Why a candidate was not published.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is there and cannot be read.
    #[error("read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A file whose content is served has gone.
    #[error("read {} again: it is not there any more; an empty list is an empty file", path.display())]
    Gone { path: PathBuf },
    /// Some of its lines are no user ids.
    #[error("use the blacklist from {origin}")]
    Blacklist {
        origin: String,
        #[source]
        source: BlacklistFaults,
    },
    /// What needs the candidate before it is served refuses it.
    #[error("prepare for what {origin} brings")]
    Unprepared {
        origin: String,
        #[source]
        source: Unprepared,
    },
    /// It is not JSON of the right shape, or its values contradict each other.
    #[error("use the activities from {origin}")]
    Activities {
        origin: String,
        #[source]
        source: ActivityFaults,
    },
}

/// Why something that needs the activities before they are served cannot have them.
pub type Unprepared = Box<dyn std::error::Error + Send + Sync>;

impl Reload {
    /// Reads the files that `config` names and makes generation `first` of them. A file that is not there
    /// counts as an empty list, with a warning in the log.
    ///
    /// # Errors
    /// A file cannot be read or has faults.
    pub fn start(config: &Config, first: Generation) -> Result<Self, Error> {
        let path = &config.api.blacklist;
        let blacklist = match read(path, "nobody is blacklisted")? {
            Some(text) => parse_blacklist(&text, &path.display().to_string())?,
            None => Arc::default(),
        };
        let path = &config.sale.activities;
        let activities = match read(path, "nothing is on sale")? {
            Some(text) => parse_activities(&text, &path.display().to_string())?,
            None => Arc::default(),
        };
        let (cell, publisher) = SnapshotCell::new(blacklist, activities, first, "start", clock::now());
        Ok(Self { cell, publisher })
    }

    /// The cell that the requests read.
    #[must_use]
    pub fn cell(&self) -> Arc<SnapshotCell> {
        Arc::clone(&self.cell)
    }

    /// Reads the files that `config` names again and publishes what is in them. A file that is not there is
    /// in order only when nothing of it is served. `prepare` gets the activities before anybody sees them.
    ///
    /// # Errors
    /// A file cannot be read or has faults, or `prepare` refuses; what is served stays.
    pub fn read_again(
        &mut self,
        config: &Config,
        prepare: impl FnOnce(&Activities) -> Result<(), Unprepared>,
    ) -> Result<Generation, Error> {
        let origin = format!("{} and {}", config.api.blacklist.display(), config.sale.activities.display());
        match candidate(config, &self.cell.load(), &origin) {
            Ok(candidate) => self.offer(&candidate, prepare),
            Err(error) => Err(self.refuse(error, &origin)),
        }
    }

    /// Publishes `candidate` if it is without fault and `prepare` takes it; what it does not bring stays as
    /// it is. Either way it is in the history.
    ///
    /// # Errors
    /// It has faults, or `prepare` refuses it; what is served stays.
    pub fn offer(
        &mut self,
        candidate: &Candidate,
        prepare: impl FnOnce(&Activities) -> Result<(), Unprepared>,
    ) -> Result<Generation, Error> {
        let checked = self.check(candidate).and_then(|(blacklist, activities)| {
            let prepared = prepare(&activities);
            let unprepared = |source| Error::Unprepared { origin: candidate.origin.clone(), source };
            prepared.map(|()| (blacklist, activities)).map_err(unprepared)
        });
        match checked {
            Ok((blacklist, activities)) => {
                let before = self.publisher.publish(blacklist, activities, &candidate.origin, clock::now());
                Ok(Generation(before.generation.0 + 1))
            }
            Err(error) => Err(self.refuse(error, &candidate.origin)),
        }
    }

    fn refuse(&mut self, error: Error, origin: &str) -> Error {
        self.publisher.refuse(reason(&error), origin, clock::now());
        error
    }

    fn check(&self, candidate: &Candidate) -> Result<(Arc<Blacklist>, Arc<Activities>), Error> {
        let current = self.cell.load();
        let blacklist = match &candidate.blacklist {
            Some(text) => parse_blacklist(text, &candidate.origin)?,
            None => Arc::clone(&current.blacklist),
        };
        let activities = match &candidate.activities {
            Some(text) => parse_activities(text, &candidate.origin)?,
            None => Arc::clone(&current.activities),
        };
        Ok((blacklist, activities))
    }
}

fn parse_blacklist(text: &[u8], origin: &str) -> Result<Arc<Blacklist>, Error> {
    let parsed = Blacklist::parse(text);
    parsed.map(Arc::new).map_err(|source| Error::Blacklist { origin: origin.to_owned(), source })
}

fn parse_activities(text: &[u8], origin: &str) -> Result<Arc<Activities>, Error> {
    let parsed = Activities::parse(text);
    parsed.map(Arc::new).map_err(|source| Error::Activities { origin: origin.to_owned(), source })
}

/// The error and its cause in one text.
#[must_use]
pub fn reason(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("failed to {error}: {source}"),
        None => format!("failed to {error}"),
    }
}

/// What the files say now. A file may be missing only where there was none before.
fn candidate(config: &Config, served: &Snapshot, origin: &str) -> Result<Candidate, Error> {
    let again = |path: &Path, is_served: bool| match read(path, "what is served stays empty")? {
        None if is_served => Err(Error::Gone { path: path.to_path_buf() }),
        text => Ok(text),
    };
    Ok(Candidate {
        origin: origin.to_owned(),
        blacklist: again(&config.api.blacklist, !served.blacklist.is_empty())?,
        activities: again(&config.sale.activities, !served.activities.events().is_empty())?,
    })
}

/// The file's bytes; `None`, with a warning that says what follows from it, when there is no file.
fn read(path: &Path, consequence: &str) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::warn!("there is no file {}: {consequence}", path.display());
            Ok(None)
        }
        Err(source) => Err(Error::Read { path: path.to_path_buf(), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::seckill::UserId;

    const ACTIVITIES: &str = r#"{"events":[{"id":1,"name":"e","starts_at":"2020-01-01T00:00:00Z",
        "ends_at":"2030-01-01T00:00:00Z",
        "goods":[{"id":1,"name":"g","price_cents":1,"stock":1,"limit_per_user":1}]}]}"#;

    /// Settings whose two files are in `folder`.
    fn config(folder: &Path) -> Config {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = Config::with_defaults(address, address);
        config.api.blacklist = folder.join("blacklist.txt");
        config.sale.activities = folder.join("activities.json");
        config
    }

    #[test]
    fn files_that_are_not_there_are_empty_lists() {
        let folder = tempfile::tempdir().unwrap();
        let snapshot = Reload::start(&config(folder.path()), Generation::FIRST).unwrap().cell().load();
        assert_eq!(snapshot.generation, Generation(1));
        assert!(snapshot.blacklist.is_empty() && snapshot.activities.events().is_empty());
    }

    #[test]
    fn a_faulty_file_at_the_start_is_told_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        fs::write(&config.api.blacklist, "1\ntwo\n").unwrap();
        let error = Reload::start(&config, Generation::FIRST).unwrap_err();
        assert!(error.to_string().ends_with("blacklist.txt"), "{error}");
        assert!(reason(&error).ends_with(": 2"), "{}", reason(&error));
    }

    #[test]
    fn a_good_candidate_is_published_and_a_bad_one_only_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        fs::write(&config.sale.activities, ACTIVITIES).unwrap();
        let mut reload = Reload::start(&config, Generation::FIRST).unwrap();
        let cell = reload.cell();

        let list = |text: &str| Candidate {
            origin: "test".to_owned(),
            blacklist: Some(text.as_bytes().to_vec()),
            activities: None,
        };
        let ready = |_: &Activities| Ok(());
        assert_eq!(reload.offer(&list("7"), ready).unwrap(), Generation(2));
        assert!(cell.load().blacklist.contains(UserId(7)));
        assert_eq!(cell.load().activities.events().len(), 1, "what was not offered stays");

        assert!(matches!(reload.offer(&list("seven"), ready), Err(Error::Blacklist { .. })));
        assert_eq!(cell.load().generation, Generation(2));
        let history = cell.history();
        assert_eq!(history.len(), 3);
        let told = history[2].refused.as_deref().unwrap();
        assert!(told.starts_with("failed to use the blacklist from test: 1 of its lines"), "{told}");

        let unprepared = reload.offer(&list("8"), |_| Err("the store is full".into())).unwrap_err();
        assert_eq!(reason(&unprepared), "failed to prepare for what test brings: the store is full");
        assert_eq!(cell.load().generation, Generation(2));
    }

    #[test]
    fn files_are_read_again_and_one_that_has_gone_is_no_empty_list() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        fs::write(&config.sale.activities, ACTIVITIES).unwrap();
        let mut reload = Reload::start(&config, Generation(4)).unwrap();
        let cell = reload.cell();
        let seen = std::cell::Cell::new(0);
        let mut again = || {
            reload.read_again(&config, |activities| {
                seen.set(activities.events().len());
                Ok(())
            })
        };
        // There is no blacklist yet, and there was none.
        assert_eq!(again().unwrap(), Generation(5));
        assert_eq!(seen.get(), 1);
        fs::write(&config.api.blacklist, "7\n").unwrap();
        assert_eq!(again().unwrap(), Generation(6));
        assert!(cell.load().blacklist.contains(UserId(7)));
        fs::remove_file(&config.api.blacklist).unwrap();
        assert!(matches!(again(), Err(Error::Gone { .. })));
        assert!(cell.load().blacklist.contains(UserId(7)), "what is served stays");
        fs::write(&config.api.blacklist, "").unwrap();
        assert_eq!(again().unwrap(), Generation(7));
        assert!(cell.load().blacklist.is_empty());
        let refused = cell.history()[3].refused.clone().unwrap();
        assert!(refused.contains("an empty list is an empty file"), "{refused}");
    }
}
