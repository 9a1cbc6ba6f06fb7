//! What an event's downtime does to a day, and what the run does to the budget of a promise.
//!
//! Availability of a day with `k` events of `d` seconds is `1 - k d / 86400`: five seconds once a day make
//! 99.994 %, twice 99.988 %. `d` is the upper bound of the downtime windows that belong to an event.
//!
//! A promise of an availability `t` leaves a budget of `1 - t` for errors. The burn rate is the run's error
//! rate over that: at 1 the budget lasts exactly as long as the promise. Source: B. Beyer et al., "The Site
//! Reliability Workbook" (2018), chapter 5, "Alerting on SLOs".

use super::{
    availability::{self, Fraction},
    contract::{MinuteRule, Windows, error_rate},
    counts::{Requests, Tally},
    downtime::Downtime,
    select::Span,
};
use crate::observe::EventRecord;

/// Events a day that the table is made for: a release a day, two, one an hour or so, continuous delivery.
pub const EVENTS_PER_DAY: [u32; 4] = [1, 2, 10, 50];

/// Availabilities that contracts usually promise, in millionths.
pub const TARGETS_PPM: [u32; 5] = [999_000, 999_500, 999_900, 999_950, 999_990];

/// The alerts of the workbook's table 5-8: the burn rate over both windows at which somebody is called.
/// Its budget lasts 30 days, of which the three spend 2 %, 5 % and 10 %.
pub const ALERTS: [AlertRule; 3] = [
    AlertRule { burn_rate: 14.4, long_minutes: 60, short_minutes: 5 },
    AlertRule { burn_rate: 6.0, long_minutes: 6 * 60, short_minutes: 30 },
    AlertRule { burn_rate: 1.0, long_minutes: 3 * 24 * 60, short_minutes: 6 * 60 },
];

const DAY_NS: u64 = 86_400_000_000_000;

/// A multi-window burn-rate alert.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlertRule {
    pub burn_rate: f64,
    pub long_minutes: usize,
    pub short_minutes: usize,
}

/// Downtime per event and what it amounts to, contract windows, and error budgets.
#[derive(Debug, Clone, PartialEq)]
pub struct Sla {
    /// The events that are counted: the upgrades, or all events of a run without an upgrade.
    pub events: u64,
    /// Mean of the events' upper bounds, rounded up; `None` without an event.
    pub mean_ns: Option<u64>,
    /// The most that one event may have caused: a window in the time of several events counts for each.
    pub max_ns: Option<u64>,
    /// Per event, what cannot be ruled out: `max_ns`, or the shortest outage that the load would have met,
    /// whichever is longer. Nothing seen is not nothing lost. `None` when nothing was sent.
    pub worst_ns: Option<u64>,
    pub daily: Vec<Daily>,
    pub contract: Contract,
    /// Empty when nothing was sent.
    pub budgets: Vec<Budget>,
    pub alerts: Vec<Alert>,
}

/// Availability of a day with so many events.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Daily {
    pub events_per_day: u32,
    /// Each as long as the mean.
    pub availability: f64,
    /// Each as long as the worst.
    pub worst: f64,
}

/// Availability by the windows of a clock, see [`super::contract`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contract {
    pub minutes_all_failed: Fraction,
    pub minutes_over_ten_percent: Fraction,
    pub five_minute_average: Fraction,
}

/// What a promised availability leaves room for, and what the run took of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// The promise in millionths.
    pub target_ppm: u32,
    /// Downtime of a day that keeps it.
    pub daily_ns: u64,
    /// Failed attempts of a day at the run's rate that keep it, rounded down; `None` when the run had no
    /// length.
    pub daily_requests: Option<u64>,
    /// The run's upper bound of hard downtime, of `daily_ns`.
    pub used_by_time: f64,
    /// The run's failed attempts, of `daily_requests`.
    pub used_by_request: f64,
    /// The run's error rate over the budgeted one.
    pub burn_rate: f64,
    /// Events of the worst length that fit into a day; `None` without an event, or when that length is zero.
    pub events_per_day_max: Option<u64>,
}

/// What an alert would have said.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    pub rule: AlertRule,
    /// The highest error rate over both windows at once; `None` when the run is shorter than the long one.
    pub error_rate: Option<f64>,
    /// The promises for which it would have called, in millionths.
    pub calls_ppm: Vec<u32>,
}

/// The service level from the windows that belong to events, and from the run's errors.
#[must_use]
pub fn measure(
    events: &[EventRecord],
    downtime: &Downtime,
    requests: &Requests,
    windows: &Windows,
    span: Span,
) -> Sla {
    let by_event = downtime.by_event(events.len());
    let trials = availability::trials(events);
    let mean_ns = mean_up(trials.iter().map(|&index| by_event[index].upper_ns).collect());
    let max_ns = trials.iter().map(|&index| downtime.possible_ns[index]).max();
    // Without a single attempt nothing can be ruled out, so no figure is given.
    let worst_ns = max_ns.zip(downtime.min_detectable_ns).map(|(max, hidden)| max.max(hidden));
    let budget = |target_ppm| budget(target_ppm, worst_ns, downtime, requests.all, span);
    Sla {
        events: trials.len() as u64,
        mean_ns,
        max_ns,
        worst_ns,
        daily: mean_ns.zip(worst_ns).map_or_else(Vec::new, |(mean_ns, worst_ns)| daily(mean_ns, worst_ns)),
        contract: Contract {
            minutes_all_failed: windows.by_minute(MinuteRule::AllFailed),
            minutes_over_ten_percent: windows.by_minute(MinuteRule::MoreThanTenPercentFailed),
            five_minute_average: windows.five_minute_average(),
        },
        budgets: TARGETS_PPM.into_iter().filter_map(budget).collect(),
        alerts: ALERTS.map(|rule| alert(rule, windows)).into(),
    }
}

/// The mean, rounded up; `None` of nothing.
fn mean_up(values: Vec<u64>) -> Option<u64> {
    let count = values.len() as u64;
    (count > 0).then(|| values.into_iter().sum::<u64>().div_ceil(count))
}

fn daily(mean_ns: u64, worst_ns: u64) -> Vec<Daily> {
    let day = |events_per_day| Daily {
        events_per_day,
        availability: availability_of_a_day(events_per_day, mean_ns),
        worst: availability_of_a_day(events_per_day, worst_ns),
    };
    EVENTS_PER_DAY.map(day).into()
}

fn availability_of_a_day(events: u32, each_ns: u64) -> f64 {
    (1.0 - f64::from(events) * to_f64(each_ns) / to_f64(DAY_NS)).max(0.0)
}

/// `None` when nothing was sent.
fn budget(
    target_ppm: u32,
    worst_ns: Option<u64>,
    downtime: &Downtime,
    attempts: Tally,
    span: Span,
) -> Option<Budget> {
    let errors_ppm = 1_000_000 - target_ppm;
    let errors = f64::from(errors_ppm) / 1e6;
    let daily_ns = DAY_NS / 1_000_000 * u64::from(errors_ppm);
    let burn_rate = error_rate(attempts)? / errors;
    let sending_ns = span.sending_ns();
    let days = to_f64(sending_ns) / to_f64(DAY_NS);
    let daily_requests = (u128::from(attempts.total) * u128::from(daily_ns)).checked_div(sending_ns.into());
    Some(Budget {
        target_ppm,
        daily_ns,
        daily_requests: daily_requests.and_then(|requests| u64::try_from(requests).ok()),
        used_by_time: to_f64(downtime.hard.upper_ns) / to_f64(daily_ns),
        used_by_request: burn_rate * days,
        burn_rate,
        events_per_day_max: daily_ns.checked_div(worst_ns.unwrap_or(0)),
    })
}

fn alert(rule: AlertRule, windows: &Windows) -> Alert {
    let error_rate = windows.worst_error_rate(rule.long_minutes, rule.short_minutes);
    let calls = |ppm: &u32| {
        let budgeted = f64::from(1_000_000 - ppm) / 1e6;
        error_rate.is_some_and(|rate| rate >= rule.burn_rate * budgeted)
    };
    Alert { rule, error_rate, calls_ppm: TARGETS_PPM.into_iter().filter(calls).collect() }
}

#[expect(clippy::cast_precision_loss, reason = "counts and times stay below 2^53")]
fn to_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
