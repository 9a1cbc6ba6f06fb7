//! Ways of using a connection as scenarios write them, and what their authors hear.

use std::path::Path;

use super::idle_connections;
use crate::{
    plan::{ConnectionMode, Op, Pace, StreamPlan},
    scenario::Scenario,
};

const MS: u64 = 1_000_000;

fn read(target: &str, stream: &str) -> Result<StreamPlan, String> {
    let source = format!(
        "name = \"s\"\ndescription = \"A stream.\"\n[target]\n{target}\n[load]\nrate = 1000\nduration = \"10s\"\n\
         [[load.stream]]\nname = \"s\"\n{stream}\n"
    );
    let scenario = Scenario::read(Path::new("s.toml"), &source, None, &[]);
    scenario.map(|scenario| scenario.plan(1).load.streams.remove(0)).map_err(|faults| faults.to_string())
}

#[track_caller]
fn stream(text: &str) -> StreamPlan {
    read("kind = \"reference\"", text).unwrap()
}

fn faults(text: &str) -> String {
    read("kind = \"reference\"", text).unwrap_err()
}

#[test]
fn every_way_has_its_defaults() {
    let check = |text: &str, expected| assert_eq!(stream(text).connection, expected, "{text}");
    check("connection = \"new\"", ConnectionMode::New);
    check("connection = \"reused\"", ConnectionMode::Reused { connections: 16 });
    // 1,000 a second times 50 ms, a quarter more and four.
    let idle = |connections| ConnectionMode::Idle { connections, wait_ns: 50 * MS };
    check("connection = \"idle\"\nwait = \"50ms\"", idle(67));
    check("connection = \"idle\"\nwait = \"50ms\"\nconnections = 8", idle(8));
    check("connection = \"connect-wait\"\nwait = \"1ms\"", ConnectionMode::ConnectWait { wait_ns: MS });
    check("connection = \"pipelined\"", ConnectionMode::Pipelined { connections: 4, depth: 4 });
    check(
        "connection = \"pipelined\"\ndepth = 8\nconnections = 2",
        ConnectionMode::Pipelined { connections: 2, depth: 8 },
    );
}

#[test]
fn bytes_may_pass_slowly() {
    assert_eq!(stream("connection = \"new\"").pace, Pace::default());
    let slow = stream("connection = \"new\"\nupload_over = \"500ms\"\ndownload_over = \"2s\"");
    assert_eq!(slow.pace, Pace { upload_ns: 500 * MS, download_ns: 2_000 * MS });
}

#[test]
fn what_does_not_fit_is_a_fault() {
    insta::assert_snapshot!(faults("connection = \"new\"\nconnections = 3\nwait = \"1ms\"\ndepth = 2"), @r#"
    s.toml:11:15: load.stream.0.connections: this stream keeps no connections
      hint: remove it
    s.toml:12:8: load.stream.0.wait: the connections of this stream do not wait
      hint: remove it, or write connection = "idle" or "connect-wait"
    s.toml:13:9: load.stream.0.depth: a connection of this stream carries one request at a time
      hint: remove it, or write connection = "pipelined"
    "#);
    insta::assert_snapshot!(faults("connection = \"idle\""), @r#"
    s.toml:8:1: load.stream.0.wait: missing key
      hint: write wait = "50ms"
    "#);
    insta::assert_snapshot!(faults("connection = \"idle\"\nwait = \"1m\""), @"
    s.toml:11:8: load.stream.0.wait: 75004 connections would be needed at this rate
      hint: stay below 10000: wait less, or send less
    ");
    insta::assert_snapshot!(faults("connection = \"connect-wait\"\nwait = \"10s\""), @"
    s.toml:11:8: load.stream.0.wait: the load is over before a connection has waited
      hint: wait less, or make the load longer
    ");
    insta::assert_snapshot!(faults("connection = \"pipelined\"\ndepth = 1\ndownload_over = \"2s\""), @r#"
    s.toml:11:9: load.stream.0.depth: 1 is out of range
      hint: write a number from 2 to 1000
    s.toml:12:17: load.stream.0.download_over: a slow request holds up all behind it on its connection
      hint: remove it, or write connection = "reused"
    "#);
    insta::assert_snapshot!(faults("connection = \"new\"\nupload_over = \"2s\"\nmix = { list = 1 }"), @"
    s.toml:11:15: load.stream.0.upload_over: no request of this stream has a body
      hint: give a [[load.stream.request]] a body, or the mix buys
    ");
    insta::assert_snapshot!(faults("connection = \"new\"\nupload_over = \"2s\"\ndownload_over = \"3s\""), @"
    s.toml:11:15: load.stream.0.upload_over: every attempt would have failed after 5s
      hint: make it shorter, or raise the timeout of [load]
    ");
}

#[test]
fn a_digest_is_checked() {
    let request = |keys: &str| {
        let text = format!("connection = \"new\"\n[[load.stream.request]]\n{keys}");
        read("kind = \"external\"\nurl = \"http://127.0.0.1:1\"", &text)
    };
    let hex = "2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824";
    let Op::Http { sha256, .. } = request(&format!("sha256 = \"{hex}\"")).unwrap().requests.remove(0).op
    else {
        panic!("any server has requests of HTTP")
    };
    assert_eq!(sha256, Some(hex.to_ascii_lowercase()));
    insta::assert_snapshot!(request("sha256 = \"12\"").unwrap_err(), @r#"
    s.toml:13:10: load.stream.0.request.0.sha256: expected a SHA-256, found "12": it has not 64 digits
      hint: write 64 hexadecimal digits
    "#);
    insta::assert_snapshot!(request(&format!("sha256 = \"{hex}\"\nmethod = \"HEAD\"")).unwrap_err(), @r#"
    s.toml:13:10: load.stream.0.request.0.sha256: an answer to HEAD has no body
      hint: remove it, or write method = "GET"
    "#);
}

#[test]
fn whom_tls_trusts_has_to_be_said() {
    let faults = |keys: &str| {
        let target = format!("kind = \"external\"\n{keys}");
        read(&target, "connection = \"new\"").unwrap_err()
    };
    insta::assert_snapshot!(faults("url = \"https://localhost\""), @r#"
    s.toml:3:1: target.ca: missing key
      hint: write ca = "ca.pem", or insecure = true to trust any certificate
    "#);
    insta::assert_snapshot!(faults("url = \"https://localhost\"\nca = \"ca.pem\"\ninsecure = true"), @"
    s.toml:7:12: target.insecure: whoever trusts everybody needs no ca
      hint: remove one of them
    ");
    insta::assert_snapshot!(faults("url = \"http://localhost\"\nca = \"ca.pem\""), @r#"
    s.toml:6:6: target.ca: only https trusts anybody
      hint: remove it, or write url = "https://.."
    "#);
    assert!(
        read("kind = \"external\"\nurl = \"https://localhost\"\nca = \"a\"", "connection = \"new\"").is_ok()
    );
}

#[test]
fn an_idle_stream_has_a_connection_for_each_rest_and_some() {
    for (rate, wait_ms, expected) in [(0.001, 1, 5), (100.0, 200, 29), (10_000.0, 50, 629)] {
        assert_eq!(idle_connections(rate, wait_ms * MS), expected);
    }
}
