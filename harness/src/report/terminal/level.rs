//! The sections on failures, availability and the service level.

use super::{
    Screen,
    sections::{and_more, noun},
    text::{chance, counted, exact, figure, grouped, percent, wrapped},
};
use crate::report::{Alert, FailureClass, Report, Spread};

/// Classes of failures that the screen shows; all of them are in `report.json`.
const CLASSES_SHOWN: usize = 8;

/// What became of the attempts that were not served; nothing when all were.
pub(super) fn failures(screen: &mut Screen, report: &Report) {
    let classes = &report.requests.classes;
    if classes.is_empty() {
        return;
    }
    let heads =
        format!("{:<15}{:<12}{:<12}{:<10}{:>15}", "cause", "connection", "safe retry", "blame", "requests");
    screen.title_of(16, "NOT SERVED IN", &heads);
    for class in classes.iter().take(CLASSES_SHOWN) {
        let FailureClass { phase, cause, connection, retry_safe, blame, count, .. } = class;
        let safe = if *retry_safe { "yes" } else { "no" };
        let count = grouped(*count);
        screen.line(&format!("  {phase:<14}{cause:<15}{connection:<12}{safe:<12}{blame:<10}{count:>15}"));
        let of_connections = [
            spread("", class.age_ms, figure, " ms old"),
            spread("idle for ", class.idle_ms, figure, " ms"),
            spread(
                "",
                class.requests_before,
                |count| count.map_or_else(String::new, exact),
                " requests before",
            ),
        ];
        let parts: Vec<String> = of_connections.into_iter().flatten().collect();
        if !parts.is_empty() {
            for line in wrapped("      ", &format!("on connections {}", parts.join(", "))) {
                screen.line(&line);
            }
        }
    }
    and_more(screen, classes.len(), CLASSES_SHOWN);
    let statuses: Vec<String> = report
        .requests
        .by_status
        .iter()
        .map(|(status, &count)| format!("{status} {}", grouped(count)))
        .collect();
    if !statuses.is_empty() {
        screen.paragraph(&format!("Bad statuses: {}.", statuses.join(", ")));
    }
}

/// Least, median and most between two texts; one figure when they are the same, nothing when there is none.
fn spread(before: &str, spread: Spread, show: fn(Option<f64>) -> String, after: &str) -> Option<String> {
    spread.max?;
    let shown = if spread.min == spread.max {
        show(spread.max)
    } else {
        [spread.min, spread.median, spread.max].map(show).join(" / ")
    };
    Some(format!("{before}{shown}{after}"))
}

pub(super) fn availability(screen: &mut Screen, report: &Report) {
    screen.title("AVAILABILITY", "");
    for definition in &report.sla.definitions {
        // A run that is shorter than a window says nothing in its terms.
        if definition.windows == Some(0) {
            continue;
        }
        let name = definition.name.replace('-', " ");
        screen.line(&format!("  {name:<34}{:>20}", percent(definition.availability)));
    }
    let bounds = &report.availability.failure_upper_bound_95;
    if let (Some(noun), Some(_)) = (noun(report), bounds.per_event) {
        let (bad, trials) = (grouped(bounds.events.bad), counted(bounds.events.trials, noun));
        let most = chance(bounds.per_event);
        screen.paragraph(&format!("{bad} bad in {trials}: at most {most} of {noun}s can lose anything."));
    }
    if bounds.per_request.is_some() {
        let (bad, trials) = (grouped(bounds.requests.bad), counted(bounds.requests.trials, "request"));
        let most = chance(bounds.per_request);
        screen.paragraph(&format!("{bad} failed in {trials}: at most {most} of requests can fail."));
        screen.paragraph("Both bounds with 95 % confidence. Losses come in clusters: trust the first.");
    }
}

pub(super) fn service_level(screen: &mut Screen, report: &Report) {
    let sla = &report.sla;
    if let (Some(noun), false) = (noun(report), sla.daily.is_empty()) {
        screen.title("SERVICE LEVEL", &format!("{:>32}{:>16}", "mean", "worst case"));
        let (mean, worst) = (figure(sla.per_event_downtime_ms), figure(sla.per_event_downtime_ms_worst));
        screen.line(&format!("  {:<22}{mean:>32}{worst:>16}", format!("ms per {noun}")));
        for day in &sla.daily {
            let name = format!("{} a day", counted(day.events_per_day.into(), noun));
            let (mean, worst) = (percent(Some(day.availability)), percent(Some(day.availability_worst)));
            screen.line(&format!("  {name:<22}{mean:>32}{worst:>16}"));
        }
    }
    budgets(screen, report);
}

/// What promises leave room for in a day; how much of that the run took, when it took any.
fn budgets(screen: &mut Screen, report: &Report) {
    let budgets = &report.sla.budgets;
    if budgets.is_empty() {
        return;
    }
    let fits = noun(report).map_or_else(String::new, |noun| format!("{noun}s"));
    let heads = ["downtime s", "failed", &fits, "used here", "burn rate"].map(|head| format!("{head:>12}"));
    screen.title_of(20, "BUDGET OF A DAY", &heads.concat());
    for budget in budgets {
        let failed = budget.daily_requests.map_or_else(|| "-".to_owned(), grouped);
        let fit = match budget.events_per_day_max {
            Some(fit) => grouped(fit),
            None => String::new(),
        };
        // By requests or by time, whatever took more.
        let used = format!("{} %", figure(Some(budget.used_by_request.max(budget.used_by_time) * 100.0)));
        let figures =
            [figure(Some(budget.daily_ms / 1_000.0)), failed, fit, used, figure(Some(budget.burn_rate))];
        let figures: String = figures.iter().map(|text| format!("{text:>12}")).collect();
        screen.line(&format!("  {:<18}{figures}", format!("{} %", exact(budget.target * 100.0))));
    }
    let calls = report.sla.alerts.iter().filter(|alert| !alert.calls_for.is_empty());
    for Alert { burn_rate, long_s, short_s, calls_for, .. } in calls {
        let targets: Vec<String> =
            calls_for.iter().map(|target| format!("{} %", exact(target * 100.0))).collect();
        screen.paragraph(&format!(
            "Burn rate {burn_rate} over {} and {} min: somebody is called for {}.",
            long_s / 60,
            short_s / 60,
            targets.join(", ")
        ));
    }
}
