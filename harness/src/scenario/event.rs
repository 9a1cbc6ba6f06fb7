//! `[[event]]`: what happens in the middle of the load, and when.

use std::path::PathBuf;

use tomlcheck::Section;

use crate::plan::{Action, HttpAction, LoadPlan, Side, TargetPlan};

use super::{
    change,
    duration::{ANY, POSITIVE, duration, show_ns},
    fault,
    request::{METHODS, checked_path, read_headers},
};

/// How long a shell command or a request may take when the scenario does not say: longer than a reload of any server
/// that we know, short enough to end a hanging one within a run. Milliseconds.
const TIMEOUT_MS: u64 = 30_000;

/// Events of one run, all schedules together: each is recorded and attributed on its own.
const EVENTS_MAX: u64 = 10_000;

/// Signals by their name without the prefix; `SIGHUP` is understood as well.
const SIGNALS: [&str; 11] =
    ["HUP", "INT", "QUIT", "TERM", "KILL", "USR1", "USR2", "STOP", "CONT", "WINCH", "TTIN"];

/// One `[[event]]`: an action at one time or at regular times.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    pub first_ns: u64,
    /// Time from one occurrence to the next; 0 when there is one alone.
    pub every_ns: u64,
    pub count: u64,
    pub action: Action,
}

impl Schedule {
    /// Each time with what happens then.
    pub fn occurrences(&self) -> impl Iterator<Item = (u64, Action)> + use<'_> {
        (0..self.count).map(|index| (self.first_ns + index * self.every_ns, self.action.clone()))
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Upgrade,
    Exec,
    Http,
    Signal,
    Reload,
    Fault,
}

const KINDS: &[(&str, Kind)] = &[
    ("upgrade", Kind::Upgrade),
    ("exec", Kind::Exec),
    ("http", Kind::Http),
    ("signal", Kind::Signal),
    ("reload", Kind::Reload),
    ("fault", Kind::Fault),
];

/// All events; `None` when one of them is faulty, so that nothing is concluded from the others.
pub(super) fn read(
    root: &Section<'_>,
    target: Option<&TargetPlan>,
    load: Option<&LoadPlan>,
) -> Option<Vec<Schedule>> {
    // Every event is looked at before any is refused.
    let read: Vec<_> =
        root.sections("event").into_iter().map(|section| read_event(section, target, load)).collect();
    let schedules = read.into_iter().collect::<Option<Vec<_>>>()?;
    let events = schedules.iter().map(|schedule| schedule.count).fold(0, u64::saturating_add);
    if events > EVENTS_MAX {
        let hint = format!("stay within {EVENTS_MAX}: raise `every` or lower `count`");
        root.fault_at("event", format!("{events} events are more than a run can tell apart"), hint);
    }
    Some(schedules)
}

fn read_event(
    section: Section<'_>,
    target: Option<&TargetPlan>,
    load: Option<&LoadPlan>,
) -> Option<Schedule> {
    let times = read_times(&section, load);
    section.require(
        "action",
        "write action = \"upgrade\", \"exec\", \"http\", \"signal\", \"reload\" or \"fault\"",
    );
    // Which keys are known depends on the action; of an unknown one the times alone can be checked.
    let kind = section.choice("action", KINDS)?;
    let action = match kind {
        Kind::Upgrade => {
            if target.is_some_and(|target| target.foreign().is_some()) {
                section.fault_at(
                    "action",
                    "only the reference server can be asked for an upgrade",
                    "write action = \"exec\" with the command that reloads this target",
                );
            }
            Some(read_upgrade(&section))
        }
        Kind::Exec => read_exec(&section),
        Kind::Http => read_http(&section, target),
        Kind::Signal => read_signal(&section, matches!(target, Some(TargetPlan::External(_)))),
        Kind::Reload => change::read_reload(&section, target),
        Kind::Fault => fault::read(&section, target),
    };
    section.finish();
    let (first_ns, every_ns, count) = times?;
    Some(Schedule { first_ns, every_ns, count, action: action? })
}

/// First time, interval and number: `at` alone is one time; `every` repeats, from `at` or after the first
/// interval, `count` times or as often as the load's duration allows.
fn read_times(section: &Section<'_>, load: Option<&LoadPlan>) -> Option<(u64, u64, u64)> {
    let at_ns = duration(section, "at", &ANY);
    let every_ns = duration(section, "every", &POSITIVE);
    let count = section.integer("count", 1..=EVENTS_MAX).map(|entry| entry.value);
    if !section.has("at") && !section.has("every") {
        section.missing("at", "write at = \"5s\" for one time, or every = \"1s\" to repeat it");
    }
    if section.has("count") && !section.has("every") {
        section.fault_at("count", "a count without an interval", "write every = \"1s\", or remove the count");
    }
    let first_ns = at_ns.or(every_ns)?;
    let duration_ns = load?.duration_ns;
    let key = if section.has("at") { "at" } else { "every" };
    if first_ns >= duration_ns {
        let what = format!("the load is over after {}", show_ns(duration_ns));
        section.fault_at(key, what, "make it earlier, or the load longer");
        return None;
    }
    let Some(every_ns) = every_ns else { return Some((first_ns, 0, 1)) };
    let fitting = (duration_ns - 1 - first_ns) / every_ns + 1;
    if let Some(count) = count.filter(|count| *count > fitting) {
        let what = format!("only {fitting} of {count} fit into the load of {}", show_ns(duration_ns));
        section.fault_at("count", what, "lower it, shorten `every`, or make the load longer");
    }
    Some((first_ns, every_ns, count.unwrap_or(fitting)))
}

fn read_upgrade(section: &Section<'_>) -> Action {
    Action::Upgrade {
        binary: section.string("binary").map(|entry| PathBuf::from(entry.value)),
        expect_ok: section.choice("expect", &[("ok", true), ("failed", false)]).unwrap_or(true),
    }
}

fn read_exec(section: &Section<'_>) -> Option<Action> {
    section.require("command", "write command = \"nginx -s reload\"");
    let command = section.string("command").map(|entry| entry.value);
    let timeout_ms = duration(section, "timeout", &POSITIVE).map_or(TIMEOUT_MS, |ns| ns / 1_000_000);
    Some(Action::Exec { command: command?, timeout_ms })
}

fn read_http(section: &Section<'_>, target: Option<&TargetPlan>) -> Option<Action> {
    let foreign = target.and_then(TargetPlan::foreign);
    section.require("path", "write path = \"/reload\"");
    let side = section.choice("side", &[("public", Side::Public), ("admin", Side::Admin)]);
    if foreign.is_some() && side == Some(Side::Admin) {
        section.fault_at("side", "only the reference server has an admin side", "remove it");
    }
    if foreign.is_some_and(|foreign| foreign.url.starts_with("https:")) {
        section.fault_at(
            "action",
            "a request as an event does not speak TLS",
            "write action = \"exec\" with curl",
        );
    }
    let path = section.parse("path", "a path", "write it like \"/reload?now=1\"", checked_path);
    let timeout_ms = duration(section, "timeout", &POSITIVE).map_or(TIMEOUT_MS, |ns| ns / 1_000_000);
    let headers = section.section("headers").map(|section| {
        let headers = read_headers(&section);
        section.finish();
        headers
    });
    Some(Action::Http(HttpAction {
        side: side.unwrap_or(Side::Public),
        method: section.choice("method", METHODS).unwrap_or("POST").to_owned(),
        headers: headers.unwrap_or_default(),
        body: section.string("body").map(|entry| entry.value).unwrap_or_default(),
        accept: section.integers("accept", 200..=599).map(|entry| entry.value).unwrap_or_default(),
        timeout_ms,
        path: path?,
    }))
}

fn read_signal(section: &Section<'_>, is_external: bool) -> Option<Action> {
    section.require("signal", "write signal = \"HUP\"");
    let known = || format!("one of {}", SIGNALS.join(", "));
    let signal = section.parse("signal", "a signal", known(), |text| {
        let name = text.strip_prefix("SIG").unwrap_or(text);
        if SIGNALS.contains(&name) { Ok(name.to_owned()) } else { Err("it is not known") }
    });
    if is_external {
        section.require("pid_file", "write the file with the pid: the harness did not start this target");
    }
    let pid_file = section.string("pid_file").map(|entry| PathBuf::from(entry.value));
    Some(Action::Signal { signal: signal?, pid_file })
}
