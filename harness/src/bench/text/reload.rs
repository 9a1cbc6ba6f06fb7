//! The rows of a bench of mechanisms, and what has to be known to read them.

use super::{Row, bound};
use crate::{
    bench::{BenchReport, ReloadFigures, Times},
    report::terminal::text::{counted, figure, grouped},
};

pub(super) fn rows(row: &Row<'_>) -> Vec<String> {
    let row = |name: &str, cell: &dyn Fn(&ReloadFigures) -> String| {
        row(name, &|arm| arm.reload.as_ref().map_or_else(|| "-".to_owned(), cell))
    };
    let count = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), grouped);
    let mut lines = vec![
        row("changes", &|of| grouped(of.changes.trials)),
        row("  missed", &|of| grouped(of.changes.bad)),
        row("  at most, 95 %", &|of| bound(of.changes)),
        row("  could not be made", &|of| grouped(of.unmade)),
    ];
    let mut times = |name: &str, of_it: fn(&ReloadFigures) -> Times| {
        lines.push(row(&format!("{name}, p50 ms"), &|of| figure(of_it(of).p50)));
        lines.push(row("  p99", &|of| figure(of_it(of).p99)));
        lines.push(row("  max", &|of| figure(of_it(of).max)));
    };
    times("first answer", |of| of.first_ms);
    times("effect", |of| of.effect_ms);
    times("begun to effect", |of| of.begun_to_effect_ms);
    lines.extend([
        row("changes in storms", &|of| grouped(of.storm.changes)),
        row("  made a second", &|of| figure(of.storm.made_per_s)),
        row("  published", &|of| count(of.storm.published)),
        row("  seen in answers", &|of| count(of.storm.shown)),
        row("  coalesced", &|of| count(of.storm.coalesced)),
        row("storms", &|of| grouped(of.storm.storms.trials)),
        row("  last change missed", &|of| grouped(of.storm.storms.bad)),
        row("  last to effect, p50 ms", &|of| figure(of.storm.last_effect_ms.p50)),
        row("  max", &|of| figure(of.storm.last_effect_ms.max)),
        row("CPU idle, ms/s", &|of| figure(of.cpu.idle_per_s)),
        row("  under load alone", &|of| figure(of.cpu.quiet_per_s)),
        row("  and single changes", &|of| figure(of.cpu.reloading_per_s)),
        row("  and a storm", &|of| figure(of.cpu.storm_per_s)),
        row("CPU of a change, ms", &|of| figure(of.cpu.per_change)),
        row("  of one in a storm", &|of| figure(of.cpu.per_storm_change)),
        row("p99 quiet, ms", &|of| figure(of.latency_ms.quiet_p99)),
        row("  around changes", &|of| figure(of.latency_ms.near_p99)),
        row("  times the quiet one", &|of| figure(of.latency_ms.near_to_quiet)),
        row("  in storms", &|of| figure(of.latency_ms.storm_p99)),
    ]);
    lines
}

pub(super) fn notes(report: &BenchReport) -> Vec<String> {
    let mut notes = Vec::new();
    for arm in &report.arms {
        if let Some(of) = arm.reload.as_ref().filter(|of| of.misses()) {
            let (name, last) = (&arm.name, of.storm.storms.bad);
            let missed = of.changes.bad + of.unloaded.bad;
            let (missed, last) = (counted(missed, "change"), counted(last, "storm"));
            notes.push(format!("{name} missed {missed}, and the last one of {last}."));
        }
        if let Some(of) = arm.reload.as_ref().filter(|of| of.unmade > 0) {
            notes.push(format!("By {} {} could not be made.", arm.name, counted(of.unmade, "change")));
        }
    }
    let how = [
        "From a change (the writer's last system call; the answer of etcd, or of the server to a push) to the \
         first answer that shows it, and to its effect: it was seen, and nobody who asked later was answered \
         without it. Begun: from the writer's first step, so that of a push it holds the whole request.",
        "Storm: one writer, one change after the other as fast as it can. Coalesced: not published, because a \
         later one had overtaken it.",
        "CPU is the server's process alone. Idle: no load, between changes. With single changes: for 120 ms \
         from each. Of a change: made without load, what is more than idle; of one in a storm: what is more \
         than under load alone.",
        "p99: medians over runs; around a change means in flight from its first step to 50 ms after its effect, quiet at no such \
         time.",
    ];
    notes.extend(how.map(str::to_owned));
    notes
}
