//! The sections of the terminal report, in its order.

use std::collections::BTreeSet;

use super::{
    Screen, WIDTH,
    text::{counted, cut, exact, figure, grouped, wrapped},
};
use crate::report::{
    Attempted, ConnectionCounts, Event, InvariantWord, LatencyGroup, OutcomeWord, Propagation, Quantiles,
    Report, Window, phases::phases,
};

/// Windows that the screen shows; all of them are in `report.json`.
const WINDOWS_SHOWN: usize = 8;

/// Events that went wrong or lost requests that the screen shows.
const EVENTS_SHOWN: usize = 8;

/// One sentence: how much was lost in how many events.
pub(super) fn summary(report: &Report) -> String {
    let requests = &report.requests;
    let (failed, total) = (grouped(requests.failed), counted(requests.total, "request"));
    let around = match noun(report) {
        Some(noun) => format!(" around {}", counted(report.sla.events, noun)),
        None => String::new(),
    };
    format!("{failed} of {total} failed{around}, {} s of load.", figure(Some(report.run.duration_s)))
}

/// What the events of the run that count as trials are called; `None` when there was none.
pub(super) fn noun(report: &Report) -> Option<&'static str> {
    match report.events.iter().any(|event| event.kind == "upgrade") {
        true => Some("upgrade"),
        false if report.events.is_empty() => None,
        false => Some("event"),
    }
}

pub(super) fn gates(screen: &mut Screen, report: &Report) {
    screen.title("GATES", &format!("{:>32}{:>16}", "limit", "actual"));
    for gate in &report.verdict.gates {
        let (limit, actual) = (exact(gate.limit), gate.actual.map_or_else(|| "-".to_owned(), exact));
        let word = match gate.outcome {
            OutcomeWord::Pass => "pass",
            OutcomeWord::Fail => "fail",
            OutcomeWord::Inconclusive => "doubt",
        };
        let rest = format!("{:<33}{limit:>16}{actual:>16}", gate.name);
        screen.judged("  ", gate.outcome, word, &format!("{:1$}{rest}", "", 7 - word.len()));
    }
}

pub(super) fn requests(screen: &mut Screen, report: &Report) {
    let requests = &report.requests;
    screen.title("REQUESTS", &format!("{:>16}{:>16}{:>16}", "total", "ok", "failed"));
    let mut row = |name: &str, count: Attempted| {
        let [total, ok, failed] = [count.total, count.ok, count.failed].map(grouped);
        screen.line(&format!("  {:<22}{total:>16}{ok:>16}{failed:>16}", cut(name, 22)));
    };
    row("all", Attempted { total: requests.total, ok: requests.ok, failed: requests.failed });
    row("on new connections", requests.by_connection.new);
    row("on reused connections", requests.by_connection.reused);
    if requests.by_connection.library.total > 0 {
        row("after library retries", requests.by_connection.library);
    }
    for stream in &report.streams {
        row(&format!("stream {}", stream.name), stream.requests);
    }
    if requests.warmup.total > 0 {
        row("warm-up, not counted", requests.warmup);
    }
    if requests.failed > 0 && !report.events.is_empty() {
        let belong = grouped(requests.failed - requests.failed_unattributed);
        let none = grouped(requests.failed_unattributed);
        screen.paragraph(&format!("Of the failed {belong} belong to an event, {none} to none."));
    }
}

pub(super) fn connections(screen: &mut Screen, report: &Report) {
    let heads = ["opened", "server closed", "client closed", "not opened"].map(|head| format!("{head:>16}"));
    screen.title_of(16, "CONNECTIONS", &heads.concat());
    let mut row = |name: &str, counts: ConnectionCounts| {
        let ConnectionCounts { opened, closed_by_server, closed_by_client, unopened } = counts;
        let [opened, server, client, not_opened] =
            [opened, closed_by_server, closed_by_client, unopened].map(grouped);
        screen.line(&format!("  {name:<14}{opened:>16}{server:>16}{client:>16}{not_opened:>16}"));
    };
    row("used once", report.connections.new);
    row("kept alive", report.connections.reused);
}

pub(super) fn events(screen: &mut Screen, report: &Report) {
    let Some(noun) = noun(report) else { return };
    let trials: Vec<&Event> =
        report.events.iter().filter(|event| noun == "event" || event.kind == noun).collect();
    let ok = trials.iter().filter(|event| event.outcome == "ok").count() as u64;
    let title = format!("{}S", noun.to_uppercase());
    screen.title(&title, &format!("{:>32}{:>16}", "p50 ms", "max ms"));
    let lasted = trials.iter().filter_map(|event| Some(event.ended_ms? - event.started_ms));
    times(screen, "from start to end", lasted.collect());
    for (phase, lasted) in phases(&trials) {
        times(screen, &format!("phase {phase}"), lasted);
    }
    let total = trials.len() as u64;
    let mut text = format!("{} of {} ended ok", grouped(ok), counted(total, noun));
    let others = report.events.len() as u64 - total;
    if others > 0 {
        text.push_str(&format!("; {} of another kind", counted(others, "event")));
    }
    screen.paragraph(&format!("{text}."));
    let bad: Vec<&Event> =
        report.events.iter().filter(|event| event.failed_requests > 0 || !event.as_expected).collect();
    for event in bad.iter().take(EVENTS_SHOWN) {
        let surprise = if event.as_expected { "" } else { ", not as planned" };
        let at = figure(Some(event.started_ms / 1_000.0));
        let failed = counted(event.failed_requests, "request");
        screen.paragraph(&format!("{} at {at} s: {}{surprise}; {failed} failed.", event.id, event.outcome));
    }
    and_more(screen, bad.len(), EVENTS_SHOWN);
}

/// From each event to the answers that show what it changed. What an upgrade brings up is told with the
/// events, unless somebody met the old process after it.
pub(super) fn propagation(screen: &mut Screen, report: &Report) {
    let is_news = |change: &Propagation| change.mechanism != "upgrade" || change.stale_after_ack > 0;
    if !report.propagation.iter().any(is_news) {
        return;
    }
    screen.title("PROPAGATION", &format!("{:>32}{:>16}", "p50 ms", "max ms"));
    let mechanisms: BTreeSet<&str> =
        report.propagation.iter().map(|change| change.mechanism.as_str()).collect();
    for mechanism in mechanisms {
        let of_it = || report.propagation.iter().filter(|change| change.mechanism == mechanism);
        let first = of_it().filter_map(|change| change.first_ms).collect();
        times(screen, &format!("{mechanism}: first new"), first);
        times(
            screen,
            &format!("{mechanism}: last old"),
            of_it().filter_map(|change| change.last_ms).collect(),
        );
        let effects: Vec<f64> = of_it().filter_map(|change| change.effect_ms).collect();
        let unseen = of_it().count() - effects.len();
        times(screen, &format!("{mechanism}: in effect"), effects);
        if unseen > 0 {
            let changes = counted(unseen as u64, "change");
            screen.paragraph(&format!("{changes} by {mechanism} never came to be seen."));
        }
        let stale: u64 = of_it().map(|change| change.stale_after_ack).sum();
        if stale > 0 {
            let longest = of_it().filter_map(|change| change.stale_ms).fold(0.0, f64::max);
            let answers = counted(stale, "answer");
            screen.paragraph(&format!(
                "{answers} from before an acknowledged change; the last to a request sent {} ms after it.",
                figure(Some(longest))
            ));
        }
    }
}

/// Median and maximum of some times, each as it was measured.
fn times(screen: &mut Screen, name: &str, mut lasted_ms: Vec<f64>) {
    lasted_ms.sort_by(f64::total_cmp);
    let median = lasted_ms.get(lasted_ms.len().saturating_sub(1) / 2).copied();
    let (median, longest) = (figure(median), figure(lasted_ms.last().copied()));
    screen.line(&format!("  {:<22}{median:>32}{longest:>16}", cut(name, 22)));
}

pub(super) fn downtime(screen: &mut Screen, report: &Report) {
    let downtime = &report.downtime;
    screen.title("DOWNTIME", &format!("{:>32}{:>16}", "at least ms", "at most ms"));
    let (lower, upper) = (figure(downtime.hard_ms.lower), figure(downtime.hard_ms.upper));
    screen.line(&format!("  {:<22}{lower:>32}{upper:>16}", "hard (failures)"));
    let brownout = figure(downtime.brownout_ms);
    screen.line(&format!("  {:<22}{:>32}{brownout:>16}", "brownout (late)", ""));
    let shown = &downtime.windows[..downtime.windows.len().min(WINDOWS_SHOWN)];
    if !shown.is_empty() {
        screen.line(&format!(
            "    {:<9}{:>9}{:>10}{:>10}{:>9}  {}",
            "window", "from s", "at least", "at most", "requests", "event (streams)"
        ));
    }
    for window in shown {
        screen.line(&window_row(window));
    }
    let all = downtime.windows.len() + usize::try_from(downtime.windows_omitted).unwrap_or(usize::MAX);
    and_more(screen, all, WINDOWS_SHOWN);
    if let Some(shortest) = downtime.min_detectable_ms {
        screen.paragraph(&format!(
            "An outage shorter than {} ms may have gone unseen.",
            figure(Some(shortest))
        ));
    }
}

fn window_row(window: &Window) -> String {
    let mut whose = window.event.clone().unwrap_or_else(|| "no event".to_owned());
    whose.push_str(&format!(" ({})", window.streams.join(", ")));
    for (is_so, word) in [(window.open_start, " from before"), (window.open_end, " to the end")] {
        whose.push_str(if is_so { word } else { "" });
    }
    if window.flaps > 0 {
        whose.push_str(&format!(", {} flaps", window.flaps));
    }
    let row = format!(
        "    {:<9}{:>9.3}{:>10}{:>10}{:>9}  ",
        window.kind,
        window.from_ms / 1_000.0,
        figure(Some(window.lower_ms)),
        figure(Some(window.upper_ms)),
        grouped(window.attempts),
    );
    format!("{row}{}", cut(&whose, WIDTH.saturating_sub(row.len())))
}

/// Says how many were left out of a list.
pub(super) fn and_more(screen: &mut Screen, all: usize, shown: usize) {
    if let Some(more) = all.checked_sub(shown).filter(|&more| more > 0) {
        screen.paragraph(&format!("and {} more in report.json", grouped(more as u64)));
    }
}

pub(super) fn latency(screen: &mut Screen, report: &Report) {
    let latency = &report.latency_ms;
    screen.title("LATENCY ms", &quantile_heads());
    quantiles(screen, "from intended time", &latency.intended);
    quantiles(screen, "from sending", &latency.service);
    let mut group = |name: &str, group: &LatencyGroup| {
        if group.attempts > 0 {
            quantiles(screen, name, &group.intended);
        }
    };
    if !report.events.is_empty() {
        group("near events", &latency.around_events);
        group("away from events", &latency.quiet);
    }
    for stream in &report.streams {
        group(&format!("stream {}", stream.name), &stream.latency_ms);
    }
}

fn quantile_heads() -> String {
    ["p50", "p90", "p99", "p99.9", "max"].iter().map(|head| format!("{head:>11}")).collect()
}

fn quantiles(screen: &mut Screen, name: &str, quantiles: &Quantiles) {
    let Quantiles { p50, p90, p99, p999, max } = *quantiles;
    let figures: String = [p50, p90, p99, p999, max].map(|value| format!("{:>11}", figure(value))).concat();
    screen.line(&format!("  {:<22}{figures}", cut(name, 22)));
}

pub(super) fn instrument(screen: &mut Screen, report: &Report) {
    let load = &report.load;
    screen.title("INSTRUMENT", &quantile_heads());
    quantiles(screen, "lateness us", &load.lateness_us);
    if report.control.rate.is_some() {
        quantiles(screen, "control ms", &report.control.latency_ms);
    }
    let [planned, sent, unsent] = [load.planned, load.sent, load.unsent].map(grouped);
    let mut text = format!("{planned} requests planned, {sent} sent, {unsent} not sent");
    if !load.unsent_by_cause.is_empty() {
        let causes: Vec<String> = load
            .unsent_by_cause
            .iter()
            .map(|(cause, &count)| format!("{cause} {}", grouped(count)))
            .collect();
        text.push_str(&format!(" ({})", causes.join(", ")));
    }
    screen.paragraph(&format!("{text}; at most {} in flight.", grouped(load.in_flight_max.into())));
    for note in &load.notes {
        screen.paragraph(note);
    }
    let mut facts = Vec::new();
    if let (Some(attempts), Some(lost)) = (report.control.attempts, report.control.lost) {
        facts.push(format!("{} to the control target, {} lost", counted(attempts, "request"), grouped(lost)));
    }
    facts.extend(load.blind_ms.map(|longest| format!("longest pause {} ms", figure(Some(longest)))));
    let machine = &report.machine;
    facts.extend(machine.steal_ms.map(|steal| format!("{} ms stolen", figure(Some(steal)))));
    facts.extend(machine.runnable_max.map(|most| format!("up to {} runnable", counted(most, "thread"))));
    if !facts.is_empty() {
        screen.paragraph(&format!("{}.", facts.join("; ")));
    }
}

/// What the server held before and after the load; nothing where nobody looked.
pub(super) fn held(screen: &mut Screen, report: &Report) {
    let held = &report.held;
    if held.processes.after.is_none() {
        return;
    }
    screen.title("AT REST", &format!("{:>32}{:>16}", "before", "after"));
    let rows = [
        ("processes", held.processes),
        ("descriptors", held.descriptors),
        ("threads", held.threads),
        ("memory KB", held.memory_kb),
    ];
    for (name, rest) in rows {
        let [before, after] = [rest.before, rest.after].map(|value| value.map_or("-".to_owned(), grouped));
        screen.line(&format!("  {name:<22}{before:>32}{after:>16}"));
    }
    if let (Some(growth), Some(upper)) = (held.memory_growth_kb, held.memory_growth_upper_kb) {
        screen.paragraph(&format!(
            "From one upgrade to the next the memory grew by {growth:.1} KB, at most {upper:.1} with 95 % confidence."
        ));
    }
}

pub(super) fn invariants(screen: &mut Screen, report: &Report) {
    screen.title("INVARIANTS", "");
    for invariant in &report.invariants {
        let (outcome, word) = match invariant.outcome {
            InvariantWord::Pass => (OutcomeWord::Pass, "pass"),
            InvariantWord::Fail => (OutcomeWord::Fail, "fail"),
            InvariantWord::NotChecked => (OutcomeWord::Inconclusive, "unchecked"),
        };
        let start = format!("  {word:<11}");
        let lines = wrapped(&start, &format!("{}: {}", invariant.name, invariant.detail));
        for (index, line) in lines.iter().enumerate() {
            match line.trim_start().strip_prefix(word).filter(|_| index == 0) {
                Some(rest) => screen.judged("  ", outcome, word, rest),
                None => screen.line(line),
            }
        }
    }
}

pub(super) fn place(screen: &mut Screen, report: &Report) {
    let environment = &report.environment;
    screen.title("RUN", "");
    let strategy = environment.target.strategy.as_ref().map(|strategy| format!(", {strategy}"));
    let mut text = format!("Target {}{}", environment.target.kind, strategy.unwrap_or_default());
    for (service, how) in &environment.services {
        text.push_str(&format!("; {service} {how}"));
    }
    let Report { run, .. } = report;
    screen.paragraph(&format!("{text}; seed {}; kernel {}.", run.seed, environment.kernel));
}
