//! The scenario file: what a person wrote, checked in one go.
//!
//! [`Scenario::read`] is pure: text in, a checked scenario or all faults out, each with line and hint. The
//! parts of a file are read by one module each, and the words they produce are those of `plan`, so that
//! nothing is translated twice; [`Scenario::plan`] adds the seed and lays the events out in time.
//!
//! Invariants: unknown keys are refused; a missing key has a named default or is a fault; overrides from
//! the command line go through the same checks. Deliberately absent: running anything, and every clock.

mod catalog;
mod change;
mod client;
mod connection;
mod duration;
mod event;
mod fault;
mod gate;
mod load;
mod request;
mod services;
mod stage;
mod target;

use std::path::Path;

use tomlcheck::{Document, Faults, Section};

use crate::plan::{EventPlan, Gate, LoadPlan, PLAN_SCHEMA_VERSION, Plan, TargetPlan};

pub use self::{
    catalog::{Catalog, Error, load},
    event::Schedule,
};
pub(crate) use self::{
    catalog::{files_below, load_file},
    duration::show_ns,
};

/// A checked scenario: a plan that still lacks its seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// For example `upgrade` or `must-fail/stop-start`.
    pub name: String,
    pub description: String,
    pub target: TargetPlan,
    pub load: LoadPlan,
    /// In the order of the file.
    pub events: Vec<Schedule>,
    /// In the order of the file, then those that hold without being asked for.
    pub gates: Vec<Gate>,
}

/// A value from the command line that takes the place of one in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Dotted; elements of arrays by index from 0 or by name (`load.stream.busy.rate`).
    pub path: String,
    pub value: String,
    /// A string whatever it looks like, instead of TOML with a plain string as the last resort.
    pub is_text: bool,
    /// What to blame for a fault, for example `--set load.rate=x`.
    pub blame: String,
}

impl Scenario {
    /// Reads a scenario from the text of `file`, which is only a name here. `expected_name` is the name
    /// that its place under `scenarios/` gives it.
    ///
    /// # Errors
    /// All faults of the file and of the overrides.
    pub fn read(
        file: &Path,
        source: &str,
        expected_name: Option<&str>,
        overrides: &[Override],
    ) -> Result<Self, Faults> {
        let mut document = Document::parse(file, source)?;
        for Override { path, value, is_text, blame } in overrides {
            if *is_text {
                document.set_string(path, value, blame);
            } else {
                document.set(path, value, blame);
            }
        }
        let scenario = read_root(document.root(), expected_name);
        // Whatever was put together from defaults after a fault goes no further than this.
        document.finish()?;
        Ok(scenario.expect("a file without faults must give a scenario"))
    }

    /// The plan for this scenario and seed.
    #[must_use]
    pub fn plan(self, seed: u64) -> Plan {
        let mut due: Vec<_> = self.events.iter().flat_map(Schedule::occurrences).collect();
        // A stable sort: events due at the same time keep the order of the file.
        due.sort_by_key(|(at_ns, _)| *at_ns);
        let mut events: Vec<EventPlan> = Vec::with_capacity(due.len());
        for (at_ns, action) in due {
            let before = events.iter().filter(|event| event.action.kind() == action.kind()).count();
            events.push(EventPlan { id: format!("{}-{}", action.kind(), before + 1), at_ns, action });
        }
        Plan {
            schema_version: PLAN_SCHEMA_VERSION,
            scenario: self.name,
            description: self.description,
            seed,
            target: self.target,
            load: self.load,
            events,
            gates: self.gates,
        }
    }
}

fn read_root(root: Section<'_>, expected_name: Option<&str>) -> Option<Scenario> {
    let name = read_name(&root, expected_name);
    root.require("description", "say in a sentence what the scenario shows");
    let description = root.string("description").map(|entry| entry.value);
    let target = root.required_section("target", "write [target] with kind = \"reference\"");
    let mut target = target.and_then(|section| target::read(section));
    services::read(&root, &mut target);
    let load = root.required_section("load", "write [load] with a rate, a duration and its streams");
    let load = load.and_then(|section| load::read(section, target.as_ref()));
    let events = event::read(&root, target.as_ref(), load.as_ref());
    if let (Some(TargetPlan::Reference(reference)), Some(events)) = (&mut target, &events) {
        reference.services.linked = services::linked(events);
    }
    let gates = gate::read(&root, load.as_ref(), events.as_deref());
    // Asked for only when it is there, so that nobody is told that it is known.
    if root.keys().any(|key| key == "fault") {
        let hint = "write [[event]] with action = \"fault\", and what it had here";
        root.fault_at("fault", "a fault is an event, with its time and id among the others", hint);
    }
    root.finish();
    Some(Scenario {
        name: name?,
        description: description?,
        target: target?,
        load: load?,
        events: events?,
        gates,
    })
}

fn read_name(root: &Section<'_>, expected_name: Option<&str>) -> Option<String> {
    let hint = expected_name.map_or_else(
        || "write name = \"what-it-shows\"".to_owned(),
        |name| format!("write name = {name:?}, its path under scenarios/"),
    );
    root.require("name", hint.clone());
    let name = root.string("name")?;
    if expected_name.is_some_and(|expected| expected != name.value) {
        name.fault(format!("{:?} is not where the file lies", name.value), hint);
    }
    Some(name.value)
}

#[cfg(test)]
mod tests;
