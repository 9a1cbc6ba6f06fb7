//! The service level: days, definitions, budgets and alerts.

use crate::{
    analyze::{
        Analysis,
        availability::Fraction,
        contract::SHARE_UNIT,
        sla::{self, Contract},
    },
    report::{
        Alert, Budget, Daily, Definition, Sla,
        round::{availability, availability_down, ms, ms_up, share_up},
    },
};

pub(super) fn service_level(analysis: &Analysis) -> Sla {
    let sla = &analysis.sla;
    let daily = sla.daily.iter().map(|day| Daily {
        events_per_day: day.events_per_day,
        availability: availability_down(day.availability),
        availability_worst: availability_down(day.worst),
    });
    Sla {
        per_event_downtime_ms: sla.mean_ns.map(ms_up),
        per_event_downtime_ms_max: sla.max_ns.map(ms_up),
        per_event_downtime_ms_worst: sla.worst_ns.map(ms_up),
        events: sla.events,
        daily: daily.collect(),
        definitions: definitions(analysis),
        budgets: sla.budgets.iter().map(budget).collect(),
        alerts: sla.alerts.iter().map(alert).collect(),
    }
}

/// The same run by every definition. What the figures are is said where they are computed.
fn definitions(analysis: &Analysis) -> Vec<Definition> {
    let measured = &analysis.availability;
    let Contract { minutes_all_failed, minutes_over_ten_percent, five_minute_average } =
        analysis.sla.contract;
    let whole = |name: &str, figure: Fraction, rule: &str, source: &str| Definition {
        name: name.to_owned(),
        availability: availability(figure),
        windows: None,
        rule: rule.to_owned(),
        source: source.to_owned(),
    };
    let windowed = |name: &str, figure: Fraction, windows: u64, rule: &str, source: &str| Definition {
        windows: Some(windows),
        ..whole(name, figure, rule, source)
    };
    let time =
        "B. Beyer et al., Site Reliability Engineering (2016), chapter 3: uptime of uptime and downtime";
    vec![
        whole(
            "by-request",
            measured.by_request,
            "answered requests of all, without any retry",
            "B. Beyer et al., Site Reliability Engineering (2016), chapter 3: successful requests of all",
        ),
        whole(
            "after-safe-retry",
            measured.after_safe_retry,
            "by request, with one retry where HTTP permits it",
            "RFC 9110 section 9.2.2, RFC 9112 section 9.3.1, RFC 9113 section 8.7",
        ),
        whole("by-time-at-worst", measured.by_time, "time outside the upper bounds of hard windows", time),
        whole("by-time-at-best", measured.by_time_at_best, "time outside their lower bounds", time),
        windowed(
            "by-minute-all-failed",
            minutes_all_failed,
            minutes_all_failed.whole,
            "whole minutes; one is down when all of its requests failed, and one such minute is a downtime \
             period",
            "Google Cloud, Compute Engine Service Level Agreement (2020): loss of external connectivity",
        ),
        windowed(
            "by-minute-over-10-percent-failed",
            minutes_over_ten_percent,
            minutes_over_ten_percent.whole,
            "whole minutes; one is down when more than 10 % of its requests failed, and one such minute is a \
             downtime period",
            "Google Cloud, Cloud Functions Service Level Agreement (2018)",
        ),
        windowed(
            "five-minute-average",
            five_minute_average,
            five_minute_average.whole / SHARE_UNIT,
            "100 % minus the average of the error rates of whole five-minute windows",
            "Amazon Web Services, Amazon S3 Service Level Agreement (2023)",
        ),
    ]
}

fn budget(budget: &sla::Budget) -> Budget {
    Budget {
        target: target(budget.target_ppm),
        daily_ms: ms(budget.daily_ns),
        daily_requests: budget.daily_requests,
        used_by_time: share_up(budget.used_by_time),
        used_by_request: share_up(budget.used_by_request),
        burn_rate: share_up(budget.burn_rate),
        events_per_day_max: budget.events_per_day_max,
    }
}

fn alert(alert: &sla::Alert) -> Alert {
    let seconds = |minutes: usize| minutes as u64 * 60;
    Alert {
        burn_rate: alert.rule.burn_rate,
        long_s: seconds(alert.rule.long_minutes),
        short_s: seconds(alert.rule.short_minutes),
        error_rate: alert.error_rate.map(share_up),
        calls_for: alert.calls_ppm.iter().copied().map(target).collect(),
    }
}

fn target(ppm: u32) -> f64 {
    f64::from(ppm) / 1e6
}
