//! A server that the harness starts with a command: what it has, and what it cannot have.

use super::{faults, plan, read};
use crate::plan::{Action, CommandPlan, Fault, FaultAction, TargetPlan, Victim};

const COMMAND: &str = r#"
name = "command"
description = "A server of somebody's."
[target]
kind = "command"
url = "http://127.0.0.1:8088"
command = "nginx -p . -g 'daemon off;'"
[load]
rate = 10
duration = "4s"
[[load.stream]]
name = "busy"
connection = "reused"
[[event]]
at = "1s"
action = "signal"
signal = "HUP"
[[event]]
at = "2s"
action = "fault"
fault = "kill"
for = "1s"
"#;

#[test]
fn a_command_has_defaults_signals_and_faults() {
    let plan = plan(COMMAND);
    let TargetPlan::Command(CommandPlan { command, ready_path, ready_timeout_ms, at }) = &plan.target else {
        panic!("{:?}", plan.target)
    };
    assert_eq!((&**command, &**ready_path), ("nginx -p . -g 'daemon off;'", "/"));
    assert_eq!((*ready_timeout_ms, &*at.url), (30_000, "http://127.0.0.1:8088"));
    let actions: Vec<_> = plan.events.iter().map(|event| &event.action).collect();
    let signal = Action::Signal { signal: "HUP".to_owned(), pid_file: None };
    let fault = Action::Fault(FaultAction { of: Victim::Server, fault: Fault::Kill, for_ms: 1_000 });
    assert_eq!(actions, [&signal, &fault]);
    assert_eq!(plan.load.streams[0].requests[0].name, "GET /");
}

#[test]
fn a_command_is_told_what_it_cannot_have() {
    let source = r#"
name = "x"
description = "x"
[target]
kind = "command"
url = "http://127.0.0.1:8088"
ready_path = "health"
ready_timeout = "soon"
strategy = "handoff"
[services]
[load]
rate = 10
duration = "4s"
[[load.stream]]
name = "busy"
connection = "reused"
mix = { buy = 1 }
[[event]]
at = "1s"
action = "upgrade"
[[event]]
at = "1s"
action = "reload"
datum = "cluster"
[[event]]
at = "1s"
action = "http"
side = "admin"
path = "/"
[[event]]
at = "1s"
action = "fault"
fault = "pause"
of = "redis"
for = "1s"
[[event]]
at = "2s"
action = "fault"
fault = "partition"
for = "1s"
"#;
    insta::assert_snapshot!(read(source, &[]).unwrap_err(), @r#"
    s.toml:4:1: target.command: missing key
      hint: write the command that starts the server and stays in the foreground
    s.toml:7:14: target.ready_path: expected a path, found "health": it does not begin with /
      hint: write it like "/health": any answer means that the server is ready
    s.toml:8:17: target.ready_timeout: expected a duration, found "soon": it has no number or no unit
      hint: write a time from 1ms to 24h, like "250ms", "40s" or "1m30s"
    s.toml:9:1: target.strategy: unknown key
      hint: known here: kind, command, ready_path, ready_timeout, url, ca, insecure, process_header, config_header
    s.toml:10:1: services: only the reference server is given services
      hint: remove [services]
    s.toml:17:7: load.stream.0.mix: only the reference server has these operations
      hint: write the requests as [[load.stream.request]]
    s.toml:20:10: event.0.action: only the reference server can be asked for an upgrade
      hint: write action = "exec" with the command that reloads this target
    s.toml:23:10: event.1.action: only the reference server's configuration is known
      hint: write action = "exec" or "http" with what changes this target
    s.toml:28:8: event.2.side: only the reference server has an admin side
      hint: remove it
    s.toml:34:6: event.3.of: the harness has started nothing but the target
      hint: write of = "server", or remove it
    s.toml:39:9: event.4.fault: a program can only be killed, or stopped for a time
      hint: write fault = "kill" or "pause"
    "#);
}

#[test]
fn a_target_that_somebody_else_started_cannot_be_broken() {
    let elsewhere =
        COMMAND.replace("\"command\"\nurl", "\"external\"\nurl").replace("command = \"nginx", "#");
    let told = faults(&elsewhere, &[]).join("\n");
    assert!(told.contains("pid_file: missing key") && told.contains("did not start this target"), "{told}");
}

/// Whoever looks for a table of its own hears where faults are.
#[test]
fn a_fault_is_an_event() {
    let source = format!("{COMMAND}\n[[fault]]\nat = \"1s\"\nfault = \"kill\"\n");
    insta::assert_snapshot!(read(&source, &[]).unwrap_err(), @r#"
    s.toml:24:1: fault: a fault is an event, with its time and id among the others
      hint: write [[event]] with action = "fault", and what it had here
    "#);
}
