//! Where services come from, and what can happen to them.

use super::{RELOADED, read};
use crate::plan::{Action, Fault, FaultAction, Origin, TargetPlan};

/// What is needed and where it comes from, in words.
fn services(sets: &[&str]) -> Result<String, String> {
    let overrides: Vec<String> = sets.iter().map(|set| format!("services.{set}")).collect();
    let overrides: Vec<&str> = overrides.iter().map(String::as_str).collect();
    let source = RELOADED.replace("fault = \"pause\"", "fault = \"partition\"");
    let scenario = read(&source, &overrides)?;
    let TargetPlan::Reference(reference) = scenario.target else { panic!("it is ours") };
    let needed: Vec<&str> = reference.services.needed.iter().map(|service| service.word()).collect();
    Ok(format!("{} {}", reference.services.from.word(), needed.join(" ")))
}

#[test]
fn where_services_come_from() {
    let check = |sets: &[&str], expected: Result<&str, &str>| match (services(sets), expected) {
        (Ok(found), Ok(expected)) => assert_eq!(found, expected),
        (Err(faults), Err(expected)) => assert!(faults.contains(expected), "{faults}"),
        (found, expected) => panic!("{sets:?}: {found:?}, not {expected:?}"),
    };
    let external = "kind=\"external\"";
    let at = ["etcd=\"127.0.0.1:2379\"", "redis=\"127.0.0.1:6379\"", "mysql=\"[::1]:3306\""];
    check(&["kind=\"auto\""], Ok("auto etcd"));
    check(&["store=\"redis-mysql\""], Ok("auto etcd mysql redis"));
    check(&["kind=\"processes\""], Ok("processes etcd mysql redis"));
    check(&["kind=\"containers\"", "redis_image=\"redis:7\""], Ok("containers etcd mysql redis"));
    check(&["kind=\"processes\"", "store=\"embedded\""], Ok("processes etcd"));
    check(&["kind=\"embedded\""], Err("something comes from etcd, and there is no embedded one"));
    check(&["kind=\"embedded\"", "store=\"redis-mysql\""], Err("the store is Redis and MySQL"));
    check(&[external, at[0], at[1], at[2]], Ok("external etcd mysql redis"));
    check(&[external], Err("write etcd = \"127.0.0.1:2379\""));
    check(&[external, at[0], at[1]], Err("services.mysql is missing: nobody says where it is"));
    check(&[external, "etcd=\"10.0.0.1:2379\""], Err("it is no host:port on localhost"));
    // What is somebody else's cannot be broken, only the way to it.
    check(&[external, at[0]], Ok("external etcd"));
    check(&[at[0]], Err("only external services have \"etcd\""));
    check(&["mysql_password=\"x\""], Err("only external services have \"mysql_password\""));
    check(&["kind=\"processes\"", "etcd_image=\"x\""], Err("only containers have an image"));
}

#[test]
fn faults_are_pairs_that_fit_what_they_happen_to() {
    let stores = "[services]\nstore = \"redis-mysql\"\n";
    let fault = |text: &str, services: &str| {
        let source = format!("{}\n{services}", RELOADED.replace("fault = \"pause\"\nfor = \"1s\"", text));
        read(&source, &[])
    };
    let check = |text: &str, expected: &str| {
        let found = fault(text, stores).unwrap_err();
        assert!(found.contains(expected), "{text}: {found}");
    };
    check("fault = \"kill\"\nof = \"redis\"", "write for = \"1s\": it is mended after this time");
    check("fault = \"slow\"\nof = \"redis\"\nfor = \"1s\"", "write latency = \"20ms\"");
    check("fault = \"kill\"\nfor = \"1s\"\nlatency = \"1s\"", "only a slow link has it");
    check("fault = \"compact\"\nof = \"redis\"", "only etcd can be compacted");
    check("fault = \"partition\"\nof = \"server\"\nfor = \"1s\"", "not through a link");
    check("fault = \"freeze\"\nfor = \"1s\"", "pause");
    check("fault = \"kill\"\nof = \"mongo\"\nfor = \"1s\"", "mysql");
    let without = fault("fault = \"kill\"\nof = \"redis\"\nfor = \"1s\"", "").unwrap_err();
    assert!(without.contains("there is no redis that could be broken"), "{without}");
    let external = "[services]\nkind = \"external\"\netcd = \"127.0.0.1:2379\"\n";
    let not_ours = fault("fault = \"kill\"\nfor = \"1s\"", external).unwrap_err();
    assert!(not_ours.contains("etcd is not ours"), "{not_ours}");

    let slow = "fault = \"slow\"\nof = \"mysql\"\nfor = \"2s\"\nlatency = \"20ms\"\nbandwidth = 1000";
    let scenario = fault(slow, stores).unwrap();
    let TargetPlan::Reference(reference) = &scenario.target else { panic!("it is ours") };
    assert!(matches!(reference.services.from, Origin::Auto));
    assert_eq!(reference.services.linked.iter().map(|service| service.word()).collect::<Vec<_>>(), ["mysql"]);
    let found = scenario.events.iter().find_map(|event| match &event.action {
        Action::Fault(FaultAction { of, fault, for_ms }) => Some((of.word(), *fault, *for_ms)),
        _ => None,
    });
    let expected = Fault::Slow { latency_ms: 20, bandwidth: Some(1_000) };
    assert_eq!(found, Some(("mysql", expected, 2_000)));
}
