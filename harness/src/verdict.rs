//! The judgement of a run: its gates, its instrument and its invariants, added up.
//!
//! A pass says that something was measured, that the instrument vouches for it, and that every limit was
//! kept. Whatever shakes the instrument makes the run inconclusive, never a pass and never a plain
//! failure; a violated invariant outweighs both. A success that turns into a failure never improves a
//! verdict. Deliberately absent: any figure of its own, they all come from the analysis.

mod gates;
mod machine;

use std::time::Duration;

use crate::{
    analyze::{Analysis, control::Control, invariants::InvariantOutcome},
    exit::ExitCode,
    observe::word,
    plan::{Op, Plan, TargetPlan},
};

pub use gates::GateResult;

/// What a run proved.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub outcome: Outcome,
    pub exit_code: ExitCode,
    /// The plan's gates in its order, then those that hold unasked: everything is sent, not later
    /// than the plan's `slow_ns` and without a long pause, and every planned event ends as planned.
    pub gates: Vec<GateResult>,
    /// Why it is no pass, in whole sentences, the gravest first; empty for a pass.
    pub reasons: Vec<String>,
}

/// The three ends of a run, and of each gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Pass,
    Fail,
    /// The instrument cannot vouch for the result.
    Inconclusive,
}

/// Judges a run.
#[must_use]
pub fn judge(plan: &Plan, analysis: &Analysis) -> Verdict {
    let gates = gates::judge(plan, analysis);
    let reasons_of = |outcome: Outcome, excused: bool| -> Vec<String> {
        let is_so = |gate: &&GateResult| gate.outcome == outcome && gate.excused == excused;
        gates.iter().filter(is_so).map(|gate| gate.reason.clone()).collect()
    };
    let violated: Vec<String> = analysis
        .invariants
        .iter()
        .filter(|invariant| invariant.outcome == InvariantOutcome::Fail)
        .map(|invariant| format!("The invariant {} is violated: {}.", invariant.name, invariant.detail))
        .collect();
    let mut failed = reasons_of(Outcome::Fail, false);
    let mut doubts = doubts(plan, analysis);
    doubts.extend(reasons_of(Outcome::Inconclusive, false));
    // An excuse for one gate is none for another that failed without it.
    let excused = reasons_of(Outcome::Inconclusive, true);
    if failed.is_empty() {
        doubts.extend(excused);
    } else {
        failed.extend(excused);
    }
    if violated.is_empty() && failed.is_empty() && doubts.is_empty() {
        doubts.extend(nothing_bought(plan, analysis));
    }
    let holds = [
        (!violated.is_empty(), ExitCode::Incorrect),
        (!doubts.is_empty(), ExitCode::Inconclusive),
        (!failed.is_empty(), ExitCode::GateFailed),
    ];
    let exit_code = ExitCode::gravest(holds.into_iter().filter_map(|(is_so, code)| is_so.then_some(code)));
    let outcome = match exit_code {
        ExitCode::Pass => Outcome::Pass,
        ExitCode::Inconclusive => Outcome::Inconclusive,
        _ => Outcome::Fail,
    };
    let reasons = [violated, doubts, failed].concat();
    Verdict { outcome, exit_code, gates, reasons }
}

/// Why the instrument cannot vouch for the run, apart from its gates.
fn doubts(plan: &Plan, analysis: &Analysis) -> Vec<String> {
    let Analysis { load, requests, events, .. } = analysis;
    let mut doubts = Vec::new();
    if load.interrupted {
        doubts.push("The run was interrupted.".to_owned());
    }
    for gap in &load.gaps {
        doubts.push(format!("The observations have a gap: {gap}."));
    }
    if load.lost > 0 {
        doubts.push(format!(
            "The log lacks {} of the {} requests that the generator sent.",
            load.lost, load.sent
        ));
    }
    if requests.all.total == 0 {
        doubts.push("No request was sent after the warm-up, so nothing was measured.".to_owned());
    }
    doubts.extend(analysis.control.as_ref().and_then(|control| control_doubt(control, requests.all.total)));
    if events.planned > 0 && events.ran == 0 {
        doubts.push(format!("None of the {} planned events ran.", events.planned));
    }
    if buys(plan) && matches!(plan.target, TargetPlan::Reference(_)) && !analysis.store_read {
        doubts.push("The target's store was not read, so no order could be checked.".to_owned());
    }
    doubts
}

/// The control target cannot lose anything by itself, and it must have been asked when the target was.
fn control_doubt(control: &Control, requests: u64) -> Option<String> {
    if control.attempts == 0 && control.lost() == 0 {
        return (requests > 0)
            .then(|| "The control target was never asked, so nobody vouches for the machine.".to_owned());
    }
    let (when, facts) = control.lost_when.as_ref()?;
    let classes: Vec<String> =
        control.lost_by_class.iter().map(|(class, count)| format!("{} {count}", word(class))).collect();
    Some(format!(
        "The control target, an echo inside of the harness, lost {} of {} requests ({}) between {:.3} and \
         {:.3} s: it is the machine or the harness that loses them.{}",
        control.lost(),
        control.attempts.max(control.lost()),
        classes.join(", "),
        Duration::from_nanos(when.from_ns).as_secs_f64(),
        Duration::from_nanos(when.to_ns).as_secs_f64(),
        machine::sentence(facts.as_ref()),
    ))
}

/// A plan that buys and never got an answer to it proves nothing about orders. This keeps a run from
/// passing, but does not outweigh a gate: when everything failed, the gate that says so should speak.
fn nothing_bought(plan: &Plan, analysis: &Analysis) -> Option<String> {
    let answered = analysis.orders.acknowledged + analysis.orders.rejected;
    (buys(plan) && answered == 0)
        .then(|| "No buying request was answered, so the orders prove nothing.".to_owned())
}

fn buys(plan: &Plan) -> bool {
    plan.load.streams.iter().flat_map(|stream| &stream.requests).any(|request| request.op == Op::Buy)
}

#[cfg(test)]
mod tests;
