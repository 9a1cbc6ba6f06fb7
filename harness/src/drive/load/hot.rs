//! The load's hot paths one by one, with nothing between them and who measures them.
//!
//! For benches only; the load itself calls what is called here.

use super::{
    response::{Answer, Progress, Question},
    schedule::Schedule,
    workload::HeaderNames,
};
use crate::plan::LoadPlan;

/// Goes through the whole schedule of a load, all streams merged; returns the number of attempts.
#[must_use]
pub fn schedule(load: &LoadPlan, seed: u64) -> usize {
    Schedule::new(load, seed).count()
}

/// Reads one answer; whether it is whole, with nothing after it.
#[must_use]
pub fn classify(answer: &[u8], names: &HeaderNames) -> bool {
    let question = Question { names, bodyless: false, location: false, digest: false };
    Answer::default().feed(answer, question) == Ok(Progress::Whole { surplus: 0 })
}
