//! Truth beside report: what each trial of a case proves. Pure, so that a lying instrument can be put here
//! and be caught.
//!
//! Two kinds of limit, and only one of them has an excuse:
//! - What cannot be otherwise, however busy the machine is: an attempt that was due while the target was
//!   silent has waited until it spoke again; an outage lies between its bounds; a loss is a loss. A report
//!   that says anything else is wrong.
//! - How close a figure comes. A thread that did not get a processor makes a wait longer and a bound wider.
//!   A trial that is off by that is `Disturbed` when somebody noticed (the witness, the target, or the
//!   generator by the times in its log), and wrong when nobody did.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    cases::{Case, Loss},
    pipe::{Trial, spacing_ns},
    target::{TrueOutage, TrueStall},
};
use crate::{
    analyze::intervals::Interval,
    plan::{arrivals, planned},
    report::{OutcomeWord, Stream, Window, round::ms},
};

const NS_PER_MS: f64 = 1e6;
/// A report's milliseconds have three decimals.
const ROUNDING_NS: u64 = 1_000;
/// A measured stall may differ from the true one by the time between so many attempts.
pub(super) const STALL_SPACINGS: u64 = 2;
/// The bounds of an outage may be as far apart as so many attempts of a stream: at each end one that was
/// good and one that failed, and the time until their answers.
pub(super) const OUTAGE_SPACINGS: u64 = 4;

/// What came of a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    Right,
    /// Off, and the machine or the generator is known to have been late: it proves nothing.
    Disturbed,
    Wrong(String),
}

/// A stall and what the report says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StallTrial {
    pub(super) true_ns: u64,
    /// The longest single wait; `None` when the report knows no window there.
    pub(super) measured_ns: Option<u64>,
    pub(super) finding: Finding,
}

/// An outage as one stream saw it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct OutageTrial {
    pub(super) stream: String,
    pub(super) true_ms: f64,
    pub(super) lower_ms: f64,
    pub(super) upper_ms: f64,
    pub(super) allowed_ms: f64,
    pub(super) finding: Finding,
}

/// Losses of one class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LossTrial {
    pub(super) lost: u64,
    /// Reported with the right phase and cause, and on the right connection.
    pub(super) found: u64,
    pub(super) finding: Finding,
}

/// A run to which nothing happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QuietTrial {
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) hard_windows: u64,
    pub(super) finding: Finding,
}

/// A trial of any kind.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Judged {
    Stall(StallTrial),
    Loss(LossTrial),
    Outage(OutageTrial),
    Quiet(QuietTrial),
}

impl Judged {
    pub(super) fn finding(&self) -> &Finding {
        match self {
            Self::Stall(trial) => &trial.finding,
            Self::Loss(trial) => &trial.finding,
            Self::Outage(trial) => &trial.finding,
            Self::Quiet(trial) => &trial.finding,
        }
    }
}

/// Judges every trial of a run.
pub(super) fn judge(case: &Case, trial: &Trial) -> Vec<Judged> {
    match case {
        Case::Stalls { .. } => stalls(trial).into_iter().map(Judged::Stall).collect(),
        Case::Losses { loss, reused } => vec![Judged::Loss(losses(trial, loss, *reused))],
        Case::Outage { .. } => outage(trial).into_iter().map(Judged::Outage).collect(),
        Case::Quiet => vec![Judged::Quiet(quiet(trial))],
    }
}

/// Judges every stall of a run.
fn stalls(trial: &Trial) -> Vec<StallTrial> {
    let stream = &trial.plan.load.streams[0];
    let due: Vec<u64> = arrivals(stream, 0, trial.plan.seed, &trial.plan.load).collect();
    trial.truth.stalls.iter().map(|stall| judge_stall(trial, stall, &due)).collect()
}

fn judge_stall(trial: &Trial, stall: &TrueStall, due: &[u64]) -> StallTrial {
    let spacing_ns = spacing_ns(trial.plan.load.streams[0].rate);
    let slow_ns = trial.plan.load.slow_ns;
    let true_ns = stall.ended_ns - stall.begun_ns;
    let silent = Interval { from_ns: stall.begun_ns, to_ns: stall.ended_ns };
    let windows = || trial.report.downtime.windows.iter().filter(|window| is_slow(window, silent));
    let measured_ns = windows().map(|window| ns(window.lower_ms)).max();

    // Whoever was due from here on had to wait until the end.
    let first = due.partition_point(|&due_ns| due_ns < stall.begun_ns);
    let certain_ns = due.get(first).map_or(0, |&due_ns| stall.ended_ns.saturating_sub(due_ns));
    let late_min = due[first..].iter().filter(|&&due_ns| due_ns + slow_ns < stall.ended_ns).count() as u64;
    let late: u64 = windows().map(|window| window.attempts).sum();

    let finding = match measured_ns {
        // It fell silent later than it was told to, and so met nobody for long enough.
        _ if certain_ns <= slow_ns => Finding::Disturbed,
        None => Finding::Wrong(format!("a stall of {} is not in the report", show(true_ns))),
        Some(measured_ns) if measured_ns + ROUNDING_NS < certain_ns => Finding::Wrong(format!(
            "a stall of {} is reported as {}, but a request had waited for {}",
            show(true_ns),
            show(measured_ns),
            show(certain_ns)
        )),
        Some(_) if late < late_min => Finding::Wrong(format!(
            "in a stall of {} the report knows {late} late requests of at least {late_min}",
            show(true_ns)
        )),
        Some(measured_ns) if measured_ns > true_ns + STALL_SPACINGS * spacing_ns => {
            let text = format!("a stall of {} is reported as {}", show(true_ns), show(measured_ns));
            unless_shaken(stall_was_shaken(trial, stall, spacing_ns), text)
        }
        Some(_) => Finding::Right,
    };
    StallTrial { true_ns, measured_ns, finding }
}

/// Somebody did not get a processor when the stall began or ended; what was in the middle of it could not
/// make a wait longer.
fn stall_was_shaken(trial: &Trial, stall: &TrueStall, spacing_ns: u64) -> bool {
    let silent_before_ns = stall.begun_ns.saturating_sub(stall.silent_since_ns);
    let held_longer_ns = stall.held_max_ns.saturating_sub(stall.ended_ns - stall.begun_ns);
    let around = |from_ns: u64, to_ns: u64| Interval {
        from_ns: from_ns.saturating_sub(3 * spacing_ns),
        to_ns: to_ns + 3 * spacing_ns,
    };
    let edges = [around(stall.begun_ns, stall.begun_ns), around(stall.ended_ns, stall.answered_ns)];
    silent_before_ns > spacing_ns * 3 / 2
        || held_longer_ns > spacing_ns / 2
        || edges.into_iter().any(|edge| was_shaken(trial, edge, spacing_ns / 2))
}

/// Judges a run of losses: the right number, classified right, and nothing beside it.
fn losses(trial: &Trial, loss: &Loss, reused: bool) -> LossTrial {
    let Trial { plan, report, truth, .. } = trial;
    let requests = &report.requests;
    let count = |map: &BTreeMap<String, u64>, word: &str| map.get(word).copied().unwrap_or(0);
    let by_phase = count(&requests.by_phase, &word(loss.phase));
    let by_cause = count(&requests.by_class, &word(loss.cause));
    let connection = if reused { requests.by_connection.reused } else { requests.by_connection.new };
    // A client that is refused never meets the target, which knows him by his absence alone.
    let refused = if truth.outages.is_empty() { 0 } else { planned(&plan.load, plan.seed) - truth.requests };
    let lost = truth.killed + refused;
    let found = by_phase.min(by_cause).min(connection.failed);
    let finding = if lost > 0 && found == lost && requests.failed == lost {
        accounts(trial)
    } else {
        let text = format!(
            "{lost} of \"{}\" on {} connections are reported as {} failed: {:?} in {:?}",
            loss.name,
            if reused { "reused" } else { "new" },
            requests.failed,
            requests.by_class,
            requests.by_phase
        );
        // Who is refused depends on the moment at which he comes, and the target closes its listener.
        let least_ns = spacing_ns(plan.load.streams[0].rate) / 4;
        let came_late = !truth.outages.is_empty() && was_shaken(trial, ALWAYS, least_ns);
        unless_shaken(came_late || instrument_gave_up(trial), text)
    };
    LossTrial { lost, found, finding }
}

/// Judges an outage for each stream of the run.
fn outage(trial: &Trial) -> Vec<OutageTrial> {
    let Trial { plan, report, truth, .. } = trial;
    let Some(TrueOutage { down, up }) = truth.outages.first().copied() else { return Vec::new() };
    // At least from when everything was closed until it began to listen; at most from when it began to
    // close until it listened.
    let (shortest_ns, longest_ns) = (up.from_ns - down.to_ns, up.to_ns - down.from_ns);
    let judge = |(index, seen): (usize, &Stream)| {
        let stream = &plan.load.streams[index];
        let spacing_ns = spacing_ns(stream.rate);
        // What is due right before the end may well be sent right after it, however small the lateness.
        let certain_to_ns = up.from_ns.saturating_sub(spacing_ns);
        let inside = |due_ns: &u64| (down.to_ns..certain_to_ns).contains(due_ns);
        let due = arrivals(stream, index, plan.seed, &plan.load).filter(inside).count() as u64;
        let (lower_ms, upper_ms) = (seen.hard_ms.lower.unwrap_or(0.0), seen.hard_ms.upper.unwrap_or(0.0));
        let (lower_ns, upper_ns) = (ns(lower_ms), ns(upper_ms));
        let allowed_ns = OUTAGE_SPACINGS * spacing_ns;
        let bounds = format!(
            "an outage of {} is reported as {lower_ms:.3} to {upper_ms:.3} ms by the stream {}",
            show(shortest_ns),
            seen.name
        );
        let around = Interval {
            from_ns: down.from_ns.saturating_sub(4 * spacing_ns),
            to_ns: up.to_ns + 4 * spacing_ns,
        };
        let finding = if lower_ns > longest_ns || upper_ns + ROUNDING_NS < shortest_ns {
            Finding::Wrong(bounds)
        } else if seen.requests.failed < due && !sent_late_into(trial, up) {
            Finding::Wrong(format!("{bounds}; {} of {due} requests in it failed", seen.requests.failed))
        } else if upper_ns - lower_ns > allowed_ns || seen.windows != 1 {
            let text = format!("{bounds} in {} windows", seen.windows);
            unless_shaken(was_shaken(trial, around, spacing_ns / 2), text)
        } else {
            accounts(trial)
        };
        OutageTrial {
            stream: seen.name.clone(),
            true_ms: ms(shortest_ns),
            lower_ms,
            upper_ms,
            allowed_ms: ms(allowed_ns),
            finding,
        }
    };
    report.streams.iter().enumerate().map(judge).collect()
}

/// Judges a run in which nothing happened.
pub(super) fn quiet(trial: &Trial) -> QuietTrial {
    let report = &trial.report;
    let (requests, failed) = (report.requests.total, report.requests.failed);
    let hard = report.downtime.windows.iter().filter(|window| window.kind == "hard").count() as u64;
    let finding = if failed > 0 || hard > 0 || report.verdict.outcome == OutcomeWord::Fail {
        let reasons = report.verdict.reasons.join(" ");
        let text = format!("nothing happened, and {failed} requests failed in {hard} windows: {reasons}");
        unless_shaken(instrument_gave_up(trial), text)
    } else if report.verdict.outcome == OutcomeWord::Inconclusive {
        Finding::Disturbed
    } else {
        accounts(trial)
    };
    QuietTrial { requests, failed, hard_windows: hard, finding }
}

/// Every answer that the target gave is counted as one, and no other.
fn accounts(trial: &Trial) -> Finding {
    let (ok, answered) = (trial.report.requests.ok, trial.truth.answered);
    if ok == answered {
        return Finding::Right;
    }
    let text = format!("the report counts {ok} answers of {answered}");
    unless_shaken(instrument_gave_up(trial), text)
}

fn unless_shaken(shaken: bool, text: String) -> Finding {
    if shaken { Finding::Disturbed } else { Finding::Wrong(text) }
}

const ALWAYS: Interval = Interval { from_ns: 0, to_ns: u64::MAX };

/// Somebody was late by at least so much in that time.
fn was_shaken(trial: &Trial, around: Interval, least_ns: u64) -> bool {
    let meets = |late: &Interval| late.from_ns <= around.to_ns && around.from_ns <= late.to_ns;
    trial.shaken.iter().any(|late| late.length_ns() >= least_ns && meets(late))
}

/// An attempt that was due in the outage was sent when it was over.
fn sent_late_into(trial: &Trial, up: Interval) -> bool {
    trial.shaken.iter().any(|late| late.from_ns < up.from_ns && up.from_ns <= late.to_ns)
}

/// The machine stood still for so long that an answer may have been given up, or attempts were not sent.
fn instrument_gave_up(trial: &Trial) -> bool {
    trial.report.load.unsent > 0 || was_shaken(trial, ALWAYS, trial.plan.load.timeout_ns / 2)
}

fn is_slow(window: &Window, silent: Interval) -> bool {
    window.kind == "brownout" && ns(window.from_ms) <= silent.to_ns && silent.from_ns <= ns(window.to_ms)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a report's times are positive")]
fn ns(ms: f64) -> u64 {
    (ms * NS_PER_MS).round() as u64
}

fn show(ns: u64) -> String {
    format!("{:.3} ms", ms(ns))
}

/// The word of a value in a report.
pub(super) fn word(value: impl Serialize) -> String {
    let value = serde_json::to_value(value).expect("a word must be expressible in JSON");
    value.as_str().expect("a word must be a text").to_owned()
}

#[cfg(test)]
mod tests;
