//! A Redis and a MySQL of a test's own: on loopback ports, with their data in folders that go with them.

use std::{fs, path::Path, process::Command, sync::OnceLock};

use mysql_async::{Conn, OptsBuilder, prelude::Queryable as _};
use redis::{Cmd, FromRedisValue};
use rustix::process::{Signal, geteuid};
use tokio::runtime::Runtime;

use crate::{
    daemon::{Daemon, are_installed},
    etcd_process::free_port,
    server::eventually,
};

const PASSWORD: &str = "rosebud";

/// Both services of a store.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) redis: Redis,
    pub(crate) mysql: Mysql,
}

/// A running Redis, with a log of what it does that the kernel has before anybody is answered.
#[derive(Debug)]
pub(crate) struct Redis {
    port: u16,
    daemon: Daemon,
    folder: tempfile::TempDir,
}

/// A running MariaDB with an empty database `seckill`.
#[derive(Debug)]
pub(crate) struct Mysql {
    port: u16,
    daemon: Daemon,
    folder: tempfile::TempDir,
    runtime: Runtime,
}

/// Both, or nothing where one is not installed, which is said aloud and is a failure in continuous integration.
pub(crate) fn services() -> Option<Services> {
    let programs = [("redis-server", "redis-server"), ("mariadbd", "mariadb-server")];
    are_installed(&programs).then(|| Services { redis: Redis::start(), mysql: Mysql::start() })
}

impl Services {
    /// The lines of the settings, with `redis` and `mysql` as further lines of their sections.
    pub(crate) fn settings_with(&self, redis: &str, mysql: &str) -> String {
        format!(
            "[redis]\naddress = \"127.0.0.1:{}\"\nauth = \"{PASSWORD}\"\n{redis}\n\
             [mysql]\naddress = \"127.0.0.1:{}\"\nusername = \"seckill\"\npassword = \"{PASSWORD}\"\n\
             database = \"seckill\"\n{mysql}\n",
            self.redis.port, self.mysql.port
        )
    }

    /// The same with everything as it is by default.
    pub(crate) fn settings(&self) -> String {
        self.settings_with("", "")
    }

    /// Waits until MySQL has so many orders and none waits in Redis.
    pub(crate) fn until_written(&self, orders: u64) {
        eventually("all orders in mysql", || {
            let waiting: u64 = self.redis.ask(redis::cmd("XLEN").arg("seckill:orders"));
            (waiting == 0 && self.mysql.count("SELECT COUNT(*) FROM orders") == orders).then_some(())
        });
    }
}

impl Redis {
    fn start() -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let daemon = start_redis(folder.path(), port);
        let redis = Self { port, daemon, folder };
        redis.until_it_answers();
        redis
    }

    /// What a client of its own is answered.
    pub(crate) fn ask<T: FromRedisValue>(&self, command: &Cmd) -> T {
        command.query(&mut self.connect().unwrap()).unwrap()
    }

    fn connect(&self) -> redis::RedisResult<redis::Connection> {
        redis::Client::open(format!("redis://:{PASSWORD}@127.0.0.1:{}/", self.port))?.get_connection()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.daemon.signal(signal);
    }

    /// Ends it at once; what it has logged stays.
    pub(crate) fn kill(&mut self) {
        self.daemon.stop(Signal::KILL);
    }

    /// Starts it again where it was.
    pub(crate) fn start_again(&mut self) {
        self.daemon = start_redis(self.folder.path(), self.port);
        self.until_it_answers();
    }

    /// Starts it again with nothing in it.
    pub(crate) fn start_empty(&mut self) {
        fs::remove_dir_all(self.folder.path().join("appendonlydir")).unwrap();
        self.start_again();
    }

    fn until_it_answers(&self) {
        eventually("an answer of redis", || {
            redis::cmd("PING").query::<String>(&mut self.connect().ok()?).ok()
        });
    }
}

impl Mysql {
    fn start() -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let copied = Command::new("cp").arg("-a").arg(template()).arg(folder.path().join("data")).status();
        assert!(copied.unwrap().success());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let daemon = start_mysql(folder.path(), port);
        let mysql = Self { port, daemon, folder, runtime };
        mysql.until_it_answers();
        let mut conn = mysql.connect("root", "", None).unwrap();
        for statement in [
            "CREATE DATABASE seckill".to_owned(),
            format!("CREATE USER seckill@'%' IDENTIFIED BY '{PASSWORD}'"),
            "GRANT ALL ON seckill.* TO seckill@'%'".to_owned(),
        ] {
            mysql.runtime.block_on(conn.query_drop(statement)).unwrap();
        }
        mysql
    }

    fn connect(&self, user: &str, password: &str, database: Option<&str>) -> mysql_async::Result<Conn> {
        let opts = OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.port)
            .prefer_socket(false)
            .user(Some(user))
            .pass(Some(password))
            .db_name(database);
        self.runtime.block_on(Conn::new(opts))
    }

    /// Waits until it has so many orders at least.
    pub(crate) fn until(&self, orders: u64) {
        eventually("orders in mysql", || (self.count("SELECT COUNT(*) FROM orders") >= orders).then_some(()));
    }

    /// What a statement finds; no table counts as nothing.
    pub(crate) fn count(&self, select: &str) -> u64 {
        let mut conn = self.connect("seckill", PASSWORD, Some("seckill")).unwrap();
        let found = self.runtime.block_on(conn.query_first::<u64, _>(select));
        found.ok().flatten().unwrap_or(0)
    }

    /// Has a statement done that only the root user may.
    pub(crate) fn as_root(&self, statement: &str) {
        let mut conn = self.connect("root", "", None).unwrap();
        self.runtime.block_on(conn.query_drop(statement)).unwrap();
    }

    /// Transactions that have written a batch and wait for `written`.
    pub(crate) fn waiting(&self) -> u64 {
        let mut conn = self.connect("root", "", None).unwrap();
        let select = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'UPDATE written%'";
        self.runtime.block_on(conn.query_first::<u64, _>(select)).unwrap().unwrap_or(0)
    }

    /// A transaction that has done `select` and keeps its locks until it is dropped.
    pub(crate) fn hold(&self, select: &str) -> Conn {
        let mut conn = self.connect("seckill", PASSWORD, Some("seckill")).unwrap();
        self.runtime.block_on(conn.query_drop("BEGIN")).unwrap();
        self.runtime.block_on(conn.query_drop(select)).unwrap();
        conn
    }

    /// Puts an event into the table of those on sale.
    pub(crate) fn put_event(&self, id: u64, document: &str) {
        let mut conn = self.connect("seckill", PASSWORD, Some("seckill")).unwrap();
        let replace = "REPLACE INTO activities (event, document) VALUES (?, ?)";
        self.runtime.block_on(conn.exec_drop(replace, (id, document))).unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.daemon.signal(signal);
    }

    /// Ends it at once; what it has committed stays.
    pub(crate) fn kill(&mut self) {
        self.daemon.stop(Signal::KILL);
    }

    /// Starts it again where it was.
    pub(crate) fn start_again(&mut self) {
        self.daemon = start_mysql(self.folder.path(), self.port);
        self.until_it_answers();
    }

    fn until_it_answers(&self) {
        eventually("an answer of mysql", || self.connect("root", "", None).ok());
    }
}

/// Nothing waits for the disk, as below.
fn start_redis(folder: &Path, port: u16) -> Daemon {
    let port = port.to_string();
    let listening = ["--bind", "127.0.0.1", "--port", &port, "--requirepass", PASSWORD];
    let keeping = ["--save", "", "--appendonly", "yes", "--appendfsync", "no"];
    Daemon::start("redis-server", folder, listening.iter().chain(&keeping))
}

/// Nothing waits for the disk: a process that is killed leaves what it has given to the kernel.
fn start_mysql(folder: &Path, port: u16) -> Daemon {
    let at = |name: &str| folder.join(name).display().to_string();
    let keeping = [
        "--no-defaults",
        "--bind-address=127.0.0.1",
        "--skip-name-resolve",
        "--innodb-log-file-size=4M",
        "--innodb-buffer-pool-size=16M",
        "--innodb-flush-log-at-trx-commit=1",
        "--innodb-flush-method=nosync",
        "--skip-log-bin",
        "--performance-schema=OFF",
    ];
    let places = [
        format!("--port={port}"),
        format!("--datadir={}", at("data")),
        format!("--socket={}", at("socket")),
        format!("--pid-file={}", at("pid")),
        format!("--tmpdir={}", folder.display()),
    ];
    let places = places.iter().map(String::as_str);
    Daemon::start("mariadbd", folder, keeping.into_iter().chain(user()).chain(places))
}

/// The data of a fresh server, made once.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = TEMPLATE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let made = Command::new("mariadb-install-db")
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
            .args(["--innodb-log-file-size=4M", "--skip-name-resolve"])
            .args(user())
            .arg(format!("--datadir={}", folder.path().join("data").display()))
            // A server that starts elsewhere removes temporary tables of this one.
            .env("TMPDIR", folder.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        folder
    });
    static PATH: OnceLock<std::path::PathBuf> = OnceLock::new();
    PATH.get_or_init(|| folder.path().join("data"))
}

/// It refuses to run for root unless it is told to.
fn user() -> Option<&'static str> {
    geteuid().is_root().then_some("--user=root")
}
