//! What a scenario file means, and what its author hears when it is wrong.

mod command;
mod services;

use std::path::Path;

use super::{Override, Scenario};
use crate::plan::{Action, ConnectionMode, Gate, Op, Plan, Side, TargetPlan};

/// The least that a file can say.
const LEAST: &str = r#"
name = "least"
description = "The least."
[target]
kind = "reference"
[load]
rate = 100
duration = "10s"
[[load.stream]]
name = "busy"
connection = "reused"
"#;

const EXTERNAL: &str = r#"
name = "elsewhere"
description = "A server that is not ours."
[target]
kind = "external"
url = "http://localhost:8080/"
process_header = "X-Process"
[load]
duration = "4s"
arrival = "poisson"
[[load.stream]]
name = "mixed"
connection = "new"
rate = 50
[[load.stream.request]]
path = "/a?b=1"
accept = [200, 404]
[[load.stream.request]]
method = "POST"
path = "/c"
headers = { "content-type" = "text/plain" }
body = "hello"
weight = 3
[[event]]
at = "1s"
action = "exec"
command = "true"
[[event]]
at = "2s"
action = "signal"
signal = "SIGHUP"
pid_file = "/run/x.pid"
"#;

/// Two dozen faults.
const FAULTY: &str = r#"
name = "else"
descripton = "A slip of the pen."
[target]
kind = "reference"
strategy = "handof-live"
users = "many"
[target.upgrade]
drain = 5
[services]
store = "mysql"
[load]
rate = 0
duration = "10"
warmup = "20s"
slow = "9s"
[[load.stream]]
name = "busy"
connection = "both"
mix = { list = 0, sell = 1 }
[[load.stream]]
name = "busy"
connection = "new"
connections = 4
rate = 10
share = 2
[[event]]
action = "upgrade"
expect = "maybe"
[[event]]
at = "1s"
count = 3
action = "exec"
[gate]
failed = 0
availability_min = 99.9
lateness_p99_us_max = -1
[faults]
"#;

fn read(source: &str, overrides: &[&str]) -> Result<Scenario, String> {
    let overrides: Vec<Override> = overrides
        .iter()
        .map(|assignment| {
            let (path, value) = assignment.split_once('=').unwrap();
            let (path, value, blame) = (path.to_owned(), value.to_owned(), format!("--set {assignment}"));
            Override { path, value, is_text: false, blame }
        })
        .collect();
    Scenario::read(Path::new("s.toml"), source, None, &overrides).map_err(|faults| faults.to_string())
}

#[track_caller]
fn plan(source: &str) -> Plan {
    read(source, &[]).unwrap().plan(1)
}

/// The first line of each fault.
#[track_caller]
fn faults(source: &str, overrides: &[&str]) -> Vec<String> {
    let text = read(source, overrides).unwrap_err();
    text.lines().filter(|line| !line.starts_with("  hint:")).map(str::to_owned).collect()
}

#[test]
fn the_least_file_gets_named_defaults() {
    let plan = plan(LEAST);
    let json = |value: Result<String, serde_json::Error>| value.unwrap();
    insta::assert_snapshot!(json(serde_json::to_string(&plan.target)), @r#"{"kind":"reference","strategy":"handoff-live","old":null,"new":null,"users":500,"sale_events":10,"stock":1000000,"limit_per_user":1000000,"faults":[],"upgrade":{},"blacklist":2,"listed":0,"reload":{},"services":{"from":{"is":"auto"},"needed":[],"linked":[],"images":{}}}"#);
    insta::assert_snapshot!(json(serde_json::to_string(&plan.load)), @r#"{"duration_ns":10000000000,"warmup_ns":0,"timeout_ns":5000000000,"slow_ns":250000000,"in_flight_max":4096,"coalesce_ns":0,"stages":[],"control_rate":50.0,"streams":[{"name":"busy","client":"http1","connection":{"mode":"reused","connections":16},"pace":{"upload_ns":0,"download_ns":0},"rate":100.0,"arrival":"uniform","requests":[{"name":"list","weight":6,"op":{"op":"list"}},{"name":"info","weight":2,"op":{"op":"info"}},{"name":"buy","weight":2,"op":{"op":"buy"}},{"name":"order","weight":1,"op":{"op":"order"}}]}]}"#);
    insta::assert_snapshot!(json(serde_json::to_string(&plan.gates)), @r#"[{"gate":"failed_max","limit":0},{"gate":"lateness_p99_us_max","limit":50000},{"gate":"unsent_max","limit":0},{"gate":"blind_ms_max","limit":1000.0}]"#);
}

/// What is in flight at most when a target stands still, and what the control costs, follow the rate.
#[test]
fn defaults_follow_the_rate() {
    let check = |overrides: &[&str], in_flight_max, control_rate| {
        let load = read(LEAST, overrides).unwrap().plan(1).load;
        assert_eq!((load.in_flight_max, load.control_rate), (in_flight_max, control_rate), "{overrides:?}");
    };
    check(&["load.rate=100"], 4_096, 50.0);
    check(&["load.rate=3000"], 18_750, 300.0);
    check(&["load.rate=10000", "load.timeout=\"60s\""], 750_000, 500.0);
    check(&["load.rate=3000", "load.in_flight_max=7", "load.control=120"], 7, 120.0);
    check(&["load.rate=3000", "load.control=false"], 18_750, 0.0);
    let refused = |value: &str| faults(LEAST, &[&format!("load.control={value}")]);
    assert!(refused("true")[0].ends_with("load.control: expected a number or false, found true"));
    assert!(refused("0")[0].ends_with("load.control: 0 is out of range"));
}

#[test]
fn an_external_target_has_requests_commands_and_signals() {
    let plan = plan(EXTERNAL);
    let TargetPlan::External(external) = &plan.target else { panic!("{:?}", plan.target) };
    assert_eq!(external.url, "http://localhost:8080");
    assert_eq!(external.process_header.as_deref(), Some("x-process"));
    let [stream] = plan.load.streams.as_slice() else { panic!("{:?}", plan.load) };
    assert_eq!(stream.connection, ConnectionMode::New);
    let names: Vec<_> = stream.requests.iter().map(|request| (&*request.name, request.weight)).collect();
    assert_eq!(names, [("GET /a?b=1", 1), ("POST /c", 3)]);
    let Op::Http { headers, body, accept, .. } = &stream.requests[1].op else { panic!("{stream:?}") };
    assert_eq!((headers[0].1.as_str(), body.as_str(), accept.len()), ("text/plain", "hello", 0));
    let actions: Vec<_> = plan.events.iter().map(|event| (&*event.id, &event.action)).collect();
    let exec = Action::Exec { command: "true".to_owned(), timeout_ms: 30_000 };
    let signal = Action::Signal { signal: "HUP".to_owned(), pid_file: Some("/run/x.pid".into()) };
    assert_eq!(actions, [("exec-1", &exec), ("signal-1", &signal)]);
}

#[test]
fn every_fault_of_a_file_is_reported_at_once() {
    let faults = Scenario::read(Path::new("s.toml"), FAULTY, Some("must-fail/else"), &[]).unwrap_err();
    insta::assert_snapshot!(faults, @r#"
    s.toml:1:1: description: missing key
      hint: say in a sentence what the scenario shows
    s.toml:2:8: name: "else" is not where the file lies
      hint: write name = "must-fail/else", its path under scenarios/
    s.toml:3:1: descripton: unknown key
      hint: did you mean `description`?
    s.toml:6:12: target.strategy: unknown word "handof-live"
      hint: did you mean "handoff-live"? (one of "handoff-live", "handoff", "inherit", "activate", "reuseport-drain", "reuseport", "stop-start")
    s.toml:7:9: target.users: expected an integer, found the string "many"
    s.toml:9:1: target.upgrade.drain: unknown key
      hint: did you mean `drain_ms`?
    s.toml:11:9: services.store: unknown word "mysql"
      hint: one of "embedded", "redis-mysql"
    s.toml:13:8: load.rate: 0 is out of range
      hint: write a number from 0.001 to 1000000
    s.toml:14:12: load.duration: expected a duration, found "10": it has no number or no unit
      hint: write a time from 1ms to 24h, like "250ms", "40s" or "1m30s"
    s.toml:16:8: load.slow: no answer can be that late
      hint: make it shorter than the timeout
    s.toml:19:14: load.stream.0.connection: unknown word "both"
      hint: one of "new", "reused", "idle", "connect-wait", "pipelined"
    s.toml:20:16: load.stream.0.mix.list: 0 is out of range
      hint: write a number from 1 to 10000
    s.toml:20:19: load.stream.0.mix.sell: unknown key
      hint: known here: list, info, buy, order, long
    s.toml:22:8: load.stream.1.name: another stream is called "busy"
      hint: give each stream a name of its own
    s.toml:24:15: load.stream.1.connections: this stream keeps no connections
      hint: remove it
    s.toml:26:9: load.stream.1.share: a stream has either a rate or a share
      hint: remove one of them
    s.toml:27:1: event.0.at: missing key
      hint: write at = "5s" for one time, or every = "1s" to repeat it
    s.toml:29:10: event.0.expect: unknown word "maybe"
      hint: one of "ok", "failed"
    s.toml:30:1: event.1.command: missing key
      hint: write command = "nginx -s reload"
    s.toml:32:9: event.1.count: a count without an interval
      hint: write every = "1s", or remove the count
    s.toml:35:1: gate.failed: unknown key
      hint: did you mean `failed_max`?
    s.toml:36:20: gate.availability_min: 99.9 is out of range
      hint: write a number from 0 to 1
    s.toml:37:23: gate.lateness_p99_us_max: -1 is out of range
      hint: write a number from 0 to 1000000000
    s.toml:38:2: faults: unknown key
      hint: known here: name, description, target, services, load, event, gate
    "#);
}

#[test]
fn an_external_target_is_told_what_it_cannot_have() {
    let source = r#"
name = "x"
description = "x"
[target]
kind = "external"
url = "http://example.com"
strategy = "handoff"
[services]
store = "embedded"
[load]
duration = "4s"
rate = 10
[[load.stream]]
name = "busy"
connection = "new"
mix = { buy = 1 }
[[load.stream.request]]
path = "search"
method = "FETCH"
accept = [200, 1]
headers = { "host" = "x", "a b" = "c" }
[[event]]
every = "1s"
action = "upgrade"
[[event]]
at = "1s"
action = "signal"
signal = "SIGFOO"
"#;
    insta::assert_snapshot!(read(source, &[]).unwrap_err(), @r#"
    s.toml:6:7: target.url: expected a URL on this machine, found "http://example.com": only localhost, 127.0.0.0/8 and [::1] are loaded
      hint: write url = "http://127.0.0.1:8080"
    s.toml:7:1: target.strategy: unknown key
      hint: known here: kind, url, ca, insecure, process_header, config_header
    s.toml:8:1: services: only the reference server is given services
      hint: remove [services]
    s.toml:16:7: load.stream.0.mix: only the reference server has these operations
      hint: write the requests as [[load.stream.request]]
    s.toml:18:8: load.stream.0.request.0.path: expected a path, found "search": it does not begin with /
      hint: write it like "/search?q=1"
    s.toml:19:10: load.stream.0.request.0.method: unknown word "FETCH"
      hint: one of "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"
    s.toml:20:16: load.stream.0.request.0.accept.1: 1 is out of range
      hint: write a number from 200 to 599
    s.toml:21:22: load.stream.0.request.0.headers.host: the harness writes this header itself
      hint: remove it
    s.toml:21:35: load.stream.0.request.0.headers.a b: this cannot be the name of a header
      hint: use letters, digits and `-`
    s.toml:24:10: event.0.action: only the reference server can be asked for an upgrade
      hint: write action = "exec" with the command that reloads this target
    s.toml:25:1: event.1.pid_file: missing key
      hint: write the file with the pid: the harness did not start this target
    s.toml:28:10: event.1.signal: expected a signal, found "SIGFOO": it is not known
      hint: one of HUP, INT, QUIT, TERM, KILL, USR1, USR2, STOP, CONT, WINCH, TTIN
    "#);
}

#[test]
fn requests_as_events_and_what_is_wrong_with_them() {
    let event = "[[event]]\nat = \"1s\"\naction = \"http\"\n";
    let reload = plan(&format!("{LEAST}{event}side = \"admin\"\npath = \"/reload\"\n"));
    let Action::Http(action) = &reload.events[0].action else { panic!("{:?}", reload.events) };
    assert_eq!((action.side, &*action.method, &*action.path), (Side::Admin, "POST", "/reload"));
    assert_eq!((&*reload.events[0].id, action.timeout_ms), ("http-1", 30_000));

    let wrong = format!(
        "{LEAST}{event}side = \"back\"\npath = \"reload\"\nheaders = {{ host = \"x\" }}\naccept = [7]\n"
    );
    let told = faults(&wrong, &["target.faults=['Drop 7']"]);
    insta::assert_snapshot!(told.join("\n"), @r#"
    --set target.faults=['Drop 7']: target.faults: "Drop 7" is no fault
    s.toml:15:8: event.0.side: unknown word "back"
    s.toml:16:8: event.0.path: expected a path, found "reload": it does not begin with /
    s.toml:17:20: event.0.headers.host: the harness writes this header itself
    s.toml:18:11: event.0.accept.0: 7 is out of range
    "#);
    let external = faults(&format!("{EXTERNAL}{event}side = \"admin\"\n"), &[]);
    insta::assert_snapshot!(external.join("\n"), @"
    s.toml:33:1: event.2.path: missing key
    s.toml:36:8: event.2.side: only the reference server has an admin side
    ");
}

#[test]
fn times_of_events() {
    let times = |keys: &str| -> Vec<u64> {
        let events = plan(&format!("{LEAST}\n[[event]]\naction = \"upgrade\"\n{keys}\n")).events;
        events.iter().map(|event| event.at_ns / 1_000_000).collect()
    };
    assert_eq!(times("at = \"1s\""), [1_000]);
    assert_eq!(times("at = \"0s\""), [0]);
    assert_eq!(times("every = \"2s\""), [2_000, 4_000, 6_000, 8_000]);
    assert_eq!(times("every = \"2s\"\ncount = 2"), [2_000, 4_000]);
    assert_eq!(times("every = \"4s\"\nat = \"1s\""), [1_000, 5_000, 9_000]);
    assert_eq!(times("every = \"9999ms\"\nat = \"0s\""), [0, 9_999]);
    assert_eq!(times("every = \"600ms\"\ncount = 16").len(), 16);
}

#[test]
fn events_have_to_fit_into_the_load() {
    let fault = |keys: &str| -> String {
        let source = format!("{LEAST}\n[[event]]\naction = \"upgrade\"\n{keys}\n");
        faults(&source, &[]).join("; ")
    };
    insta::assert_snapshot!(fault("at = \"10s\""), @"s.toml:15:6: event.0.at: the load is over after 10s");
    insta::assert_snapshot!(fault("every = \"11s\""), @"s.toml:15:9: event.0.every: the load is over after 10s");
    insta::assert_snapshot!(fault("every = \"1s\"\ncount = 10"), @"s.toml:16:9: event.0.count: only 9 of 10 fit into the load of 10s");
    insta::assert_snapshot!(fault("every = \"0s\""), @r#"s.toml:15:9: event.0.every: expected a duration, found "0s": it is out of range"#);
    insta::assert_snapshot!(fault("at = \"1s\"\ncount = 10"), @"s.toml:16:9: event.0.count: a count without an interval");
}

#[test]
fn events_are_numbered_by_kind_in_the_order_of_time() {
    let source = format!(
        "{LEAST}
[[event]]
every = \"3s\"
action = \"upgrade\"
[[event]]
at = \"4s\"
action = \"exec\"
command = \"true\"
[[event]]
at = \"3s\"
action = \"upgrade\"
expect = \"failed\"
"
    );
    let ids: Vec<_> =
        plan(&source).events.into_iter().map(|event| (event.at_ns / 1_000_000_000, event.id)).collect();
    let expected = [(3, "upgrade-1"), (3, "upgrade-2"), (4, "exec-1"), (6, "upgrade-3"), (9, "upgrade-4")];
    assert_eq!(ids, expected.map(|(at, id)| (at, id.to_owned())));
}

#[test]
fn rates_are_absolute_or_shares_of_the_rest() {
    let source = |rate: &str, streams: &[&str]| {
        let mut source = format!(
            "name = \"x\"\ndescription = \"x\"\n[target]\nkind = \"reference\"\n[load]\nduration = \"1s\"\n{rate}\n"
        );
        for (index, keys) in streams.iter().enumerate() {
            source += &format!("[[load.stream]]\nname = \"s{index}\"\nconnection = \"new\"\n{keys}\n");
        }
        source
    };
    let rates = |rate: &str, streams: &[&str]| -> Vec<f64> {
        plan(&source(rate, streams)).load.streams.iter().map(|stream| stream.rate).collect()
    };
    assert_eq!(rates("rate = 10", &[""]), [10.0]);
    assert_eq!(rates("rate = 10", &["", ""]), [5.0, 5.0]);
    assert_eq!(rates("rate = 10", &["share = 4", ""]), [8.0, 2.0]);
    assert_eq!(rates("rate = 10", &["rate = 4", "share = 0.5"]), [4.0, 6.0]);
    assert_eq!(rates("", &["rate = 4", "rate = 5"]), [4.0, 5.0]);
    assert_eq!(rates("rate = 9", &["rate = 4", "rate = 5"]), [4.0, 5.0]);

    let fault = |rate: &str, streams: &[&str]| faults(&source(rate, streams), &[]).join("; ");
    insta::assert_snapshot!(fault("", &["rate = 4", ""]), @"s.toml:5:1: load.rate: missing key");
    insta::assert_snapshot!(fault("rate = 4", &["rate = 4", ""]), @"s.toml:7:8: load.rate: the streams' own rates add up to 4 and leave nothing to share of 4");
    insta::assert_snapshot!(fault("rate = 4", &["rate = 5"]), @"s.toml:7:8: load.rate: the streams' rates add up to 5, not to 4");
    insta::assert_snapshot!(fault("rate = 0", &[""]), @"s.toml:7:8: load.rate: 0 is out of range");
    insta::assert_snapshot!(fault("rate = 4", &[]), @"s.toml:5:1: load.stream: there is no stream");
    insta::assert_snapshot!(fault("", &["rate = 1000000"; 101]), @"s.toml:6:12: load.duration: 101000000 attempts are more than a run can record; s.toml:8:1: load.stream: there are too many streams");
}

#[test]
fn overrides_are_checked_like_the_file_and_blamed_by_their_words() {
    let changed =
        ["load.rate=250", "load.stream.busy.mix.buy=1", "target.strategy=reuseport", "gate.unsent_max=3"];
    let plan = read(LEAST, &changed).unwrap().plan(1);
    assert!((plan.load.streams[0].rate - 250.0).abs() < 1e-9);
    assert_eq!(plan.load.streams[0].requests.len(), 1);
    assert!(matches!(&plan.target, TargetPlan::Reference(reference) if reference.strategy == "reuseport"));
    assert_eq!(plan.gates[0], Gate::UnsentMax(3));
    let wrong = ["load.rate=fast", "load.strem.rate=1", "load.stream.calm.rate=1", "target.strategy=hope"];
    insta::assert_snapshot!(read(LEAST, &wrong).unwrap_err(), @r#"
    --set load.rate=fast: load.rate: expected a number, found the string "fast"
    --set load.stream.calm.rate=1: load.stream.calm.rate: there is no element `calm`
      hint: there are: busy
    --set load.strem.rate=1: load.strem: unknown key
      hint: did you mean `stream`?
    --set target.strategy=hope: target.strategy: unknown word "hope"
      hint: one of "handoff-live", "handoff", "inherit", "activate", "reuseport-drain", "reuseport", "stop-start"
    "#);
}

#[test]
fn a_gate_that_no_run_can_pass_is_a_fault() {
    let source =
        format!("{LEAST}\n[[event]]\nevery = \"1s\"\naction = \"upgrade\"\n[gate]\nupgrades_min = 10\n");
    insta::assert_snapshot!(read(&source, &[]).unwrap_err(), @r#"
    s.toml:17:16: gate.upgrades_min: 10 upgrades cannot succeed when 9 are planned
      hint: lower it, or add an [[event]] with action = "upgrade"
    "#);
}

#[test]
fn gates_keep_the_order_of_the_file() {
    let source = format!("{LEAST}\n[gate]\nunsent_max = 5\nlatency_p99_ms_max = 20\nfailed_max = 1\n");
    let expected = [
        Gate::UnsentMax(5),
        Gate::LatencyP99MsMax(20.0),
        Gate::FailedMax(1),
        Gate::LatenessP99UsMax(50_000),
        Gate::BlindMsMax(1_000.0),
    ];
    assert_eq!(plan(&source).gates, expected);
}

#[test]
fn the_same_scenario_and_seed_give_the_same_plan() {
    assert_eq!(plan(LEAST).fingerprint(), plan(LEAST).fingerprint());
    let other = read(LEAST, &[]).unwrap().plan(2);
    assert_ne!(plan(LEAST).fingerprint(), other.fingerprint());
    let json = serde_json::to_string(&plan(EXTERNAL)).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan(EXTERNAL));
}

/// Any line may be missing and any value may be anything: the answer is a scenario or faults with a place,
/// never a panic.
#[test]
fn whatever_is_wrong_is_a_fault() {
    const VALUES: [&str; 9] = ["1", "-1", "0.5", "\"x\"", "\"\"", "\"1s\"", "true", "[]", "{}"];
    let mut refused = 0;
    for source in [LEAST, EXTERNAL, FAULTY] {
        let lines: Vec<&str> = source.lines().collect();
        for index in 0..lines.len() {
            let key = lines[index].split('=').next().unwrap_or_default();
            let others = VALUES.iter().map(|value| format!("{key} = {value}")).chain([String::new()]);
            for other in others {
                let mut changed = lines.clone();
                changed[index] = &other;
                match Scenario::read(Path::new("s.toml"), &changed.join("\n"), None, &[]) {
                    Ok(scenario) => assert!(!scenario.plan(1).load.streams.is_empty()),
                    Err(faults) => {
                        assert!(faults.iter().all(|fault| fault.line > 0 && fault.column > 0), "{faults}");
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(refused > 500, "{refused}");
}

/// How the data come, and events that change them or break what they come from.
const RELOADED: &str = r#"
name = "reloaded"
description = "Changes of every kind."
[target]
kind = "reference"
users = 100
listed = 10
blacklist = 10_000_000
[target.reload.blacklist]
by = "file"
[target.reload.cluster]
by = "etcd"
[target.reload.activities]
by = "timer"
from = "http"
every_ms = 200
[load]
rate = 100
duration = "10s"
[[load.stream]]
name = "busy"
connection = "reused"
[[event]]
action = "reload"
datum = "blacklist"
how = "symlink"
at = "1s"
[[event]]
action = "reload"
datum = "cluster"
storm = 20
within = "200ms"
single_key = true
at = "1s"
[[event]]
action = "reload"
datum = "blacklist"
by = "push"
delta = true
rest = "150ms"
at = "2s"
[[event]]
action = "reload"
datum = "activities"
bad = "torn"
timeout = "3s"
at = "3s"
[[event]]
action = "fault"
fault = "pause"
for = "1s"
at = "4s"
[gate]
propagation_p99_ms_max = { file = 20, timer = 220 }
"#;

#[test]
fn changes_and_faults_say_all_that_is_done() {
    let plan = plan(RELOADED);
    let TargetPlan::Reference(reference) = &plan.target else { panic!("{:?}", plan.target) };
    assert_eq!((reference.blacklist, reference.listed), (10_000_000, 10));
    insta::assert_snapshot!(serde_json::to_string(&reference.reload).unwrap(), @r#"{"blacklist":{"by":"file","from":"file","every_ms":null},"cluster":{"by":"etcd","from":"etcd","every_ms":null},"activities":{"by":"timer","from":"http","every_ms":200}}"#);
    assert_eq!((reference.services.from.word(), reference.services.needed.len()), ("auto", 1));
    let actions: Vec<String> =
        plan.events.iter().map(|event| serde_json::to_string(&event.action).unwrap()).collect();
    insta::assert_snapshot!(actions.join("\n"), @r#"
    {"kind":"reload","datum":"blacklist","by":"file","kept":"file","how":"symlink","bad":null,"storm":null,"delta":false,"single_key":false,"timeout_ms":10000,"rest_ms":0}
    {"kind":"reload","datum":"cluster","by":"etcd","kept":"etcd","how":"rename","bad":null,"storm":{"changes":20,"within_ms":200},"delta":false,"single_key":true,"timeout_ms":10000,"rest_ms":0}
    {"kind":"reload","datum":"blacklist","by":"push","kept":null,"how":"rename","bad":null,"storm":null,"delta":true,"single_key":false,"timeout_ms":10000,"rest_ms":150}
    {"kind":"reload","datum":"activities","by":"timer","kept":"http","how":"rename","bad":"torn","storm":null,"delta":false,"single_key":false,"timeout_ms":3000,"rest_ms":0}
    {"kind":"fault","of":{"service":"etcd"},"fault":{"is":"pause"},"for_ms":1000}
    "#);
    assert!(
        plan.gates.starts_with(&[Gate::FileP99MsMax(20.0), Gate::TimerP99MsMax(220.0)]),
        "{:?}",
        plan.gates
    );
}

#[test]
fn changes_that_cannot_be_made_are_refused() {
    let check = |from: &str, to: &str, expected: &str| {
        assert!(RELOADED.contains(from), "{from}");
        let found = read(&RELOADED.replacen(from, to, 1), &[]).unwrap_err();
        assert!(found.contains(expected), "{to}: {found}");
    };
    check("how = \"symlink\"", "by = \"etcd\"", "the blacklist does not come by etcd");
    check("delta = true", "how = \"rename\"", "only a file can be changed in different ways");
    check("how = \"symlink\"", "delta = true", "only a pushed blacklist has a difference");
    check("how = \"symlink\"", "single_key = true", "only the cluster configuration in etcd has keys");
    check("bad = \"torn\"", "bad = \"overtaken\"", "only a push can be overtaken");
    check("bad = \"torn\"", "storm = 5\nbad = \"torn\"", "every change of a storm is a good one");
    check("how = \"symlink\"", "within = \"1s\"", "a time without a storm");
    check("timeout = \"3s\"", "timeout = \"3s\"\nrest = \"3s\"", "time is over before anybody asks");
    check("by = \"file\"", "by = \"file\"\nfrom = \"etcd\"", "comes from nowhere else than its own place");
    check("fault = \"pause\"", "fault = \"compact\"", "what is compacted stays so");
    check("for = \"1s\"\n", "", "write for = \"1s\"");
}
