//! Changes of runs written by hand.

use std::convert::Infallible;

use serde_json::json;

use super::{ReloadFigures, ReloadSample, Used, figures, pauses};
use crate::{
    analyze::{
        analyze,
        fixture::{Log, MS, NEW, upgrade},
    },
    bench::Trials,
    observe::{Cause, EventOutcome},
    plan::{Action, By, Datum, EventPlan, How, ReloadAction, Stage, Storm},
};

/// A run of a storm at 1 s, single changes every 200 ms from 2 s on, and pauses of the load as its stages say.
pub(in crate::bench) struct Run {
    pub(in crate::bench) log: Log,
    by: By,
}

impl Run {
    fn new(by: By) -> Self {
        Self { log: Log::new(), by }
    }

    /// A change (or so many in a row) that was begun at this time, took 2 ms to make and 20 until the event was over,
    /// and published up to a generation; none means that it was not served.
    pub(in crate::bench) fn change(
        &mut self,
        at_ms: u64,
        generation: Option<u64>,
        storm: Option<(u32, u64)>,
    ) -> &mut Self {
        let action = ReloadAction {
            datum: Datum::Cluster,
            by: self.by,
            kept: None,
            how: How::default(),
            bad: None,
            storm: storm.map(|(changes, _)| Storm { changes, within_ms: 1 }),
            delta: false,
            single_key: false,
            timeout_ms: 1_000,
            rest_ms: 10,
        };
        let events = &mut self.log.observations.background;
        let number = events.events.len() as u64 + 1;
        let mut record = upgrade(number, at_ms, at_ms + 20);
        record.kind = "reload".to_owned();
        record.detail = json!({
            "by": self.by.word(),
            "made_from_ns": at_ms * MS,
            "made_ns": (at_ms + 2) * MS,
            "cpu": {
                "before": { "from_ns": (at_ms - 100) * MS, "to_ns": at_ms * MS, "used_us": 1_000 },
                "after": { "from_ns": at_ms * MS, "to_ns": (at_ms + 10) * MS, "used_us": 500 },
            },
        });
        match generation {
            Some(generation) => record.detail["generation"] = generation.into(),
            None => record.outcome = EventOutcome::Failed,
        }
        if let Some((changes, published)) = storm {
            record.detail["storm"] = json!({ "changes": changes, "published": published });
        }
        let (id, at_ns) = (record.id.clone(), at_ms * MS);
        events.plan.events.push(EventPlan { id, at_ns, action: Action::Reload(action) });
        events.events.push(record);
        self
    }

    /// An answer that took a millisecond and named a generation.
    fn answer(&mut self, sent_ms: u64, config: u32) -> &mut Self {
        self.log.push(NEW, sent_ms, sent_ms + 1, Cause::None).last().config = config;
        self
    }

    pub(in crate::bench) fn pause(&mut self, stages: &[(u64, f64)]) -> &mut Self {
        let stage = |&(ms, rate)| Stage { duration_ns: ms * MS, from: rate, to: rate };
        self.log.observations.background.plan.load.stages = stages.iter().map(stage).collect();
        self
    }

    pub(in crate::bench) fn sample(&self) -> ReloadSample {
        let observations = self.log.finish();
        let attempts = observations.attempts.iter().copied().map(Ok);
        let Ok(sample) =
            ReloadSample::new::<Infallible>(&observations.background, attempts, &analyze(&observations));
        sample
    }

    fn figures(&self) -> ReloadFigures {
        figures(&[&self.sample(), &self.sample()]).unwrap()
    }
}

/// A storm of ten that published two, a change in effect after 2 ms and one after 7 ms, each seen a millisecond later.
pub(in crate::bench) fn good() -> Run {
    let mut run = Run::new(By::File);
    run.change(1_000, Some(3), Some((10, 2))).change(2_000, Some(4), None).change(2_200, Some(5), None);
    run.answer(900, 1).answer(1_004, 3).answer(2_004, 4).answer(2_209, 5);
    run
}

#[test]
fn changes_are_counted_and_timed() {
    let found = good().figures();
    assert_eq!((found.changes.trials, found.changes.bad, found.unmade, found.misses()), (4, 0, 0, false));
    assert_eq!((found.effect_ms.p50, found.effect_ms.p99), (Some(2.0), Some(7.0)));
    assert_eq!((found.first_ms.max, found.begun_to_effect_ms.max), (Some(8.0), Some(9.0)));
    let storm = &found.storm;
    assert_eq!((storm.storms.trials, storm.storms.bad, storm.changes), (2, 0, 20));
    assert_eq!((storm.published, storm.shown, storm.coalesced), (Some(4), Some(2), Some(16)));
    // Ten changes in 2 ms.
    assert_eq!((storm.made_per_s, storm.last_effect_ms.max), (Some(5_000.0), Some(2.0)));
    assert_eq!(
        figures(&[&Run::new(By::File).sample()]),
        None,
        "a run without changes is about something else"
    );
}

#[test]
fn what_never_arrived_is_missed_and_endless() {
    let check = |run: &Run, changes: (u64, u64), storms: (u64, u64), unmade| {
        let found = run.figures();
        let counted = |Trials { trials, bad, .. }| (trials, bad);
        assert_eq!((counted(found.changes), counted(found.storm.storms)), (changes, storms));
        assert_eq!((found.unmade, found.misses()), (unmade, changes.1 + storms.1 > 0));
        found
    };
    // Nobody saw the third.
    let mut unseen = good();
    unseen.change(2_400, Some(6), None);
    let found = check(&unseen, (6, 2), (2, 0), 0);
    assert_eq!((found.effect_ms.p50, found.effect_ms.p99, found.first_ms.max), (Some(7.0), None, None));
    // It was not served in time, whatever the answers say.
    let mut failed = good();
    failed.change(2_400, None, None).answer(2_500, 6);
    check(&failed, (6, 2), (2, 0), 0);
    // The last change of a storm.
    let mut storm = good();
    storm.change(3_000, None, Some((10, 5)));
    storm.log.observations.background.events[3].detail["storm"] = serde_json::Value::Null;
    let found = check(&storm, (4, 0), (4, 2), 0);
    assert_eq!((found.storm.published, found.storm.coalesced), (None, None), "it is not known of all");
    // The writer could not write: nothing was measured, and nothing missed.
    let mut unmade = good();
    unmade.change(2_400, None, None);
    unmade.log.observations.background.events[3].detail = json!({ "error": { "detail": "no" } });
    check(&unmade, (4, 0), (2, 0), 2);
    unmade.log.observations.background.events.pop();
    check(&unmade, (4, 0), (2, 0), 2);
}

#[test]
fn processor_time_is_told_by_what_went_on() {
    let mut run = good();
    // The load is over after 2,500 ms: one before crosses that edge, two come in the pause, of which one was not served.
    run.pause(&[(2_500, 1.0), (7_500, 0.0)]);
    run.change(2_550, Some(6), None).change(3_000, Some(7), None).change(3_200, None, None);
    let sample = run.sample();
    assert_eq!((sample.singles.len(), sample.unloaded.len(), sample.storms.len()), (2, 3, 1));
    let used = |length_ms, cpu_us| Used { length_ns: length_ms * MS, cpu_us };
    assert_eq!((sample.quiet, sample.idle), (used(300, 3_000), used(200, 2_000)));
    let found = run.figures();
    assert_eq!((found.unloaded.trials, found.unloaded.bad, found.misses()), (6, 2, true));
    let cpu = found.cpu;
    assert_eq!((cpu.idle_per_s, cpu.quiet_per_s), (Some(10.0), Some(10.0)));
    assert_eq!((cpu.reloading_per_s, cpu.storm_per_s), (Some(50.0), Some(50.0)));
    // 0.5 ms in 10 ms, of which 0.1 ms would have been used without a change.
    assert!((cpu.per_change.unwrap() - 0.4).abs() < 1e-9, "{cpu:?}");
    assert!((cpu.per_storm_change.unwrap() - 0.04).abs() < 1e-9, "{cpu:?}");

    for event in &mut run.log.observations.background.events {
        event.detail["cpu"] = serde_json::Value::Null;
    }
    let cpu = run.figures().cpu;
    assert_eq!((cpu.idle_per_s, cpu.per_change, cpu.storm_per_s), (None, None, None), "absent, not zero");
}

#[test]
fn a_request_is_near_the_change_that_it_was_in_flight_with() {
    let mut run = good();
    let mut slow = |sent_ms, took_ms| {
        run.log.push(NEW, sent_ms, sent_ms + took_ms, Cause::None);
    };
    slow(1_030, 40);
    slow(2_050, 30);
    // The window of the last one ends 50 ms after its effect at 2,210 ms.
    slow(2_261, 20);
    let sample = run.sample();
    let found = [sample.p99_storm_ns, sample.p99_near_ns, sample.p99_quiet_ns].map(|ns| ns.unwrap() / MS);
    assert_eq!(found, [40, 30, 20]);

    // What a timer found is felt from 50 ms before it was read: 2 ms for 108 ms of waiting.
    let check = |by, sent_ms, near_ms| {
        let mut run = Run::new(by);
        run.change(2_000, Some(2), None).answer(2_109, 2);
        run.log.observations.background.events[0].detail["history"] = json!({ "took_ms": 2.0 });
        run.log.push(NEW, sent_ms, sent_ms + 10, Cause::None);
        assert_eq!(run.sample().p99_near_ns.map(|ns| ns / MS), Some(near_ms), "{by:?} {sent_ms}");
    };
    check(By::Timer, 2_040, 1);
    check(By::Timer, 2_050, 10);
    check(By::File, 2_040, 10);
}

#[test]
fn a_pause_is_a_stage_without_a_rate() {
    let stage = |ms: u64, from, to| Stage { duration_ns: ms * MS, from, to };
    for (stages, expected) in [
        (vec![], vec![]),
        (vec![stage(10, 1.0, 1.0)], vec![]),
        (vec![stage(10, 0.0, 0.0), stage(5, 0.0, 1.0)], vec![(0, 10)]),
        (vec![stage(10, 1.0, 0.0), stage(5, 0.0, 0.0), stage(6, 0.0, 0.0)], vec![(10, 21)]),
    ] {
        let found: Vec<_> =
            pauses(&stages).into_iter().map(|pause| (pause.from_ns / MS, pause.to_ns / MS)).collect();
        assert_eq!(found, expected, "{stages:?}");
    }
}
