//! The scenarios of this repository, and what their README says of the format.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use harness::{
    exit::ExitCode,
    plan::{Action, ConnectionMode, Gate, Op, Plan, TargetPlan, planned},
    scenario::{Catalog, Scenario, load},
};

fn project() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.parent().expect("the crate must lie in the project").to_owned()
}

fn plan(name: &str) -> Plan {
    load(name, &project(), &[]).expect("the scenario must be valid").plan(1)
}

fn run(line: &str) -> (ExitCode, String, String) {
    let args = std::iter::once("harness").chain(line.split_whitespace()).map(OsString::from);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code =
        harness::cli::run(args, &project(), &mut out, &mut err).expect("writing to memory must not fail");
    let text = |bytes| String::from_utf8(bytes).expect("what is printed must be UTF-8");
    (code, text(out), text(err))
}

#[test]
fn all_are_valid_and_have_a_row_in_the_readme() {
    let (code, out, err) = run("check");
    assert_eq!((code, err.as_str()), (ExitCode::Pass, ""), "{out}");
    let readme = fs::read_to_string(project().join("scenarios/README.md")).unwrap();
    let files = Catalog::find(&project()).unwrap().files().unwrap();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let name = load(&file.display().to_string(), &project(), &[]).unwrap().name;
        assert!(readme.contains(&format!("\n| `{name}` | ")), "{name} has no row");
    }
}

#[test]
fn the_examples_of_the_readme_are_valid_and_name_every_key() {
    let readme = fs::read_to_string(project().join("scenarios/README.md")).unwrap();
    let examples: Vec<&str> = readme
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().expect("an example must end"))
        .collect();
    assert_eq!(examples.len(), 8);
    for example in examples {
        // Some show a part of a file.
        let mut example = example.to_owned();
        if !example.contains("[load]\n") {
            example = format!("[load]\nrate = 100\nduration = \"10s\"\n{example}");
        }
        if !example.contains("[[load.stream]]\n") {
            example += "\n[[load.stream]]\nname = \"all\"\nconnection = \"reused\"\n";
        }
        if !example.starts_with("name = ") {
            let head = "name = \"part\"\ndescription = \"A part.\"\n[target]\nkind = \"reference\"\n";
            example = format!("{head}{example}");
        }
        if let Err(faults) = Scenario::read(Path::new("README.md"), &example, None, &[]) {
            panic!("{faults}\nin\n{example}");
        }
    }
    // One key that does not exist in each table makes the reader list those that do.
    let unknown = "zzzzzzzz = 1\n";
    let tables = [
        "[target]\nkind = \"reference\"",
        "[target]\nkind = \"command\"",
        "[target]\nkind = \"external\"",
        "[target.upgrade]",
        "[gate]",
        "[load]",
        "[[load.stage]]",
        "[[load.stream]]",
        "[[load.stream.request]]",
        "[[event]]\naction = \"upgrade\"",
        "[[event]]\naction = \"exec\"",
        "[[event]]\naction = \"http\"",
        "[[event]]\naction = \"signal\"",
        "[[event]]\naction = \"reload\"",
        "[[event]]\naction = \"fault\"",
        "[target.reload.blacklist]",
        "[services]",
    ];
    for table in tables {
        let kind = if table.starts_with("[target]\n") { "" } else { "[target]\nkind = \"reference\"\n" };
        let stream = if table.contains("request") { "[[load.stream]]\n" } else { "" };
        let source = format!("{kind}{stream}{table}\n{unknown}");
        let faults = Scenario::read(Path::new("x"), &source, None, &[]).unwrap_err();
        let hints = faults
            .iter()
            .filter(|fault| fault.key.ends_with("zzzzzzzz"))
            .filter_map(|fault| fault.hint.as_ref());
        let known: Vec<&str> =
            hints.flat_map(|hint| hint.trim_start_matches("known here: ").split(", ")).collect();
        assert!(!known.is_empty(), "{table}: {faults}");
        for key in known {
            let is_there = readme.contains(&format!("\n{key} = ")) || readme.contains(&format!("{key}]"));
            assert!(is_there, "{key} of {table} is not in the README");
        }
    }
}

/// The main job: at least 60 swaps, new and reused connections, reading and buying, within a minute.
#[test]
fn upgrade_is_the_main_job() {
    let plan = plan("upgrade");
    let is_swap = |action: &Action| matches!(action, Action::Upgrade { binary: None, expect_ok: true });
    assert!(plan.events.iter().filter(|event| is_swap(&event.action)).count() >= 60);
    assert!(plan.load.duration_ns <= 60_000_000_000);
    assert!((80_000..=120_000).contains(&planned(&plan.load, plan.seed)));
    let TargetPlan::Reference(reference) = &plan.target else { panic!("{:?}", plan.target) };
    assert_eq!(reference.strategy, "handoff-live");
    let modes: Vec<_> = plan.load.streams.iter().map(|stream| stream.connection).collect();
    assert_eq!(modes, [ConnectionMode::Reused { connections: 24 }, ConnectionMode::New]);
    for stream in &plan.load.streams {
        for op in [Op::List, Op::Info, Op::Buy, Op::Order] {
            assert!(stream.requests.iter().any(|request| request.op == op), "{op:?} in {}", stream.name);
        }
    }
    for gate in
        [Gate::FailedMax(0), Gate::UpgradesMin(60), Gate::EventsFailedMax(0), Gate::ClosedByServerMax(0)]
    {
        assert!(plan.gates.contains(&gate), "{gate:?}");
    }
}

#[test]
fn smoke_is_short_and_the_control_arms_allow_no_failure() {
    assert!(plan("smoke").load.duration_ns < 10_000_000_000);
    for (name, strategy, swaps) in
        [("must-fail/stop-start", "stop-start", 5), ("must-fail/reuseport", "reuseport", 40)]
    {
        let plan = plan(name);
        let TargetPlan::Reference(reference) = &plan.target else { panic!("{:?}", plan.target) };
        assert_eq!((reference.strategy.as_str(), plan.events.len()), (strategy, swaps));
        assert!(plan.gates.contains(&Gate::FailedMax(0)));
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "most of them are what the commands print")]
fn list_and_plan_of_the_repository() {
    insta::assert_snapshot!(run("list").1, @"
    name                              target       time  what
    bench/buying                      reference     10s  64 connections buy through
                                                         Redis and MySQL as fast as
                                                         they are answered.
    bench/reload                      reference      8s  One run of `harness bench
                                                         reload`: a storm, twenty
                                                         changes under load, seven
                                                         without.
    bench/upgrade                     reference     10s  One run of `harness bench
                                                         upgrade`: ten swaps between
                                                         two quiet times.
    etcd/bad                          reference     10s  Keys that are malformed,
                                                         torn or out of range change
                                                         nothing.
    etcd                              reference     10s  Keys of etcd change, and
                                                         each change is served
                                                         within 20 ms.
    etcd/fault                        reference     12s  etcd is killed, frozen and
                                                         compacted under load, and
                                                         no request is lost.
    etcd/storm                        reference     10s  Keys change hundreds of
                                                         times a second, and the
                                                         last change is served.
    etcd/upgrade                      reference     10s  Keys change while the
                                                         binary is swapped, and no
                                                         change is lost.
    fault/clients                     reference     12s  Ten binary swaps under
                                                         clients that rest,
                                                         hesitate, wait, pipeline,
                                                         and read or write slowly.
    fault/etcd                        reference   4m 2s  etcd is killed, stopped,
                                                         cut off, reset, slowed down
                                                         and compacted, 20 times
                                                         each; no request is lost.
    fault/frozen                      reference      8s  The process is stopped for
                                                         3 s and goes on; slow
                                                         answers, but none lost.
    fault/mysql                       reference   4m 2s  MySQL is killed, stopped,
                                                         cut off, reset and slowed
                                                         down, 20 times each; no
                                                         order is lost.
    fault/new-process                 reference     10s  Binaries that exit, hang,
                                                         are garbage or missing;
                                                         nothing may be lost.
    fault/redis                       reference   4m 2s  Redis is killed, stopped,
                                                         cut off, reset and slowed
                                                         down, 20 times each; no
                                                         order is lost.
    fault/server                      reference  1m 46s  The server is killed 50
                                                         times and stopped 20 times
                                                         under load; no acknowledged
                                                         order is lost, none
                                                         doubled.
    fault/slow-readers                reference     13s  Ten binary swaps while long
                                                         lists are read slowly.
    fault/starved                     reference     30s  Ten binary swaps while a
                                                         closed loop leaves no
                                                         processor idle; slow
                                                         answers, but none lost.
    file/bad                          reference     10s  Files that are malformed,
                                                         torn or out of range change
                                                         nothing.
    file                              reference     10s  Files change in every way,
                                                         and each change is served
                                                         within 20 ms.
    file/storm                        reference     10s  Files are rewritten a
                                                         thousand times a second,
                                                         and the last change is
                                                         served.
    file/upgrade                      reference     10s  Files change while the
                                                         binary is swapped, and no
                                                         change is lost.
    must-fail/broken/answer-twice     reference      3s  One answer in 49 comes
                                                         twice; must end in exit 1.
    must-fail/broken/drop             reference      3s  One answer in 49 is never
                                                         sent and its connection
                                                         closed; must end in exit 1.
    must-fail/broken/generation-back  reference      3s  One answer in 49 names an
                                                         older configuration; must
                                                         end in exit 5.
    must-fail/broken/lose-order       reference      3s  One order in 10 is
                                                         acknowledged and not
                                                         stored; must end in exit 5.
    must-fail/broken/oversell         reference      3s  More is sold than there is;
                                                         must end in exit 5.
    must-fail/broken/reset-on-drain   reference      3s  An upgrade resets
                                                         connections instead of
                                                         moving them; must end in
                                                         exit 1.
    must-fail/broken/shut-down        reference      3s  An old process shuts down
                                                         the socket that it shares
                                                         with the new one; must end
                                                         in exit 1.
    must-fail/broken/stale-config     reference      3s  Answers name the old
                                                         configuration for 900 ms;
                                                         must end in exit 1.
    must-fail/broken/store-twice      reference      3s  One order in 10 is stored
                                                         twice; must end in exit 5.
    must-fail/broken/truncate-body    reference      3s  One answer in 49 is a byte
                                                         too short; must end in exit
                                                         1.
    must-fail/broken/wrong-body       reference      3s  One answer in 49 has a
                                                         wrong byte; must end in
                                                         exit 1.
    must-fail/leaks/descriptor        reference     12s  Each process leaves a
                                                         descriptor to all after it;
                                                         must end in exit 1.
    must-fail/leaks/memory            reference     12s  Each process keeps a
                                                         megabyte more than the one
                                                         before; must end in exit 1.
    must-fail/leaks/process           reference     12s  Each process leaves a child
                                                         behind; must end in exit 1.
    must-fail/reuseport               reference     20s  The SO_REUSEPORT swap of
                                                         the seed, 40 times; must
                                                         end in exit 1.
    must-fail/stop-start              reference     12s  Five plain restarts; must
                                                         end in exit 1 with the gap
                                                         of each.
    must-fail/stores/answer-first     reference      3s  One order in 2 is
                                                         acknowledged before Redis
                                                         was asked; must end in exit
                                                         5.
    must-fail/stores/forget-limit     reference      3s  One of two processes
                                                         forgets the limit per user;
                                                         must end in exit 5.
    must-fail/stores/write-twice      reference      3s  One order in 10 is written
                                                         without a look at what is
                                                         written; must end in exit
                                                         5.
    push/bad                          reference     10s  Pushes that are malformed,
                                                         out of range or overtaken
                                                         change nothing.
    push                              reference     10s  Changes are pushed, and
                                                         each is served within 2 ms.
    push/storm                        reference     10s  Hundreds of pushes a
                                                         second, and the last change
                                                         is served.
    push/upgrade                      reference     10s  Changes are pushed while
                                                         the binary is swapped, and
                                                         no change is lost.
    sale/rush                         reference      9s  10,000 users fight for 100
                                                         pieces that two processes
                                                         sell at once; 100 are sold.
    sale/same-user                    reference     10s  The same users buy from two
                                                         processes at once; nobody
                                                         gets more than the limit.
    sale/sold-out                     reference     10s  Two processes sell the last
                                                         pieces of everything at
                                                         once; not one too many is
                                                         sold.
    smoke                             reference      4s  Five binary swaps in four
                                                         seconds of light load.
    strategies/activate               reference     14s  Twelve swaps; no request
                                                         fails, connections are
                                                         closed in order.
    strategies/handoff                reference     14s  Twelve swaps; no request
                                                         fails, connections are
                                                         closed in order.
    strategies/inherit                reference     14s  Twelve swaps; no request
                                                         fails, connections are
                                                         closed in order.
    strategies/reuseport-drain        reference     14s  Twelve swaps; all but a
                                                         handful that came in the
                                                         closing moment are served.
    streams                           reference     12s  Eight binary swaps under
                                                         every kind of client:
                                                         HTTP/1.1 used in all ways,
                                                         HTTP/2, and reqwest.
    timer/bad                         reference     10s  What a timer finds
                                                         malformed, torn or out of
                                                         range changes nothing.
    timer/storm                       reference     10s  What a timer looks at
                                                         changes a thousand times a
                                                         second.
    timer                             reference     10s  A timer finds what changed
                                                         in a file, in etcd and at
                                                         an address.
    timer/upgrade                     reference     10s  What a timer looks at
                                                         changes while the binary is
                                                         swapped.
    upgrade/etcd-compacts             reference     40s  Sixty binary swaps while
                                                         etcd compacts every 350 ms;
                                                         no change and no request is
                                                         lost.
    upgrade/mysql-frozen              reference     40s  Sixty binary swaps while
                                                         MySQL stands still every 3
                                                         s; no order is lost.
    upgrade/redis-restarts            reference     40s  Sixty binary swaps while
                                                         Redis restarts every 1.7 s;
                                                         no order is lost.
    upgrade/soak                      reference  5m 40s  300 binary swaps under a
                                                         million requests; none may
                                                         fail, and nothing may be
                                                         left behind.
    upgrade/thousands                 reference     22s  Twenty binary swaps with
                                                         5,000 idle connections;
                                                         each goes on.
    upgrade                           reference     40s  Sixty binary swaps under
                                                         load; not one request may
                                                         fail.
    ");
    insta::assert_snapshot!(run("plan upgrade").1, @"
    upgrade
    Sixty binary swaps under load; not one request may fail.

    target       reference, strategy handoff-live; 500 users, 10 sale events, 1600
                 of each good in stock, 1000000 per user
    load         40s, without warm-up; failed after 5s, slow after 250ms; at most
                 15625 in flight; 250/s to the control target
    seed         1
    fingerprint  fe8e0b6da3b2ca8fc69f60fcc3009452b004729dd886d82a79f030478d386f64

    stream  connection  rate/s  arrival  planned  requests
    busy    24 reused     2000  uniform    80000  list 6, info 2, buy 2, order 1
    fresh   new            500  uniform    20000  list 6, info 2, buy 2, order 1
    total                 2500            100000

    events                   first  every  action
    upgrade-1 to upgrade-60  600ms  600ms  upgrade

    gate                   limit
    failed_max                 0
    upgrades_min              60
    events_failed_max          0
    closed_by_server_max       0
    hard_downtime_ms_max       0
    lateness_p99_us_max   300000
    unsent_max                 0
    blind_ms_max            1000
    ");
}
