//! Availability as contracts count it: by the windows of a clock.
//!
//! The windows are whole minutes from the end of the warm-up on, as far as the plan sends; an attempt lies
//! in the window of its intended time. A window without an attempt is not measured and in no figure, though
//! contracts call it up: unmeasured time is no uptime. (Of an interrupted run the last window may be filled
//! in part.) A run that is shorter than a window says nothing in its terms, so there is no figure then.
//!
//! What one more failure does to a window is to make it worse, or to make it a measured one that is down;
//! so it improves no figure here.

use super::{availability::Fraction, counts::Tally};
use crate::{observe::Attempt, plan::LoadPlan};

const MINUTE_NS: u64 = 60_000_000_000;

/// Minutes in a window of [`Windows::five_minute_average`].
const AVERAGED_MINUTES: usize = 5;

/// The unit in which the share of a window is kept; rounded down, so nothing is promised by rounding.
pub const SHARE_UNIT: u64 = 1_000_000_000_000;

/// When a minute is down. Consecutive ones form a downtime period; one minute is enough for a period, so
/// each minute that is down counts, and a shorter outage does not exist for the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MinuteRule {
    /// All of its attempts failed: "loss of external connectivity".
    ///
    /// Source: Google Cloud, "Compute Engine Service Level Agreement" (2020).
    AllFailed,
    /// More than a tenth of its attempts failed: "more than a ten percent error rate".
    ///
    /// Source: Google Cloud, "Cloud Functions Service Level Agreement" (2018). It asks for a hundred
    /// attempts in a minute; here every measured minute counts.
    MoreThanTenPercentFailed,
}

impl MinuteRule {
    fn is_down(self, minute: Tally) -> bool {
        match self {
            Self::AllFailed => minute.failed == minute.total,
            Self::MoreThanTenPercentFailed => u128::from(minute.failed) * 10 > u128::from(minute.total),
        }
    }
}

/// The minutes of some of a run's counted attempts.
#[derive(Debug, Clone)]
pub struct Windows {
    from_ns: u64,
    minutes: Vec<Tally>,
}

impl Windows {
    #[must_use]
    pub fn new(load: &LoadPlan) -> Self {
        let whole = load.duration_ns.saturating_sub(load.warmup_ns) / MINUTE_NS;
        let whole = usize::try_from(whole).expect("a load must be shorter than 2^32 minutes");
        Self { from_ns: load.warmup_ns, minutes: vec![Tally::default(); whole] }
    }

    /// Takes a counted attempt.
    pub fn add(&mut self, attempt: &Attempt) {
        let number = attempt.intended_ns.saturating_sub(self.from_ns) / MINUTE_NS;
        if let Some(minute) = usize::try_from(number).ok().and_then(|number| self.minutes.get_mut(number)) {
            minute.add(attempt);
        }
    }

    pub fn merge(&mut self, other: &Self) {
        for (own, other) in self.minutes.iter_mut().zip(&other.minutes) {
            own.merge(*other);
        }
    }

    /// Minutes that were not down, of those that were measured; `whole` is 0 when none was.
    #[must_use]
    pub fn by_minute(&self, rule: MinuteRule) -> Fraction {
        let measured = self.minutes.iter().filter(|minute| minute.total > 0);
        measured.fold(Fraction::default(), |sum, minute| Fraction {
            part: sum.part + u64::from(!rule.is_down(*minute)),
            whole: sum.whole + 1,
        })
    }

    /// 100 % minus the average of the error rates of all measured five-minute windows; `whole` is 0 when
    /// there was none.
    ///
    /// Source: Amazon Web Services, "Amazon S3 Service Level Agreement" (2023).
    #[must_use]
    pub fn five_minute_average(&self) -> Fraction {
        let windows = self.minutes.chunks_exact(AVERAGED_MINUTES).map(sum);
        windows.filter(|window| window.total > 0).fold(Fraction::default(), |sum, window| Fraction {
            part: sum.part + share(window),
            whole: sum.whole + SHARE_UNIT,
        })
    }

    /// The highest error rate that held over so many minutes and over the last `short` of them at once,
    /// anywhere in the run; `None` when the run does not fill the longer window.
    #[must_use]
    pub fn worst_error_rate(&self, long: usize, short: usize) -> Option<f64> {
        let rate = |minutes: &[Tally]| error_rate(sum(minutes));
        let windows = self.minutes.windows(long);
        windows.filter_map(|window| Some(rate(window)?.min(rate(&window[long - short..])?))).reduce(f64::max)
    }
}

/// Failed attempts of all; `None` of nothing.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts stay below 2^53")]
pub fn error_rate(tally: Tally) -> Option<f64> {
    (tally.total > 0).then(|| tally.failed as f64 / tally.total as f64)
}

fn sum(minutes: &[Tally]) -> Tally {
    minutes.iter().fold(Tally::default(), |mut sum, minute| {
        sum.merge(*minute);
        sum
    })
}

/// The share of a window's attempts that were served, in [`SHARE_UNIT`]s.
fn share(window: Tally) -> u64 {
    let scaled = u128::from(window.ok()) * u128::from(SHARE_UNIT) / u128::from(window.total);
    u64::try_from(scaled).expect("a share must not exceed its unit")
}

#[cfg(test)]
mod tests {
    use super::{MinuteRule, Tally, Windows};
    use crate::analyze::availability::Fraction;

    fn windows(minutes: &[(u64, u64)]) -> Windows {
        let minutes = minutes.iter().map(|&(total, failed)| Tally { total, failed });
        Windows { from_ns: 0, minutes: minutes.collect() }
    }

    /// The worked example of a day with an outage of five seconds at one request a second: by request and
    /// by five-minute averages 99.994 %, by contract minutes nothing happened.
    #[test]
    fn five_seconds_of_a_day() {
        let mut minutes = vec![(60, 0); 1_440];
        minutes[100] = (60, 5);
        let day = windows(&minutes);
        let percent = |fraction: Fraction| format!("{:.5}", fraction.value().unwrap() * 100.0);
        assert_eq!(percent(day.five_minute_average()), "99.99421");
        assert_eq!(percent(day.by_minute(MinuteRule::AllFailed)), "100.00000");
        assert_eq!(percent(day.by_minute(MinuteRule::MoreThanTenPercentFailed)), "100.00000");
    }

    #[test]
    fn a_minute_is_down_by_its_rule() {
        let minutes = windows(&[(60, 0), (60, 6), (60, 7), (60, 60), (0, 0), (1, 1)]);
        assert_eq!(minutes.by_minute(MinuteRule::AllFailed), Fraction { part: 3, whole: 5 });
        assert_eq!(minutes.by_minute(MinuteRule::MoreThanTenPercentFailed), Fraction { part: 2, whole: 5 });
    }

    /// A quiet window weighs as much as a busy one; one without attempts is left out, and so is the part
    /// of a window at the end.
    #[test]
    fn the_average_is_over_windows() {
        let mut minutes = vec![(1, 1); 5];
        minutes.extend([(1_000, 0); 5]);
        minutes.extend([(0, 0); 5]);
        minutes.extend([(1_000, 1_000); 4]);
        let average = windows(&minutes).five_minute_average();
        assert_eq!(average.value(), Some(0.5));
    }

    #[test]
    fn a_short_run_has_no_windows() {
        let none = windows(&[(60, 30); 4]);
        assert_eq!(none.five_minute_average().value(), None);
        assert_eq!(none.worst_error_rate(5, 1), None);
        assert_eq!(windows(&[]).by_minute(MinuteRule::AllFailed).value(), None);
    }

    /// Both windows must burn at the same time: an outage that is over shows in the long one alone.
    #[test]
    fn two_windows_burn_at_once() {
        let mut minutes = vec![(100, 0); 60];
        minutes[30] = (100, 60);
        let rate = windows(&minutes).worst_error_rate(60, 5);
        assert_eq!(rate, Some(0.0));
        minutes[59] = (100, 60);
        let rate = windows(&minutes).worst_error_rate(60, 5);
        assert_eq!(rate, Some(0.02));
    }
}
