//! Who owns something that outlives a killed harness: a container, or the mark in somebody else's service.

use std::{fmt, fs};

use crate::environment::processes::start_of;

const BOOT: &str = "/proc/sys/kernel/random/boot_id";
const PIDS: &str = "/proc/self/ns/pid";

/// A harness, named so that any other one on the same machine can tell whether it still runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    /// The machine since its start, and the namespace in which the pid is one.
    place: String,
    pid: u32,
    /// When the process started, in the kernel's ticks: a pid is used again.
    start: String,
}

impl Owner {
    pub(super) fn us() -> Self {
        Self::of(std::process::id())
    }

    /// The process of that number, which is here.
    pub(super) fn of(pid: u32) -> Self {
        Self { place: place(), pid, start: start_of(pid).unwrap_or_default() }
    }

    /// What [`Owner`] shows as text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(3, ':');
        let (start, pid, place) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
        Some(Self { place: place.to_owned(), pid, start: start.to_owned() })
    }

    /// Whether it has ended. Of one elsewhere, where its process cannot be seen from here, that is never said.
    pub(super) fn is_gone(&self) -> bool {
        self.place == place() && start_of(self.pid).as_deref() != Some(&self.start)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.place, self.pid, self.start)
    }
}

/// Empty parts where there is no such file: two of them then differ in their names alone.
fn place() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let boot = fs::read_to_string(BOOT).unwrap_or_default();
    let pids = fs::read_link(PIDS).map(|link| link.display().to_string()).unwrap_or_default();
    let pids: String = pids.chars().filter(char::is_ascii_digit).collect();
    format!("{host}:{}:{pids}", boot.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_was_here_can_be_seen_to_be_gone() {
        let us = Owner::us();
        assert_eq!(Owner::parse(&us.to_string()), Some(us.clone()));
        assert!(!us.is_gone());
        assert!(Owner { start: "1".to_owned(), ..us.clone() }.is_gone(), "the pid is used again");
        assert!(!Owner { start: "1".to_owned(), place: "elsewhere".to_owned(), ..us }.is_gone());
        assert_eq!(Owner::parse("nonsense"), None);
    }
}
