//! The checked settings, by section of the file, and their defaults.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    bind::Bind,
    etcd::{EtcdSettings, NodeSettings},
    services::{MysqlSettings, RedisSettings},
    stream::StreamSettings,
    upgrade::UpgradeSettings,
};
use crate::datum::{Datum, Mechanism};

/// Checked settings of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file they were read from.
    pub source: PathBuf,
    /// SHA-256 of the file's text, in hexadecimal digits; empty when there was no file.
    pub digest: String,
    pub global: GlobalSettings,
    /// With [`Config::redis`], or not at all.
    pub mysql: Option<MysqlSettings>,
    /// With [`Config::mysql`], or not at all: orders are in the embedded store.
    pub redis: Option<RedisSettings>,
    pub etcd: Option<EtcdSettings>,
    pub node: NodeSettings,
    pub api: ApiSettings,
    pub admin: AdminSettings,
    pub auth: AuthSettings,
    pub store: StoreSettings,
    pub sale: SaleSettings,
    pub reload: ReloadSettings,
    pub upgrade: UpgradeSettings,
    pub limits: Limits,
    pub stream: StreamSettings,
}

/// `[global]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalSettings {
    /// `logLevel`, spelt as the seed spells it.
    pub log_level: LogLevel,
    /// File with the process id of the serving process.
    pub pid: PathBuf,
}

/// `[api]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiSettings {
    /// At least one.
    pub bind: Vec<Bind>,
    /// Of the files of unix sockets: who may connect needs the right to write.
    pub socket_mode: u32,
    /// One user id per line.
    pub blacklist: PathBuf,
}

/// `[admin]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSettings {
    /// At least one.
    pub bind: Vec<Bind>,
    /// Of the files of unix sockets.
    pub socket_mode: u32,
    /// Holds the bearer token of the admin API; created at first start.
    pub token_file: PathBuf,
}

/// `[auth]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthSettings {
    /// Holds the key that signs the users' tokens; created at first start.
    pub secret_file: PathBuf,
}

/// `[store]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// The database file of the embedded store.
    pub path: PathBuf,
}

/// `[sale]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaleSettings {
    /// What is sold, when, and how much of it.
    pub activities: PathBuf,
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// 0: no limit.
    pub orders_per_user_per_second: u32,
    /// A longer request body is refused with 413.
    pub body_bytes_max: usize,
    pub connections_max: usize,
    /// Connections that the kernel may keep of each listener before they are accepted; it caps them at
    /// `net.core.somaxconn`.
    pub listen_backlog: u16,
}

/// `[reload]`: where what changes at run time comes from, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadSettings {
    /// Folder for the last good copy of what no local file holds.
    pub copies: PathBuf,
    /// A longer body is refused by `PUT /config/...` with 413.
    pub push_bytes_max: usize,
    pub blacklist: FeedSettings,
    pub cluster: FeedSettings,
    pub activities: FeedSettings,
}

/// `[reload.<datum>]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedSettings {
    pub by: Mechanism,
    pub from: Place,
    /// Between two looks of the timer, and of whatever has to fall back on it; a tenth of it is left to chance.
    pub every: Duration,
}

/// Where something is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    File(PathBuf),
    /// `http://host:port/path`
    Http(String),
    /// A key of etcd, and all those below it.
    Etcd(String),
    /// The table `activities` of the database of `[mysql]`.
    Mysql,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// How the process is replaced by another binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// The listening sockets and the live connections are passed on.
    HandoffLive,
    /// The listening sockets are passed on; the old process finishes its connections.
    Handoff,
    /// The same, but the old process starts the new one with the sockets open, as a service manager does.
    Inherit,
    /// The same, but a service manager holds the sockets and starts the new process beside the old one.
    Activate,
    /// The seed's way: both bind the port, the new one signals the old one to stop.
    Reuseport,
    /// The same, but the old process empties its queues before it closes them, and answers once more everywhere.
    ReuseportDrain,
    /// The old process stops, then the new one starts.
    StopStart,
}

/// A password that shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

// Why each default is what it is stands beside it; the unit is in the name.

/// The seed's value.
pub(super) const LOG_LEVEL: LogLevel = LogLevel::Info;
/// The seed's value.
pub(super) const PID: &str = "./.pid";
/// The seed's value.
pub(super) const BLACKLIST: &str = "./blacklist.txt";
/// Everybody may ask the public side, as nginx has it.
pub(super) const API_SOCKET_MODE: u32 = 0o666;
/// The admin side asks for a token as well.
pub(super) const ADMIN_SOCKET_MODE: u32 = 0o600;
pub(super) const TOKEN_FILE: &str = "./.admin-token";
pub(super) const SECRET_FILE: &str = "./.token-secret";
pub(super) const STORE_PATH: &str = "./seckill.db";
pub(super) const ACTIVITIES: &str = "./activities.json";
/// Off: the limit per user and goods already stops a buyer who has bought.
pub(super) const ORDERS_PER_USER_PER_SECOND: u32 = 0;
/// An order has about 30 bytes.
pub(super) const BODY_BYTES_MAX: usize = 16 * 1024;
pub(super) const COPIES: &str = "./.seckill-config";
/// Forty times the largest document that we know of; a longer list is better put into a file.
pub(super) const PUSH_BYTES_MAX: usize = 16 << 20;
/// What the timer of others waits, from viper to nginx' resolver.
pub(super) const EVERY_MS: u64 = 5_000;
/// How [`Place::Mysql`] is spelt.
pub(super) const MYSQL_TABLE: &str = "mysql:activities";
pub(super) const CLUSTER_FILE: &str = "./cluster.json";
/// The seed's value.
pub(super) const CLUSTER_KEY: &str = "/seckill/config";
/// A connection holds about 20 kB.
pub(super) const CONNECTIONS_MAX: usize = 10_000;
/// What the kernel allows by default (`net.core.somaxconn`, since Linux 5.4).
pub(super) const LISTEN_BACKLOG: u16 = 4096;

impl Config {
    /// Settings with every default, for the two addresses that have none.
    #[must_use]
    pub fn with_defaults(api: SocketAddr, admin: SocketAddr) -> Self {
        Self {
            source: PathBuf::new(),
            digest: String::new(),
            global: GlobalSettings { log_level: LOG_LEVEL, pid: PID.into() },
            mysql: None,
            redis: None,
            etcd: None,
            node: NodeSettings::default(),
            api: ApiSettings {
                bind: vec![Bind::Tcp(api)],
                socket_mode: API_SOCKET_MODE,
                blacklist: BLACKLIST.into(),
            },
            admin: AdminSettings {
                bind: vec![Bind::Tcp(admin)],
                socket_mode: ADMIN_SOCKET_MODE,
                token_file: TOKEN_FILE.into(),
            },
            auth: AuthSettings { secret_file: SECRET_FILE.into() },
            store: StoreSettings { path: STORE_PATH.into() },
            sale: SaleSettings { activities: ACTIVITIES.into() },
            reload: ReloadSettings {
                copies: COPIES.into(),
                push_bytes_max: PUSH_BYTES_MAX,
                blacklist: FeedSettings::file(BLACKLIST),
                cluster: FeedSettings::file(CLUSTER_FILE),
                activities: FeedSettings::file(ACTIVITIES),
            },
            upgrade: UpgradeSettings::default(),
            limits: Limits {
                orders_per_user_per_second: ORDERS_PER_USER_PER_SECOND,
                body_bytes_max: BODY_BYTES_MAX,
                connections_max: CONNECTIONS_MAX,
                listen_backlog: LISTEN_BACKLOG,
            },
            stream: StreamSettings::default(),
        }
    }
}

impl ReloadSettings {
    /// How one kind of data comes; nodes come with the cluster configuration.
    #[must_use]
    pub fn feed(&self, datum: Datum) -> &FeedSettings {
        match datum {
            Datum::Blacklist => &self.blacklist,
            Datum::Cluster | Datum::Nodes => &self.cluster,
            Datum::Activities => &self.activities,
        }
    }
}

impl FeedSettings {
    /// A file that tells by itself when it has changed.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let from = Place::File(path.into());
        Self { by: Mechanism::File, from, every: Duration::from_millis(EVERY_MS) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Http(url) => f.write_str(url),
            Self::Etcd(key) => write!(f, "etcd:{key}"),
            Self::Mysql => f.write_str(MYSQL_TABLE),
        }
    }
}

impl Strategy {
    /// The words of the file and what they mean.
    pub const WORDS: [(&str, Self); 7] = [
        ("handoff-live", Self::HandoffLive),
        ("handoff", Self::Handoff),
        ("inherit", Self::Inherit),
        ("activate", Self::Activate),
        ("reuseport-drain", Self::ReuseportDrain),
        ("reuseport", Self::Reuseport),
        ("stop-start", Self::StopStart),
    ];

    /// The new process has the old one's listeners, and serves when that says so.
    #[must_use]
    pub fn commits(self) -> bool {
        matches!(self, Self::HandoffLive | Self::Handoff | Self::Inherit | Self::Activate)
    }

    /// Both processes bind the port, and the new one signals the old one to leave.
    #[must_use]
    pub fn binds_twice(self) -> bool {
        matches!(self, Self::Reuseport | Self::ReuseportDrain)
    }

    /// The word of the file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::HandoffLive => "handoff-live",
            Self::Handoff => "handoff",
            Self::Inherit => "inherit",
            Self::Activate => "activate",
            Self::Reuseport => "reuseport",
            Self::ReuseportDrain => "reuseport-drain",
            Self::StopStart => "stop-start",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl LogLevel {
    /// The words of the file and what they mean. `warning` is how the seed's logger spells it.
    pub const WORDS: [(&str, Self); 6] = [
        ("trace", Self::Trace),
        ("debug", Self::Debug),
        ("info", Self::Info),
        ("warn", Self::Warn),
        ("warning", Self::Warn),
        ("error", Self::Error),
    ];

    /// The word of the file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Secret {
    /// Takes the word out of everybody's sight.
    #[must_use]
    pub fn new(word: String) -> Self {
        Self(word)
    }

    /// The word itself, for the one who logs in with it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}
