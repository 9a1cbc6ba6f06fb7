//! Which files are taken, which are refused, and with what words.

use super::*;
use crate::datum::Mechanism;

/// The settings block exactly as the seed prints it.
const SEED: &str = r#"[global]
    logLevel = "info"
    pid = "./.pid"
[mysql]
    address = "127.0.0.1:3306"
    username = "root"
    password = "123"
    database = "seckill"
[redis]
    address = "127.0.0.1:6379"
    auth = "abcdefg"
[etcd]
    address = "127.0.0.1:2379"
[api]
    bind = "127.0.0.1:8080"
    blacklist = "./blacklist.txt"
[admin]
    bind = "127.0.0.1:8081"
"#;

const LEAST: &str = "[api]\nbind = \"127.0.0.1:8080\"\n[admin]\nbind = \"127.0.0.1:8081\"\n";

fn good(text: &str) -> Config {
    match parse(Path::new("f.toml"), text) {
        Ok(config) => config,
        Err(faults) => panic!("{faults}"),
    }
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let faults = parse(Path::new("f.toml"), text).map_err(|faults| faults.to_string());
    assert_eq!(faults.unwrap_err(), expected.join("\n"));
}

#[test]
fn the_seeds_file_is_taken_as_it_is() {
    let config = good(SEED);
    assert_eq!(config.global.log_level, LogLevel::Info);
    assert_eq!(config.api.bind, [Bind::Tcp("127.0.0.1:8080".parse().unwrap())]);
    assert_eq!(config.admin.bind, [Bind::Tcp("127.0.0.1:8081".parse().unwrap())]);
    let mysql = config.mysql.unwrap();
    assert_eq!((mysql.address.as_str(), mysql.password.read().unwrap().expose()), ("127.0.0.1:3306", "123"));
    assert_eq!(config.redis.unwrap().auth.read().unwrap().expose(), "abcdefg");
    assert_eq!(config.etcd.unwrap().endpoints, ["127.0.0.1:2379"]);
}

#[test]
fn redis_and_mysql_come_together_and_a_password_from_one_place() {
    let redis = "[redis]\naddress = \"a:1\"\n";
    let mysql = "[mysql]\naddress = \"a:2\"\nusername = \"u\"\ndatabase = \"d\"\n";
    let hint = "take [";
    for (one, part) in [(redis, "there is no [mysql]"), (mysql, "there is no [redis]")] {
        let faults = parse(Path::new("f.toml"), &format!("{LEAST}{one}")).unwrap_err().to_string();
        assert!(faults.contains(part) && faults.contains(hint), "{faults}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    let of_file = format!("{LEAST}{redis}auth_file = {:?}\n{mysql}", file.display().to_string());
    let password = good(&of_file).redis.unwrap().auth;
    let missing = password.read().unwrap_err().to_string();
    assert!(missing.starts_with("read the password in "), "{missing}");
    fs::write(&file, "rosebud\n").unwrap();
    assert_eq!(password.read().unwrap().expose(), "rosebud");
    let both = of_file.replace("auth_file", "auth = \"x\"\nauth_file");
    let faults = parse(Path::new("f.toml"), &both).unwrap_err().to_string();
    assert!(faults.contains("redis.auth_file: is beside auth"), "{faults}");
    let settings = good(&format!(
        "{LEAST}{redis}orders_waiting_max = 7\nclaim_after_ms = 70\ntimeout_ms = 50\n{mysql}timeout_ms = 60\n"
    ));
    let (redis, mysql) = (settings.redis.unwrap(), settings.mysql.unwrap());
    assert_eq!((redis.orders_waiting_max, redis.claim_after.as_millis()), (7, 70));
    assert_eq!((redis.timeout.as_millis(), mysql.timeout.as_millis()), (50, 60));
}

#[test]
fn the_example_says_what_the_seed_says_and_shows_the_defaults() {
    let example = include_str!("../../seckill.example.toml");
    assert_eq!(pending(&good(SEED), &good(example)), []);
    // With the comment signs before sections and keys taken away, the values are the defaults.
    let uncommented = |line: &'static str| {
        line.strip_prefix('#')
            .filter(|rest| rest.starts_with('[') || rest.starts_with("    "))
            .unwrap_or(line)
    };
    let spelt_out: Vec<&str> = example.lines().map(uncommented).collect();
    let config = good(&spelt_out.join("\n"));
    assert_eq!(pending(&good(SEED), &config), []);
    assert_eq!(spelt_out.iter().filter(|line| line.starts_with('[')).count(), 17, "every section is shown");
}

#[test]
fn where_changes_come_from() {
    let both = |more: &str| format!("{SEED}\n{more}");
    let config = good(&both(
        "[reload]\npush_bytes_max = 8192\n[reload.blacklist]\nby = \"timer\"\nfrom = \"http://127.0.0.1:9/list\"\n\
         every_ms = 250\n[reload.activities]\nby = \"etcd\"\nfrom = \"etcd:/sale\"\n",
    ));
    assert_eq!(config.reload.push_bytes_max, 8192);
    let blacklist = &config.reload.blacklist;
    assert_eq!((blacklist.by, blacklist.every.as_millis()), (Mechanism::Timer, 250));
    assert_eq!(blacklist.from, Place::Http("http://127.0.0.1:9/list".to_owned()));
    assert_eq!(config.reload.activities.from, Place::Etcd("/sale".to_owned()));
    assert_eq!(config.reload.cluster.by, Mechanism::Etcd, "there is an etcd");

    let faults = |more: &str| parse(Path::new("f.toml"), &both(more)).unwrap_err().to_string();
    assert!(faults("[reload.blacklist]\nby = \"file\"\nfrom = \"etcd:/x\"\n").contains("watches files"));
    assert!(faults("[reload.blacklist]\nby = \"etcd\"\n").contains("watches keys of etcd"));
    assert!(faults("[reload.blacklist]\nfrom = \"https://h:1/x\"\n").contains("only http is spoken"));
    assert!(
        faults("[reload.blacklist]\nby = \"timer\"\nfrom = \"mysql:activities\"\n")
            .contains("has activities only")
    );
    assert!(faults("[reload.activities]\nfrom = \"mysql:activities\"\n").contains("watches files"));
    let mysql = "[reload.activities]\nby = \"timer\"\nfrom = \"mysql:activities\"\n";
    assert_eq!(good(&both(mysql)).reload.activities.from, Place::Mysql);
    let faults_without = parse(Path::new("f.toml"), &format!("{LEAST}{mysql}")).unwrap_err().to_string();
    assert!(faults_without.contains("there is no [mysql]"), "{faults_without}");
    assert!(faults("[reload.blacklist]\nevery_ms = 1\n").contains("every_ms: 1 is out of range"));
}

#[test]
fn the_example_of_activities_is_valid() {
    let text = include_str!("../../activities.example.json");
    let activities = crate::state::Activities::parse(text.as_bytes()).unwrap();
    assert_eq!(activities.events().len(), 1);
}

#[test]
fn only_the_two_addresses_are_needed() {
    let config = good(LEAST);
    let mut defaults =
        Config::with_defaults(config.api.bind[0].tcp().unwrap(), config.admin.bind[0].tcp().unwrap());
    (defaults.source, defaults.digest) = (config.source.clone(), config.digest.clone());
    assert_eq!(config, defaults);
    assert_eq!(config.upgrade.strategy, Strategy::HandoffLive);
}

#[test]
fn our_own_sections() {
    let ours = "[auth]\nsecret_file = \"s\"\n[store]\npath = \"d\"\n[sale]\nactivities = \"a\"\n[upgrade]\n\
        strategy = \"reuseport\"\nsocket = \"u\"\nstart_timeout_ms = 5\nprobation_ms = 0\ndrain_ms = 7\n\
        probe_timeout_ms = 6\nfarewell_ms = 8\n[limits]\n\
        orders_per_user_per_second = 3\nbody_bytes_max = 1024\nconnections_max = 9\nlisten_backlog = 65535\n[stream]\nstreams_max = 0\n\
        interval_ms = 10\nheartbeat_ms = 20\nslow_ms = 30\ngoodbye_ms = 0\nretry_ms = 40\n";
    let config = good(&format!("{LEAST}token_file = \"t\"\n{ours}"));
    assert_eq!(config.admin.token_file, Path::new("t"));
    assert_eq!(config.auth.secret_file, Path::new("s"));
    assert_eq!(config.store.path, Path::new("d"));
    assert_eq!(config.sale.activities, Path::new("a"));
    assert_eq!(config.upgrade.strategy, Strategy::Reuseport);
    let ms = |time: std::time::Duration| time.as_millis();
    let upgrade = &config.upgrade;
    assert_eq!([upgrade.start_timeout, upgrade.load_timeout, upgrade.probe_timeout].map(ms), [5, 5, 6]);
    assert_eq!([upgrade.state_timeout, upgrade.drain, upgrade.farewell].map(ms), [5_000, 7, 8]);
    assert_eq!(
        config.limits,
        Limits {
            orders_per_user_per_second: 3,
            body_bytes_max: 1024,
            connections_max: 9,
            listen_backlog: 65_535
        }
    );
    let stream = &config.stream;
    let times = [stream.interval, stream.heartbeat, stream.slow, stream.goodbye, stream.retry];
    assert_eq!((stream.streams_max, times.map(|time| time.as_millis())), (0, [10, 20, 30, 0, 40]));
}

#[test]
fn all_faults_are_told_at_once_with_line_and_hint() {
    let text = "[global]\nlogLevel = \"inof\"\nloglevel = \"info\"\n[mysql]\naddress = \"localhost\"\nusername = \"\"\n\
        [etcd]\n[api]\nbind = \":8080\"\n[upgrade]\nstrategy = \"hand-off\"\ndrain_ms = -1\nprobation = 5\n\
        [limits]\nconnections_max = 0\nlisten_backlog = 0\n[quota]\n";
    check(
        text,
        &[
            "f.toml:1:1: admin: missing key",
            "  hint: write [admin] with bind = \"127.0.0.1:8081\"",
            "f.toml:2:12: global.logLevel: unknown word \"inof\"",
            "  hint: did you mean \"info\"? (one of \"trace\", \"debug\", \"info\", \"warn\", \"warning\", \"error\")",
            "f.toml:3:1: global.loglevel: unknown key",
            "  hint: did you mean `logLevel`?",
            "f.toml:4:1: mysql: orders that are kept in mysql are taken in redis, and there is no [redis]",
            "  hint: write [redis] too, or take [mysql] away: then orders are kept in [store]",
            "f.toml:4:1: mysql.database: missing key",
            "  hint: write database = \"seckill\"",
            "f.toml:5:11: mysql.address: expected a host and a port, found \"localhost\": there is no port",
            "  hint: write address = \"127.0.0.1:3306\"",
            "f.toml:6:12: mysql.username: must not be empty",
            "  hint: fill it in or leave it out",
            "f.toml:7:1: etcd.address: missing key",
            "  hint: write address = \"127.0.0.1:2379\", or several with commas between them",
            "f.toml:9:8: api.bind: expected an IP address and a port, found \":8080\": invalid socket address syntax",
            "  hint: write bind = \"127.0.0.1:8080\"",
            "f.toml:11:12: upgrade.strategy: unknown word \"hand-off\"",
            "  hint: did you mean \"handoff\"? (one of \"handoff-live\", \"handoff\", \"inherit\", \"activate\", \"reuseport-drain\", \"reuseport\", \"stop-start\")",
            "f.toml:12:12: upgrade.drain_ms: -1 is out of range",
            "  hint: write a number from 0 to 3600000",
            "f.toml:13:1: upgrade.probation: unknown key",
            "  hint: did you mean `probation_ms`?",
            "f.toml:15:19: limits.connections_max: 0 is out of range",
            "  hint: write a number from 1 to 1000000",
            "f.toml:16:18: limits.listen_backlog: 0 is out of range",
            "  hint: write a number from 1 to 65535",
            "f.toml:17:2: quota: unknown key",
            "  hint: known here: global, mysql, redis, etcd, node, api, admin, auth, store, sale, reload, upgrade, limits, stream",
        ],
    );
}

#[test]
fn addresses_and_files_must_not_collide() {
    let both = |api: &str, admin: &str| format!("[api]\nbind = \"{api}\"\n[admin]\nbind = \"{admin}\"\n");
    let collision = &["f.toml:4:8: admin.bind: is the address of [api] too", "  hint: give it another port"];
    check(&both("127.0.0.1:80", "127.0.0.1:80"), collision);
    check(&both("0.0.0.0:80", "127.0.0.1:80"), collision);
    let _other_address = good(&both("127.0.0.2:80", "127.0.0.1:80"));
    let _any_port = good(&both("127.0.0.1:0", "127.0.0.1:0"));

    check(
        &format!("{LEAST}[store]\npath = \"./.pid\"\n"),
        &["f.toml:6:8: store.path: is the file of global.pid too", "  hint: give it a file of its own"],
    );
    check(
        &format!("{LEAST}[global]\npid = \"seckill.db\"\n"),
        &["f.toml:6:7: global.pid: is the file of store.path too", "  hint: give it a file of its own"],
    );
    let long = "x".repeat(108);
    check(
        &format!("{LEAST}[upgrade]\nsocket = \"{long}\"\n"),
        &[
            "f.toml:6:10: upgrade.socket: has more than 107 bytes, too long for a unix socket",
            "  hint: write a path relative to the working directory",
        ],
    );
}

#[test]
fn a_side_listens_at_one_address_or_at_several() {
    let at = |api: &str| {
        format!("[api]\nbind = {api}\n[admin]\nbind = \"unix:./a.sock\"\nsocket_mode = \"660\"\n")
    };
    let config = good(&at(r#"["0.0.0.0:80", "[::]:80", "unix:/run/s.sock", "unix:@s"]"#));
    let shown: Vec<String> = config.api.bind.iter().map(Bind::to_string).collect();
    assert_eq!(shown, ["0.0.0.0:80", "[::]:80", "unix:/run/s.sock", "unix:@s"]);
    assert_eq!((config.admin.bind[0].to_string().as_str(), config.admin.socket_mode), ("unix:a.sock", 0o660));
    check(&at("[]"), &["f.toml:2:8: api.bind: must not be empty", "  hint: write bind = \"127.0.0.1:8080\""]);
    check(
        &at(r#"["unix:", 7, "127.0.0.1:80"]"#),
        &[
            "f.toml:2:9: api.bind.0: expected an IP address and a port, found \"unix:\": after unix: comes a path, or @ and a name",
            "  hint: write bind = \"127.0.0.1:8080\"",
            "f.toml:2:18: api.bind.1: expected an IP address and a port, found the integer 7",
            "  hint: write bind = \"127.0.0.1:8080\"",
        ],
    );
    check(
        &at(r#"["0.0.0.0:80", "127.0.0.1:80"]"#),
        &[
            "f.toml:2:8: api.bind: has 127.0.0.1:80, which 0.0.0.0:80 takes already",
            "  hint: take one of them away",
        ],
    );
    check(
        &at(r#""unix:a.sock""#),
        &["f.toml:4:8: admin.bind: is the address of [api] too", "  hint: give it another port"],
    );
    let many: Vec<String> = (0..33).map(|number| format!("\"unix:@{number}\"")).collect();
    check(
        &at(&format!("[{}]", many.join(","))),
        &["f.toml:2:8: api.bind: has more than 32 addresses", "  hint: take some away"],
    );
    check(
        &format!("{LEAST}socket_mode = \"999\"\n"),
        &[
            "f.toml:5:15: admin.socket_mode: expected octal digits, found \"999\": it must be from 0 to 777",
            "  hint: write socket_mode = \"660\"",
        ],
    );
}

#[test]
fn unix_sockets_where_they_cannot_work_are_refused() {
    let unix = "[api]\nbind = [\"127.0.0.1:80\", \"unix:@s\"]\n[admin]\nbind = \"unix:a\"\n";
    for strategy in ["handoff-live", "handoff", "inherit", "stop-start"] {
        good(&format!("{unix}[upgrade]\nstrategy = \"{strategy}\"\n"));
    }
    for strategy in ["reuseport", "reuseport-drain"] {
        let hint = "  hint: SO_REUSEPORT means nothing to a unix socket; write strategy = \"handoff-live\", or an IP address";
        check(
            &format!("{unix}[upgrade]\nstrategy = \"{strategy}\"\n"),
            &[
                &format!(
                    "f.toml:2:8: api.bind: has unix:@s, and under {strategy} both processes bind their sockets"
                ),
                hint,
                &format!(
                    "f.toml:4:8: admin.bind: has unix:a, and under {strategy} both processes bind their sockets"
                ),
                hint,
            ],
        );
    }
    check(
        &format!("{unix}[etcd]\naddress = \"a:1\"\n"),
        &[
            "f.toml:4:8: admin.bind: is reached by nobody on other machines, which [etcd] tells where this one is",
            "  hint: write [node] with admin = \"10.0.0.1:8080\", or an IP address",
        ],
    );
    good(&format!("{unix}[etcd]\naddress = \"a:1\"\n[node]\nadmin = \"a:2\"\n"));
}

#[test]
fn every_limit_of_an_upgrade_has_a_range() {
    for (key, least) in [
        ("start_timeout_ms", 1),
        ("load_timeout_ms", 1),
        ("probe_timeout_ms", 1),
        ("probation_ms", 0),
        ("state_timeout_ms", 1),
        ("commit_timeout_ms", 1),
        ("transfer_timeout_ms", 1),
        ("drain_ms", 0),
        ("idle_grace_ms", 0),
        ("farewell_ms", 1),
    ] {
        let with = |value: i64| format!("{LEAST}[upgrade]\n{key} = {value}\n");
        for good in [least, 3_600_000] {
            assert!(parse(Path::new("f.toml"), &with(good)).is_ok(), "{key} = {good}");
        }
        for bad in [least - 1, 3_600_001] {
            let faults = parse(Path::new("f.toml"), &with(bad)).unwrap_err().to_string();
            assert!(faults.contains(&format!("upgrade.{key}: {bad} is out of range")), "{faults}");
        }
    }
}

#[test]
fn addresses_of_services() {
    let at = |address: &str| {
        parse(Path::new("f.toml"), &format!("{LEAST}[etcd]\naddress = \"{address}\"\n")).is_ok()
    };
    for good in ["127.0.0.1:2379", "etcd.internal:1", "[::1]:65535", "a:1, b:2,[::1]:3"] {
        assert!(at(good), "{good}");
    }
    for bad in ["", "host", ":80", "host:", "host:0", "host:65536", "a host:1", "::1:80", "a:1,", "a:1,a:1"] {
        assert!(!at(bad), "{bad}");
    }
    check(
        &format!("{LEAST}[etcd]\naddress = \"a:1,b,:2,a:1\"\n"),
        &[
            "f.toml:6:11: etcd.address: expected hosts and ports, found \"a:1,b,:2,a:1\": \"b\": there is no port; \
             \":2\": there is no host before the port; \"a:1\" is there twice",
            "  hint: write address = \"127.0.0.1:2379\", or several with commas between them",
        ],
    );
}

#[test]
fn who_asks_etcd() {
    let with = |lines: &str| format!("{LEAST}[etcd]\naddress = \"a:1\"\n{lines}\n");
    let user = good(&with("username = \"shop\"\npassword_file = \"p\"")).etcd.unwrap().user.unwrap();
    assert_eq!((user.name.as_str(), user.password_file.as_path()), ("shop", Path::new("p")));
    assert_eq!(good(&with("")).etcd.unwrap().user, None);
    check(
        &with("username = \"shop\""),
        &[
            "f.toml:7:12: etcd.username: has no password",
            "  hint: write password_file = \"./.etcd-password\"",
        ],
    );
    check(
        &with("password_file = \"p\""),
        &["f.toml:7:17: etcd.password_file: is nobody's", "  hint: write username = \"seckill\""],
    );
}

#[test]
fn how_a_node_is_registered() {
    let with = |lines: &str| format!("{LEAST}[node]\n{lines}\n");
    let node = good(&with(
        "name = \"shop-1\"\naddress = \"10.0.0.1:80\"\nadmin = \"shop.internal:81\"\nlease_s = 2",
    ))
    .node;
    assert_eq!((node.name.as_deref(), node.address.as_deref()), (Some("shop-1"), Some("10.0.0.1:80")));
    assert_eq!((node.admin.as_deref(), node.lease.as_secs()), (Some("shop.internal:81"), 2));
    check(
        &with("name = \"a/b\"\naddress = \":80\"\nadmin = \"h\"\nlease_s = 0"),
        &[
            "f.toml:6:8: node.name: expected a name, found \"a/b\": it is a part of a key of etcd",
            "  hint: write a name without slashes, for example name = \"shop-1\"",
            "f.toml:7:11: node.address: expected a host and a port, found \":80\": there is no host before the port",
            "  hint: write address = \"10.0.0.1:8080\", as others reach it",
            "f.toml:8:9: node.admin: expected a host and a port, found \"h\": there is no port",
            "  hint: write admin = \"10.0.0.1:8080\", as others reach it",
            "f.toml:9:11: node.lease_s: 0 is out of range",
            "  hint: write a number from 1 to 3600",
        ],
    );
}

#[test]
fn a_changed_file_is_told_key_by_key_and_secrets_are_not_shown() {
    let now =
        SEED.replace("\"info\"", "\"debug\"").replace(":8080", ":9090").replace("\"123\"", "\"hunter2\"");
    let now = now.replace("[etcd]\n    address = \"127.0.0.1:2379\"\n", "");
    let now = format!("{now}[store]\npath = \"./new.db\"\n");
    let changes = pending(&good(SEED), &good(&now));
    let told: Vec<String> = changes
        .iter()
        .map(|change| {
            let shown = |value: &Option<String>| value.clone().unwrap_or("-".to_owned());
            format!("{} {} {} {}", change.key, shown(&change.loaded), shown(&change.file), change.needs)
        })
        .collect();
    assert_eq!(
        told,
        [
            "global.logLevel info debug upgrade",
            "mysql.password (hidden) (hidden) upgrade",
            "etcd.address 127.0.0.1:2379 - upgrade",
            "etcd.keep_alive_ms 5000 - upgrade",
            "etcd.timeout_ms 1000 - upgrade",
            "api.bind 127.0.0.1:8080 127.0.0.1:9090 upgrade",
            "store.path ./seckill.db ./new.db restart",
            "reload.cluster.by etcd file upgrade",
            "reload.cluster.from etcd:/seckill/config ./cluster.json upgrade",
        ]
    );
    assert_eq!(pending(&good(SEED), &good(SEED)), []);
}

#[test]
fn another_place_of_orders_needs_a_restart() {
    let seed = good(SEED);
    let (mut elsewhere, mut embedded) = (seed.clone(), seed.clone());
    elsewhere.redis.as_mut().unwrap().address = "127.0.0.1:1".to_owned();
    elsewhere.mysql.as_mut().unwrap().address = "127.0.0.1:2".to_owned();
    elsewhere.mysql.as_mut().unwrap().database = "other".to_owned();
    elsewhere.redis.as_mut().unwrap().orders_waiting_max = 1;
    (embedded.redis, embedded.mysql) = (None, None);
    let told = |now: &Config| -> Vec<String> {
        pending(&seed, now).iter().map(|change| format!("{} {}", change.key, change.needs)).collect()
    };
    assert_eq!(
        told(&elsewhere),
        [
            "mysql.address restart",
            "mysql.database restart",
            "redis.address restart",
            "redis.orders_waiting_max upgrade"
        ]
    );
    let gone = told(&embedded);
    assert!(gone.len() > 8 && gone.iter().all(|change| change.ends_with(" restart")), "{gone:?}");
}

#[test]
fn a_password_shows_nowhere() {
    let config = good(SEED);
    let text = format!("{config:?}");
    assert!(text.contains("(hidden)") && !text.contains("abcdefg"), "{text}");
}

#[test]
fn a_file_that_is_not_there_is_told_with_its_name() {
    let error = load(Path::new("/nowhere/seckill.toml")).unwrap_err();
    assert_eq!(error.to_string(), "read the configuration file /nowhere/seckill.toml");
    assert!(matches!(error, Error::Read { .. }));
}
