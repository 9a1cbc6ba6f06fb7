//! How a change spreads: from the event that made it to the answers that show it.
//!
//! A change is known by a number: the generation of a configuration, which the one who was told acknowledged or
//! the server's history names, or the process generation of an upgrade. An answer shows it when it names that
//! number or a higher one. Who acknowledges twice the same, or less than before, is held to the highest.
//! Nothing but sending and ending times is compared, all of one clock.
//!
//! A change has had its effect for whoever asks from then on. How long an answer takes is no part of it, that is what
//! latencies are for: an answer on its way when the change was made shows the change late, however soon it was made.

use std::collections::BTreeMap;

use serde_json::Value;

use super::latency::nearest_rank;
use crate::{
    observe::{Attempt, EventOutcome, EventRecord},
    plan::By,
};

/// How one change spread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Propagation {
    /// Index in the observations' events.
    pub event: usize,
    pub mechanism: Mechanism,
    /// When the change was made: the writer's last system call, the answer of etcd or of whoever was told. Of a
    /// request and of an upgrade, which are asked for and not made by us, the event's start.
    pub made_ns: u64,
    /// From then to the end of the first answer that shows the change.
    pub first_ns: Option<u64>,
    /// From then to the end of the last answer that does not; `None` when there was none.
    pub last_ns: Option<u64>,
    /// From then until somebody had asked who was answered with the change, or an answer with it had come, and nobody
    /// who asked later was answered without it; `None` when it was never seen.
    pub effect_ns: Option<u64>,
    /// Answers without the change to attempts that were sent after it had been acknowledged.
    pub stale_after_ack: u64,
    /// From the acknowledgement to the sending of the last of them, 0 when there was none; `None` when no
    /// answer to a later attempt told anything.
    pub stale_ns: Option<u64>,
    /// The same of each process that answered without the change after it was made, and of the one that showed it
    /// first.
    pub processes: Vec<OfProcess>,
}

/// How one change came to one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfProcess {
    /// Process generation; 0 of a server that does not tell it.
    pub process: u32,
    /// As in [`Propagation`].
    pub first_ns: Option<u64>,
    pub last_ns: Option<u64>,
}

/// How the change got there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mechanism {
    /// Somebody told the server.
    Push,
    /// The file system told of it.
    File,
    /// etcd told of it.
    Etcd,
    /// A timer found it.
    Timer,
    /// Another program serves.
    Upgrade,
}

impl Mechanism {
    const ALL: [Self; 5] = [Self::Push, Self::File, Self::Etcd, Self::Timer, Self::Upgrade];

    /// The word for reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::File => "file",
            Self::Etcd => "etcd",
            Self::Timer => "timer",
            Self::Upgrade => "upgrade",
        }
    }

    /// The number that an answer names; 0 when it names none.
    fn number(self, attempt: &Attempt) -> u32 {
        match self {
            Self::Push | Self::File | Self::Etcd | Self::Timer => attempt.config,
            Self::Upgrade => attempt.process,
        }
    }
}

impl From<By> for Mechanism {
    fn from(by: By) -> Self {
        match by {
            By::Push => Self::Push,
            By::File => Self::File,
            By::Etcd => Self::Etcd,
            By::Timer => Self::Timer,
        }
    }
}

/// What some of a run's answers tell of every change that was acknowledged. The warm-up counts: what is stale
/// then is stale.
#[derive(Debug, Clone)]
pub struct Spreading(Vec<OfMechanism>);

impl Spreading {
    #[must_use]
    pub fn new(events: &[EventRecord]) -> Self {
        let of_each = Mechanism::ALL.map(|mechanism| OfMechanism::new(events, mechanism));
        Self(of_each.into_iter().filter(|part| !part.changes.is_empty()).collect())
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

/// A number that an event came to, how the change came, and when it was made.
fn acknowledged(event: &EventRecord) -> Option<(Mechanism, u32, u64)> {
    let detail = |place: &str| event.detail.pointer(place).and_then(Value::as_u64);
    let started = Some(event.started_ns);
    let (mechanism, place, made_ns) = match event.kind.as_str() {
        "http" => (Mechanism::Push, "/generation", started),
        "upgrade" => (Mechanism::Upgrade, "/new/process", started),
        "reload" => {
            let by = serde_json::from_value::<By>(event.detail.get("by")?.clone()).ok()?;
            (by.into(), "/generation", detail("/made_ns"))
        }
        _ => return None,
    };
    let is_ok = event.outcome == EventOutcome::Ok && event.acked_ns > 0;
    let number = detail(place).filter(|_| is_ok)?;
    Some((mechanism, u32::try_from(number).ok()?, made_ns?))
}

#[derive(Debug, Clone)]
struct Change {
    event: usize,
    made_ns: u64,
    /// When it and all before it had been made.
    all_made_ns: u64,
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

impl Answers {
    fn with(self, other: Self) -> Self {
        Self {
            first_ended_ns: self.first_ended_ns.min(other.first_ended_ns),
            last_ended_ns: self.last_ended_ns.max(other.last_ended_ns),
            last_sent_ns: self.last_sent_ns.max(other.last_sent_ns),
        }
    }
}

/// What is known of the changes of one mechanism.
#[derive(Debug, Clone)]
struct OfMechanism {
    mechanism: Mechanism,
    changes: Vec<Change>,
    /// By process and the number that they named.
    answers: BTreeMap<(u32, u32), Answers>,
    /// Stale answers of changes `from..to`, as a difference at both ends.
    differences: Vec<i64>,
    /// When somebody first asked, after a change had been made, who was answered with it but with no later one that had
    /// been made by then too.
    first_sent_ns: Vec<Option<u64>>,
}

impl OfMechanism {
    fn new(events: &[EventRecord], mechanism: Mechanism) -> Self {
        let changes = changes(events, mechanism);
        let differences = vec![0; changes.len() + 1];
        let first_sent_ns = vec![None; changes.len()];
        Self { mechanism, changes, answers: BTreeMap::new(), differences, first_sent_ns }
    }

    fn add(&mut self, attempt: &Attempt) {
        let number = self.mechanism.number(attempt);
        if number == 0 {
            return;
        }
        let Attempt { sent_ns, ended_ns, process, .. } = *attempt;
        self.see(
            (process, number),
            Answers { first_ended_ns: ended_ns, last_ended_ns: ended_ns, last_sent_ns: sent_ns },
        );
        let shown = self.changes.partition_point(|change| change.number <= number);
        let acked = self.changes.partition_point(|change| change.acked_ns < sent_ns);
        if shown < acked {
            self.differences[shown] += 1;
            self.differences[acked] -= 1;
        }
        let made = self.changes.partition_point(|change| change.all_made_ns <= sent_ns);
        if let Some(last) = shown.min(made).checked_sub(1) {
            self.first_sent_ns[last] = earlier(self.first_sent_ns[last], Some(sent_ns));
        }
    }

    fn see(&mut self, number: (u32, u32), seen: Answers) {
        self.answers.entry(number).and_modify(|known| *known = known.with(seen)).or_insert(seen);
    }

    fn merge(&mut self, other: &Self) {
        for (&number, &seen) in &other.answers {
            self.see(number, seen);
        }
        for (own, other) in self.differences.iter_mut().zip(&other.differences) {
            *own += other;
        }
        for (own, &other) in self.first_sent_ns.iter_mut().zip(&other.first_sent_ns) {
            *own = earlier(*own, other);
        }
    }

    /// Each change with the time of its acknowledgement.
    fn finish(&self) -> Vec<(u64, Propagation)> {
        let mut of_all: BTreeMap<u32, Answers> = BTreeMap::new();
        let mut of_each: BTreeMap<u32, BTreeMap<u32, Answers>> = BTreeMap::new();
        for (&(process, number), &seen) in &self.answers {
            of_all.entry(number).and_modify(|known| *known = known.with(seen)).or_insert(seen);
            of_each.entry(process).or_default().insert(number, seen);
        }
        // Who was answered with a change was answered with all before it.
        let mut first_sent_ns = self.first_sent_ns.clone();
        for index in (1..first_sent_ns.len()).rev() {
            first_sent_ns[index - 1] = earlier(first_sent_ns[index - 1], first_sent_ns[index]);
        }
        let mut stale = 0_i64;
        let counted = self.changes.iter().zip(&self.differences).zip(first_sent_ns);
        let counted = counted.map(|((change, difference), first_sent_ns)| {
            stale += difference;
            let counted = Counted { stale_after_ack: stale.unsigned_abs(), first_sent_ns };
            (change.acked_ns, change.propagation(self.mechanism, &of_all, &of_each, &counted))
        });
        counted.collect()
    }
}

/// The changes in the order of their acknowledgements, which is the order of their numbers too.
fn changes(events: &[EventRecord], wanted: Mechanism) -> Vec<Change> {
    let change = |(event, record): (usize, &EventRecord)| {
        let (mechanism, number, made_ns) = acknowledged(record)?;
        let acked_ns = record.acked_ns;
        (mechanism == wanted).then_some(Change { event, made_ns, all_made_ns: made_ns, acked_ns, number })
    };
    let mut changes: Vec<Change> = events.iter().enumerate().filter_map(change).collect();
    changes.sort_by_key(|change| (change.acked_ns, change.number, change.event));
    let (mut highest, mut all_made_ns) = (0, 0);
    for change in &mut changes {
        highest = highest.max(change.number);
        all_made_ns = all_made_ns.max(change.made_ns);
        (change.number, change.all_made_ns) = (highest, all_made_ns);
    }
    changes
}

fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

/// What was counted for a change, attempt by attempt.
struct Counted {
    stale_after_ack: u64,
    /// When somebody first asked, after it had been made, who was answered with it.
    first_sent_ns: Option<u64>,
}

impl Change {
    fn propagation(
        &self,
        mechanism: Mechanism,
        of_all: &BTreeMap<u32, Answers>,
        of_each: &BTreeMap<u32, BTreeMap<u32, Answers>>,
        counted: &Counted,
    ) -> Propagation {
        let (with, without) = self.parts(of_all);
        let told = [with, without].into_iter().flatten().any(|part| part.last_sent_ns > self.acked_ns);
        let last_sent_ns = without.map_or(0, |without| without.last_sent_ns);
        let first_ended_ns = with.map(|with| with.first_ended_ns);
        let of_process = |(&process, answers): (&u32, &BTreeMap<u32, Answers>)| {
            let (with, without) = self.parts(answers);
            let (first_ns, last_ns) = self.first_and_last(with, without);
            let is_first = with.is_some() && with.map(|with| with.first_ended_ns) == first_ended_ns;
            (last_ns.is_some() || is_first).then_some(OfProcess { process, first_ns, last_ns })
        };
        let (first_ns, last_ns) = self.first_and_last(with, without);
        Propagation {
            event: self.event,
            mechanism,
            made_ns: self.made_ns,
            first_ns,
            last_ns,
            effect_ns: earlier(first_ended_ns, counted.first_sent_ns)
                .map(|at_ns| at_ns.max(last_sent_ns).saturating_sub(self.made_ns)),
            stale_after_ack: counted.stale_after_ack,
            stale_ns: told.then(|| last_sent_ns.saturating_sub(self.acked_ns)),
            processes: of_each.iter().filter_map(of_process).collect(),
        }
    }

    /// All answers with the change, and all without it.
    fn parts(&self, answers: &BTreeMap<u32, Answers>) -> (Option<Answers>, Option<Answers>) {
        let with = answers.range(self.number..).map(|(_, answers)| *answers).reduce(Answers::with);
        let without = answers.range(..self.number).map(|(_, answers)| *answers).reduce(Answers::with);
        (with, without)
    }

    fn first_and_last(&self, with: Option<Answers>, without: Option<Answers>) -> (Option<u64>, Option<u64>) {
        // Seen before it began means that somebody else had made it.
        let first_ns = with.map(|with| with.first_ended_ns.saturating_sub(self.made_ns));
        (first_ns, without.and_then(|without| without.last_ended_ns.checked_sub(self.made_ns)))
    }
}

/// The time within which 99 % of the changes by a mechanism had their effect; those that were never seen count as
/// endless. `None` without a change.
#[must_use]
pub fn effect_p99(changes: &[Propagation], mechanism: Mechanism) -> Option<Option<u64>> {
    let of_it = changes.iter().filter(|change| change.mechanism == mechanism);
    let mut effects: Vec<u64> = of_it.map(|change| change.effect_ns.unwrap_or(u64::MAX)).collect();
    effects.sort_unstable();
    let effect_ns = nearest_rank(&effects, 99)?;
    Some((effect_ns < u64::MAX).then_some(effect_ns))
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

    /// `reload` events by a mechanism that were made and seen at these times.
    fn changes_by(log: &mut Log, by: &str, changes: &[(u64, u64, u32)]) {
        for (number, &(made_ms, acked_ms, generation)) in (1..).zip(changes) {
            let mut event = upgrade(number, made_ms.saturating_sub(40), acked_ms);
            event.kind = "reload".to_owned();
            event.acked_ns = acked_ms * MS;
            event.detail = json!({ "by": by, "made_ns": made_ms * MS, "generation": generation });
            log.event(event);
        }
    }

    #[test]
    fn a_change_takes_effect_when_it_is_seen_and_nobody_later_goes_without() {
        let mut log = Log::new();
        changes_by(&mut log, "file", &[(100, 130, 2), (200, 230, 3), (300, 330, 4)]);
        // Asked for before the change and answered after it: no fault of the mechanism.
        answer(&mut log, 99, 150, 1);
        answer(&mut log, 110, 112, 2);
        // Seen after 5 ms, and still somebody went without 8 ms after it.
        answer(&mut log, 203, 205, 3);
        answer(&mut log, 208, 214, 2);
        let measured = analyze(&log.finish()).propagation;
        let effects: Vec<_> = measured.iter().map(|change| change.effect_ns.map(|ns| ns / MS)).collect();
        assert_eq!(effects, [Some(10), Some(8), None]);
        assert!(measured.iter().all(|change| change.mechanism == Mechanism::File));
        let firsts: Vec<_> = measured.iter().map(|change| change.first_ns.map(|ns| ns / MS)).collect();
        assert_eq!(firsts, [Some(12), Some(5), None]);
        assert_eq!(effect_p99(&measured, Mechanism::File), Some(None), "one was never seen");
        assert_eq!(effect_p99(&measured[..2], Mechanism::File), Some(Some(10 * MS)));
        assert_eq!(effect_p99(&measured, Mechanism::Etcd), None);
    }

    #[test]
    fn how_long_an_answer_takes_does_not_delay_a_change() {
        #[track_caller]
        fn check(answers: &[(u64, u64, u32)], expected: [Option<u64>; 2]) {
            let mut log = Log::new();
            changes_by(&mut log, "push", &[(100, 100, 2), (120, 120, 3)]);
            for &(sent_ms, ended_ms, config) in answers {
                answer(&mut log, sent_ms, ended_ms, config);
            }
            let measured = analyze(&log.finish()).propagation;
            let effects = [0, 1].map(|index: usize| measured[index].effect_ns.map(|ns| ns / MS));
            assert_eq!(effects, expected, "{answers:?}");
        }
        // Sent after the change, or answered before anybody else asked: whichever was sooner.
        check(&[(101, 109, 2)], [Some(1), None]);
        check(&[(99, 103, 2), (108, 109, 2)], [Some(3), None]);
        // Sent before it was made: says nothing of those who ask right after it, until it is answered.
        check(&[(50, 119, 2)], [Some(19), None]);
        check(&[(99, 119, 2), (110, 115, 2)], [Some(10), None]);
        // An answer with the later change shows the earlier one too.
        check(&[(105, 125, 3)], [Some(5), Some(5)]);
        check(&[(95, 118, 1), (121, 140, 3), (104, 141, 2)], [Some(4), Some(1)]);
        // Somebody who asked later went without.
        check(&[(101, 102, 2), (107, 119, 1), (130, 131, 3)], [Some(7), Some(10)]);
    }

    #[test]
    fn each_process_has_its_own_first_and_last() {
        let mut log = Log::new();
        changes_by(&mut log, "etcd", &[(100, 130, 2)]);
        answer(&mut log, 101, 102, 1);
        answer(&mut log, 103, 104, 2);
        for (sent_ms, config) in [(110, 1), (120, 2)] {
            answer(&mut log, sent_ms, sent_ms + 1, config);
            log.last().process = 2;
        }
        answer(&mut log, 150, 151, 2);
        log.last().process = 3;
        let measured = analyze(&log.finish()).propagation;
        let of = |process, first_ms, last_ms| OfProcess {
            process,
            first_ns: Some(first_ms * MS),
            last_ns: Some(last_ms * MS),
        };
        // The third had nothing but the change.
        assert_eq!(measured[0].processes, [of(1, 4, 2), of(2, 21, 11)]);
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
