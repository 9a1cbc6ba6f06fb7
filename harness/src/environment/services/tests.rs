//! Real services, started, broken, asked and taken away again.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::OsString,
    fs,
    future::Future,
    io::{self, Write as _},
    path::Path,
    time::Duration,
};

use super::{
    Conduct, Error, Services, container, ledger,
    mysql::Mysql,
    owner,
    process::output,
    programs,
    redis::{Redis, Value},
};
use crate::{
    environment::Stored,
    observe::{StoredInitial, StoredOrder, StoredQueue, StoredStock},
    plan::{Access, Origin, Service, ServicesPlan},
};

const LIMIT: Duration = Duration::from_secs(30);

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn plan(from: Origin, needed: &[Service], linked: &[Service]) -> ServicesPlan {
    let [needed, linked] = [needed, linked].map(|some| some.iter().copied().collect());
    ServicesPlan { from, needed, linked, images: BTreeMap::new() }
}

/// Whether the programs are there. In continuous integration they have to be.
fn are_here() -> bool {
    let Err(missing) = programs::find_all(&BTreeSet::from(Service::ALL)) else { return true };
    assert!(env::var_os("CI").is_none(), "{missing}");
    not_tested(&missing);
    false
}

/// Not through `eprintln`, which is heard of a failed test only.
fn not_tested(missing: &Error) {
    writeln!(io::stderr(), "NOT TESTED: failed to {missing}").unwrap();
}

async fn redis(services: &Services) -> Redis {
    Redis::connect(services.get(Service::Redis).unwrap().access(), LIMIT).await.unwrap()
}

async fn mysql(services: &Services) -> Mysql {
    Mysql::connect(services.get(Service::Mysql).unwrap().access(), LIMIT).await.unwrap()
}

async fn number(services: &Services, statement: &str) -> u64 {
    let mut mysql = mysql(services).await;
    let rows = mysql.rows(statement, |mut row| row.take_opt(0)?.ok()).await.unwrap();
    mysql.close().await;
    rows[0]
}

/// No process works in the folder or below it.
fn nobody_works_in(folder: &Path) -> bool {
    let folder = folder.canonicalize().unwrap();
    let works_there = |entry: fs::DirEntry| {
        fs::read_link(entry.path().join("cwd")).is_ok_and(|path| path.starts_with(&folder))
    };
    !fs::read_dir("/proc").unwrap().flatten().any(works_there)
}

/// What each acknowledged is there after a kill and a stop, and they are gone afterwards, with what they kept.
#[test]
fn services_keep_what_they_were_told_through_every_fault_and_leave_nothing() {
    if !are_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let mut services =
            Services::start(&plan(Origin::Processes, &Service::ALL, &[]), dir.path()).await.unwrap();
        assert!(services.told().starts_with("etcd, mysql and redis as processes, ready after "));
        let gateway = services.gateway().unwrap().clone();
        gateway.put("/a", b"\x00one\xff", LIMIT).await.unwrap();
        gateway.put("/b", b"two", LIMIT).await.unwrap();
        gateway.delete("/b", LIMIT).await.unwrap();
        // Once more without a change in between, too.
        let compacted = gateway.compact(LIMIT).await.unwrap();
        assert!(compacted >= 3 && gateway.compact(LIMIT).await.unwrap() > compacted);
        redis(&services).await.ask(&["SET", "a", "1"]).await.unwrap();
        let mut asked = mysql(&services).await;
        asked.run("CREATE TABLE a(i INT)").await.unwrap();
        asked.run("INSERT INTO a VALUES (1)").await.unwrap();

        for (_, running) in services.each_mut() {
            running.kill().await.unwrap();
        }
        assert!(!gateway.is_healthy().await);
        for (_, running) in services.each_mut() {
            running.start_again().await.unwrap();
            running.pause().await.unwrap();
            running.resume().await.unwrap();
        }
        assert_eq!(gateway.get("/a", LIMIT).await.unwrap().as_deref(), Some(&b"\x00one\xff"[..]));
        assert_eq!(gateway.get("/b", LIMIT).await.unwrap(), None);
        let kept = redis(&services).await.ask(&["GET", "a"]).await.unwrap();
        assert_eq!(kept, Value::Text("1".to_owned()));
        assert_eq!(number(&services, "SELECT COUNT(*) FROM a").await, 1);

        // A frozen one is taken away as well.
        for (_, running) in services.each_mut() {
            running.pause().await.unwrap();
        }
        services.stop().await;
        assert!(!gateway.is_healthy().await);
    });
    assert!(nobody_works_in(dir.path()));
    let mut left: Vec<String> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort_unstable();
    assert_eq!(left, ["etcd.log", "mysql.log", "redis.log"]);
}

/// Does it with MySQL's program and an empty folder, and checks that what lies where everybody's lie is still there.
/// Servers remove what looks so when they start.
pub(super) fn with_a_strangers_temporary_table(does: impl AsyncFnOnce(&Path, &Path)) {
    if !are_here() {
        return;
    }
    let program = &programs::find_all(&BTreeSet::from([Service::Mysql])).unwrap()[&Service::Mysql];
    let dir = tempfile::tempdir().unwrap();
    let table = tempfile::Builder::new().prefix("#sql-").suffix(".MAI").tempfile().unwrap();
    block_on(does(program, dir.path()));
    assert!(table.path().exists());
}

#[test]
fn a_mysql_that_starts_leaves_temporary_tables_of_others_alone() {
    with_a_strangers_temporary_table(async |_, folder| {
        drop(Services::start(&plan(Origin::Processes, &[Service::Mysql], &[]), folder).await.unwrap());
    });
}

/// Whoever drops them, in whatever state, has ended them.
#[test]
fn services_that_are_dropped_are_gone() {
    if !are_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let needed = [Service::Redis];
    let services = block_on(Services::start(&plan(Origin::Auto, &needed, &[]), dir.path())).unwrap();
    assert!(services.told().contains("redis as processes (auto: the first way that works)"));
    assert!(!nobody_works_in(dir.path()));
    drop(services);
    assert!(nobody_works_in(dir.path()));
}

/// A partition of Redis, without root: nothing is answered until it is over, and nothing is lost.
#[test]
fn a_link_is_the_servers_way_to_a_service() {
    if !are_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let needed = [Service::Redis];
    block_on(async {
        let services = Services::start(&plan(Origin::Processes, &needed, &needed), dir.path()).await.unwrap();
        let running = services.get(Service::Redis).unwrap();
        assert_ne!(running.address(), running.access().address);
        let through = Access { address: running.address(), ..running.access().clone() };
        let mut redis = Redis::connect(&through, Duration::from_millis(100)).await.unwrap();
        redis.ask(&["SET", "a", "1"]).await.unwrap();
        running.conduct(Conduct::Cut).unwrap();
        redis.ask(&["INCR", "a"]).await.unwrap_err();
        running.conduct(Conduct::Normal).unwrap();
        let mut redis = Redis::connect(&through, LIMIT).await.unwrap();
        // The harness's own way is not through the link, and what was held back has arrived.
        let mut direct = Redis::connect(running.access(), LIMIT).await.unwrap();
        while direct.ask(&["GET", "a"]).await.unwrap() != Value::Text("2".to_owned()) {}
        assert_eq!(redis.ask(&["GET", "a"]).await.unwrap(), Value::Text("2".to_owned()));
    });
}

/// A command of the engine; what it prints.
async fn docker(line: &str) -> String {
    let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
    output(Path::new("docker"), &words).await.unwrap()
}

/// As processes do. `HARNESS_TEST_CONTAINERS` says that there has to be an engine with images (`ci/containers`).
#[test]
fn services_as_containers_keep_what_they_were_told_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let containers = plan(Origin::Containers, &Service::ALL, &[]);
        let mut services = match Services::start(&containers, dir.path()).await {
            Err(missing @ (Error::NoEngine { .. } | Error::NoImage { .. })) => {
                assert!(env::var_os("HARNESS_TEST_CONTAINERS").is_none(), "{missing}");
                return not_tested(&missing);
            }
            started => started.unwrap(),
        };
        println!("{}", services.told());
        services.gateway().unwrap().put("/a", b"1", LIMIT).await.unwrap();
        redis(&services).await.ask(&["SET", "a", "1"]).await.unwrap();
        let mut asked = mysql(&services).await;
        asked.run("CREATE TABLE a(i INT)").await.unwrap();
        asked.run("INSERT INTO a VALUES (1)").await.unwrap();
        for (_, running) in services.each_mut() {
            running.kill().await.unwrap();
            running.start_again().await.unwrap();
            running.pause().await.unwrap();
            running.resume().await.unwrap();
        }
        assert_eq!(services.gateway().unwrap().get("/a", LIMIT).await.unwrap().as_deref(), Some(&b"1"[..]));
        let kept = redis(&services).await.ask(&["GET", "a"]).await.unwrap();
        assert_eq!(kept, Value::Text("1".to_owned()));
        assert_eq!(number(&services, "SELECT COUNT(*) FROM a").await, 1);

        // What a harness has left that is gone, and what belongs to one that is not.
        let mine = "ps --all --quiet --filter label=seckill-harness.owner";
        assert_eq!(docker(mine).await.lines().count(), 3);
        let image = container::image(Service::Redis, None).await.unwrap();
        let us = owner::Owner::us().to_string();
        let gone = format!("{}:1", us.rsplit_once(':').unwrap().0);
        docker(&format!("create --label seckill-harness.owner={gone} {image} x")).await;
        assert_eq!(docker(mine).await.lines().count(), 4);
        container::sweep().await.unwrap();
        assert_eq!(docker(mine).await.lines().count(), 3);
        for (_, running) in services.each_mut() {
            running.pause().await.unwrap();
        }
        services.stop().await;
        assert_eq!(docker(mine).await, "");
    });
}

const TABLES: [&str; 3] = [
    "CREATE TABLE orders(id VARCHAR(64) PRIMARY KEY, user BIGINT UNSIGNED, event BIGINT UNSIGNED, goods BIGINT \
     UNSIGNED, `key` VARCHAR(128), digest VARBINARY(32), process INT UNSIGNED, created_at DATETIME(3), \
     UNIQUE(user, `key`))",
    "CREATE TABLE stock(event INT, goods INT, initial BIGINT, PRIMARY KEY(event, goods))",
    "INSERT INTO stock VALUES (1, 2, 10)",
];

/// The orders in MySQL, the stock in Redis, and what is still on the way, under the names that were agreed on.
#[test]
fn orders_and_stock_are_read_and_those_on_their_way_counted() {
    if !are_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let needed = [Service::Mysql, Service::Redis];
    block_on(async {
        let services = Services::start(&plan(Origin::Processes, &needed, &[]), dir.path()).await.unwrap();
        let access = |service| services.get(service).unwrap().access();
        let read = || ledger::read(access(Service::Redis), access(Service::Mysql), Duration::from_millis(7));
        let mut asked = mysql(&services).await;
        let missing = read().await.unwrap_err();
        assert!(matches!(missing, Error::Mysql { .. }), "{missing:?}");
        for statement in TABLES {
            asked.run(statement).await.unwrap();
        }
        asked
            .run("INSERT INTO orders VALUES ('o1', 7, 1, 2, 'k1', x'00', 3, '2026-01-01 00:00:00')")
            .await
            .unwrap();
        let mut redis = redis(&services).await;
        for command in [
            &["HSET", "seckill:stock", "1:2", "8"][..],
            &["HSET", "seckill:initial", "1:2", "10"],
            &["XGROUP", "CREATE", "seckill:orders", "mysql", "0", "MKSTREAM"],
            &["XADD", "seckill:orders", "1-1", "order", "o1"],
            &["XADD", "seckill:orders", "1-2", "order", "o2"],
        ] {
            redis.ask(command).await.unwrap();
        }
        let found = |waiting| Stored {
            orders: vec![StoredOrder {
                id: "o1".into(),
                user: 7,
                event: 1,
                goods: 2,
                key: "k1".to_owned(),
                process: 3,
            }],
            stock: vec![StoredStock { event: 1, goods: 2, initial: 10, left: 8 }],
            queue: Some(StoredQueue {
                waiting,
                waited_ms: 7,
                initial: vec![StoredInitial { event: 1, goods: 2, initial: 10 }],
            }),
        };
        assert_eq!(read().await.unwrap(), found(2), "nobody has taken them");
        let take = ["XREADGROUP", "GROUP", "mysql", "c", "COUNT", "1", "STREAMS", "seckill:orders", ">"];
        redis.ask(&take).await.unwrap();
        assert_eq!(read().await.unwrap(), found(2), "one is taken and not acknowledged");
        redis.ask(&["XACK", "seckill:orders", "mysql", "1-1"]).await.unwrap();
        // A deletion in the middle hides the lag.
        redis.ask(&["XDEL", "seckill:orders", "1-1"]).await.unwrap();
        assert_eq!(read().await.unwrap(), found(1));
        redis.ask(&take).await.unwrap();
        redis.ask(&["XACK", "seckill:orders", "mysql", "1-2"]).await.unwrap();
        assert_eq!(read().await.unwrap(), found(0));
        assert!(services.settle().await.unwrap().is_some());
        redis.ask(&["HSET", "seckill:stock", "9:9", "1"]).await.unwrap();
        let odd = read().await.unwrap_err().to_string();
        assert!(odd.ends_with("seckill:stock has event 9 goods 9, and seckill:initial does not"), "{odd}");
    });
}

/// An order has to come after the question, and it and all before it have to be gone from the stream, in hand or not.
#[test]
fn orders_have_caught_up_when_a_new_one_and_those_before_have_arrived() {
    if !are_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let needed = [Service::Mysql, Service::Redis];
    block_on(async {
        let services = Services::start(&plan(Origin::Processes, &needed, &[]), dir.path()).await.unwrap();
        let queue = services.queue().unwrap();
        let at_once = Duration::ZERO;
        assert_eq!(queue.catch_up(at_once).await, None, "nobody has bought");
        let mut redis = redis(&services).await;
        redis.ask(&["XADD", "seckill:orders", "1-1", "order", "o1"]).await.unwrap();
        redis.ask(&["XGROUP", "CREATE", "seckill:orders", "mysql", "0"]).await.unwrap();
        redis.ask(&["XDEL", "seckill:orders", "1-1"]).await.unwrap();
        assert_eq!(queue.catch_up(at_once).await, None, "nobody has bought since");
        // They come after every question of this test.
        let new = ["99999999999999-1", "99999999999999-2"];
        for id in new {
            redis.ask(&["XADD", "seckill:orders", id, "order", "o"]).await.unwrap();
        }
        assert_eq!(queue.catch_up(at_once).await, None, "they have not arrived");
        let take = ["XREADGROUP", "GROUP", "mysql", "c", "COUNT", "2", "STREAMS", "seckill:orders", ">"];
        redis.ask(&take).await.unwrap();
        redis.ask(&["XDEL", "seckill:orders", new[0]]).await.unwrap();
        assert_eq!(queue.catch_up(at_once).await, None, "one is in hand");
        redis.ask(&["XDEL", "seckill:orders", new[1]]).await.unwrap();
        assert!(queue.catch_up(at_once).await.is_some());
    });
    assert!(Services::default().queue().is_none());
}

/// Somebody else's services are used when they are empty or hold the leftovers of a run that is over, and left as they
/// were.
#[test]
fn what_is_somebody_elses_is_left_alone() {
    if !are_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let needed = Service::ALL;
    block_on(async {
        let theirs = Services::start(&plan(Origin::Processes, &needed, &[]), dir.path()).await.unwrap();
        let access: BTreeMap<Service, Access> =
            needed.map(|service| (service, theirs.get(service).unwrap().access().clone())).into();
        let external = plan(Origin::External { access }, &needed, &[]);
        let start = || Services::start(&external, dir.path());
        let keys = ["KEYS", "*"];

        redis(&theirs).await.ask(&["SET", "seckill:stock", "1"]).await.unwrap();
        let refused = start().await.unwrap_err().to_string();
        assert!(refused.contains("it holds the key seckill:stock, which may be somebody's"), "{refused}");
        redis(&theirs).await.ask(&["DEL", "seckill:stock"]).await.unwrap();
        mysql(&theirs).await.run("CREATE TABLE orders(i INT)").await.unwrap();
        let refused = start().await.unwrap_err().to_string();
        assert!(refused.contains("it holds the table orders, which may be"), "{refused}");
        mysql(&theirs).await.run("DROP TABLE orders").await.unwrap();
        theirs.gateway().unwrap().put("/seckill/config", b"{}", LIMIT).await.unwrap();
        let refused = start().await.unwrap_err().to_string();
        assert!(refused.contains("it holds the key /seckill/config, which may be"), "{refused}");
        theirs.gateway().unwrap().delete("/seckill/config", LIMIT).await.unwrap();

        // Of a run that goes on, in a process that is not this one.
        let other = owner::Owner::of(std::os::unix::process::parent_id()).to_string();
        redis(&theirs).await.ask(&["SET", "seckill:harness", &other]).await.unwrap();
        let refused = start().await.unwrap_err().to_string();
        assert!(refused.contains("another run uses it") && refused.contains(&other), "{refused}");
        redis(&theirs).await.ask(&["DEL", "seckill:harness"]).await.unwrap();

        // A run that was killed has left all of this.
        let killed = start().await.unwrap();
        redis(&killed).await.ask(&["SET", "seckill:stock", "1"]).await.unwrap();
        redis(&killed).await.ask(&["SET", "other", "1"]).await.unwrap();
        mysql(&killed).await.run("CREATE TABLE orders(i INT)").await.unwrap();
        mysql(&killed).await.run("CREATE TABLE guests(i INT)").await.unwrap();
        killed.gateway().unwrap().put("/seckill/config", b"{}", LIMIT).await.unwrap();
        killed.gateway().unwrap().put("/other", b"1", LIMIT).await.unwrap();
        drop(killed);
        let next = start().await.unwrap();
        next.stop().await;
        let left = redis(&theirs).await.ask(&keys).await.unwrap();
        assert_eq!(left, Value::Array(vec![Value::Text("other".to_owned())]));
        let tables = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()";
        assert_eq!(number(&theirs, tables).await, 1, "that of the guests");
        assert_eq!(theirs.gateway().unwrap().keys_below("/", LIMIT).await.unwrap(), ["/other"]);
    });
}

#[test]
fn nobody_at_an_address_is_told_with_the_name_of_the_setting() {
    for service in Service::ALL {
        let access = Access { address: "127.0.0.1:9".to_owned(), ..Access::default() };
        let external = Origin::External { access: BTreeMap::from([(service, access)]) };
        let error = block_on(Services::start(&plan(external, &[service], &[]), Path::new("/nowhere")));
        let error = error.unwrap_err().to_string();
        let word = service.word();
        assert!(error.starts_with(&format!("use {word} at 127.0.0.1:9: ")), "{error}");
        assert!(error.ends_with(&format!("start it, or name another with services.{word}")), "{error}");
    }
}
