//! The register of nodes: who is in it, and that an upgrade takes nobody out.

use std::thread;

use etcd_client::{EventType, WatchOptions};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    etcd_process::{Etcd, etcd},
    server::{Server, eventually, signal_to},
};

/// A lease that does not end while a slow machine thinks.
const NODE: &str = "[node]\nname = \"shop\"\nlease_s = 5\n";
const KEY: &str = "/seckill/nodes/shop";

fn served(etcd: &Etcd) -> Server {
    Server::start_with("handoff-live", &format!("{}{NODE}", etcd.settings()))
}

fn entry(etcd: &Etcd) -> Option<Value> {
    etcd.get(KEY).map(|text| serde_json::from_str(&text).unwrap())
}

fn until_process(etcd: &Etcd, process: u64) -> Value {
    eventually("the process in the register", || entry(etcd).filter(|entry| entry["process"] == process))
}

/// What became of the key since `revision`, word by word.
fn story(etcd: &Etcd, revision: i64) -> Vec<String> {
    etcd.ask(|client| async move {
        let last = client.kv_client().put("/end", "", None).await?.header().unwrap().revision();
        let options = WatchOptions::new().with_start_revision(revision).with_all_keys();
        let mut stream = client.watch_client().watch("", Some(options)).await?;
        let mut told = Vec::new();
        loop {
            for event in stream.message().await?.unwrap().events() {
                let pair = event.kv().unwrap();
                match (pair.key_str()?, event.event_type()) {
                    (KEY, EventType::Put) => {
                        let value: Value = serde_json::from_slice(pair.value()).unwrap();
                        told.push(format!("process {}", value["process"]));
                    }
                    (KEY, EventType::Delete) => told.push("gone".to_owned()),
                    _ if pair.mod_revision() >= last => return Ok(told),
                    _ => {}
                }
            }
        }
    })
}

fn nodes(server: &Server) -> Value {
    server.admin_request("GET /config").json()["nodes"].clone()
}

#[test]
fn a_server_is_registered_while_it_serves_and_leaves_before_it_stops() {
    let Some(etcd) = etcd() else { return };
    let mut server = served(&etcd);
    let entry = until_process(&etcd, 1);
    assert_eq!(entry["address"], server.public.to_string());
    assert_eq!(entry["admin"], server.admin.to_string());
    assert_eq!(entry["pid"], server.pid());
    let list = eventually("the list", || Some(nodes(&server)).filter(|list| list[0]["name"] == "shop"));
    assert_eq!((&list[0]["process"], list.as_array().unwrap().len()), (&1.into(), 1));

    etcd.put("/seckill/nodes/zzz", "no node");
    let another = r#"{"name":"b","address":"h:1","admin":"h:2","version":"v","process":9,"pid":1,
        "started_at":"2026-01-01T00:00:00Z"}"#;
    etcd.put("/seckill/nodes/b", another);
    let list = eventually("the other", || Some(nodes(&server)).filter(|list| list[0]["name"] == "b"));
    assert_eq!((&list[1]["name"], list.as_array().unwrap().len()), (&"shop".into(), 2));

    // A request in flight keeps it alive, and it is out of the register all the same.
    let mut stuck = server.stuck();
    server.signal(Signal::TERM);
    eventually("the end of the entry", || etcd.get(KEY).is_none().then_some(()));
    stuck.send("56789");
    assert_eq!(stuck.answer().unwrap().status, 401);
    assert!(server.end().success());
}

#[test]
fn an_upgrade_takes_nobody_out_of_the_register() {
    let Some(etcd) = etcd() else { return };
    let server = served(&etcd);
    until_process(&etcd, 1);
    for process in 2..=4 {
        server.upgrade();
        until_process(&etcd, process);
    }
    eventually("the list", || (nodes(&server)[0]["process"] == 4).then_some(()));
    let leases = || etcd.ask(|client| async move { client.lease_client().leases().await }).leases().len();
    eventually("the end of the leases of those before", || (leases() == 1).then_some(()));
    assert_eq!(story(&etcd, 1), ["process 1", "process 2", "process 3", "process 4"]);
}

#[test]
fn a_successor_that_dies_gives_the_entry_back() {
    let Some(etcd) = etcd() else { return };
    let server = served(&etcd);
    until_process(&etcd, 1);
    let _stuck = server.stuck();
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| server.upgrade_to(crate::server::BINARY.as_ref()));
        let successor = until_process(&etcd, 2)["pid"].as_u64().unwrap();
        signal_to(u32::try_from(successor).unwrap(), Signal::KILL);
        let answer = upgrade.join().unwrap();
        assert_eq!(answer.status, 502, "{}", answer.body);
    });
    until_process(&etcd, 1);
    assert_eq!(story(&etcd, 1), ["process 1", "process 2", "process 1"]);
}

#[test]
fn a_server_that_lost_its_lease_registers_again() {
    let Some(mut etcd) = etcd() else { return };
    let server = served(&etcd);
    until_process(&etcd, 1);
    server.signal(Signal::STOP);
    eventually("the end of the lease", || etcd.get(KEY).is_none().then_some(()));
    server.signal(Signal::CONT);
    until_process(&etcd, 1);
    // Somebody meddles.
    etcd.delete(KEY);
    until_process(&etcd, 1);
    // An etcd that has lost its data, and one that has not.
    etcd.stop(Signal::KILL);
    etcd.start_empty();
    until_process(&etcd, 1);
    etcd.stop(Signal::TERM);
    etcd.start_again();
    until_process(&etcd, 1);
    eventually("the list", || (nodes(&server)[0]["name"] == "shop").then_some(()));
}

#[test]
fn without_etcd_the_nodes_are_those_of_the_cluster_configuration() {
    let server = Server::start("handoff-live");
    assert_eq!(nodes(&server), serde_json::json!([]));
    let node = serde_json::json!({"name":"a","address":"h:1","admin":"h:2","version":"v","process":1});
    let text = serde_json::json!({ "nodes": [&node] }).to_string();
    std::fs::write(server.path("cluster.json"), text).unwrap();
    assert_eq!(server.admin_request("POST /reload").status, 200);
    assert_eq!(nodes(&server), serde_json::json!([node]));
}
