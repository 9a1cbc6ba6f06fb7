//! The changes of all runs of an arm together. The comment of each field is its description in the JSON Schema.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Change, ReloadSample, Used};
use crate::{
    analyze::latency::nearest_rank,
    bench::Trials,
    compare::{mean, median},
    report::round::{ms, whole},
};

/// What changes of the configuration came to, by one mechanism.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ReloadFigures {
    /// Single changes that were made; a bad one was not seen in any answer, or not served in time.
    pub changes: Trials,
    /// Single changes without load; a bad one was not served in time.
    pub unloaded: Trials,
    /// Changes and storms that could not be made.
    pub unmade: u64,
    /// From a change (the writer's last system call; the answer of etcd or of the server) to the end of the first
    /// answer that shows it, milliseconds.
    pub first_ms: Times,
    /// From a change until it had been seen, and nobody who asked later was answered without it, milliseconds.
    pub effect_ms: Times,
    /// The same from the writer's first step, so that of a push it holds the whole request, milliseconds.
    pub begun_to_effect_ms: Times,
    pub storm: StormFigures,
    pub cpu: ReloadCpu,
    pub latency_ms: ChangeLatencies,
}

/// Quantiles by nearest rank, missed changes counted as endless; `null` where there is none, or an endless one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Times {
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    pub max: Option<f64>,
}

/// Changes as fast as one writer can make them, one after the other.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct StormFigures {
    /// Storms that were made; in a bad one the last change was missed.
    pub storms: Trials,
    /// Changes of all of them.
    pub changes: u64,
    /// Made in a second, mean over the storms; `null` without one.
    pub made_per_s: Option<f64>,
    /// Generations that were published, of all storms; `null` when the history of one did not tell.
    pub published: Option<u64>,
    /// Those of them that some answer of the load named.
    pub shown: Option<u64>,
    /// Changes that were never served, because a later one had overtaken them.
    pub coalesced: Option<u64>,
    /// From the last change of a storm to its effect, milliseconds.
    pub last_effect_ms: Times,
}

/// Processor time of the server's process, milliseconds a second or a change; `null` when it was not read.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct ReloadCpu {
    /// Without load, between changes, a second.
    pub idle_per_s: Option<f64>,
    /// Under load, between changes, a second.
    pub quiet_per_s: Option<f64>,
    /// In the windows that begin with a single change, a second.
    pub reloading_per_s: Option<f64>,
    /// What is more than idle after a single change without load, a change.
    pub per_change: Option<f64>,
    /// In a storm and the rest after it, a second.
    pub storm_per_s: Option<f64>,
    /// What is more in it than under load alone, a change; below zero when the load's own share swings by more.
    pub per_storm_change: Option<f64>,
}

/// Latency from the intended time, 99th percentile: medians over the runs, milliseconds; `null` when nothing was in
/// flight then.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct ChangeLatencies {
    /// In flight around a single change, from its first step to 50 ms after its effect.
    pub near_p99: Option<f64>,
    /// In flight in a storm.
    pub storm_p99: Option<f64>,
    /// In flight at no such time.
    pub quiet_p99: Option<f64>,
    /// Around a change over quiet in the same run: median over the runs.
    pub near_to_quiet: Option<f64>,
}

impl ReloadFigures {
    /// Whether some change, or the last one of some storm, did not arrive.
    #[must_use]
    pub fn misses(&self) -> bool {
        self.changes.bad + self.unloaded.bad + self.storm.storms.bad > 0
    }
}

/// Adds the runs of an arm up; `None` when they are not about changes.
pub(in crate::bench) fn figures(runs: &[&ReloadSample]) -> Option<ReloadFigures> {
    let all = |pick: fn(&ReloadSample) -> &[Change]| -> Vec<&Change> {
        runs.iter().flat_map(|run| pick(run)).collect()
    };
    let planned = [all(|run| &run.singles), all(|run| &run.unloaded), all(|run| &run.storms)];
    let [singles, unloaded, storms] = planned
        .clone()
        .map(|of_it| of_it.into_iter().filter(|change| change.making_ns.is_some()).collect::<Vec<_>>());
    let [planned, made] = [&planned, &[singles.clone(), unloaded.clone(), storms.clone()]]
        .map(|of_it| of_it.iter().map(Vec::len).sum::<usize>());
    if planned == 0 {
        return None;
    }
    let sum =
        |pick: fn(&ReloadSample) -> Used| runs.iter().map(|run| pick(run)).fold(Used::default(), Used::and);
    let (idle, quiet) = (sum(|run| run.idle), sum(|run| run.quiet));
    let (reloading, storming) = (used(&singles), used(&storms));
    let middle = |pick: fn(&ReloadSample) -> Option<u64>| {
        median(runs.iter().filter_map(|run| Some(ms(pick(run)?))).collect())
    };
    let ratios = runs.iter().filter_map(|run| Some(whole(run.p99_near_ns?) / whole(run.p99_quiet_ns?)));
    Some(ReloadFigures {
        changes: trials(&singles),
        unloaded: trials(&unloaded),
        unmade: (planned - made) as u64,
        first_ms: times(&singles, |change| change.effect_ns.and(change.first_ns)),
        effect_ms: times(&singles, |change| change.effect_ns),
        begun_to_effect_ms: times(&singles, |change| Some(change.making_ns? + change.effect_ns?)),
        storm: storm(&storms),
        cpu: ReloadCpu {
            idle_per_s: per_s(idle),
            quiet_per_s: per_s(quiet),
            reloading_per_s: per_s(reloading),
            per_change: above(used(&unloaded), idle, &unloaded),
            storm_per_s: per_s(storming),
            per_storm_change: above(storming, quiet, &storms),
        },
        latency_ms: ChangeLatencies {
            near_p99: middle(|run| run.p99_near_ns),
            storm_p99: middle(|run| run.p99_storm_ns),
            quiet_p99: middle(|run| run.p99_quiet_ns),
            near_to_quiet: median(ratios.collect()),
        },
    })
}

fn storm(storms: &[&Change]) -> StormFigures {
    let changes = planned(storms);
    let speeds: Vec<f64> = storms
        .iter()
        .filter_map(|storm| Some(whole(storm.planned) / (whole(storm.making_ns.filter(|&ns| ns > 0)?) / 1e9)))
        .collect();
    let sum = |pick: fn(&Change) -> Option<u64>| -> Option<u64> {
        if storms.is_empty() { None } else { storms.iter().map(|storm| pick(storm)).sum() }
    };
    let published = sum(|storm| storm.published);
    StormFigures {
        storms: trials(storms),
        changes,
        made_per_s: mean(&speeds),
        published,
        shown: sum(|storm| storm.shown),
        coalesced: published.map(|published| changes.saturating_sub(published)),
        last_effect_ms: times(storms, |storm| storm.effect_ns),
    }
}

fn trials(made: &[&Change]) -> Trials {
    let bad = made.iter().filter(|change| !change.arrived).count() as u64;
    Trials::new(made.len() as u64, bad)
}

fn times(made: &[&Change], pick: impl Fn(&Change) -> Option<u64>) -> Times {
    let mut times: Vec<u64> = made.iter().map(|change| pick(change).unwrap_or(u64::MAX)).collect();
    times.sort_unstable();
    let at = |per_cent| nearest_rank(&times, per_cent).filter(|&ns| ns < u64::MAX).map(ms);
    Times { p50: at(50), p99: at(99), max: at(100) }
}

fn planned(changes: &[&Change]) -> u64 {
    changes.iter().map(|change| change.planned).sum()
}

fn used(changes: &[&Change]) -> Used {
    changes.iter().map(|change| change.used).fold(Used::default(), Used::and)
}

/// Milliseconds of a processor in a second.
fn per_s(used: Used) -> Option<f64> {
    (used.length_ns > 0).then(|| whole(used.cpu_us) / 1e3 / (whole(used.length_ns) / 1e9))
}

/// What a change costs beside what is used without one, milliseconds.
fn above(used: Used, without: Used, changes: &[&Change]) -> Option<f64> {
    let more_per_s = per_s(used)? - per_s(without)?;
    let read = changes.iter().filter(|change| change.used.length_ns > 0).map(|change| change.planned).sum();
    Some(more_per_s * (whole(used.length_ns) / 1e9) / whole(read))
}
