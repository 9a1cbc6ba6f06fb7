//! What a file says now that the process does not do yet, because all of its keys are fixed.

use std::{fmt, path::Path, time::Duration};

use serde::Serialize;

use super::{Config, EtcdSettings, FeedSettings, Secret, StreamSettings, bind};

/// What stands in the place of a secret.
const HIDDEN: &str = "(hidden)";

/// A key that has another value in the file than in the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PendingChange {
    /// As in the file, for example `api.bind`.
    pub key: &'static str,
    /// What the process does; `None`: the key's section was not there.
    pub loaded: Option<String>,
    /// What the file says now; `None`: the key's section is not there any more.
    pub file: Option<String>,
    pub needs: Needs,
}

/// What makes the new value take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Needs {
    /// The next process reads it, even if it takes over from this one.
    Upgrade,
    /// Two processes that hand over to each other must agree on it, so this one has to stop first.
    Restart,
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Upgrade => "upgrade",
            Self::Restart => "restart",
        })
    }
}

struct Setting {
    key: &'static str,
    value: Option<String>,
    secret: bool,
    needs: Needs,
}

/// The keys in which `now`, the file as it is, differs from `loaded`, in the order of the sections.
#[must_use]
pub fn pending(loaded: &Config, now: &Config) -> Vec<PendingChange> {
    // Where orders are kept then is another place.
    let moved = loaded.redis.is_some() != now.redis.is_some();
    let pairs = settings(loaded).into_iter().zip(settings(now));
    let changed = pairs.filter(|(loaded, now)| loaded.value != now.value);
    changed
        .map(|(loaded, now)| PendingChange {
            key: loaded.key,
            needs: if moved && loaded.is_of_a_service() { Needs::Restart } else { loaded.needs },
            loaded: loaded.shown(),
            file: now.shown(),
        })
        .collect()
}

impl Setting {
    fn is_of_a_service(&self) -> bool {
        self.key.starts_with("redis.") || self.key.starts_with("mysql.")
    }

    fn shown(self) -> Option<String> {
        if self.secret { self.value.map(|_| HIDDEN.to_owned()) } else { self.value }
    }
}

/// Every key with its value; the same keys in the same order for any settings.
fn settings(config: &Config) -> Vec<Setting> {
    let setting = |key, value, needs| Setting { key, value: Some(value), secret: false, needs };
    let path = |path: &Path| path.display().to_string();
    let ms = |key, time: Duration| setting(key, time.as_millis().to_string(), Needs::Upgrade);
    let every = |feed: &FeedSettings| feed.every.as_millis().to_string();
    let reload = &config.reload;
    let etcd = config.etcd.as_ref();
    let (upgrade, limits) = (&config.upgrade, &config.limits);
    let mut all = vec![
        setting("global.logLevel", config.global.log_level.to_string(), Needs::Upgrade),
        setting("global.pid", path(&config.global.pid), Needs::Restart),
    ];
    all.extend(services(config));
    all.extend([
        optional("etcd.address", etcd.map(EtcdSettings::address).as_ref()),
        optional("etcd.keep_alive_ms", etcd.map(|etcd| etcd.keep_alive.as_millis().to_string()).as_ref()),
        optional("etcd.timeout_ms", etcd.map(|etcd| etcd.timeout.as_millis().to_string()).as_ref()),
        optional("etcd.username", etcd.and_then(|etcd| etcd.user.as_ref()).map(|user| &user.name)),
        optional(
            "etcd.password_file",
            etcd.and_then(|etcd| etcd.user.as_ref()).map(|user| path(&user.password_file)).as_ref(),
        ),
        optional("node.name", config.node.name.as_ref()),
        optional("node.address", config.node.address.as_ref()),
        optional("node.admin", config.node.admin.as_ref()),
        setting("node.lease_s", config.node.lease.as_secs().to_string(), Needs::Upgrade),
        setting("api.bind", bind::listed(&config.api.bind), Needs::Upgrade),
        setting("api.socket_mode", format!("{:o}", config.api.socket_mode), Needs::Restart),
        setting("api.blacklist", path(&config.api.blacklist), Needs::Upgrade),
        setting("admin.bind", bind::listed(&config.admin.bind), Needs::Upgrade),
        setting("admin.socket_mode", format!("{:o}", config.admin.socket_mode), Needs::Restart),
        setting("admin.token_file", path(&config.admin.token_file), Needs::Upgrade),
        setting("auth.secret_file", path(&config.auth.secret_file), Needs::Upgrade),
        setting("store.path", path(&config.store.path), Needs::Restart),
        setting("sale.activities", path(&config.sale.activities), Needs::Upgrade),
        setting("reload.copies", path(&reload.copies), Needs::Restart),
        setting("reload.push_bytes_max", reload.push_bytes_max.to_string(), Needs::Upgrade),
        setting("reload.blacklist.by", reload.blacklist.by.to_string(), Needs::Upgrade),
        setting("reload.blacklist.from", reload.blacklist.from.to_string(), Needs::Upgrade),
        setting("reload.blacklist.every_ms", every(&reload.blacklist), Needs::Upgrade),
        setting("reload.cluster.by", reload.cluster.by.to_string(), Needs::Upgrade),
        setting("reload.cluster.from", reload.cluster.from.to_string(), Needs::Upgrade),
        setting("reload.cluster.every_ms", every(&reload.cluster), Needs::Upgrade),
        setting("reload.activities.by", reload.activities.by.to_string(), Needs::Upgrade),
        setting("reload.activities.from", reload.activities.from.to_string(), Needs::Upgrade),
        setting("reload.activities.every_ms", every(&reload.activities), Needs::Upgrade),
        setting("upgrade.strategy", upgrade.strategy.to_string(), Needs::Upgrade),
        setting("upgrade.socket", path(&upgrade.socket), Needs::Restart),
        ms("upgrade.start_timeout_ms", upgrade.start_timeout),
        ms("upgrade.load_timeout_ms", upgrade.load_timeout),
        ms("upgrade.probe_timeout_ms", upgrade.probe_timeout),
        ms("upgrade.probation_ms", upgrade.probation),
        ms("upgrade.state_timeout_ms", upgrade.state_timeout),
        ms("upgrade.commit_timeout_ms", upgrade.commit_timeout),
        ms("upgrade.transfer_timeout_ms", upgrade.transfer_timeout),
        ms("upgrade.drain_ms", upgrade.drain),
        ms("upgrade.idle_grace_ms", upgrade.idle_grace),
        ms("upgrade.farewell_ms", upgrade.farewell),
        setting(
            "limits.orders_per_user_per_second",
            limits.orders_per_user_per_second.to_string(),
            Needs::Upgrade,
        ),
        setting("limits.body_bytes_max", limits.body_bytes_max.to_string(), Needs::Upgrade),
        setting("limits.connections_max", limits.connections_max.to_string(), Needs::Upgrade),
        setting("limits.listen_backlog", limits.listen_backlog.to_string(), Needs::Upgrade),
    ]);
    all.extend(stream(&config.stream));
    all
}

/// Those of `[mysql]` and `[redis]`.
fn services(config: &Config) -> Vec<Setting> {
    let ms = |time: Duration| time.as_millis().to_string();
    let (mysql, redis) = (config.mysql.as_ref(), config.redis.as_ref());
    vec![
        shared("mysql.address", mysql.map(|mysql| &mysql.address)),
        optional("mysql.username", mysql.map(|mysql| &mysql.username)),
        hidden("mysql.password", mysql.and_then(|mysql| mysql.password.word())),
        optional("mysql.password_file", mysql.and_then(|mysql| mysql.password.file()).as_ref()),
        shared("mysql.database", mysql.map(|mysql| &mysql.database)),
        optional("mysql.timeout_ms", mysql.map(|mysql| ms(mysql.timeout)).as_ref()),
        shared("redis.address", redis.map(|redis| &redis.address)),
        hidden("redis.auth", redis.and_then(|redis| redis.auth.word())),
        optional("redis.auth_file", redis.and_then(|redis| redis.auth.file()).as_ref()),
        optional("redis.timeout_ms", redis.map(|redis| ms(redis.timeout)).as_ref()),
        optional("redis.claim_after_ms", redis.map(|redis| ms(redis.claim_after)).as_ref()),
        optional(
            "redis.orders_waiting_max",
            redis.map(|redis| redis.orders_waiting_max.to_string()).as_ref(),
        ),
    ]
}

/// Those of `[stream]`.
fn stream(stream: &StreamSettings) -> [Setting; 6] {
    let setting = |key, value| Setting { key, value: Some(value), secret: false, needs: Needs::Upgrade };
    let ms = |key, time: Duration| setting(key, time.as_millis().to_string());
    [
        setting("stream.streams_max", stream.streams_max.to_string()),
        ms("stream.interval_ms", stream.interval),
        ms("stream.heartbeat_ms", stream.heartbeat),
        ms("stream.slow_ms", stream.slow),
        ms("stream.goodbye_ms", stream.goodbye),
        ms("stream.retry_ms", stream.retry),
    ]
}

/// One whose section may be missing.
fn optional(key: &'static str, value: Option<&String>) -> Setting {
    Setting { key, value: value.cloned(), secret: false, needs: Needs::Upgrade }
}

/// One of where orders are kept. Whether its section is there says so, too.
fn shared(key: &'static str, value: Option<&String>) -> Setting {
    Setting { needs: Needs::Restart, ..optional(key, value) }
}

fn hidden(key: &'static str, value: Option<&Secret>) -> Setting {
    Setting {
        key,
        value: value.map(|secret| secret.expose().to_owned()),
        secret: true,
        needs: Needs::Upgrade,
    }
}
