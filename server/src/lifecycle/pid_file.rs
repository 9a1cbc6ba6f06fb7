//! The pid file, and the seed's way to have an old process leave: SIGINT, SIGTERM, SIGKILL in turn.
//!
//! The file holds only the number: that is how the seed reads it, and `kill $(cat .pid)` works. A number alone may name
//! a stranger after a crash, so the process that wrote it keeps a lock on the file (`F_SETLK` of fcntl(2)), and before a
//! signal is sent the kernel has to say that the process of that number has it. A lock ends with its process, and no
//! clock and no name plays a part. The signal goes through a pidfd, which names the process that was examined and no
//! later one of the same number.
//!
//! Invariant: while the lock is kept this process opens the file nowhere else: to close any descriptor of a file gives
//! up a process's lock on it.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FlockOperation, fcntl_lock},
    process::{Flock, FlockType, Pid, PidfdFlags, Signal, fcntl_getlk, pidfd_open, pidfd_send_signal},
};

/// The place of the pid file, and the file itself as long as it names this process.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
    locked: Mutex<Option<File>>,
}

impl PidFile {
    /// Nothing is written yet.
    pub(super) fn at(path: &Path) -> Self {
        Self { path: path.to_path_buf(), locked: Mutex::default() }
    }

    /// Writes our number, by rename, so that a reader never sees half of it, nor a file without its lock. What cannot be
    /// written is told in the log, and what is there is then removed, as far as it can be: no file is better than the
    /// number of a process that is about to end.
    pub(super) fn write(&self) {
        let mut beside = self.path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        match written(&beside).and_then(|file| fs::rename(&beside, &self.path).map(|()| file)) {
            Ok(file) => *self.locked.lock().unwrap_or_else(PoisonError::into_inner) = Some(file),
            Err(error) => {
                tracing::error!(%error, path = %self.path.display(), "the pid file cannot be written");
                for stale in [beside.as_path(), &self.path] {
                    // On a disk that cannot be written it stays, and nobody is signalled because of it.
                    _ = fs::remove_file(stale);
                }
            }
        }
    }

    /// Removes the file if it still holds our number.
    pub(super) fn remove(&self) {
        if number_in(&self.path) == Some(std::process::id()) {
            // Gone already is as good.
            _ = fs::remove_file(&self.path);
        }
    }

    /// Has the process that the file names leave: SIGINT, SIGTERM, SIGKILL, each with `patience`. Only before this
    /// process has written the file.
    ///
    /// Blocks; run it off the runtime.
    pub(super) fn retire(&self, patience: Duration) -> Retired {
        let Some(process) = named_by(&self.path) else { return Retired::Nobody };
        for (signal, name) in [(Signal::INT, "SIGINT"), (Signal::TERM, "SIGTERM"), (Signal::KILL, "SIGKILL")]
        {
            if pidfd_send_signal(&process, signal).is_err() || ended_within(&process, patience) {
                return Retired::By(name);
            }
            tracing::warn!(signal = name, "the old process is still there");
        }
        Retired::Stays
    }
}

/// A new file with our number, and our lock on it.
fn written(path: &Path) -> io::Result<File> {
    let mut file = File::create(path)?;
    if let Err(error) = fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        tracing::warn!(
            %error,
            path = %path.display(),
            "the pid file cannot be locked: under reuseport the next process will signal nobody; keep the file on a disk \
             of this machine"
        );
    }
    file.write_all(std::process::id().to_string().as_bytes())?;
    Ok(file)
}

/// What became of the process that the pid file names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retired {
    /// There is no pid file, or its process is gone, or it is a stranger's.
    Nobody,
    /// It ended after this signal.
    By(&'static str),
    /// It did not end even after SIGKILL.
    Stays,
}

/// The process that the file names, if it has the file locked.
fn named_by(path: &Path) -> Option<OwnedFd> {
    let mut file = File::open(path).ok()?;
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    let number = number(&text).filter(|number| *number != std::process::id())?;
    let pid = i32::try_from(number).ok().and_then(Pid::from_raw)?;
    let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // Asked after the pidfd was opened: the number cannot change hands between the two.
    let lock = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock)).ok().flatten();
    if lock.and_then(|lock| lock.pid) != Some(pid) {
        tracing::warn!(pid = number, "the pid file is stale, nobody is signalled");
        return None;
    }
    Some(process)
}

fn number_in(path: &Path) -> Option<u32> {
    number(&fs::read_to_string(path).ok()?)
}

fn number(text: &str) -> Option<u32> {
    text.trim().parse().ok()
}

fn ended_within(process: &OwnedFd, patience: Duration) -> bool {
    let mut wait = [PollFd::new(process, PollFlags::IN)];
    let limit = Timespec::try_from(patience).ok();
    matches!(poll(&mut wait, limit.as_ref()), Ok(1..))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_file_holds_our_number_and_only_we_remove_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = PidFile::at(&folder.path().join(".pid"));
        file.write();
        assert_eq!(fs::read_to_string(&file.path).unwrap(), std::process::id().to_string());
        file.remove();
        assert!(!file.path.exists());
        fs::write(&file.path, "1").unwrap();
        file.remove();
        assert!(file.path.exists());
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let file = PidFile::at(&folder.path().join(".pid"));
        fs::create_dir(folder.path().join(".pid.new")).unwrap();
        fs::write(&file.path, "4711").unwrap();
        file.write();
        assert!(!file.path.exists(), "it named another process");
        PidFile::at(&folder.path().join("nowhere/.pid")).write();
    }

    #[test]
    fn a_stranger_is_never_signalled() {
        let folder = tempfile::tempdir().unwrap();
        let file = PidFile::at(&folder.path().join(".pid"));
        let mut stranger = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        fs::write(&file.path, stranger.id().to_string()).unwrap();
        assert_eq!(file.retire(Duration::from_secs(1)), Retired::Nobody);
        assert!(stranger.try_wait().unwrap().is_none(), "the stranger must live");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }

    #[test]
    fn a_missing_stale_or_broken_file_names_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let file = PidFile::at(&folder.path().join(".pid"));
        assert_eq!(file.retire(Duration::ZERO), Retired::Nobody);
        for text in ["", "soon", "-1", "0", "4000000000", &std::process::id().to_string()] {
            fs::write(&file.path, text).unwrap();
            assert_eq!(file.retire(Duration::ZERO), Retired::Nobody, "{text:?}");
        }
    }
}
