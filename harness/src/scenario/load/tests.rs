//! Stages and closed loops in a scenario file, and what their authors hear when they are wrong.

use std::path::Path;

use crate::{
    plan::{Arrival, Gate, LoadPlan, Plan},
    scenario::Scenario,
};

/// A scenario with these keys and tables after `[load]`.
fn read(load: &str) -> Result<Plan, String> {
    let source = format!(
        "name = \"x\"\ndescription = \"x\"\n[target]\nkind = \"external\"\nurl = \"http://127.0.0.1:1\"\n[load]\n{load}\n"
    );
    let read = Scenario::read(Path::new("s.toml"), &source, None, &[]);
    read.map(|scenario| scenario.plan(1)).map_err(|faults| faults.to_string())
}

const STREAM: &str = "[[load.stream]]\nname = \"busy\"\nconnection = \"reused\"\n";

fn staged(keys: &str, stages: &[&str]) -> Result<Plan, String> {
    let stages: Vec<String> = stages.iter().map(|stage| format!("[[load.stage]]\n{stage}\n")).collect();
    read(&format!("rate = 100\n{keys}\n{STREAM}{}", stages.concat()))
}

fn closed(load: &str, stream: &str) -> Result<Plan, String> {
    read(&format!("duration = \"4s\"\narrival = \"closed\"\n{load}\n{STREAM}{stream}\n"))
}

#[test]
fn stages_are_steps_and_ramps() {
    let stages = ["duration = \"1s\"\nrate = 0.5", "duration = \"2s\"\nfrom = 0.5\nto = 1.5"];
    let LoadPlan { duration_ns, stages, .. } = staged("", &stages).unwrap().load;
    assert_eq!(duration_ns, 3_000_000_000);
    let parts: Vec<_> = stages.iter().map(|stage| (stage.duration_ns, stage.from, stage.to)).collect();
    assert_eq!(parts, [(1_000_000_000, 0.5, 0.5), (2_000_000_000, 0.5, 1.5)]);
    let same = staged("duration = \"1s\"", &["duration = \"1s\"\nrate = 1"]).unwrap().load;
    assert_eq!(same.duration_ns, 1_000_000_000);
}

#[test]
fn faults_of_stages() {
    let fault = |keys: &str, stages: &[&str]| staged(keys, stages).unwrap_err();
    insta::assert_snapshot!(fault("", &[]), @r#"
    s.toml:6:1: load.duration: missing key
      hint: write duration = "30s"
    "#);
    insta::assert_snapshot!(fault("duration = \"9s\"", &["duration = \"1s\"\nrate = 1"]), @"
    s.toml:8:12: load.duration: the stages add up to 1s, not to 9s
      hint: remove it, or change a stage
    ");
    insta::assert_snapshot!(fault("", &["duration = \"1s\""]), @"
    s.toml:12:1: load.stage.0.rate: missing key
      hint: write the factor of all rates, like rate = 0.5, or a ramp: from = 0.1 and to = 1.0
    ");
    insta::assert_snapshot!(fault("", &["duration = \"1s\"\nrate = 1\nto = 2"]), @"
    s.toml:14:8: load.stage.0.rate: a stage has either a rate or a ramp
      hint: remove the rate, or from and to
    ");
    insta::assert_snapshot!(fault("", &["duration = \"1s\"\nfrom = -1"]), @"
    s.toml:12:1: load.stage.0.to: missing key
      hint: write the factor at the end, like to = 1.0
    s.toml:14:8: load.stage.0.from: -1 is out of range
      hint: write a number from 0 to 1000
    ");
    insta::assert_snapshot!(fault("", &["rate = 1\nstep = 2"]), @r#"
    s.toml:12:1: load.stage.0.duration: missing key
      hint: write duration = "10s"
    s.toml:14:1: load.stage.0.step: unknown key
      hint: known here: duration, rate, from, to
    "#);
    insta::assert_snapshot!(fault("", &["duration = \"1s\"\nrate = 0"]), @"
    s.toml:12:1: load.stage: every stage is a pause
      hint: write rate = 1.0 in one of them
    ");
    insta::assert_snapshot!(fault("", &["duration = \"20h\"\nrate = 1", "duration = \"20h\"\nrate = 1"]), @"
    s.toml:12:1: load.stage: the stages last 40h
      hint: stay within 24h together
    ");
    insta::assert_snapshot!(fault("", &["duration = \"20h\"\nrate = 500"]), @"
    s.toml:6:1: load.duration: 3600000000 attempts are more than a run can record
      hint: stay below 100000000: shorten it or lower the rate
    ");
}

#[test]
fn a_closed_loop_has_no_rate_and_no_lateness() {
    let plan = closed("", "").unwrap();
    assert_eq!((plan.load.streams[0].arrival, plan.load.streams[0].rate), (Arrival::Closed, 0.0));
    assert_eq!(plan.gates, [Gate::FailedMax(0), Gate::UnsentMax(0), Gate::BlindMsMax(1_000.0)]);
    let mixed = "[[load.stream]]\nname = \"open\"\nconnection = \"new\"\narrival = \"poisson\"\nrate = 5";
    let plan = closed("", mixed).unwrap();
    assert_eq!(plan.load.streams[1].arrival, Arrival::Poisson);
    assert!(plan.gates.contains(&Gate::LatenessP99UsMax(50_000)));
}

#[test]
fn faults_of_closed_loops() {
    let fault = |load: &str, stream: &str| closed(load, stream).unwrap_err();
    insta::assert_snapshot!(fault("", "rate = 5"), @"
    s.toml:13:8: load.stream.0.rate: a closed loop has no rate
      hint: remove it: the answers set the pace, and connections how many wait for one
    ");
    insta::assert_snapshot!(fault("", "share = 5"), @"
    s.toml:13:9: load.stream.0.share: a closed loop has no rate
      hint: remove it: the answers set the pace, and connections how many wait for one
    ");
    insta::assert_snapshot!(fault("rate = 5", ""), @"
    s.toml:9:8: load.rate: a closed loop has no rate, and there is no other stream
      hint: remove it
    ");
    insta::assert_snapshot!(fault("", "[[load.stage]]\nduration = \"4s\"\nrate = 1"), @"
    s.toml:13:1: load.stage: a closed loop has no rate that a stage could change
      hint: remove the stages, or choose another arrival
    ");
    insta::assert_snapshot!(read(&format!("duration = \"6m\"\narrival = \"closed\"\n{STREAM}")).unwrap_err(), @"
    s.toml:7:12: load.duration: this is too long for a closed loop
      hint: write at most 5m: nothing else bounds its log
    ");
}

#[test]
fn bunches_are_short() {
    let coalesce = |keys: &str| read(&format!("duration = \"4s\"\nrate = 9\n{keys}\n{STREAM}"));
    assert_eq!(coalesce("coalesce = \"1ms\"").unwrap().load.coalesce_ns, 1_000_000);
    assert_eq!(coalesce("").unwrap().load.coalesce_ns, 0);
    insta::assert_snapshot!(coalesce("coalesce = \"1s\"").unwrap_err(), @r#"
    s.toml:9:12: load.coalesce: expected a duration, found "1s": it is out of range
      hint: write a time from 0s to 100ms, like "250ms", "40s" or "1m30s"
    "#);
}
