//! The report has every field that was promised, and its schema is not stale.

mod published;

use schemars::Schema;
use serde_json::Value;

use super::{Report, build, json};
use crate::{
    analyze::{
        analyze,
        fixture::{Log, NEW, REUSED, upgrade},
    },
    observe::{Cause, ClosedBy},
    plan::{ExternalPlan, Gate, TargetPlan},
    verdict::judge,
};

pub(super) fn report(log: &Log) -> Report {
    let observations = log.finish();
    let analysis = analyze(&observations);
    let verdict = judge(&observations.plan, &analysis);
    build(&observations, &analysis, &verdict)
}

/// Three upgrades in ten seconds, nothing lost.
pub(super) fn passing() -> Log {
    let mut log = Log::new();
    log.observations.plan.gates = vec![
        Gate::FailedMax(0),
        Gate::UpgradesMin(3),
        Gate::ClosedByServerMax(0),
        Gate::HardDowntimeMsMax(0.0),
    ];
    log.steady(NEW, 0, 9_999).steady(REUSED, 0, 9_999).bought("o1", "k1").bought("o2", "k2");
    log.connection(1, 0, ClosedBy::Client).connection(2, 0, ClosedBy::Client);
    for number in 1..=3 {
        log.event(upgrade(number, number * 2_000, number * 2_000 + 66));
    }
    log
}

/// The second upgrade is an outage of 200 ms, and an acknowledged order is lost.
pub(super) fn failing() -> Log {
    let mut log = Log::new();
    log.observations.plan.gates = vec![Gate::FailedMax(0), Gate::AvailabilityMin(0.9999)];
    log.steady(NEW, 0, 4_000).outage(NEW, 4_000, 4_200).steady(NEW, 4_200, 9_999);
    log.steady(REUSED, 0, 3_999).push(REUSED, 3_999, 4_000, Cause::Reset).steady(REUSED, 4_300, 9_999);
    log.push(REUSED, 7_500, 7_501, Cause::BadStatus).last().status = 503;
    log.bought("o1", "k1");
    log.observations.orders.clear();
    log.observations.stock[0].left = 10;
    log.connection(1, 0, ClosedBy::Server).connection(2, 0, ClosedBy::Unopened);
    for number in 1..=3 {
        log.event(upgrade(number, number * 2_000, number * 2_000 + 66));
    }
    log.observations.plan.load.warmup_ns = 500_000_000;
    log
}

#[track_caller]
fn check_fields(json: &Value, at: &str, fields: &[&str]) {
    let object = json.pointer(at).and_then(Value::as_object).unwrap_or_else(|| panic!("no object at {at}"));
    for field in fields {
        assert!(object.contains_key(*field), "{at} lacks {field}");
    }
}

/// The fields that readers were promised.
#[test]
fn every_promised_field_is_there() {
    let bytes = json::render(&report(&failing()));
    assert_eq!(bytes.last(), Some(&b'\n'));
    let json: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(json["schema_version"], 1);
    for (at, fields) in [
        ("/run", "id scenario seed started_at duration_s command"),
        ("/environment", "kernel cpus sysctls services target"),
        ("/environment/target", "kind strategy old new"),
        ("/verdict", "outcome exit_code gates reasons"),
        ("/verdict/gates/0", "name limit actual outcome"),
        ("/load", "planned sent unsent in_flight_max lateness_us"),
        ("/load/lateness_us", "p50 p99 max"),
        ("/requests", "total ok failed by_class by_connection"),
        ("/requests/by_connection/new", "total failed"),
        ("/requests/by_connection/reused", "total failed"),
        ("/connections", "opened closed_by_server closed_by_client"),
        ("/availability", "by_request by_time after_safe_retry failure_upper_bound_95"),
        ("/availability/failure_upper_bound_95", "per_request per_event"),
        ("/downtime", "hard_ms brownout_ms min_detectable_ms windows"),
        ("/downtime/hard_ms", "lower upper"),
        (
            "/requests/classes/0",
            "phase cause connection retry_safe blame count age_ms idle_ms requests_before",
        ),
        ("/sla", "per_event_downtime_ms daily definitions budgets alerts"),
        ("/sla/definitions/0", "name availability windows rule source"),
        ("/sla/daily/0", "events_per_day availability"),
        ("/events/0", "id kind at_ms started_ms acked_ms ended_ms outcome failed_requests detail"),
        ("/latency_ms", "intended service around_events"),
        ("/latency_ms/intended", "p50 p90 p99 p999 max"),
        ("/latency_ms/service", "p50 p90 p99 p999 max"),
        ("/invariants/0", "name outcome detail"),
        ("", "propagation"),
    ] {
        check_fields(&json, at, &fields.split(' ').collect::<Vec<_>>());
    }
}

#[test]
fn the_figures_are_those_of_the_run() {
    let report = report(&failing());
    assert_eq!((report.verdict.exit_code, report.requests.failed), (5, 202));
    assert_eq!(report.requests.by_class["refused"], 200);
    assert_eq!((report.events[1].failed_requests, report.requests.failed_unattributed), (201, 1));
    assert_eq!(report.downtime.windows[0].event.as_deref(), Some("upgrade-2"));
    assert_eq!((report.downtime.hard_ms.lower, report.downtime.hard_ms.upper), (Some(199.0), Some(306.0)));
    assert_eq!(report.requests.warmup.total, 1_000);
}

/// What was not measured is null, not zero.
#[test]
fn nothing_measured_is_null() {
    let mut log = Log::new();
    log.observations.environment.store_read = false;
    log.observations.plan.target = TargetPlan::External(ExternalPlan {
        url: "http://127.0.0.1:1".to_owned(),
        tls: None,
        process_header: None,
        config_header: None,
    });
    let json = serde_json::to_value(report(&log)).unwrap();
    for at in [
        "/availability/by_request",
        "/availability/by_time",
        "/availability/after_safe_retry",
        "/availability/failure_upper_bound_95/per_request",
        "/availability/failure_upper_bound_95/per_event",
        "/downtime/hard_ms/upper",
        "/downtime/brownout_ms",
        "/downtime/min_detectable_ms",
        "/sla/per_event_downtime_ms",
        "/latency_ms/intended/p50",
        "/load/lateness_us/max",
        "/orders/stored",
    ] {
        assert_eq!(json.pointer(at), Some(&Value::Null), "{at}");
    }
}

/// The order of the logs does not show, so a replay gives the same bytes.
#[test]
fn the_bytes_depend_on_nothing_but_the_run() {
    let log = failing();
    let mut reversed = Log::new();
    reversed.observations = log.observations.clone();
    reversed.observations.attempts.reverse();
    reversed.observations.connections.reverse();
    reversed.observations.events.reverse();
    assert_eq!(json::render(&report(&log)), json::render(&report(&reversed)));
}

#[test]
fn the_published_schema_is_fresh() {
    check_schema("report", &json::schema());
}

#[test]
fn the_manual_describes_every_field() {
    check_manual("Fields\n", &json::schema(), &SHAPES, &SHAPES);
}

/// The published schema is the one that the types give. `UPDATE_SCHEMA=1` writes it anew.
#[track_caller]
pub(crate) fn check_schema(name: &str, schema: &Schema) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../reports/schema");
    let path = format!("{folder}/{name}.schema.json");
    let fresh = format!("{}\n", serde_json::to_string_pretty(schema).unwrap());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(published == fresh, "reports/schema/{name}.schema.json is stale: run with UPDATE_SCHEMA=1");
}

/// Every field of a format has its row in a section of the manual, and the section has no row too many.
/// Of the shapes those `described` have their rows there, too.
#[track_caller]
pub(crate) fn check_manual(section: &str, schema: &Schema, shapes: &[&str], described: &[&str]) {
    let schema = serde_json::to_value(schema).unwrap();
    let mut fields = Vec::new();
    collect(&schema, &schema, "", shapes, &mut fields);
    for shape in described {
        collect(&schema, &schema["$defs"][shape], shape, shapes, &mut fields);
    }
    let manual = include_str!("../../../reports/README.md");
    let section = manual.split("\n## ").find(|text| text.starts_with(section)).expect("there is a section");
    let mut rows: Vec<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split_once('`'))
        .map(|(field, _)| field)
        .collect();
    rows.sort_unstable();
    fields.sort_unstable();
    assert_eq!(rows, fields);
}

/// Shapes that many fields have; the manual describes them once.
const SHAPES: [&str; 8] = [
    "Attempted",
    "Bounds",
    "ConnectionCounts",
    "FailureBound",
    "LatencyGroup",
    "Quantiles",
    "ServedWithin",
    "Spread",
];

/// The paths of all fields, without what lies inside a shape.
fn collect(root: &Value, schema: &Value, path: &str, shapes: &[&str], fields: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")) {
        let is_shape = shapes.contains(&name) && path != name;
        let definition = &root["$defs"][name];
        if is_shape {
            fields.push(path.to_owned());
            return;
        }
        return collect(root, definition, path, shapes, fields);
    }
    if schema["type"] == "array" && schema["items"].get("$ref").is_some() {
        return collect(root, &schema["items"], &format!("{path}[]"), shapes, fields);
    }
    let Some(properties) = schema["properties"].as_object() else {
        fields.push(path.to_owned());
        return;
    };
    for (name, property) in properties {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        collect(root, property, &path, shapes, fields);
    }
}
