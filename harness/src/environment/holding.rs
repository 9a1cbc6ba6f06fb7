//! What a process holds, out of `/proc`.
//!
//! Deliberately absent: whose the descriptors are. At rest nobody is connected, and then all of them count.

use std::fs;

use rustix::process::Pid;

/// Descriptors, threads and memory of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OfProcess {
    pub(super) descriptors: u64,
    pub(super) threads: u64,
    pub(super) memory_kb: u64,
}

/// `None` when there is no such process, or its folder may not be read.
pub(super) fn of_process(pid: Pid) -> Option<OfProcess> {
    let folder = format!("/proc/{}", pid.as_raw_pid());
    let status = fs::read_to_string(format!("{folder}/status")).ok()?;
    let descriptors = fs::read_dir(format!("{folder}/fd")).ok()?.count() as u64;
    Some(OfProcess { descriptors, threads: line(&status, "Threads:")?, memory_kb: memory_kb(&status)? })
}

/// Memory of a process that belongs to no file, kilobytes.
pub(super) fn memory_of(pid: Pid) -> Option<u64> {
    memory_kb(&fs::read_to_string(format!("/proc/{}/status", pid.as_raw_pid())).ok()?)
}

fn memory_kb(status: &str) -> Option<u64> {
    line(status, "RssAnon:")
}

/// The first number of a line of `/proc/PID/status`, proc(5).
fn line(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use rustix::process::getpid;

    use super::*;

    #[test]
    fn a_descriptor_and_memory_more_are_seen_and_a_process_that_is_gone_is_absent() {
        let before = of_process(getpid()).unwrap();
        // Other tests of this process open and close some too, so many are opened.
        let files: Vec<fs::File> = (0..500).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let memory = vec![1_u8; 64 << 20];
        let after = of_process(getpid()).unwrap();
        assert!(after.descriptors >= before.descriptors + 400, "{before:?} {after:?}");
        assert!(after.memory_kb >= before.memory_kb + (32 << 10), "{before:?} {after:?}");
        assert!(after.threads >= 1 && memory_of(getpid()).is_some());
        drop((files, memory));
        // Beyond every limit of process numbers.
        assert_eq!(of_process(Pid::from_raw(i32::MAX).unwrap()), None);
    }

    #[test]
    fn the_kernels_lines_are_read() {
        let status = "Name:\tRssAnon: 7\nThreads:\t12\nRssAnon:\t     1234 kB\n";
        assert_eq!((memory_kb(status), line(status, "Threads:")), (Some(1_234), Some(12)));
        assert_eq!(memory_kb("Name:\tx\n"), None);
    }
}
