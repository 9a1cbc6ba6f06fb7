//! The processor time of another process, out of `/proc`.
//!
//! The kernel tells it twice: of each thread to the nanosecond, but of a thread that has ended no more, and of
//! the whole process in ticks of some 10 ms, rounded down, with every thread that ever was. Neither is ever too
//! large, so the larger one is taken. Deliberately absent: `clock_gettime` of a process, which is exact, and for
//! which there is no safe call in the crates that both programs share.

use std::fs;

use rustix::{param::clock_ticks_per_second, process::Pid};

/// Processor time that a process has used since it began, microseconds. `None` when there is no such process.
pub(super) fn cpu_us(process: Pid) -> Option<u64> {
    let folder = format!("/proc/{}", process.as_raw_pid());
    let whole_us = of_process(&fs::read_to_string(format!("{folder}/stat")).ok()?, clock_ticks_per_second())?;
    let threads = fs::read_dir(format!("{folder}/task")).ok()?.filter_map(Result::ok);
    // A thread may have ended since it was listed, and an older kernel has no such file.
    let threads_ns: u64 = threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|text| of_thread(&text))
        .sum();
    Some(whole_us.max(threads_ns / 1_000))
}

/// Fields 14 and 15 of proc(5): time in user mode and in the kernel, in ticks. The name in parentheses may hold
/// anything, so the fields are counted from the last parenthesis.
fn of_process(stat: &str, ticks_per_s: u64) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let [user, system] = [fields.next()?, fields.next()?].map(str::parse::<u64>);
    Some((user.ok()? + system.ok()?).saturating_mul(1_000_000) / ticks_per_s.max(1))
}

/// The first number of `schedstat`: nanoseconds spent on a processor.
fn of_thread(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use rustix::process::getpid;

    use super::*;

    #[test]
    fn the_kernels_lines_are_read_whatever_the_name_holds() {
        for (line, expected) in [
            ("7 (sh) S 1 7 7 0 -1 4194560 1 2 3 4 25 17 0 0 20 0 1 0", Some(420_000)),
            ("7 (a) S 9 (b) R 1 7 7 0 -1 4194560 1 2 3 4 0 3 0 0 20", Some(30_000)),
            ("7 (sh) S 1 7 7", None),
            ("7 sh S 1 7 7 0 -1 4194560 1 2 3 4 25 17", None),
            ("", None),
        ] {
            assert_eq!(of_process(line, 100), expected, "{line}");
        }
        assert_eq!((of_thread("663387000 1676586 12\n"), of_thread("")), (Some(663_387_000), None));
    }

    #[test]
    fn work_is_seen_and_a_process_that_is_gone_is_absent() {
        let before = cpu_us(getpid()).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while cpu_us(getpid()).unwrap() <= before {
            assert!(std::time::Instant::now() < deadline, "to ask for it is work");
        }
        // Beyond every limit of process numbers.
        assert_eq!(cpu_us(Pid::from_raw(i32::MAX).unwrap()), None);
    }
}
