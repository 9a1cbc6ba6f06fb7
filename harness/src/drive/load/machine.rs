//! Looks at the kernel's counters ten times a second, on a thread that sleeps in between.
//!
//! What it sees goes to the run's folder line by line. A kernel without one of the files, or a container
//! that hides it, leaves that part out. Deliberately absent: what the figures mean.

use std::{
    fs,
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::{Builder, JoinHandle},
    time::Duration,
};

use rustix::{param::clock_ticks_per_second, process::Pid};

use super::{Error, Progress};
use crate::{
    clock::{RunClock, process_cpu_us},
    observe::{self, JsonLinesWriter, MachineSample, RunDir},
};

/// Between two looks: short against what a person would call a pause, and 0.1 % of a processor.
const INTERVAL: Duration = Duration::from_millis(100);

/// The thread that looks.
#[derive(Debug)]
pub(super) struct Sampler {
    /// Closed when it has looked enough.
    going_on: Sender<()>,
    thread: JoinHandle<Result<(), observe::Error>>,
}

/// Makes the file and starts the thread.
///
/// # Errors
/// When the file or the thread cannot be made.
pub(super) fn start(run_dir: &RunDir, clock: RunClock, progress: Arc<Progress>) -> Result<Sampler, Error> {
    let mut lines = JsonLinesWriter::create(&run_dir.machine()).map_err(Error::Log)?;
    let (going_on, over) = channel();
    let thread = Builder::new()
        .name("load-machine".to_owned())
        .spawn(move || {
            loop {
                lines.push(&look(&clock, progress.sender()))?;
                if !matches!(over.recv_timeout(INTERVAL), Err(RecvTimeoutError::Timeout)) {
                    // Once more, so that the last stretch is seen to its end.
                    lines.push(&look(&clock, progress.sender()))?;
                    return lines.finish();
                }
            }
        })
        .map_err(Error::Thread)?;
    Ok(Sampler { going_on, thread })
}

impl Sampler {
    /// Ends the thread; what went wrong if something did.
    pub(super) fn join(self) -> std::thread::Result<Result<(), observe::Error>> {
        drop(self.going_on);
        self.thread.join()
    }
}

fn look(clock: &RunClock, sender: Option<Pid>) -> MachineSample {
    let read = |path: &str| fs::read_to_string(path).ok();
    let of_sender = |file: &str| {
        let id = sender?.as_raw_pid();
        read(&format!("/proc/self/task/{id}/{file}"))
    };
    let mut sample =
        MachineSample { at_ns: clock.now_ns(), own_cpu_us: process_cpu_us(), ..MachineSample::default() };
    if let Some(text) = read("/proc/stat") {
        take_stat(&text, clock_ticks_per_second(), &mut sample);
    }
    sample.pressure_us = read("/proc/pressure/cpu").and_then(|text| pressure_us(&text));
    sample.sender_delay_us = of_sender("schedstat").and_then(|text| delay_us(&text));
    if let Some(text) = of_sender("status") {
        sample.sender_switches_voluntary = field(&text, "voluntary_ctxt_switches:");
        sample.sender_switches_involuntary = field(&text, "nonvoluntary_ctxt_switches:");
    }
    sample
}

/// Takes the first line of `/proc/stat` (proc(5): user nice system idle iowait irq softirq steal, in ticks;
/// guests' time is part of user and nice) and the number of runnable threads.
fn take_stat(text: &str, ticks_per_s: u64, sample: &mut MachineSample) {
    let Some(line) = text.lines().find_map(|line| line.strip_prefix("cpu ")) else { return };
    let ms = |ticks: u64| ticks.saturating_mul(1_000) / ticks_per_s.max(1);
    let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    if let [user, nice, system, idle, iowait, irq, softirq, ..] = ticks[..] {
        sample.busy_ms = Some(ms(user + nice + system + irq + softirq));
        sample.idle_ms = Some(ms(idle + iowait));
        sample.iowait_ms = Some(ms(iowait));
    }
    sample.steal_ms = ticks.get(7).copied().map(ms);
    sample.runnable = field(text, "procs_running").map(|runnable| runnable.saturating_sub(1));
}

/// The total of the line `some avg10=0.00 avg60=0.00 avg300=0.00 total=1234`.
fn pressure_us(text: &str) -> Option<u64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split_whitespace().find_map(|word| word.strip_prefix("total="))?.parse().ok()
}

/// The second number of `schedstat`: nanoseconds spent ready to run.
fn delay_us(text: &str) -> Option<u64> {
    text.split_whitespace().nth(1)?.parse::<u64>().ok().map(|ns| ns / 1_000)
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        let mut sample = MachineSample::default();
        let stat = "cpu  100 20 30 400 50 6 7 8 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\nprocs_running 4\n";
        take_stat(stat, 100, &mut sample);
        let expected = MachineSample {
            busy_ms: Some(1_630),
            idle_ms: Some(4_500),
            iowait_ms: Some(500),
            steal_ms: Some(80),
            runnable: Some(3),
            ..MachineSample::default()
        };
        assert_eq!(sample, expected);
        let pressure = "some avg10=0.00 avg60=1.50 avg300=0.00 total=1234\nfull avg10=0.00 total=9\n";
        assert_eq!(pressure_us(pressure), Some(1_234));
        assert_eq!(delay_us("663387000 1676586 12\n"), Some(1_676));
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t15\nnonvoluntary_ctxt_switches:\t7\n";
        assert_eq!(field(status, "voluntary_ctxt_switches:"), Some(15));
        assert_eq!(field(status, "nonvoluntary_ctxt_switches:"), Some(7));
    }

    /// An old kernel has fewer columns, another none of the files: absent, not zero.
    #[test]
    fn what_is_not_offered_is_absent() {
        let mut sample = MachineSample::default();
        take_stat("cpu  1 2 3 4 5 6 7\n", 100, &mut sample);
        assert_eq!((sample.steal_ms, sample.runnable), (None, None));
        assert!(sample.busy_ms.is_some());
        take_stat("", 100, &mut sample);
        assert_eq!((pressure_us(""), delay_us(""), field("", "x")), (None, None, None));
    }

    /// This machine's own files, whatever they hold: a run of the real thread leaves at least two lines.
    #[test]
    fn a_started_sampler_leaves_its_lines() {
        let dir = tempfile::tempdir().unwrap();
        let run_dir = RunDir::new(dir.path());
        let clock = RunClock::starting_in(Duration::ZERO);
        let sampler = start(&run_dir, clock, Arc::default()).unwrap();
        sampler.join().unwrap().unwrap();
        let lines: Vec<MachineSample> =
            observe::JsonLines::open(&run_dir.machine()).unwrap().map(Result::unwrap).collect();
        assert!(lines.len() >= 2 && lines.is_sorted_by_key(|sample| sample.at_ns));
    }
}
