//! What the changes of a run came to, for a bench of the mechanisms that bring them: time to effect, what a storm
//! left, processor time, and what requests in flight felt of it.
//!
//! Invariants: a change that was not seen counts as endless, never as fast; what was not read is `None`; the
//! server's processor time is taken only where nobody asked it anything but the load; quiet times and changes take
//! turns, so that a drift falls on both. Deliberately absent: several runs together (`figures`).

mod figures;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    analyze::{
        Analysis,
        intervals::{self, Interval},
        latency::nearest_rank,
        propagation::{Mechanism, Propagation},
        select,
    },
    observe::{Attempt, Background, EventOutcome, EventRecord},
    plan::{Action, ReloadAction, Stage, Storm},
};

pub(super) use self::figures::figures;
pub use self::figures::{ChangeLatencies, ReloadCpu, ReloadFigures, StormFigures, Times};

const NS_PER_MS: u64 = 1_000_000;
/// So long after its effect a change may still be felt: memory is given back, caches are cold. So long before the
/// server began to read it the window of one that a timer found begins.
const FELT_NS: u64 = 50 * NS_PER_MS;

/// What a run tells of its changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReloadSample {
    /// In the plan's order, one by one, under load.
    pub(super) singles: Vec<Change>,
    /// The same in a pause of the load, where their processor time is nobody else's; no answer shows them.
    pub(super) unloaded: Vec<Change>,
    /// Many in a row.
    pub(super) storms: Vec<Change>,
    /// Between changes in a pause of the load.
    pub(super) idle: Used,
    /// Between changes under load.
    pub(super) quiet: Used,
    /// Latency from the intended time, 99th percentile, nanoseconds, by when the attempts were in flight: around
    /// a single change.
    pub(super) p99_near_ns: Option<u64>,
    /// During a storm.
    pub(super) p99_storm_ns: Option<u64>,
    /// Away from all of them.
    pub(super) p99_quiet_ns: Option<u64>,
}

/// A change, or many in a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// In this row.
    pub(super) planned: u64,
    /// From the first step of the writer to the last change made; `None` when it could not be made.
    pub(super) making_ns: Option<u64>,
    /// From the (last) change to the first answer that showed it.
    pub(super) first_ns: Option<u64>,
    /// Until nobody who asked later was answered without it; `None` when it did not arrive.
    pub(super) effect_ns: Option<u64>,
    /// It was served in time, as the server says, and under load as an answer shows.
    pub(super) arrived: bool,
    /// Generations that were published, of a storm.
    pub(super) published: Option<u64>,
    /// Those of them that some answer named.
    pub(super) shown: Option<u64>,
    pub(super) used: Used,
}

/// Processor time of the server in stretches of time; nothing when it was not read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) length_ns: u64,
    pub(super) cpu_us: u64,
}

impl Used {
    pub(super) fn and(self, other: Self) -> Self {
        Self { length_ns: self.length_ns + other.length_ns, cpu_us: self.cpu_us + other.cpu_us }
    }
}

impl ReloadSample {
    /// Takes from a run what a bench needs; its attempts come one by one, as a log's reader gives them.
    ///
    /// # Errors
    /// The first of the log's.
    pub fn new<E>(
        background: &Background,
        attempts: impl IntoIterator<Item = Result<Attempt, E>>,
        analysis: &Analysis,
    ) -> Result<Self, E> {
        let (mut sample, mut seen) = (Self::default(), Seen::default());
        let pauses = pauses(&background.plan.load.stages);
        for planned in &background.plan.events {
            let Action::Reload(action) = &planned.action else { continue };
            let event = background.events.iter().position(|event| event.id == planned.id);
            let record = event.map(|index| &background.events[index]);
            let spread = event.and_then(|index| {
                let of_it = |spread: &&Propagation| {
                    spread.event == index && spread.mechanism == Mechanism::from(action.by)
                };
                analysis.propagation.iter().find(of_it)
            });
            let mut change = change(action, record, spread);
            if let Some((when, before)) = record.and_then(|record| used(record, "before")) {
                // Between two changes: neither across an edge of a pause nor in the warm-up.
                let edges = [when.from_ns, when.to_ns].map(|at_ns| intervals::position(&pauses, at_ns));
                match edges {
                    [Some(one), Some(other)] if one == other => sample.idle = sample.idle.and(before),
                    [None, None] if when.from_ns >= background.plan.load.warmup_ns => {
                        sample.quiet = sample.quiet.and(before);
                    }
                    _ => {}
                }
            }
            if intervals::position(&pauses, planned.at_ns).is_some() {
                change.arrived = record.is_some_and(|record| record.outcome == EventOutcome::Ok);
                sample.unloaded.push(change);
                continue;
            }
            let window = record.zip(spread).and_then(|(record, spread)| window(record, spread));
            let (changes, windows) = match action.storm {
                None => (&mut sample.singles, &mut seen.near),
                Some(_) => {
                    seen.storms.push(record.and_then(published).unwrap_or_default());
                    (&mut sample.storms, &mut seen.storm)
                }
            };
            windows.windows.extend(window);
            changes.push(change);
        }
        seen.near.windows = intervals::union(std::mem::take(&mut seen.near.windows));
        seen.storm.windows = intervals::union(std::mem::take(&mut seen.storm.windows));
        for attempt in attempts {
            seen.add(&attempt?, background.plan.load.warmup_ns);
        }
        for (storm, generations) in sample.storms.iter_mut().zip(&seen.storms) {
            storm.shown = storm.published.map(|_| generations.shown.len() as u64);
        }
        sample.p99_near_ns = p99(seen.near.times_ns);
        sample.p99_storm_ns = p99(seen.storm.times_ns);
        sample.p99_quiet_ns = p99(seen.quiet_ns);
        Ok(sample)
    }
}

fn change(action: &ReloadAction, record: Option<&EventRecord>, spread: Option<&Propagation>) -> Change {
    let detail = |place: &str| record?.detail.pointer(place).and_then(Value::as_u64);
    let made_ns = detail("/made_ns");
    Change {
        planned: action.storm.map_or(1, |Storm { changes, .. }| changes.into()),
        making_ns: made_ns.zip(detail("/made_from_ns")).map(|(made, from)| made.saturating_sub(from)),
        first_ns: spread.and_then(|spread| spread.first_ns),
        effect_ns: spread.and_then(|spread| spread.effect_ns),
        arrived: spread.is_some_and(|spread| spread.effect_ns.is_some()),
        published: detail("/storm/published"),
        shown: None,
        used: record.and_then(|record| used(record, "after")).map(|(_, used)| used).unwrap_or_default(),
    }
}

/// What the server used before or after a change, when nobody asked it anything but the load, and when that was.
fn used(record: &EventRecord, which: &str) -> Option<(Interval, Used)> {
    let part = record.detail.pointer("/cpu")?.get(which)?;
    let number = |key: &str| part.get(key).and_then(Value::as_u64);
    let when = Interval { from_ns: number("from_ns")?, to_ns: number("to_ns")? };
    Some((when, Used { length_ns: when.length_ns(), cpu_us: number("used_us")? }))
}

/// When requests may have felt a change: from its first step until somewhat after its effect; of one that waited
/// for a timer not long before the server began to read it.
fn window(record: &EventRecord, spread: &Propagation) -> Option<Interval> {
    let effect_at_ns = spread.made_ns + spread.effect_ns?;
    let made_from_ns = record.detail.get("made_from_ns")?.as_u64()?;
    let from_ns = match record.detail.pointer("/history/took_ms").and_then(Value::as_f64) {
        Some(took_ms) if spread.mechanism == Mechanism::Timer => {
            let took = std::time::Duration::try_from_secs_f64(took_ms / 1e3).unwrap_or_default();
            let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            effect_at_ns.saturating_sub(took_ns).saturating_sub(FELT_NS).max(made_from_ns)
        }
        _ => made_from_ns,
    };
    Some(Interval { from_ns, to_ns: effect_at_ns + FELT_NS })
}

/// The generations that a storm published: after the first number, up to the second.
fn published(record: &EventRecord) -> Option<Generations> {
    let after = record.detail.get("generation")?.as_u64()?;
    let before = after.checked_sub(record.detail.pointer("/storm/published")?.as_u64()?)?;
    Some(Generations { before, after, shown: BTreeSet::new() })
}

/// What is gathered from the attempts.
#[derive(Default)]
struct Seen {
    near: Felt,
    storm: Felt,
    /// In none of the windows.
    quiet_ns: Vec<u64>,
    storms: Vec<Generations>,
}

#[derive(Default)]
struct Generations {
    before: u64,
    after: u64,
    shown: BTreeSet<u32>,
}

/// Latencies of attempts in flight in some windows.
#[derive(Default)]
struct Felt {
    windows: Vec<Interval>,
    times_ns: Vec<u64>,
}

impl Felt {
    /// Whether that was in one of the windows.
    fn add(&mut self, took: Interval) -> bool {
        let after = self.windows.partition_point(|window| window.from_ns <= took.to_ns);
        let last = after.checked_sub(1).map(|index| self.windows[index]);
        let is_felt = last.is_some_and(|window| took.from_ns <= window.to_ns);
        if is_felt {
            self.times_ns.push(took.length_ns());
        }
        is_felt
    }
}

impl Seen {
    fn add(&mut self, attempt: &Attempt, warmup_ns: u64) {
        let config = u64::from(attempt.config);
        for storm in self.storms.iter_mut().filter(|storm| storm.before < config && config <= storm.after) {
            storm.shown.insert(attempt.config);
        }
        if select::counts(attempt, warmup_ns) {
            let to_ns = attempt.ended_ns.max(attempt.intended_ns);
            let took = Interval { from_ns: attempt.intended_ns, to_ns };
            let (near, storm) = (self.near.add(took), self.storm.add(took));
            if !near && !storm {
                self.quiet_ns.push(took.length_ns());
            }
        }
    }
}

fn p99(mut times_ns: Vec<u64>) -> Option<u64> {
    times_ns.sort_unstable();
    nearest_rank(&times_ns, 99)
}

/// When the load pauses.
fn pauses(stages: &[Stage]) -> Vec<Interval> {
    let mut from_ns = 0;
    let of_each = stages.iter().filter_map(|stage| {
        let when = Interval { from_ns, to_ns: from_ns + stage.duration_ns };
        from_ns = when.to_ns;
        (stage.from + stage.to <= 0.0).then_some(when)
    });
    intervals::union(of_each.collect())
}

#[cfg(test)]
pub(super) mod tests;
