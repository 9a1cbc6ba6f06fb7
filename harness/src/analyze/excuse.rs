//! The figures that depend on time, once more without what the instrument's own waits explain.
//!
//! An attempt that waited for `w` while the instrument itself was kept waiting for `e` of it
//! ([`Waits::explain_ns`], or its own lateness where that is more) would have waited for `w - e` on a quiet
//! machine. Where that is within the plan's `slow_ns`, a late answer is no brownout, and a time limit that
//! ran out is no failure. Whatever else failed keeps failing: an echo that waits explains no reset.
//!
//! These figures never make anything pass. They tell a gate that the target broke from one that the machine
//! may have broken, and a success that turns into a failure only ever worsens them.

use super::{
    attribution::Attribution,
    downtime::{self, Downtime},
    intervals::{self, Interval},
    latency::Times,
    machine::{self, Machine},
    select::{self, Span},
    waits::{WAIT_MIN_NS, Waits},
};
use crate::{
    observe::{Attempt, Cause, Observations},
    plan::Gate,
};

/// What would have been measured without the instrument's own waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excuse {
    /// Failed attempts that only ran out of time, and only by the instrument's waits.
    pub timeouts: u64,
    pub hard_upper_ns: u64,
    pub brownout_ns: u64,
    /// What [`ServedWithin`](super::latency::ServedWithin) says of 99 %.
    pub served_p99_ns: Option<u64>,
    /// From the first to the last slow attempt of which a part is explained; without a slow one, of any.
    pub when: Interval,
    /// The instrument's longest wait in that time.
    pub longest_ns: u64,
    pub machine: Option<Machine>,
}

/// Looks at all attempts again; `None` when nothing was slow, or the instrument explains no part of it.
#[must_use]
pub fn measure(observations: &Observations, span: Span, downtime: &Downtime) -> Option<Excuse> {
    let load = &observations.plan.load;
    let asked = observations.plan.gates.iter().any(|gate| matches!(gate, Gate::LatencyP99MsMax(_)));
    if downtime.brownout_ns == 0 && downtime.hard.upper_ns == 0 && !asked {
        return None;
    }
    let waits = Waits::of(observations);
    if waits.is_empty() {
        return None;
    }
    let explained = |attempt: &Attempt| explained_ns(&waits, attempt);
    // On a quiet machine this waits no longer than the plan allows.
    let ran_out = |attempt: &Attempt| {
        attempt.cause == Cause::Timeout && whole(attempt).length_ns() - explained(attempt) <= load.slow_ns
    };
    let (mut slow_when, mut any_when): (Option<Interval>, Option<Interval>) = (None, None);
    let (mut timeouts, mut attempts, mut late, mut served) = (0, 0, Vec::new(), Times::default());
    for attempt in observations.attempts.iter().filter(|attempt| select::counts(attempt, load.warmup_ns)) {
        let Interval { from_ns, to_ns } = whole(attempt);
        let explained_ns = explained(attempt);
        let left = Interval { from_ns, to_ns: to_ns - explained_ns };
        let is_excused = ran_out(attempt);
        attempts += 1;
        timeouts += u64::from(is_excused);
        if attempt.ok() || is_excused {
            served.record(left.length_ns());
        }
        if left.length_ns() > load.slow_ns {
            late.push(left);
        }
        if explained_ns > 0 {
            let whole = whole(attempt);
            any_when = Some(hull(any_when, whole));
            if whole.length_ns() > load.slow_ns {
                slow_when = Some(hull(slow_when, whole));
            }
        }
    }
    let when = slow_when.or(any_when)?;
    let hard_upper_ns = if timeouts == 0 {
        downtime.hard.upper_ns
    } else {
        let (mut selection, _) = select::select(observations);
        for stream in &mut selection.streams {
            stream.bad.retain(|&index| !ran_out(&observations.attempts[index as usize]));
        }
        let nobody = Attribution::new(&[]);
        downtime::measure(observations, selection, span, &nobody).hard.upper_ns
    };
    Some(Excuse {
        timeouts,
        hard_upper_ns,
        brownout_ns: intervals::measure_ns(&intervals::union(late)),
        served_p99_ns: served.within(990, attempts),
        when,
        longest_ns: waits.longest_ns(when),
        machine: machine::measure(&observations.machine, when),
    })
}

/// From the intended time to the end.
fn whole(attempt: &Attempt) -> Interval {
    Interval { from_ns: attempt.intended_ns, to_ns: attempt.ended_ns.max(attempt.intended_ns) }
}

/// How much of an attempt's wait the instrument explains.
fn explained_ns(waits: &Waits, attempt: &Attempt) -> u64 {
    let whole = whole(attempt);
    let lateness_ns = attempt.sent_ns.saturating_sub(attempt.intended_ns);
    let explained_ns = waits.explain_ns(whole).max(lateness_ns).min(whole.length_ns());
    // Every attempt is sent a little late; that is no excuse.
    if explained_ns < WAIT_MIN_NS { 0 } else { explained_ns }
}

fn hull(so_far: Option<Interval>, next: Interval) -> Interval {
    let Interval { from_ns, to_ns } = so_far.unwrap_or(next);
    Interval { from_ns: from_ns.min(next.from_ns), to_ns: to_ns.max(next.to_ns) }
}
