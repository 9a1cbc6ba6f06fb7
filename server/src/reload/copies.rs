//! The last good copies, on disk: what is served and no local file holds, and the number of the last generation.
//!
//! - A copy is in place before the change that it is of is published, so an acknowledged push outlives the process
//!   by whatever it ends. It outlives the machine as far as a rename without a flush does: the price of a flush
//!   is more than all the rest of a push, and what is pushed can be pushed again.
//! - At the start the source is looked at, too. A pushed copy goes before it if the source has not changed since the
//!   push; a copy of the source itself is for when the source cannot be reached. Both are told as what they are.
//! - Two processes of an upgrade share the folder. Only the one that serves writes into it, see [`Copies::write`].
//! - What is wrong with a copy is a warning with the name of its file, and the copy is not used.

mod brought;
mod deltas;
mod document;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use serde::Serialize;

pub(super) use self::brought::{Brought, NotKept};
use self::{
    brought::not_kept,
    deltas::{Base, End, Record},
    document::{Damage, FORMAT, Head},
};
use super::Candidate;
use crate::{
    clock,
    config::{Place, ReloadSettings},
    state::{Datum, Digests, Generation, Mechanism, Origin, Snapshot},
};

/// Deltas of more than this are better put into a new copy.
const DELTAS_BYTES_MAX: u64 = 8 << 20;

/// Where the last generation is, in as many digits as it may ever need.
const GENERATION_FILE: &str = "generation";

/// The folder of the copies.
#[derive(Debug)]
pub struct Copies {
    settings: ReloadSettings,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// This process serves, and nobody else writes here.
    writes: bool,
    /// Of the list as it is in the local file, if that is what was served last from there.
    file_digest: Option<String>,
    /// To which a delta may be added.
    deltas: Option<End>,
    /// What the files looked like when this process read or wrote them last.
    marks: BTreeMap<Datum, Marks>,
    /// That the generation cannot be written has been said.
    told: bool,
}

type Marks = [Option<(u64, i64, i64, u64)>; 2];

/// A copy that is on disk, for the status.
#[derive(Debug, Clone, Serialize)]
pub struct CopyStatus {
    pub datum: Datum,
    #[serde(flatten)]
    pub origin: Origin,
    pub generation: Generation,
    pub digest: String,
    pub made_at: Timestamp,
}

impl Copies {
    /// The folder that the settings name, made if need be, for nobody but this user. Without it everything goes on
    /// but pushes, which could not be kept.
    #[must_use]
    pub fn open(settings: &ReloadSettings) -> Self {
        let copies = Self { settings: settings.clone(), state: Mutex::default() };
        if let Err(error) = DirBuilder::new().recursive(true).mode(0o700).create(&settings.copies) {
            let folder = settings.copies.display();
            tracing::warn!(%folder, %error, "no copies can be kept: what is pushed will be refused");
        }
        copies
    }

    /// The last generation that was served from this folder's point of view.
    #[must_use]
    pub fn last_generation(&self) -> Option<Generation> {
        let text = fs::read_to_string(self.settings.copies.join(GENERATION_FILE)).ok()?;
        let number = text.trim().parse().ok().map(Generation);
        if number.is_none() {
            tracing::warn!(text, "the number of the last generation is not understood and begins anew");
        }
        number
    }

    /// From now on this process serves, and writes here; or another one does.
    pub(super) fn write(&self, writes: bool) {
        self.state().writes = writes;
    }

    /// What is to be served at the start, or later because another process has served: what was found in the watched
    /// place, or the copy, each with the deltas that belong to it. Blocks.
    #[must_use]
    pub fn choose(&self, datum: Datum, found: Option<Candidate>) -> Option<Candidate> {
        let marks = self.marks(datum);
        let chosen = match self.copy(datum, found.as_ref()) {
            Ok(Some(copy)) => {
                let place = &copy.origin.place;
                tracing::warn!(%datum, place, made_at = ?copy.copied_at, "served from its last good copy");
                Some(copy)
            }
            Ok(None) => found,
            Err(damage) => {
                let path = self.path(datum).display().to_string();
                tracing::warn!(path, "the last good copy is not used, failed to {damage}");
                found
            }
        };
        let chosen = if datum == Datum::Blacklist { self.with_deltas(chosen) } else { chosen };
        self.state().marks.insert(datum, marks);
        chosen
    }

    /// The copy, if it goes before what was found.
    fn copy(&self, datum: Datum, found: Option<&Candidate>) -> Result<Option<Candidate>, Damage> {
        let path = self.path(datum);
        let good = found.filter(|found| found.content.is_ok());
        if let Some(good) = good {
            let Some(head) = document::read_head(&path, datum)? else { return Ok(None) };
            let is_unchanged = good.version.is_some() && good.version == head.version;
            if head.mechanism != Mechanism::Push || !is_unchanged {
                if head.mechanism == Mechanism::Push {
                    tracing::info!(%datum, pushed_at = %head.at, "the source has changed since it was pushed");
                }
                return Ok(None);
            }
        }
        let copy = document::read(&path, datum)?;
        if let (Some(_), Some(Candidate { content: Err(reason), origin, .. })) = (&copy, found) {
            tracing::warn!(%datum, place = origin.place, reason, "the source cannot be used");
        }
        Ok(copy)
    }

    fn with_deltas(&self, list: Option<Candidate>) -> Option<Candidate> {
        let path = self.deltas_path();
        self.state().deltas = None;
        let refused = |damage: Damage| {
            let path = path.display();
            tracing::warn!(%path, "changes of the blacklist are not used, failed to {damage}");
        };
        let (list, deltas) = match (list, deltas::read(&path)) {
            (Some(list), Ok(Some(deltas))) => (list, deltas),
            (list, Ok(_)) => return list,
            (list, Err(damage)) => {
                refused(damage);
                return list;
            }
        };
        let (end, torn) = (deltas.end.clone(), deltas.torn);
        match deltas.on(&list) {
            Ok(Some(changed)) => {
                // Nothing can be added after what is torn; the next change makes a copy of all.
                self.state().deltas = Some(end).filter(|_| !torn);
                Some(changed)
            }
            Ok(None) => {
                tracing::info!("what was changed in another blacklist is not used");
                Some(list)
            }
            Err(damage) => {
                refused(damage);
                Some(list)
            }
        }
    }

    /// Keeps what is about to be served as `next`. What comes from a local file needs no copy: there the copy of
    /// what was served before goes. Only of what was pushed it matters that it is kept: everything else is where it
    /// came from, so there a failure is a warning.
    pub(super) fn keep(&self, served: &Digests, next: &Snapshot, brought: &[Brought]) -> Result<(), NotKept> {
        if !self.state().writes {
            return Ok(());
        }
        let mut staged = Vec::new();
        for brought in brought.iter().filter(|brought| Datum::SOURCED.contains(&brought.datum)) {
            let datum = brought.datum;
            if self.is_local(datum, &brought.origin) {
                self.remove(datum, next);
            } else if !self.add_delta(served, next, brought) {
                match self.stage(next, brought) {
                    Ok(copy) => staged.push((brought, copy)),
                    Err(error) => not_kept(brought, &error)?,
                }
            }
        }
        // Nothing that is there already is touched before all of it is written.
        for (brought, copy) in staged {
            match copy.put() {
                Ok(()) => self.forget_deltas(brought.datum),
                Err(error) => not_kept(brought, &error)?,
            }
        }
        for brought in brought {
            let marks = self.marks(brought.datum);
            self.state().marks.insert(brought.datum, marks);
        }
        self.count(next.generation);
        Ok(())
    }

    /// Makes the folder fit what this process serves from now on: no copy of what comes from a local file, and one
    /// of everything else.
    pub(super) fn settle(&self, snapshot: &Snapshot, served: &[Brought]) {
        for brought in served.iter().filter(|brought| brought.copied_at.is_none()) {
            let datum = brought.datum;
            if self.is_local(datum, &brought.origin) {
                self.remove(datum, snapshot);
                continue;
            }
            let digest = snapshot.digests.of(datum);
            let head = document::read_head(&self.path(datum), datum);
            let is_whole =
                matches!(head, Ok(Some(head)) if head.digest == digest && head.version == brought.version);
            let is_in_deltas = datum == Datum::Blacklist
                && self.state().deltas.as_ref().is_some_and(|end| end.digest == digest);
            if is_whole || is_in_deltas {
                continue;
            }
            match self.stage(snapshot, brought).and_then(document::Staged::put) {
                Ok(()) => self.forget_deltas(datum),
                Err(error) => tracing::warn!(%datum, %error, "there is no copy of what is served now"),
            }
        }
        self.count(snapshot.generation);
    }

    /// Keeps the number of what is about to be served.
    fn count(&self, generation: Generation) {
        let path = self.settings.copies.join(GENERATION_FILE);
        let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        // In place and always as long, so that it costs two microseconds and is never half of a number.
        let written = opened.and_then(|file| file.write_all_at(format!("{generation:020}\n").as_bytes(), 0));
        let told = std::mem::replace(&mut self.state().told, written.is_err());
        if let (Err(error), false) = (written, told) {
            tracing::warn!(%error, "the generation cannot be kept: after a restart it may begin anew");
        }
    }

    /// Adds a delta to those that are there, or begins with it. `false`: a whole copy is called for.
    fn add_delta(&self, served: &Digests, next: &Snapshot, brought: &Brought) -> bool {
        let Some(delta) = &brought.delta else { return false };
        let at = (next.generation, clock::now());
        let record = Record::new(&brought.origin, at, &next.digests.blacklist, delta);
        let (path, end) = (self.deltas_path(), self.state().deltas.clone());
        let added = match end.filter(|end| end.digest == served.blacklist) {
            Some(end) if end.bytes >= DELTAS_BYTES_MAX => return false,
            Some(end) => deltas::append(&path, &end, &record),
            None => match self.base(served, brought) {
                Some(base) => deltas::begin(&path, &base, &record),
                None => return false,
            },
        };
        match added {
            Ok(end) => self.state().deltas = Some(end),
            Err(error) => {
                tracing::warn!(%error, "a change of the blacklist cannot be added; a copy of all is made");
                return false;
            }
        }
        true
    }

    /// What is served, if it is on disk as a whole.
    fn base(&self, served: &Digests, brought: &Brought) -> Option<Base> {
        let digest = &served.blacklist;
        match document::read_head(&self.path(Datum::Blacklist), Datum::Blacklist) {
            Ok(Some(head)) => (head.digest == *digest).then(|| Base::new(digest, None)),
            Ok(None) if self.state().file_digest.as_ref() == Some(digest) => {
                let version = brought.version.as_deref()?;
                Some(Base::new(digest, Some(version)))
            }
            _ => None,
        }
    }

    fn stage(&self, snapshot: &Snapshot, brought: &Brought) -> io::Result<document::Staged> {
        let (datum, Origin { mechanism, place }) = (brought.datum, brought.origin.clone());
        let head = Head {
            format: FORMAT,
            datum,
            mechanism,
            place,
            generation: snapshot.generation,
            digest: snapshot.digests.of(datum).to_owned(),
            at: clock::now(),
            version: brought.version.clone(),
        };
        document::stage(self.path(datum), &head, snapshot)
    }

    /// What is superseded by what a local file has.
    fn remove(&self, datum: Datum, served: &Snapshot) {
        match fs::remove_file(self.path(datum)) {
            Ok(()) => tracing::info!(%datum, "its copy is superseded"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%datum, %error, "a copy that is superseded cannot be removed"),
        }
        self.forget_deltas(datum);
        if datum == Datum::Blacklist {
            self.state().file_digest = Some(served.digests.blacklist.clone());
        }
    }

    fn forget_deltas(&self, datum: Datum) {
        if datum == Datum::Blacklist {
            self.state().deltas = None;
            // If it stays, its base is another one.
            _ = fs::remove_file(self.deltas_path());
        }
    }

    /// Whether nobody else has touched a copy since this process did.
    #[must_use]
    pub fn is_untouched(&self, datum: Datum) -> bool {
        let now = self.marks(datum);
        self.state().marks.get(&datum).is_some_and(|marks| *marks == now)
    }

    /// The copies that there are. Blocks.
    #[must_use]
    pub fn status(&self) -> Vec<CopyStatus> {
        let heads = Datum::SOURCED.iter().filter_map(|datum| {
            let head = document::read_head(&self.path(*datum), *datum).ok()??;
            let origin = Origin::new(head.mechanism, head.place);
            let Head { datum, generation, digest, at: made_at, .. } = head;
            Some(CopyStatus { datum, origin, generation, digest, made_at })
        });
        heads.collect()
    }

    /// Whether it is in a local file already.
    fn is_local(&self, datum: Datum, origin: &Origin) -> bool {
        origin.mechanism != Mechanism::Push && matches!(self.settings.feed(datum).from, Place::File(_))
    }

    fn marks(&self, datum: Datum) -> Marks {
        let deltas = (datum == Datum::Blacklist).then(|| self.deltas_path());
        [Some(self.path(datum)), deltas].map(|path| {
            let data = fs::metadata(path?).ok()?;
            Some((data.ino(), data.mtime(), data.mtime_nsec(), data.len()))
        })
    }

    fn path(&self, datum: Datum) -> PathBuf {
        self.settings.copies.join(datum.word())
    }

    fn deltas_path(&self) -> PathBuf {
        self.settings.copies.join("blacklist.delta")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
