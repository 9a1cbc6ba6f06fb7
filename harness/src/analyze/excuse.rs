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
    downtime::{self, Downtime, Outages},
    intervals::{self, Interval},
    latency::Times,
    machine::{self, Machine},
    propagation::Propagation,
    select::{self, Span},
    waits::{self, LongestOf, WAIT_MIN_NS, Waits},
};
use crate::{
    observe::{Attempt, Background, Cause},
    plan::{Gate, LoadPlan},
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
    /// How the changes spread.
    pub propagation: Vec<Propagation>,
    /// From the first to the last slow attempt of which a part is explained; without a slow one, of any.
    pub when: Interval,
    /// The instrument's longest wait in that time.
    pub longest_ns: u64,
    pub machine: Option<Machine>,
}

/// Attempts that the instrument's own waits may explain, for a second look when all waits are known.
#[derive(Debug, Clone, Default)]
pub struct Doubtful {
    waits: LongestOf,
    /// Counted attempts.
    attempts: u64,
    /// Latencies of those that were served too soon for anything to be explained.
    served: Times,
    /// All others that were served, waited long, or ran out of time.
    slow: Vec<Slow>,
}

#[derive(Debug, Clone, Copy)]
struct Slow {
    intended_ns: u64,
    sent_ns: u64,
    ended_ns: u64,
    stream: u16,
    served: bool,
    timed_out: bool,
}

impl Doubtful {
    /// Takes an attempt of the load, counted or not.
    pub fn add(&mut self, attempt: &Attempt, load: &LoadPlan) {
        self.waits.add(waits::unsent(attempt));
        if !select::counts(attempt, load.warmup_ns) {
            return;
        }
        self.attempts += 1;
        let Attempt { intended_ns, sent_ns, ended_ns, stream, .. } = *attempt;
        let (served, timed_out) = (attempt.ok(), attempt.cause == Cause::Timeout);
        let slow = Slow { intended_ns, sent_ns, ended_ns, stream, served, timed_out };
        let length_ns = slow.whole().length_ns();
        if length_ns >= WAIT_MIN_NS || length_ns > load.slow_ns || timed_out {
            self.slow.push(slow);
        } else if served {
            self.served.record(length_ns);
        }
    }

    pub fn merge(&mut self, other: Self) {
        self.waits.merge(other.waits);
        self.attempts += other.attempts;
        self.served.merge(&other.served);
        self.slow.extend(other.slow);
    }

    /// Looks at the slow attempts again, and at the changes that took long to be seen; `None` when the instrument
    /// explains no part of any.
    #[must_use]
    pub fn look(mut self, background: &Background, changes: &[Propagation]) -> Option<Look> {
        for attempt in &background.control {
            self.waits.add(Interval { from_ns: attempt.intended_ns, to_ns: attempt.ended_ns });
        }
        let waits = Waits::new(self.waits, machine::contended(&background.machine));
        if waits.is_empty() {
            return None;
        }
        let slow_ns = background.plan.load.slow_ns;
        let (mut slow_when, mut any_when): (Option<Interval>, Option<Interval>) = (None, None);
        let (mut timeouts, mut late, mut served) = (Vec::new(), Vec::new(), self.served);
        for slow in self.slow {
            let whole = slow.whole();
            let explained_ns = explained_ns(&waits, &slow);
            let left = Interval { from_ns: whole.from_ns, to_ns: whole.to_ns - explained_ns };
            // On a quiet machine this waits no longer than the plan allows.
            let is_excused = slow.timed_out && left.length_ns() <= slow_ns;
            if is_excused {
                timeouts.push((slow.stream, Interval { from_ns: slow.sent_ns, to_ns: slow.ended_ns }));
            }
            if slow.served || is_excused {
                served.record(left.length_ns());
            }
            if left.length_ns() > slow_ns {
                late.push(left);
            }
            if explained_ns > 0 {
                any_when = Some(hull(any_when, whole));
                if whole.length_ns() > slow_ns {
                    slow_when = Some(hull(slow_when, whole));
                }
            }
        }
        let mut propagation = changes.to_vec();
        for change in &mut propagation {
            let Some(effect_ns) = change.effect_ns else { continue };
            let whole = Interval { from_ns: change.made_ns, to_ns: change.made_ns.saturating_add(effect_ns) };
            let explained_ns = waits.explain_ns(whole);
            if explained_ns >= WAIT_MIN_NS {
                any_when = Some(hull(any_when, whole));
                change.effect_ns = Some(effect_ns.saturating_sub(explained_ns));
            }
        }
        let when = slow_when.or(any_when)?;
        Some(Look {
            timeouts,
            propagation,
            brownout_ns: intervals::measure_ns(&intervals::union(late)),
            served_p99_ns: served.within(990, self.attempts, u64::MAX),
            when,
            longest_ns: waits.longest_ns(when),
        })
    }
}

/// What the second look found.
#[derive(Debug)]
pub struct Look {
    /// Stream, sending and end of the attempts that only ran out of time, and only by the instrument's waits.
    timeouts: Vec<(u16, Interval)>,
    brownout_ns: u64,
    served_p99_ns: Option<u64>,
    propagation: Vec<Propagation>,
    when: Interval,
    longest_ns: u64,
}

impl Look {
    /// The upper bound of hard downtime without the excused attempts; `None` when there are none.
    #[must_use]
    pub fn hard_upper_ns(&self, background: &Background, outages: &Outages, span: Span) -> Option<u64> {
        if self.timeouts.is_empty() {
            return None;
        }
        let left = outages.without(self.timeouts.clone());
        let (downtime, _) = downtime::measure(background, left, span, &Attribution::new(&[]));
        Some(downtime.hard.upper_ns)
    }

    /// `None` when nothing was slow.
    #[must_use]
    pub fn finish(
        self,
        background: &Background,
        downtime: &Downtime,
        hard_upper_ns: Option<u64>,
    ) -> Option<Excuse> {
        let is_asked = |gate: &Gate| {
            matches!(
                gate,
                Gate::LatencyP99MsMax(_)
                    | Gate::PushP99MsMax(_)
                    | Gate::FileP99MsMax(_)
                    | Gate::EtcdP99MsMax(_)
                    | Gate::TimerP99MsMax(_)
            )
        };
        let asked = background.plan.gates.iter().any(is_asked);
        if downtime.brownout_ns == 0 && downtime.hard.upper_ns == 0 && !asked {
            return None;
        }
        Some(Excuse {
            timeouts: self.timeouts.len() as u64,
            hard_upper_ns: hard_upper_ns.unwrap_or(downtime.hard.upper_ns),
            brownout_ns: self.brownout_ns,
            served_p99_ns: self.served_p99_ns,
            propagation: self.propagation,
            when: self.when,
            longest_ns: self.longest_ns,
            machine: machine::measure(&background.machine, self.when),
        })
    }
}

impl Slow {
    /// From the intended time to the end.
    fn whole(&self) -> Interval {
        Interval { from_ns: self.intended_ns, to_ns: self.ended_ns.max(self.intended_ns) }
    }
}

/// How much of an attempt's wait the instrument explains.
fn explained_ns(waits: &Waits, slow: &Slow) -> u64 {
    let whole = slow.whole();
    let lateness_ns = slow.sent_ns.saturating_sub(slow.intended_ns);
    let explained_ns = waits.explain_ns(whole).max(lateness_ns).min(whole.length_ns());
    // Every attempt is sent a little late; that is no excuse.
    if explained_ns < WAIT_MIN_NS { 0 } else { explained_ns }
}

fn hull(so_far: Option<Interval>, next: Interval) -> Interval {
    let Interval { from_ns, to_ns } = so_far.unwrap_or(next);
    Interval { from_ns: from_ns.min(next.from_ns), to_ns: to_ns.max(next.to_ns) }
}
