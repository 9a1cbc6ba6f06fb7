//! What the machine did in a stretch of time, from the samples around it.

use super::intervals::{self, Interval};
use crate::observe::MachineSample;

/// What the machine and the sending thread did in a stretch of time; what the kernel does not tell is
/// absent. Times of processors are added up over all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// From the last sample before the stretch to the first one after it.
    pub span: Interval,
    pub steal_ms: Option<u64>,
    pub iowait_ms: Option<u64>,
    pub busy_ms: Option<u64>,
    pub idle_ms: Option<u64>,
    /// Most threads that ran or wanted to at the moment of a sample.
    pub runnable_max: Option<u64>,
    pub pressure_us: Option<u64>,
    pub sender_delay_us: Option<u64>,
    pub sender_switches_voluntary: Option<u64>,
    pub sender_switches_involuntary: Option<u64>,
    pub own_cpu_us: u64,
}

/// The processors are contended while threads wait for one for more than half of the time.
const CONTENDED: u64 = 2;

/// When the processors were contended: by the kernel's pressure figures, or, where it has none, while at
/// most a tenth of all processors' time was idle. In order, without overlaps.
#[must_use]
pub fn contended(samples: &[MachineSample]) -> Vec<Interval> {
    let stretches = samples.windows(2).filter_map(|pair| {
        let [before, after] = pair else { return None };
        let when = Interval { from_ns: before.at_ns, to_ns: after.at_ns };
        let rise = |counter: fn(&MachineSample) -> Option<u64>| counter(after)?.checked_sub(counter(before)?);
        let is_so = match rise(|sample| sample.pressure_us) {
            Some(waited_us) => waited_us * CONTENDED > when.length_ns() / 1_000,
            None => {
                let (busy_ms, idle_ms) = (rise(|sample| sample.busy_ms)?, rise(|sample| sample.idle_ms)?);
                let used_ms = busy_ms + rise(|sample| sample.steal_ms).unwrap_or(0);
                used_ms > 9 * idle_ms
            }
        };
        (is_so && when.length_ns() > 0).then_some(when)
    });
    intervals::union(stretches.collect())
}

/// Sums a stretch up; `None` when fewer than two samples lie around it.
#[must_use]
pub fn measure(samples: &[MachineSample], when: Interval) -> Option<Machine> {
    let before = samples.partition_point(|sample| sample.at_ns <= when.from_ns);
    let after = samples.partition_point(|sample| sample.at_ns < when.to_ns);
    // An empty stretch may lie in a row of samples of one moment, and then nothing is around it.
    let around = samples.get(before.saturating_sub(1)..(after + 1).min(samples.len()))?;
    let [first, .., last] = around else { return None };
    // The sending thread is gone when the last sample is taken.
    let rise = |counter: fn(&MachineSample) -> Option<u64>| {
        let mut known = around.iter().filter_map(counter);
        let first = known.next()?;
        known.next_back().map(|last| last.saturating_sub(first))
    };
    Some(Machine {
        span: Interval { from_ns: first.at_ns, to_ns: last.at_ns },
        steal_ms: rise(|sample| sample.steal_ms),
        iowait_ms: rise(|sample| sample.iowait_ms),
        busy_ms: rise(|sample| sample.busy_ms),
        idle_ms: rise(|sample| sample.idle_ms),
        runnable_max: around.iter().filter_map(|sample| sample.runnable).max(),
        pressure_us: rise(|sample| sample.pressure_us),
        sender_delay_us: rise(|sample| sample.sender_delay_us),
        sender_switches_voluntary: rise(|sample| sample.sender_switches_voluntary),
        sender_switches_involuntary: rise(|sample| sample.sender_switches_involuntary),
        own_cpu_us: last.own_cpu_us.saturating_sub(first.own_cpu_us),
    })
}

#[cfg(test)]
mod tests {
    use super::{Interval, contended, measure};
    use crate::{analyze::fixture::MS, observe::MachineSample};

    fn sample(at_ms: u64, steal_ms: u64, sender_delay_us: Option<u64>) -> MachineSample {
        MachineSample {
            at_ns: at_ms * MS,
            steal_ms: Some(steal_ms),
            runnable: Some(at_ms / 100),
            sender_delay_us,
            own_cpu_us: at_ms,
            ..MachineSample::default()
        }
    }

    #[test]
    fn contention_is_told_by_pressure_or_else_by_busy_processors() {
        let interval = |from_ms, to_ms| Interval { from_ns: from_ms * MS, to_ns: to_ms * MS };
        let pressed = [(0, 0), (100, 40_000), (200, 100_000), (300, 190_000), (400, 200_000)].map(
            |(at_ms, pressure_us)| MachineSample { pressure_us: Some(pressure_us), ..sample(at_ms, 0, None) },
        );
        assert_eq!(contended(&pressed), [interval(100, 300)]);
        let busy = [(0, 0, 0), (100, 185, 15), (200, 380, 20)].map(|(at_ms, busy_ms, idle_ms)| {
            MachineSample { busy_ms: Some(busy_ms), idle_ms: Some(idle_ms), ..sample(at_ms, 0, None) }
        });
        assert_eq!(contended(&busy), [interval(0, 200)]);
        assert_eq!(contended(&busy[..1]), []);
    }

    #[test]
    fn the_samples_around_a_stretch_are_compared() {
        let samples =
            [sample(0, 0, Some(1)), sample(100, 5, Some(3)), sample(200, 9, Some(7)), sample(300, 20, None)];
        let check = |from_ms: u64, to_ms: u64, expected| {
            let found = measure(&samples, Interval { from_ns: from_ms * MS, to_ns: to_ms * MS });
            let figures = found.map(|machine| {
                (machine.span.from_ns / MS, machine.span.to_ns / MS, machine.steal_ms, machine.runnable_max)
            });
            assert_eq!(figures, expected, "{from_ms} to {to_ms}");
        };
        check(120, 180, Some((100, 200, Some(4), Some(2))));
        check(100, 200, Some((100, 200, Some(4), Some(2))));
        check(0, 900, Some((0, 300, Some(20), Some(3))));
        check(900, 950, None);
        let whole = measure(&samples, Interval { from_ns: 0, to_ns: u64::MAX }).unwrap();
        assert_eq!((whole.sender_delay_us, whole.own_cpu_us, whole.iowait_ms), (Some(6), 300, None));
        assert_eq!(measure(&[], Interval { from_ns: 0, to_ns: 1 }), None);
        // A run that was ended before its clock had begun to go.
        let early = [0, 0, 0].map(|at_ms| sample(at_ms, 0, None));
        assert_eq!(measure(&early, Interval { from_ns: 0, to_ns: 0 }), None);
    }
}
