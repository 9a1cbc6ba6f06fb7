//! The process generations that answers name, held against the upgrades.

use std::collections::HashMap;

use super::Invariant;
use crate::{
    observe::{Attempt, EventOutcome, Observations},
    plan::TargetPlan,
};

/// Nothing that was begun after an upgrade had been acknowledged is served by an older process than the one
/// that the upgrade brought up.
///
/// The handoff strategies acknowledge when every connection has moved or ended, so nothing that is sent later
/// may meet the old process. Of the others only fresh connections are looked at, and only those that the
/// client began to open after the acknowledgement: a connection that was open or being opened may rightly be
/// finished by the old process.
pub(super) fn no_old_process_after_upgrade(observations: &Observations) -> Invariant {
    const NAME: &str = "no-old-process-after-upgrade";
    let upgrades = Upgrades::new(observations);
    if upgrades.acknowledged.is_empty() {
        return Invariant::not_checked(NAME, "no acknowledged upgrade told the new process");
    }
    let all_move = all_move(&observations.plan.target);
    let later: Vec<(&Attempt, u32)> = observations
        .attempts
        .iter()
        .filter(|attempt| attempt.process != 0 && (all_move || !attempt.reused()))
        .filter_map(|attempt| Some((attempt, upgrades.process_at(attempt.sent_ns)?)))
        .collect();
    let which = if all_move { "" } else { " on fresh connections" };
    if later.is_empty() {
        let why = format!("no answer{which} after an upgrade named its process");
        return Invariant::not_checked(NAME, &why);
    }
    let suspects: Vec<&Attempt> = later
        .iter()
        .filter(|(attempt, expected)| attempt.process < *expected)
        .map(|&(attempt, _)| attempt)
        .collect();
    let violations = if all_move {
        suspects.iter().filter_map(|attempt| violation(attempt, &upgrades, attempt.sent_ns)).collect()
    } else {
        confirm(observations, &upgrades, &suspects)
    };
    let checked = format!("{} answers{which} after {} upgrades", later.len(), upgrades.acknowledged.len());
    Invariant::from_violations(NAME, violations, checked)
}

/// Drops the suspects whose connection was older than the acknowledgement: a pool may open one long before
/// its first request.
fn confirm(observations: &Observations, upgrades: &Upgrades, suspects: &[&Attempt]) -> Vec<String> {
    if suspects.is_empty() {
        return Vec::new();
    }
    let opened: HashMap<u32, u64> =
        observations.connections.iter().map(|connection| (connection.id, connection.opened_ns)).collect();
    let confirmed = suspects.iter().filter_map(|attempt| {
        let begun_ns = opened.get(&attempt.connection)?.min(&attempt.sent_ns);
        violation(attempt, upgrades, *begun_ns)
    });
    confirmed.collect()
}

/// The violation of an attempt that was begun at a time.
fn violation(attempt: &Attempt, upgrades: &Upgrades, begun_ns: u64) -> Option<String> {
    let expected = upgrades.process_at(begun_ns).filter(|expected| attempt.process < *expected)?;
    let Attempt { id, process, .. } = attempt;
    Some(format!("attempt {id} was answered by process {process} after process {expected} had taken over"))
}

/// Whether the target's strategy promises that the acknowledgement comes after the last connection has left.
fn all_move(target: &TargetPlan) -> bool {
    match target {
        TargetPlan::Reference(reference) => {
            matches!(reference.strategy.as_str(), "handoff" | "handoff-live")
        }
        TargetPlan::External(_) => false,
    }
}

/// Which process had taken over by when.
struct Upgrades {
    /// Acknowledgement and highest process generation so far, in order of time.
    acknowledged: Vec<(u64, u32)>,
}

impl Upgrades {
    fn new(observations: &Observations) -> Self {
        let mut acknowledged: Vec<(u64, u32)> = observations
            .events
            .iter()
            .filter(|event| {
                event.kind == "upgrade" && event.outcome == EventOutcome::Ok && event.acked_ns > 0
            })
            .filter_map(|event| {
                let process = event.detail.pointer("/new/process")?.as_u64()?;
                Some((event.acked_ns, u32::try_from(process).ok()?))
            })
            .collect();
        acknowledged.sort_unstable();
        let mut highest = 0;
        for (_, process) in &mut acknowledged {
            highest = highest.max(*process);
            *process = highest;
        }
        Self { acknowledged }
    }

    /// The process that had taken over before a time.
    fn process_at(&self, at_ns: u64) -> Option<u32> {
        let before = self.acknowledged.partition_point(|&(acked_ns, _)| acked_ns < at_ns);
        self.acknowledged.get(before.checked_sub(1)?).map(|&(_, process)| process)
    }
}
