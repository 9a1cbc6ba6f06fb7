//! What the kernel tells of folders: one inotify instance for all files of the process, and who listens to it.
//!
//! Through the crate `notify`, whose traps are known here: it forgets a watch by itself when a name like the watched
//! one goes away, so watches are set again after each such sign; and it reads the kernel's queue on a thread of its
//! own, so [`Events::drain`] waits until that has caught up.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use notify::{
    Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind, RenameMode},
};
use tokio::sync::Notify;

#[cfg(debug_assertions)]
use crate::faults::{self, Fault};

use super::{
    settle::{Settle, Sign},
    trail::{Identity, Trail},
};

/// The kernel's word on all the files that are watched.
#[derive(Debug, Default)]
pub(in crate::sources) struct Events {
    instance: Mutex<Option<Instance>>,
    listeners: Arc<Mutex<Vec<Arc<Listener>>>>,
}

struct Instance {
    watcher: RecommendedWatcher,
    watched: BTreeMap<PathBuf, Identity>,
}

/// One who waits for signs of one file.
#[derive(Debug, Default)]
pub(super) struct Listener {
    heard: Mutex<Heard>,
    /// Told when it may be due earlier than it was.
    pub(super) woken: Notify,
}

#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) settle: Settle,
    pub(super) trail: Trail,
}

/// Why there are no events.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(
        "there is no inotify instance to be had: {0}; raise fs.inotify.max_user_instances or the limit of open files"
    )]
    Instance(String),
    #[error("there is no inotify watch left for {}; raise fs.inotify.max_user_watches", .0.display())]
    Watches(PathBuf),
    #[error("{} cannot be watched: {reason}", folder.display())]
    Folder { folder: PathBuf, reason: String },
}

/// What came of watching a trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watched {
    Done,
    /// A folder went away meanwhile.
    Strayed,
}

impl Events {
    /// A new listener. It hears nothing before it watches a trail.
    pub(super) fn listen(&self) -> Arc<Listener> {
        let listener = Arc::new(Listener::default());
        lock(&self.listeners).push(Arc::clone(&listener));
        listener
    }

    /// Watches every folder of `trail` for `listener`, and those of the others on; `anew`: also those that are
    /// watched already. Blocks.
    ///
    /// # Errors
    /// The kernel has no more of them; or the last folder may not be read.
    pub(super) fn watch(&self, listener: &Listener, trail: &Trail, anew: bool) -> Result<Watched, Error> {
        lock(&listener.heard).trail = trail.clone();
        #[cfg(debug_assertions)]
        if faults::strikes_first(Fault::NoEvents) {
            return Err(Error::Instance("so it was asked for".to_owned()));
        }
        let mut instance = lock(&self.instance);
        let instance = match &mut *instance {
            Some(instance) => instance,
            none => none.insert(self.open()?),
        };
        let others: Vec<_> = lock(&self.listeners).iter().map(|one| lock(&one.heard).trail.clone()).collect();
        let wanted = |folder: &PathBuf| others.iter().any(|trail| trail.folders.contains_key(folder));
        instance.forget(|folder| !wanted(folder));
        let last = trail.folders.keys().max_by_key(|folder| folder.as_os_str().len());
        for (folder, identity) in &trail.folders {
            match instance.watch(folder, *identity, anew) {
                Ok(()) => {}
                Err(error) => match &error.kind {
                    notify::ErrorKind::MaxFilesWatch => return Err(Error::Watches(folder.clone())),
                    notify::ErrorKind::PathNotFound => return Ok(Watched::Strayed),
                    notify::ErrorKind::Io(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Ok(Watched::Strayed);
                    }
                    // What happens to a folder further up is then noticed a little later.
                    _ if Some(folder) != last => {
                        tracing::debug!(folder = %folder.display(), %error, "not watched");
                    }
                    _ => {
                        let reason = error.to_string();
                        return Err(Error::Folder { folder: folder.clone(), reason });
                    }
                },
            }
        }
        Ok(Watched::Done)
    }

    /// Waits until everything that the kernel had told when it was called has been heard. Blocks.
    pub(super) fn drain(&self) {
        if let Some(instance) = &mut *lock(&self.instance) {
            // Its thread answers before or after it has read the kernel's queue, but not twice before.
            for _ in 0..TURNS {
                // An error means that its thread has ended, and then there is nothing to wait for.
                _ = instance.watcher.configure(Config::default());
            }
        }
    }

    fn open(&self) -> Result<Instance, Error> {
        let listeners = Arc::clone(&self.listeners);
        let tell = move |event: notify::Result<Event>| {
            let now = Instant::now();
            for listener in lock(&listeners).iter() {
                listener.hear(event.as_ref().ok(), now);
            }
        };
        let watcher = RecommendedWatcher::new(tell, Config::default())
            .map_err(|error| Error::Instance(error.to_string()))?;
        Ok(Instance { watcher, watched: BTreeMap::new() })
    }
}

/// Answers of the thread that reads the kernel's queue. After the second it has been there once in between, unless
/// the question came while it was still answering the first; the third makes sure.
const TURNS: usize = 3;

impl Instance {
    fn watch(&mut self, folder: &PathBuf, identity: Identity, anew: bool) -> notify::Result<()> {
        match self.watched.get(folder) {
            Some(watched) if *watched == identity && !anew => return Ok(()),
            Some(watched) if *watched == identity => {}
            Some(_) => self.unwatch(folder),
            None => {}
        }
        self.watcher.watch(folder, RecursiveMode::NonRecursive)?;
        self.watched.insert(folder.clone(), identity);
        Ok(())
    }

    fn forget(&mut self, is_unwanted: impl Fn(&PathBuf) -> bool) {
        let unwanted: Vec<_> = self.watched.keys().filter(|folder| is_unwanted(folder)).cloned().collect();
        for folder in unwanted {
            self.unwatch(&folder);
        }
    }

    fn unwatch(&mut self, folder: &PathBuf) {
        self.watched.remove(folder);
        // It may have gone with its folder.
        _ = self.watcher.unwatch(folder);
    }
}

impl Listener {
    pub(super) fn heard(&self) -> MutexGuard<'_, Heard> {
        lock(&self.heard)
    }

    /// `None`: an event that could not be read.
    pub(super) fn hear(&self, event: Option<&Event>, now: Instant) {
        let mut heard = self.heard();
        let sign = match event {
            Some(event) if !event.need_rescan() => heard.trail.sign(event),
            Some(_) | None => Some(Sign::Lost),
        };
        let Some(sign) = sign else { return };
        heard.settle.note(sign, now);
        drop(heard);
        // The others make it later.
        if !matches!(sign, Sign::Opened | Sign::Written) {
            self.woken.notify_one();
        }
    }
}

impl Trail {
    /// What an event means to whoever waits for the file at the end of the trail.
    fn sign(&self, event: &Event) -> Option<Sign> {
        let is_file = |path: &PathBuf| self.file.as_ref() == Some(path);
        if event.paths.iter().any(is_file) {
            return match event.kind {
                EventKind::Create(_) => Some(Sign::Created),
                EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
                    Some(Sign::Gone)
                }
                EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(Sign::Replaced),
                EventKind::Modify(ModifyKind::Data(_)) => Some(Sign::Written),
                EventKind::Modify(ModifyKind::Metadata(_)) => Some(Sign::Touched),
                EventKind::Access(AccessKind::Open(_)) => Some(Sign::Opened),
                EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Sign::Closed),
                _ => None,
            };
        }
        let is_step = |path: &PathBuf| self.steps.contains(path) || self.folders.contains_key(path);
        let moves = matches!(
            event.kind,
            EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
        );
        (moves && event.paths.iter().any(is_step)).then_some(Sign::Strayed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("watched", &self.watched).finish_non_exhaustive()
    }
}
