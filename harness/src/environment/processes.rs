//! The processes below this one, as `/proc` shows them.
//!
//! Only descendants are ever listed: whatever else runs on the machine, a shell that somebody opened in
//! the run's folder included, is none of our business.

use std::{collections::BTreeMap, ffi::OsStr, fs, path::PathBuf};

use rustix::process::{Pid, getpid};

/// The names of shells that run commands and scripts.
const SHELLS: [&str; 4] = ["sh", "dash", "bash", "busybox"];

/// One process at the moment of the look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: Pid,
    pub(super) parent: i32,
    pub(super) group: i32,
    /// Ended, and not yet waited for.
    pub(super) is_zombie: bool,
}

impl Process {
    /// Where a link of the process in `/proc` points: `exe` or `cwd`. `None` for a zombie.
    pub(super) fn link(&self, name: &str) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/{name}", self.pid.as_raw_pid())).ok()
    }

    /// Whether it runs a shell, which is there for the sake of others.
    pub(super) fn is_shell(&self) -> bool {
        let exe = self.link("exe");
        exe.is_some_and(|exe| SHELLS.iter().any(|shell| exe.file_name() == Some(OsStr::new(shell))))
    }
}

/// All processes below this one.
pub(super) fn descendants() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let all: BTreeMap<i32, Process> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, look(Pid::from_raw(pid)?)?)))
        .collect();
    let us = getpid().as_raw_pid();
    all.values().filter(|process| descends(process, us, &all)).copied().collect()
}

fn descends(process: &Process, ancestor: i32, all: &BTreeMap<i32, Process>) -> bool {
    let mut parent = process.parent;
    // A look at a changing tree could show a circle; no chain is longer than there are processes.
    for _ in 0..all.len() {
        if parent == ancestor {
            return true;
        }
        match all.get(&parent) {
            Some(above) => parent = above.parent,
            None => return false,
        }
    }
    false
}

fn look(pid: Pid) -> Option<Process> {
    parse_stat(pid, &fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?)
}

/// When a process started, in the kernel's ticks: field 22 of proc(5).
pub(super) fn start_of(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    behind_name(&stat)?.nth(22 - 3).map(str::to_owned)
}

/// The fields from the third on. The name in parentheses may hold anything, so they are counted from the last
/// parenthesis.
fn behind_name(stat: &str) -> Option<impl Iterator<Item = &str>> {
    Some(stat.rsplit_once(')')?.1.split_whitespace())
}

fn parse_stat(pid: Pid, stat: &str) -> Option<Process> {
    let mut fields = behind_name(stat)?;
    let is_zombie = matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    Some(Process { pid, parent, group, is_zombie })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_line_is_read_whatever_the_name_holds() {
        let pid = getpid();
        let process = |parent, group, is_zombie| Some(Process { pid, parent, group, is_zombie });
        for (line, expected) in [
            ("12 (sh) S 1 12 12 0", process(1, 12, false)),
            ("12 (a) Z 9 (b) R 7 77 12 0", process(7, 77, false)),
            ("12 (sh) Z 1 12 12 0", process(1, 12, true)),
            ("12 sh S 1 12", None),
            ("", None),
        ] {
            assert_eq!(parse_stat(pid, line), expected, "{line}");
        }
    }

    #[test]
    fn only_processes_below_us_are_listed() {
        let at = |pid, parent| {
            (pid, Process { pid: Pid::from_raw(pid).unwrap(), parent, group: 1, is_zombie: false })
        };
        // 20 and 21 are below 10, 30 is not; 40 and 41 are a circle.
        let all = BTreeMap::from([at(10, 1), at(20, 10), at(21, 20), at(30, 1), at(40, 41), at(41, 40)]);
        let below: Vec<i32> =
            all.iter().filter(|(_, p)| descends(p, 10, &all)).map(|(pid, _)| *pid).collect();
        assert_eq!(below, [20, 21]);
    }
}
