//! One run of the real pipe: plan -> load -> logs on disk -> analysis -> verdict -> report, with the truth
//! of the scripted target beside it.
//!
//! Nothing of the instrument is replaced: what a case compares is what a user would read in `report.json`.

use std::{path::Path, time::Duration};

use super::{
    Error,
    target::{Script, Target, Truth},
    witness::Witness,
};
use crate::{
    analyze::{analyze, intervals::Interval},
    clock::RunClock,
    drive::load::{self, HeaderNames, Workload},
    environment::{self, Environment, External, RunFacts},
    observe::{Observations, RunDir},
    plan::Plan,
    report::{self, Report},
    verdict::judge,
};

/// From the clock's start to its zero: the pools are open by then.
const LEAD: Duration = Duration::from_millis(30);

/// What both sides say of one run.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) plan: Plan,
    pub(super) report: Report,
    pub(super) truth: Truth,
    /// When the machine or the generator was late, by all who noticed; not in order.
    pub(super) shaken: Vec<Interval>,
}

/// Runs a plan against a target with a script, and keeps what was seen in `folder`.
///
/// # Errors
/// When the run could not take place; a run that went wrong is a result.
pub(super) fn run(plan: Plan, script: Script, folder: &Path, command: &[String]) -> Result<Trial, Error> {
    let run_dir = RunDir::new(folder);
    run_dir.create().map_err(Error::Observe)?;
    let clock = RunClock::starting_in(LEAD);
    let target = Target::start(script, clock)?;
    let fastest_hz = plan.load.streams.iter().map(|stream| stream.rate).fold(1.0, f64::max);
    let witness = Witness::start(spacing_ns(fastest_hz), clock)?;
    let host = target.address.to_string();
    let workload =
        Workload { run_id: "calibrate".to_owned(), headers: HeaderNames::default(), ..Workload::default() };
    let address = target.address;
    let instrument =
        load::start(&plan, address, &host, workload, &run_dir, clock).and_then(load::LoadHandle::join);
    // Both threads end, whatever came of the load.
    let (shaken, truth) = (witness.stop(), target.stop());
    let (instrument, mut shaken, truth) = (instrument.map_err(Error::Load)?, shaken?, truth?);

    let facts = RunFacts { id: "calibrate", started_at: clock.anchor(), command };
    let record = environment::record(
        &plan,
        &Environment::External(External { address, host, config_header: None }),
        &facts,
    );
    run_dir
        .write_plan(&plan)
        .and_then(|()| run_dir.write_events(&[]))
        .and_then(|()| run_dir.write_instrument(&instrument))
        .and_then(|()| run_dir.write_environment(&record))
        .map_err(Error::Observe)?;
    let observations = run_dir.load().map_err(Error::Observe)?;
    shaken.extend(&truth.late);
    shaken.extend(sent_late(&observations));
    Ok(Trial { report: conclude(&observations), plan, truth, shaken })
}

/// What a user reads of the observations.
pub(super) fn conclude(observations: &Observations) -> Report {
    let analysis = analyze(observations);
    let verdict = judge(&observations.plan, &analysis);
    report::build(observations, &analysis, &verdict)
}

/// The time between two attempts at a rate.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and far below 2^53")]
pub(super) fn spacing_ns(rate_hz: f64) -> u64 {
    (1e9 / rate_hz) as u64
}

/// When the generator was late: a run that says so of itself vouches for no time.
fn sent_late(observations: &Observations) -> impl Iterator<Item = Interval> {
    observations
        .attempts
        .iter()
        .filter(|attempt| attempt.sent_ns > attempt.intended_ns)
        .map(|attempt| Interval { from_ns: attempt.intended_ns, to_ns: attempt.sent_ns })
}
