//! The server's answers for human eyes: a few lines of at most 80 columns.

mod changes;
mod config;
mod push;

use std::fmt::{self, Write as _};

use serde_json::Value;

pub(super) use self::{
    changes::history,
    config::config,
    push::{published, pushed},
};
use crate::lifecycle::{PhaseTimes, ProcessIdentity, UpgradeOutcome, UpgradeReport};

/// Columns of a terminal that nobody has widened.
const COLUMNS: usize = 80;

/// Changes that are told with the status; `seckill config history` tells more.
const CHANGES_MAX: usize = 5;

/// What became of an upgrade.
pub(super) fn upgrade(report: &UpgradeReport) -> String {
    let mut text = String::new();
    write_upgrade(&mut text, report).expect("writing into a string must succeed");
    text
}

/// How the server stands, from the body of `GET /status`.
pub(super) fn status(body: &Value) -> String {
    let mut text = String::new();
    write_status(&mut text, body).expect("writing into a string must succeed");
    text
}

fn write_upgrade(text: &mut String, report: &UpgradeReport) -> fmt::Result {
    let total = report.phases_ms.total.unwrap_or(0.0);
    let headline = match report.outcome {
        UpgradeOutcome::Ok => format!("upgraded by {} in {total:.1} ms", report.strategy),
        UpgradeOutcome::Failed => format!("upgrade by {} failed after {total:.1} ms", report.strategy),
        UpgradeOutcome::Refused => "upgrade refused".to_owned(),
    };
    writeln!(text, "{headline}")?;
    if let Some(error) = &report.error {
        writeln!(text, "  step         {}: {}", error.step, error.kind)?;
        for line in wrap(&error.detail, COLUMNS - 2) {
            writeln!(text, "  {line}")?;
        }
        for line in error.stderr.lines() {
            writeln!(text, "  | {}", cut(line, COLUMNS - 4))?;
        }
    }
    writeln!(text, "  old          {}", identity(&report.old))?;
    if let Some(new) = &report.new {
        writeln!(text, "  new          {}", identity(new))?;
    }
    if report.outcome == UpgradeOutcome::Refused {
        return Ok(());
    }
    let counts = &report.connections;
    writeln!(text, "  sockets      {} handed over", report.sockets)?;
    writeln!(
        text,
        "  connections  {} handed over, {} finished, {} closed, {} cut",
        counts.handed_over, counts.finished, counts.closed, counts.cut
    )?;
    for (index, line) in wrap(&phases(&report.phases_ms), COLUMNS - 15).iter().enumerate() {
        let label = if index == 0 { "phases (ms)" } else { "" };
        writeln!(text, "  {label:<13}{line}")?;
    }
    Ok(())
}

fn write_status(text: &mut String, body: &Value) -> fmt::Result {
    let process = &body["process"];
    writeln!(
        text,
        "{}: pid {}, release {}, process {}, up {:.1} s",
        word(&body["phase"]),
        process["pid"],
        word(&process["version"]),
        process["process"],
        body["uptime_ms"].as_f64().unwrap_or(0.0) / 1000.0
    )?;
    let (config, snapshot, store) = (&body["config"], &body["snapshot"], &body["store"]);
    writeln!(text, "  strategy  {}", word(&config["strategy"]))?;
    writeln!(
        text,
        "  serving   generation {}: {} events, {} users blacklisted",
        snapshot["generation"], snapshot["events"], snapshot["blacklisted"]
    )?;
    writeln!(
        text,
        "  orders    {} placed, {} repeated, {} refused, {} without an answer",
        store["orders_placed"],
        store["orders_replayed"],
        store["orders_refused"],
        store["orders_unavailable"]
    )?;
    services(text, &store["standing"]["services"])?;
    writeln!(text, "  file      {}", cut(word(&config["file"]), COLUMNS - 12))?;
    for change in config["pending"].as_array().into_iter().flatten() {
        let (loaded, file) = (word(&change["loaded"]), word(&change["file"]));
        let line = format!("{} is {loaded}, the file says {file}", word(&change["key"]));
        let needs = if change["needs"] == "restart" { "a restart" } else { "an upgrade or a restart" };
        let note = format!("{line}: needs {needs}");
        for line in wrap(&note, COLUMNS - 4) {
            writeln!(text, "    {line}")?;
        }
    }
    for fault in config["faults"].as_array().into_iter().flatten() {
        for line in wrap(word(fault), COLUMNS - 4) {
            writeln!(text, "    {line}")?;
        }
    }
    let history = snapshot["history"].as_array().map_or(&[][..], Vec::as_slice);
    let latest = &history[history.len().saturating_sub(CHANGES_MAX)..];
    changes::write(text, latest, "changes", 4)
}

/// How Redis and MySQL stand, where there are any.
fn services(text: &mut String, services: &Value) -> fmt::Result {
    if services.is_null() {
        return Ok(());
    }
    let (written, waiting) = (&services["orders_written"], &services["orders_waiting"]);
    writeln!(text, "  store     {written} written by this process, {waiting} wait in redis")?;
    for name in ["redis", "mysql"] {
        let told = match services[name]["trouble"].as_str() {
            _ if services[name]["up"] == true => format!("{name} is there"),
            Some(trouble) => format!("{name} is away: {trouble}"),
            None => format!("{name} is away"),
        };
        for line in wrap(&told, COLUMNS - 4) {
            writeln!(text, "    {line}")?;
        }
    }
    Ok(())
}

fn identity(process: &ProcessIdentity) -> String {
    format!("pid {}, release {}, process {}", process.pid, process.version, process.process)
}

/// The steps that were reached, in their order.
fn phases(times: &PhaseTimes) -> String {
    let steps = [
        ("start", times.start),
        ("load", times.load),
        ("probe", times.probe),
        ("probation", times.probation),
        ("state", times.state),
        ("transfer", times.transfer),
        ("drain", times.drain),
    ];
    let reached = steps.iter().filter_map(|(step, ms)| ms.map(|ms| format!("{step} {ms:.1}")));
    reached.collect::<Vec<_>>().join(", ")
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

/// Lines of at most `columns` characters, broken between words where there is a place.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there must be a line to write on");
        let length = line.chars().count();
        if length > 0 && length + 1 + word.chars().count() > columns {
            lines.push(cut(word, columns));
        } else {
            let space = if length > 0 { " " } else { "" };
            line.push_str(space);
            line.push_str(&cut(word, columns));
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

/// The first `columns` characters.
fn cut(text: &str, columns: usize) -> String {
    text.chars().take(columns).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::{ConnectionCounts, ProcessGeneration, UpgradeError};

    fn report() -> UpgradeReport {
        let identity =
            |pid, version: &str, process| ProcessIdentity { pid, version: version.to_owned(), process };
        UpgradeReport {
            outcome: UpgradeOutcome::Ok,
            strategy: "handoff-live".to_owned(),
            old: identity(4711, "41", ProcessGeneration(1)),
            new: Some(identity(4712, "42", ProcessGeneration(2))),
            sockets: 2,
            connections: ConnectionCounts { handed_over: 40, finished: 2, closed: 0, cut: 0 },
            phases_ms: PhaseTimes {
                start: Some(12.14),
                load: Some(3.0),
                probe: Some(1.0),
                probation: Some(50.0),
                state: Some(0.4),
                transfer: Some(2.0),
                drain: Some(0.1),
                total: Some(68.24),
            },
            error: None,
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
    }

    #[test]
    fn an_upgrade_that_succeeded() {
        check(
            &upgrade(&report()),
            &[
                "upgraded by handoff-live in 68.2 ms",
                "  old          pid 4711, release 41, process 1",
                "  new          pid 4712, release 42, process 2",
                "  sockets      2 handed over",
                "  connections  40 handed over, 2 finished, 0 closed, 0 cut",
                "  phases (ms)  start 12.1, load 3.0, probe 1.0, probation 50.0, state 0.4,",
                "               transfer 2.0, drain 0.1",
            ],
        );
    }

    #[test]
    fn an_upgrade_that_failed() {
        let detail = "the new process ended with status 1 before it was ready; the old one serves on; see what it said";
        let error = UpgradeError {
            step: "start".to_owned(),
            kind: "exited".to_owned(),
            detail: detail.to_owned(),
            stderr: format!("seckill: failed to read\n{}\n", "x".repeat(100)),
        };
        let report = UpgradeReport {
            outcome: UpgradeOutcome::Failed,
            new: None,
            sockets: 0,
            connections: ConnectionCounts::default(),
            phases_ms: PhaseTimes { start: Some(9.0), total: Some(9.5), ..PhaseTimes::default() },
            error: Some(error),
            ..report()
        };
        check(
            &upgrade(&report),
            &[
                "upgrade by handoff-live failed after 9.5 ms",
                "  step         start: exited",
                "  the new process ended with status 1 before it was ready; the old one serves",
                "  on; see what it said",
                "  | seckill: failed to read",
                &format!("  | {}", "x".repeat(76)),
                "  old          pid 4711, release 41, process 1",
                "  sockets      0 handed over",
                "  connections  0 handed over, 0 finished, 0 closed, 0 cut",
                "  phases (ms)  start 9.0",
            ],
        );
    }

    #[test]
    fn how_the_server_stands() {
        let body = serde_json::json!({
            "process": {"pid": 4711, "version": "41", "process": 3}, "phase": "ready", "uptime_ms": 61_234,
            "config": {"file": "./seckill.toml", "strategy": "handoff-live", "faults": [], "pending": [
                {"key": "api.bind", "loaded": "127.0.0.1:8080", "file": "127.0.0.1:9090", "needs": "upgrade"},
                {"key": "global.pid", "loaded": "./.pid", "file": "./run/pid", "needs": "restart"}]},
            "snapshot": {"generation": 5, "events": 3, "blacklisted": 1, "history": [
                {"at": "2026-11-23T02:35:12.25Z", "datum": "blacklist", "mechanism": "push",
                 "place": "127.0.0.1", "bytes": 110_123_456, "digest": "9f86d081884c7d65", "took_ms": 312.04,
                 "outcome": "published", "generation": 5},
                {"at": "2026-11-23T02:36:00Z", "datum": "cluster", "mechanism": "file",
                 "place": "./cluster.json", "bytes": 3, "digest": "", "took_ms": 0.2,
                 "outcome": "refused", "generation": 5,
                 "reason": "failed to use the cluster from ./cluster.json: pools.mysql: 0 is not from 1 to 10000\npools.redis: 0 is not from 1 to 10000"}]},
            "store": {"orders_placed": 9, "orders_replayed": 1, "orders_refused": 2, "orders_unavailable": 0,
                "standing": {"kind": "redis", "services": {
                    "redis": {"up": true, "trouble": null}, "mysql": {"up": false, "trouble": "failed to ask mysql"},
                    "orders_waiting": 7, "orders_written": 2}}},
        });
        check(
            &status(&body),
            &[
                "ready: pid 4711, release 41, process 3, up 61.2 s",
                "  strategy  handoff-live",
                "  serving   generation 5: 3 events, 1 users blacklisted",
                "  orders    9 placed, 1 repeated, 2 refused, 0 without an answer",
                "  store     2 written by this process, 7 wait in redis",
                "    redis is there",
                "    mysql is away: failed to ask mysql",
                "  file      ./seckill.toml",
                "    api.bind is 127.0.0.1:8080, the file says 127.0.0.1:9090: needs an upgrade",
                "    or a restart",
                "    global.pid is ./.pid, the file says ./run/pid: needs a restart",
                "  changes",
                "    when (UTC)           what        by     size     digest   outcome",
                "    2026-11-23 02:35:12  blacklist   push   110.1 MB 9f86d081 generation 5",
                "      from 127.0.0.1, in 312.0 ms",
                "    2026-11-23 02:36:00  cluster     file   3 B      -        refused",
                "      failed to use the cluster from ./cluster.json: pools.mysql: 0 is not from",
                "      1 to 10000",
                "      pools.redis: 0 is not from 1 to 10000",
            ],
        );
    }
}
