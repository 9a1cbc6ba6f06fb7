//! How a change spreads: from the event that made it to the answers that show it.
//!
//! A change is known by a number that the one who made it acknowledged: the generation of a configuration, or
//! the process generation of an upgrade. An answer shows it when it names that number or a higher one. Who
//! acknowledges twice the same, or less than before, is held to the highest. Nothing but sending and ending
//! times is compared, all of one clock.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::observe::{Attempt, EventOutcome, EventRecord};

/// How one change spread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Propagation {
    /// Index in the observations' events.
    pub event: usize,
    pub mechanism: Mechanism,
    /// From the event's start to the end of the first answer that shows the change.
    pub first_ns: Option<u64>,
    /// From the event's start to the end of the last answer that does not; `None` when there was none.
    pub last_ns: Option<u64>,
    /// Answers without the change to attempts that were sent after it had been acknowledged.
    pub stale_after_ack: u64,
    /// From the acknowledgement to the sending of the last of them, 0 when there was none; `None` when no
    /// answer to a later attempt told anything.
    pub stale_ns: Option<u64>,
}

/// How the change got there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mechanism {
    /// Somebody told the server.
    Push,
    /// Another program serves.
    Upgrade,
}

impl Mechanism {
    /// The word for reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Upgrade => "upgrade",
        }
    }

    /// The number that an answer names; 0 when it names none.
    fn number(self, attempt: &Attempt) -> u32 {
        match self {
            Self::Push => attempt.config,
            Self::Upgrade => attempt.process,
        }
    }
}

/// What some of a run's answers tell of every change that was acknowledged. The warm-up counts: what is stale
/// then is stale.
#[derive(Debug, Clone)]
pub struct Spreading([OfMechanism; 2]);

impl Spreading {
    #[must_use]
    pub fn new(events: &[EventRecord]) -> Self {
        Self([Mechanism::Push, Mechanism::Upgrade].map(|mechanism| OfMechanism::new(events, mechanism)))
    }

    pub fn add(&mut self, attempt: &Attempt) {
        for part in &mut self.0 {
            part.add(attempt);
        }
    }

    pub fn merge(&mut self, other: &Self) {
        for (own, other) in self.0.iter_mut().zip(&other.0) {
            own.merge(other);
        }
    }

    /// Every change, in the order of the acknowledgements.
    #[must_use]
    pub fn finish(&self) -> Vec<Propagation> {
        let mut all: Vec<_> = self.0.iter().flat_map(OfMechanism::finish).collect();
        all.sort_by_key(|(acked_ns, change)| (*acked_ns, change.event));
        all.into_iter().map(|(_, change)| change).collect()
    }
}

/// The number that an event acknowledged, and how the change came.
fn acknowledged(event: &EventRecord) -> Option<(Mechanism, u32)> {
    let (mechanism, place) = match event.kind.as_str() {
        "http" => (Mechanism::Push, "/generation"),
        "upgrade" => (Mechanism::Upgrade, "/new/process"),
        _ => return None,
    };
    let is_ok = event.outcome == EventOutcome::Ok && event.acked_ns > 0;
    let number = event.detail.pointer(place).and_then(Value::as_u64).filter(|_| is_ok)?;
    Some((mechanism, u32::try_from(number).ok()?))
}

#[derive(Debug, Clone)]
struct Change {
    event: usize,
    started_ns: u64,
    acked_ns: u64,
    number: u32,
}

/// What is known of all answers with one number.
#[derive(Debug, Clone, Copy)]
struct Answers {
    first_ended_ns: u64,
    last_ended_ns: u64,
    last_sent_ns: u64,
}

/// What is known of the changes of one mechanism.
#[derive(Debug, Clone)]
struct OfMechanism {
    mechanism: Mechanism,
    changes: Vec<Change>,
    /// By the number that they named.
    answers: BTreeMap<u32, Answers>,
    /// Stale answers of changes `from..to`, as a difference at both ends.
    differences: Vec<i64>,
}

impl OfMechanism {
    fn new(events: &[EventRecord], mechanism: Mechanism) -> Self {
        let changes = changes(events, mechanism);
        let differences = vec![0; changes.len() + 1];
        Self { mechanism, changes, answers: BTreeMap::new(), differences }
    }

    fn add(&mut self, attempt: &Attempt) {
        let number = self.mechanism.number(attempt);
        if number == 0 || self.changes.is_empty() {
            return;
        }
        let Attempt { sent_ns, ended_ns, .. } = *attempt;
        self.see(
            number,
            Answers { first_ended_ns: ended_ns, last_ended_ns: ended_ns, last_sent_ns: sent_ns },
        );
        let shown = self.changes.partition_point(|change| change.number <= number);
        let acked = self.changes.partition_point(|change| change.acked_ns < sent_ns);
        if shown < acked {
            self.differences[shown] += 1;
            self.differences[acked] -= 1;
        }
    }

    fn see(&mut self, number: u32, seen: Answers) {
        let entry = self.answers.entry(number).or_insert(seen);
        entry.first_ended_ns = entry.first_ended_ns.min(seen.first_ended_ns);
        entry.last_ended_ns = entry.last_ended_ns.max(seen.last_ended_ns);
        entry.last_sent_ns = entry.last_sent_ns.max(seen.last_sent_ns);
    }

    fn merge(&mut self, other: &Self) {
        for (&number, &seen) in &other.answers {
            self.see(number, seen);
        }
        for (own, other) in self.differences.iter_mut().zip(&other.differences) {
            *own += other;
        }
    }

    /// Each change with the time of its acknowledgement.
    fn finish(&self) -> Vec<(u64, Propagation)> {
        let mut stale = 0_i64;
        let counted = self.changes.iter().zip(&self.differences).map(|(change, difference)| {
            stale += difference;
            (change.acked_ns, change.propagation(self.mechanism, &self.answers, stale.unsigned_abs()))
        });
        counted.collect()
    }
}

/// The changes in the order of their acknowledgements, which is the order of their numbers too.
fn changes(events: &[EventRecord], wanted: Mechanism) -> Vec<Change> {
    let change = |(event, record): (usize, &EventRecord)| {
        let (mechanism, number) = acknowledged(record)?;
        let EventRecord { started_ns, acked_ns, .. } = *record;
        (mechanism == wanted).then_some(Change { event, started_ns, acked_ns, number })
    };
    let mut changes: Vec<Change> = events.iter().enumerate().filter_map(change).collect();
    changes.sort_by_key(|change| (change.acked_ns, change.number, change.event));
    let mut highest = 0;
    for change in &mut changes {
        highest = highest.max(change.number);
        change.number = highest;
    }
    changes
}

impl Change {
    fn propagation(
        &self,
        mechanism: Mechanism,
        answers: &BTreeMap<u32, Answers>,
        stale_after_ack: u64,
    ) -> Propagation {
        let (with, without) = (answers.range(self.number..), answers.range(..self.number));
        let first_ended_ns = with.clone().map(|(_, answers)| answers.first_ended_ns).min();
        let last_ended_ns = without.clone().map(|(_, answers)| answers.last_ended_ns).max();
        let last_sent_ns = without.clone().map(|(_, answers)| answers.last_sent_ns).max();
        let told = with.chain(without).any(|(_, answers)| answers.last_sent_ns > self.acked_ns);
        let since_start = |at_ns: u64| at_ns.checked_sub(self.started_ns);
        Propagation {
            event: self.event,
            mechanism,
            // Seen before it began means that somebody else had made it.
            first_ns: first_ended_ns.map(|at_ns| at_ns.saturating_sub(self.started_ns)),
            last_ns: last_ended_ns.and_then(since_start),
            stale_after_ack,
            stale_ns: told.then(|| last_sent_ns.unwrap_or(0).saturating_sub(self.acked_ns)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::analyze::{
        analyze,
        fixture::{Log, MS, NEW, upgrade},
    };

    /// `http` events that started and were acknowledged at these times, with the generation acknowledged.
    fn reloads(log: &mut Log, reloads: &[(u64, u64, u32)]) {
        for (number, &(started_ms, acked_ms, generation)) in (1..).zip(reloads) {
            let mut event = upgrade(number, started_ms, acked_ms);
            event.kind = "http".to_owned();
            event.acked_ns = acked_ms * MS;
            event.detail = json!({ "status": 200, "generation": generation });
            log.event(event);
        }
    }

    fn answer(log: &mut Log, sent_ms: u64, ended_ms: u64, config: u32) {
        log.good(sent_ms, ended_ms).last().config = config;
    }

    /// First, last, stale after the acknowledgement, and for how long; in milliseconds.
    type Spread = (Option<u64>, Option<u64>, u64, Option<u64>);

    #[track_caller]
    fn check(log: &Log, expected: &[Spread]) {
        let in_ms = |ns: Option<u64>| ns.map(|ns| ns / MS);
        let measured = analyze(&log.finish()).propagation;
        let found: Vec<_> = measured
            .iter()
            .map(|change| {
                let Propagation { first_ns, last_ns, stale_after_ack, stale_ns, .. } = *change;
                (in_ms(first_ns), in_ms(last_ns), stale_after_ack, in_ms(stale_ns))
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn first_last_and_stale_answers_of_each_change() {
        let mut log = Log::new();
        reloads(&mut log, &[(100, 110, 2), (200, 210, 3)]);
        answer(&mut log, 0, 1, 1);
        answer(&mut log, 104, 105, 2);
        answer(&mut log, 106, 130, 1);
        // Stale for the first change; sent before the acknowledgement of the second.
        answer(&mut log, 125, 126, 1);
        answer(&mut log, 205, 220, 2);
        answer(&mut log, 215, 216, 3);
        check(&log, &[(Some(5), Some(30), 1, Some(15)), (Some(16), Some(20), 0, Some(0))]);
        // Stale for both.
        answer(&mut log, 240, 241, 1);
        check(&log, &[(Some(5), Some(141), 2, Some(130)), (Some(16), Some(41), 1, Some(30))]);
    }

    #[test]
    fn what_was_not_told_is_absent() {
        let mut log = Log::new();
        log.steady(NEW, 0, 300);
        reloads(&mut log, &[(100, 110, 2)]);
        check(&log, &[(None, None, 0, None)]);
        // Nothing was sent after it.
        answer(&mut log, 50, 51, 1);
        check(&log, &[(None, None, 0, None)]);
        log.observations.events[0].outcome = EventOutcome::Failed;
        check(&log, &[]);
    }

    #[test]
    fn an_upgrade_is_a_change_of_the_process() {
        let mut log = Log::new();
        log.event(upgrade(1, 100, 110)).good(105, 106).good(120, 121);
        check(&log, &[(Some(21), Some(6), 0, Some(0))]);
        assert_eq!(analyze(&log.finish()).propagation[0].mechanism.word(), "upgrade");
        log.good(130, 131).last().process = 1;
        check(&log, &[(Some(21), Some(31), 1, Some(20))]);
    }
}
