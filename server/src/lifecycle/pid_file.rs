//! The pid file, and the seed's way to have an old process leave: SIGINT, SIGTERM, SIGKILL in turn.
//!
//! The file holds only the number, so that `kill $(cat .pid)` works. A number alone may name a stranger
//! after a crash, so before a signal is sent the process must be one of ours: started before the file was
//! written, and running a program of the same name. The signal goes through a pidfd, which names the
//! process that was examined and no later one of the same number.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

/// The kernel tells the time of the boot in whole seconds.
const BOOT_TIME_SLACK: Duration = Duration::from_secs(2);

/// Writes our number, by rename, so that a reader never sees half of it. If that fails what is there is removed, as far
/// as it can be: no file is better than the number of a process that is about to end.
///
/// # Errors
/// Those of writing and renaming a file beside `path`.
pub(super) fn write(path: &Path) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let written = fs::write(&beside, std::process::id().to_string()).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        for stale in [beside.as_path(), path] {
            // On a disk that cannot be written it stays, and is examined before anybody is signalled.
            _ = fs::remove_file(stale);
        }
    }
    written
}

/// Removes the file if it still holds our number.
pub(super) fn remove(path: &Path) {
    if number_in(path) == Some(std::process::id()) {
        // Gone already is as good.
        _ = fs::remove_file(path);
    }
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

/// Has the process that the pid file names leave: SIGINT, SIGTERM, SIGKILL, each with `patience`.
///
/// Blocks; run it off the runtime.
pub(super) fn retire(path: &Path, patience: Duration) -> Retired {
    let Some(process) = named_by(path) else { return Retired::Nobody };
    for (signal, name) in [(Signal::INT, "SIGINT"), (Signal::TERM, "SIGTERM"), (Signal::KILL, "SIGKILL")] {
        if pidfd_send_signal(&process, signal).is_err() || ended_within(&process, patience) {
            return Retired::By(name);
        }
        tracing::warn!(signal = name, "the old process is still there");
    }
    Retired::Stays
}

/// The process that the file names, if it is one of ours.
fn named_by(path: &Path) -> Option<OwnedFd> {
    let number = number_in(path).filter(|number| *number != std::process::id())?;
    let pid = i32::try_from(number).ok().and_then(Pid::from_raw)?;
    let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // Examined after the pidfd was opened: the number cannot change hands between the two.
    let its_folder = Path::new("/proc").join(number.to_string());
    let written = fs::metadata(path).and_then(|file| file.modified()).ok()?;
    let written = written.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let started = started(&its_folder)?;
    let ours = fs::read_to_string("/proc/self/comm").ok()?;
    let theirs = fs::read_to_string(its_folder.join("comm")).ok()?;
    if started > written + BOOT_TIME_SLACK || ours != theirs {
        tracing::warn!(
            pid = number,
            program = theirs.trim_end(),
            "the pid file is stale, nobody is signalled"
        );
        return None;
    }
    Some(process)
}

/// When a process started, after the epoch (proc_pid_stat(5), field 22, and proc_stat(5), `btime`).
fn started(its_folder: &Path) -> Option<Duration> {
    let stat = fs::read_to_string(its_folder.join("stat")).ok()?;
    // The name before the last parenthesis may hold anything; the fields after it are numbered from 3.
    let ticks: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(22 - 3)?.parse().ok()?;
    let system = fs::read_to_string("/proc/stat").ok()?;
    let boot = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Some(Duration::from_secs(boot) + Duration::from_millis(ticks * 1000 / per_second))
}

fn number_in(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
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
        let path = folder.path().join(".pid");
        write(&path).unwrap();
        assert_eq!(number_in(&path), Some(std::process::id()));
        remove(&path);
        assert!(!path.exists());
        fs::write(&path, "1").unwrap();
        remove(&path);
        assert!(path.exists());
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".pid");
        fs::create_dir(folder.path().join(".pid.new")).unwrap();
        fs::write(&path, "4711").unwrap();
        assert!(write(&path).is_err());
        assert!(!path.exists(), "it named another process");
        assert!(write(&folder.path().join("nowhere/.pid")).is_err());
    }

    #[test]
    fn a_stranger_is_never_signalled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".pid");
        let mut stranger = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        fs::write(&path, stranger.id().to_string()).unwrap();
        assert_eq!(retire(&path, Duration::from_secs(1)), Retired::Nobody);
        assert!(stranger.try_wait().unwrap().is_none(), "the stranger must live");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }

    #[test]
    fn a_missing_stale_or_broken_file_names_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".pid");
        assert_eq!(retire(&path, Duration::ZERO), Retired::Nobody);
        for text in ["", "soon", "-1", "0", "4000000000", &std::process::id().to_string()] {
            fs::write(&path, text).unwrap();
            assert_eq!(retire(&path, Duration::ZERO), Retired::Nobody, "{text:?}");
        }
    }
}
