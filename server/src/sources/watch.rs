//! The source `file`: a file that tells by itself when it has changed, through inotify.
//!
//! - Every folder on the way is watched, links followed, so that a change anywhere on it is noticed: the `..data`
//!   link of a configuration map, a folder that is replaced, or one that appears later ([`trail`]).
//! - A look follows what proves that the file is whole, and never falls between a write and its close ([`settle`]).
//!   Before and after it everything that the kernel has to tell is heard; who wrote meanwhile makes it worthless.
//! - Whoever writes and never closes is taken at his word after [`settle::STILL`] without another write.
//!   Whoever opens the file anew for each piece is taken at his word when he stays away for [`settle::QUIET`].
//! - Where the kernel has no events to give the timer does it, until it has some again. And it looks now and then in
//!   any case: what another machine writes to a shared disk, what is written through another name of the same file,
//!   and what goes through memory has no events.

mod events;
mod settle;
mod trail;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::sleep_until;

pub(super) use self::events::Events;
use self::{
    events::{Error, Listener, Watched},
    settle::Settled,
    trail::Trail,
};
use super::{
    Look, Version,
    file::{self, Stood},
    timer,
};
use crate::state::{Datum, Mechanism, Origin};

/// How often a way that changes while it is being watched is found anew.
const TRIES_MAX: usize = 8;

/// One file, and what is known of it.
#[derive(Debug)]
pub(super) struct Watch {
    datum: Datum,
    eye: Arc<Eye>,
    every: Duration,
    /// When to look although nothing was told.
    anyway: Instant,
    /// Why there are no events.
    pub(super) blind: Option<String>,
    started: bool,
}

/// What a look needs; it is on a thread of its own.
#[derive(Debug)]
struct Eye {
    path: PathBuf,
    events: Arc<Events>,
    listener: Arc<Listener>,
}

impl Watch {
    /// Watches from now on: a change after this shows, whatever is read first. Blocks.
    pub(super) fn open(events: &Arc<Events>, datum: Datum, path: &Path, every: Duration) -> Self {
        let listener = events.listen();
        let eye = Arc::new(Eye { path: path.to_owned(), events: Arc::clone(events), listener });
        let blind = eye.follow().err().map(|error| error.to_string());
        let now = Instant::now();
        eye.listener.heard().settle.look_at(now);
        Self { datum, eye, every, anyway: now, blind, started: false }
    }

    /// Waits until a look is due.
    pub(super) async fn due(&self) {
        loop {
            let due = self.eye.listener.heard().settle.due();
            let at = due.map_or(self.anyway, |due| due.min(self.anyway));
            if at <= Instant::now() {
                return;
            }
            tokio::select! {
                () = sleep_until(at.into()) => {}
                () = self.eye.listener.woken.notified() => {}
            }
        }
    }

    /// Looks again at `at`, or sooner.
    pub(super) fn again(&self, at: Instant) {
        self.eye.listener.heard().settle.look_at(at);
    }

    /// How it is looked at now.
    pub(super) fn mechanism(&self) -> Mechanism {
        if self.blind.is_some() { Mechanism::Timer } else { Mechanism::File }
    }

    /// Looks at the file; `None`: it is being written, or was written meanwhile.
    pub(super) async fn look(&mut self, known: Option<&Version>, mechanism: Mechanism) -> Option<Look> {
        self.anyway = timer::next(Instant::now(), self.every);
        let (eye, datum, known) = (Arc::clone(&self.eye), self.datum, known.cloned());
        let (was_blind, patient) = (self.blind.is_some(), !self.started);
        let looking = move || {
            let origin = Origin::new(mechanism, eye.path.display().to_string());
            eye.look(datum, origin, known.as_ref(), was_blind, patient)
        };
        let Ok((look, blind)) = tokio::task::spawn_blocking(looking).await else {
            self.again(Instant::now() + self.every);
            return Some(Look::unsettled("the look was cut short"));
        };
        self.blind = blind;
        self.started |= matches!(look, Some(Look::Found { .. } | Look::Absent));
        look
    }
}

impl Eye {
    /// Also tells why there are no events.
    fn look(
        &self,
        datum: Datum,
        origin: Origin,
        known: Option<&Version>,
        was_blind: bool,
        patient: bool,
    ) -> (Option<Look>, Option<String>) {
        let blind = self.follow().err().map(|error| error.to_string());
        self.events.drain();
        let Some(begun) = self.listener.heard().settle.begin(Instant::now()) else { return (None, blind) };
        let stood = match (begun.at_last, patient) {
            // Nobody told when its writer was done.
            _ if blind.is_some() || was_blind => Stood::BY_ITSELF,
            (true, _) => Stood::NOT_AT_ALL,
            (false, true) => Stood::AT_THE_START,
            (false, false) => Stood::ONE_TICK,
        };
        let stood = if begun.opened && !patient { stood.opened() } else { stood };
        let look = file::read(&self.path, datum, origin, known, stood);
        self.events.drain();
        let is_empty = || fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() == 0);
        let result = match &look {
            Look::Unsettled { .. } if begun.opened && is_empty() => Settled::Filled,
            Look::Unsettled { .. } => Settled::No,
            Look::Found { candidate, .. } if candidate.bytes == 0 => Settled::Empty,
            Look::Absent => Settled::Absent,
            Look::Same | Look::Found { .. } => Settled::Yes,
        };
        let is_worth = self.listener.heard().settle.end(&begun, result, Instant::now());
        (is_worth.then_some(look), blind)
    }

    /// Finds the way to the file and watches it, until it has stood still meanwhile.
    fn follow(&self) -> Result<(), Error> {
        for _ in 0..TRIES_MAX {
            let anew = self.listener.heard().settle.take_strayed();
            let found = Trail::find(&self.path)
                .map_err(|error| Error::Folder { folder: self.path.clone(), reason: error.to_string() })?;
            if !anew && self.listener.heard().trail == found {
                return Ok(());
            }
            let watched = self.events.watch(&self.listener, &found, anew).inspect_err(|_| {
                // What was watched of it so far is not enough.
                self.listener.heard().settle.stray();
            })?;
            if watched == Watched::Strayed {
                self.listener.heard().settle.stray();
            }
        }
        // It changes all the time, and so does it tell.
        Ok(())
    }
}

#[cfg(test)]
mod tests;
