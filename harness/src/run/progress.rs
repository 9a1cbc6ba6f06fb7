//! What is shown on standard error while a run goes on: a bar on a terminal, a line anywhere else, nothing
//! when the user wants quiet.

use std::{
    io::{self, IsTerminal, Write},
    path::Path,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{drive::load::ProgressSnapshot, environment::shown, plan::Plan};

const NS_PER_MS: u64 = 1_000_000;
/// Redraws a second; the bar must not take processor time from what is measured.
const REDRAWS_HZ: u8 = 4;
/// Fits 80 columns up to millions of attempts.
const TEMPLATE: &str = "{bar:24} {prefix} {msg}";

/// The display of one run.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    events: usize,
    duration_s: u64,
}

impl Progress {
    /// Begins the display; without a terminal it says once what is going on.
    pub(super) fn begin(plan: &Plan, folder: &Path, quiet: bool) -> Self {
        let drawn = !quiet && io::stderr().is_terminal();
        let target =
            if drawn { ProgressDrawTarget::stderr_with_hz(REDRAWS_HZ) } else { ProgressDrawTarget::hidden() };
        let duration = Duration::from_nanos(plan.load.duration_ns);
        if !quiet && !drawn {
            let (events, seconds) = (plan.events.len(), duration.as_secs_f64());
            say(&format!(
                "{}: {seconds:.0} s of load with {events} events; the run is kept in {}",
                plan.scenario,
                shown(folder)
            ));
        }
        let bar = ProgressBar::with_draw_target(Some(plan.load.duration_ns / NS_PER_MS), target);
        bar.set_style(ProgressStyle::with_template(TEMPLATE).expect("the template must be valid"));
        Self { bar, events: plan.events.len(), duration_s: duration.as_secs() }
    }

    /// Shows how far the run is.
    pub(super) fn show(&self, at_ns: u64, load: &ProgressSnapshot, events_done: usize) {
        self.bar.set_position(at_ns / NS_PER_MS);
        self.bar.set_prefix(format!("{}/{} s", at_ns / NS_PER_MS / 1_000, self.duration_s));
        let events = format!("{events_done}/{}", self.events);
        self.bar.set_message(format!("sent {}  failed {}  events {events}", load.sent, load.failed));
    }

    /// Says something above the bar.
    pub(super) fn say(&self, line: &str) {
        self.bar.suspend(|| say(line));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Says something on standard error.
pub(super) fn say(line: &str) {
    // Nobody is left to be told when standard error is closed.
    let _closed = writeln!(io::stderr(), "harness: {line}");
}
