//! The process generations that answers name, held against the upgrades.

use std::collections::{HashMap, HashSet};

use super::Invariant;
use crate::{
    observe::{Attempt, Background, Connection, EventOutcome, EventRecord},
    plan::{Action, Fault, FaultAction, TargetPlan, Victim},
};

/// Answers that an older process gave than the one that had taken over.
#[derive(Debug, Clone)]
pub(super) struct OldProcesses {
    upgrades: Upgrades,
    /// Answers on reused connections count too.
    all_move: bool,
    /// Answers that could be held against an upgrade.
    checked: u64,
    /// Those of them that an older process gave.
    suspects: Vec<Suspect>,
}

/// An answer that an older process gave.
#[derive(Debug, Clone, Copy)]
struct Suspect {
    id: u64,
    sent_ns: u64,
    connection: u32,
    process: u32,
}

impl OldProcesses {
    pub(super) fn new(background: &Background) -> Self {
        Self {
            upgrades: Upgrades::new(background),
            all_move: all_move(&background.plan.target),
            checked: 0,
            suspects: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, attempt: &Attempt) {
        if attempt.process == 0 || (attempt.reused() && !self.all_move) {
            return;
        }
        if let Some(expected) = self.upgrades.process_at(attempt.sent_ns) {
            self.checked += 1;
            if attempt.process < expected {
                let Attempt { id, sent_ns, connection, process, .. } = *attempt;
                self.suspects.push(Suspect { id, sent_ns, connection, process });
            }
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.checked += other.checked;
        self.suspects.extend(other.suspects);
    }
}

/// Nothing that was begun after an upgrade had been acknowledged is served by an older process than the one
/// that the upgrade brought up.
///
/// The handoff strategies acknowledge when every connection has moved or ended, so nothing that is sent later
/// may meet the old process. Of the others only fresh connections are looked at, and only those that the
/// client began to open after the acknowledgement: a connection that was open or being opened may rightly be
/// finished by the old process.
pub(super) fn no_old_process_after_upgrade(found: &OldProcesses, connections: &[Connection]) -> Invariant {
    const NAME: &str = "no-old-process-after-upgrade";
    let OldProcesses { upgrades, all_move, checked, suspects } = found;
    if upgrades.acknowledged.iter().all(|(_, process)| *process == 0) {
        return Invariant::not_checked(NAME, "no acknowledged upgrade told the new process");
    }
    let which = if *all_move { "" } else { " on fresh connections" };
    if *checked == 0 {
        let why = format!("no answer{which} after an upgrade named its process");
        return Invariant::not_checked(NAME, &why);
    }
    let count = upgrades.acknowledged.iter().filter(|(_, process)| *process > 0).count();
    let checked = format!("{checked} answers{which} after {count} upgrades");
    if *all_move {
        let violations = suspects.iter().filter_map(|suspect| violation(suspect, upgrades, suspect.sent_ns));
        return Invariant::from_violations(NAME, violations, checked);
    }
    let violations = confirm(connections, upgrades, suspects);
    Invariant::from_violations(NAME, violations, checked)
}

/// Drops the suspects whose connection was older than the acknowledgement: a pool may open one long before
/// its first request.
fn confirm(
    connections: &[Connection],
    upgrades: &Upgrades,
    suspects: &[Suspect],
) -> impl Iterator<Item = String> {
    let wanted: HashSet<u32> = suspects.iter().map(|suspect| suspect.connection).collect();
    let opened: HashMap<u32, u64> = connections
        .iter()
        .filter(|connection| wanted.contains(&connection.id))
        .map(|connection| (connection.id, connection.opened_ns))
        .collect();
    suspects.iter().filter_map(move |suspect| {
        let begun_ns = opened.get(&suspect.connection)?.min(&suspect.sent_ns);
        violation(suspect, upgrades, *begun_ns)
    })
}

/// The violation of an attempt that was begun at a time.
fn violation(suspect: &Suspect, upgrades: &Upgrades, begun_ns: u64) -> Option<String> {
    let expected = upgrades.process_at(begun_ns).filter(|expected| suspect.process < *expected)?;
    let Suspect { id, process, .. } = suspect;
    Some(format!("attempt {id} was answered by process {process} after process {expected} had taken over"))
}

/// Whether the target's strategy promises that the acknowledgement comes after the last connection has left.
fn all_move(target: &TargetPlan) -> bool {
    match target {
        TargetPlan::Reference(reference) => {
            matches!(reference.strategy.as_str(), "handoff" | "handoff-live")
        }
        TargetPlan::Command(_) | TargetPlan::External(_) => false,
    }
}

/// When the server was killed.
pub(in crate::analyze) fn kills(background: &Background) -> impl Iterator<Item = u64> {
    let is_kill = |event: &EventRecord| {
        background.plan.events.iter().any(|planned| {
            planned.id == event.id
                && matches!(
                    planned.action,
                    Action::Fault(FaultAction { of: Victim::Server, fault: Fault::Kill, .. })
                )
        })
    };
    background.events.iter().filter(move |event| is_kill(event)).map(|event| event.started_ns)
}

/// Which process had taken over by when.
#[derive(Debug, Clone)]
struct Upgrades {
    /// Acknowledgement and highest process generation so far, in order of time. A server that was killed begins
    /// anew, which is a 0: nothing is known until the next upgrade.
    acknowledged: Vec<(u64, u32)>,
}

impl Upgrades {
    fn new(background: &Background) -> Self {
        let events = &background.events;
        let mut acknowledged: Vec<(u64, u32)> = events
            .iter()
            .filter(|event| {
                event.kind == "upgrade" && event.outcome == EventOutcome::Ok && event.acked_ns > 0
            })
            .filter_map(|event| {
                let process = event.detail.pointer("/new/process")?.as_u64()?;
                Some((event.acked_ns, u32::try_from(process).ok()?))
            })
            .chain(kills(background).map(|killed_ns| (killed_ns, 0)))
            .collect();
        acknowledged.sort_unstable();
        let mut highest = 0;
        for (_, process) in &mut acknowledged {
            highest = if *process == 0 { 0 } else { highest.max(*process) };
            *process = highest;
        }
        Self { acknowledged }
    }

    /// The process that had taken over before a time.
    fn process_at(&self, at_ns: u64) -> Option<u32> {
        let before = self.acknowledged.partition_point(|&(acked_ns, _)| acked_ns < at_ns);
        self.acknowledged
            .get(before.checked_sub(1)?)
            .map(|&(_, process)| process)
            .filter(|process| *process > 0)
    }
}
