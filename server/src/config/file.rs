//! The text of the file -> checked settings, or every fault it has.
//!
//! Reading goes on after a fault with the default in its place; nothing of it is used then.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tomlcheck::{Document, Faults, Section};

use super::{
    bind::{self, Bind},
    etcd::{EtcdSettings, NodeSettings},
    services::services,
    settings::{CLUSTER_KEY, Config, FeedSettings, Limits, LogLevel, MYSQL_TABLE, Place, ReloadSettings},
};
use crate::{datum::Mechanism, hex};

/// More than an hour is not waited for by anybody.
const WAIT_MS_MAX: u64 = 3_600_000;

/// Less would refuse honest orders.
const BODY_BYTES_MAX_FROM: usize = 256;

/// A body is held in memory as a whole.
const BODY_BYTES_MAX_TO: usize = 16 << 20;

/// Less would refuse an honest document.
const PUSH_BYTES_MAX_FROM: usize = 4096;

/// A body is held in memory as a whole.
const PUSH_BYTES_MAX_TO: usize = 256 << 20;

/// More often is what events are for.
const EVERY_MS_FROM: u64 = 10;

/// More descriptors than this no kernel grants one process by default.
const CONNECTIONS_MAX_TO: usize = 1_000_000;

/// Checks `text`; `source` is only its name.
///
/// # Errors
/// All faults of the text.
pub fn parse(source: &Path, text: &str) -> Result<Config, Faults> {
    let document = Document::parse(source, text)?;
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config::with_defaults(nowhere, nowhere);
    config.source = source.to_path_buf();
    config.digest = hex::digits(&Sha256::digest(text));
    let root = document.root();
    read(&root, &mut config);
    root.finish();
    document.finish()?;
    Ok(config)
}

fn read(root: &Section<'_>, config: &mut Config) {
    if let Some(section) = root.section("global") {
        if let Some(level) = section.choice("logLevel", &LogLevel::WORDS) {
            config.global.log_level = level;
        }
        path(&section, "pid", &mut config.global.pid);
        section.finish();
    }
    services(root, config);
    config.etcd = root.section("etcd").map(EtcdSettings::read);
    if let Some(section) = root.section("node") {
        config.node = NodeSettings::read(section);
    }
    if let Some(section) = root.required_section("api", "write [api] with bind = \"127.0.0.1:8080\"") {
        bind::read(&section, "127.0.0.1:8080", &mut config.api.bind);
        mode(&section, "socket_mode", &mut config.api.socket_mode);
        path(&section, "blacklist", &mut config.api.blacklist);
        section.finish();
    }
    if let Some(section) = root.required_section("admin", "write [admin] with bind = \"127.0.0.1:8081\"") {
        bind::read(&section, "127.0.0.1:8081", &mut config.admin.bind);
        bind::distinct(&section, &config.admin.bind, &config.api.bind, "[api]");
        mode(&section, "socket_mode", &mut config.admin.socket_mode);
        path(&section, "token_file", &mut config.admin.token_file);
        section.finish();
    }
    for (name, key, value) in [
        ("auth", "secret_file", &mut config.auth.secret_file),
        ("store", "path", &mut config.store.path),
        ("sale", "activities", &mut config.sale.activities),
    ] {
        if let Some(section) = root.section(name) {
            path(&section, key, value);
            section.finish();
        }
    }
    reload(root, config);
    if let Some(section) = root.section("upgrade") {
        config.upgrade.read(&section);
        section.finish();
    }
    if let Some(section) = root.section("limits") {
        limits(section, &mut config.limits);
    }
    if let Some(section) = root.section("stream") {
        config.stream.read(section);
    }
    unix_sockets(root, config);
    distinct_files(root, config);
}

/// The files of `[api]` and `[sale]` are where list and activities come from unless something else is said;
/// the cluster configuration comes from etcd if there is one.
fn reload(root: &Section<'_>, config: &mut Config) {
    config.reload.blacklist.from = Place::File(config.api.blacklist.clone());
    config.reload.activities.from = Place::File(config.sale.activities.clone());
    if config.etcd.is_some() {
        let (by, from) = (Mechanism::Etcd, Place::Etcd(CLUSTER_KEY.to_owned()));
        config.reload.cluster = FeedSettings { by, from, ..config.reload.cluster.clone() };
    }
    let Some(section) = root.section("reload") else { return };
    path(&section, "copies", &mut config.reload.copies);
    if let Some(entry) = section.integer("push_bytes_max", PUSH_BYTES_MAX_FROM..=PUSH_BYTES_MAX_TO) {
        config.reload.push_bytes_max = entry.value;
    }
    let (has_etcd, has_mysql) = (config.etcd.is_some(), config.mysql.is_some());
    let ReloadSettings { blacklist, cluster, activities, .. } = &mut config.reload;
    for (name, settings) in [("blacklist", blacklist), ("cluster", cluster), ("activities", activities)] {
        if let Some(section) = section.section(name) {
            feed(&section, settings, has_etcd);
            if settings.from == Place::Mysql {
                table(&section, name, has_mysql);
            }
            section.finish();
        }
    }
    section.finish();
}

fn feed(section: &Section<'_>, settings: &mut FeedSettings, has_etcd: bool) {
    if let Some(by) = section.choice("by", &Mechanism::WORDS) {
        settings.by = by;
    }
    let hint = "write a path, http://HOST:PORT/PATH, etcd:/KEY, or mysql:activities";
    if let Some(from) = section.parse("from", "a place", hint, place) {
        settings.from = from;
    }
    milliseconds(section, "every_ms", EVERY_MS_FROM, &mut settings.every);
    match (settings.by, &settings.from) {
        (Mechanism::File, Place::Http(_) | Place::Etcd(_) | Place::Mysql) => {
            section.fault_at(
                "by",
                "watches files, and this is none",
                "write by = \"timer\", or a path as from",
            );
        }
        (Mechanism::Etcd, Place::File(_) | Place::Http(_) | Place::Mysql) => {
            section.fault_at("by", "watches keys of etcd, and this is none", "write from = \"etcd:/KEY\"");
        }
        _ => {}
    }
    if matches!(settings.from, Place::Etcd(_)) && !has_etcd {
        section.fault_at("from", "is in etcd, and there is no [etcd]", "write [etcd] with its address");
    }
}

/// The table has activities and nothing else.
fn table(section: &Section<'_>, name: &str, has_mysql: bool) {
    if name != "activities" {
        section.fault_at("from", "has activities only", "write a path, http://HOST:PORT/PATH, or etcd:/KEY");
    } else if !has_mysql {
        section.fault_at("from", "is in mysql, and there is no [mysql]", "write [mysql] and [redis]");
    }
}

fn place(text: &str) -> Result<Place, &'static str> {
    if text == MYSQL_TABLE {
        return Ok(Place::Mysql);
    }
    if let Some(key) = text.strip_prefix("etcd:") {
        return if key.starts_with('/') && !key.ends_with('/') {
            Ok(Place::Etcd(key.to_owned()))
        } else {
            Err("a key begins with a slash and does not end with one")
        };
    }
    if text.starts_with("https://") {
        return Err("only http is spoken; put a proxy that speaks TLS beside this process");
    }
    match text.parse::<http::Uri>() {
        Ok(uri) if uri.scheme_str() == Some("http") && uri.port_u16().is_some() => {
            Ok(Place::Http(text.to_owned()))
        }
        _ if text.contains("://") => Err("it is no http://HOST:PORT/PATH"),
        _ if text.is_empty() => Err("it is empty"),
        _ => Ok(Place::File(text.into())),
    }
}

fn limits(section: Section<'_>, settings: &mut Limits) {
    if let Some(entry) = section.integer("orders_per_user_per_second", 0..=1_000_000) {
        settings.orders_per_user_per_second = entry.value;
    }
    if let Some(entry) = section.integer("body_bytes_max", BODY_BYTES_MAX_FROM..=BODY_BYTES_MAX_TO) {
        settings.body_bytes_max = entry.value;
    }
    if let Some(entry) = section.integer("connections_max", 1..=CONNECTIONS_MAX_TO) {
        settings.connections_max = entry.value;
    }
    if let Some(entry) = section.integer("listen_backlog", 1..=u16::MAX) {
        settings.listen_backlog = entry.value;
    }
    section.finish();
}

pub(super) fn path(section: &Section<'_>, key: &str, value: &mut PathBuf) {
    if let Some(entry) = section.string(key) {
        *value = entry.value.into();
    }
}

pub(super) fn milliseconds(section: &Section<'_>, key: &str, from: u64, value: &mut Duration) {
    if let Some(entry) = section.integer(key, from..=WAIT_MS_MAX) {
        *value = Duration::from_millis(entry.value);
    }
}

/// The rights of a file, in octal digits as `chmod` has them.
fn mode(section: &Section<'_>, key: &str, value: &mut u32) {
    let parsed = section.parse(key, "octal digits", "write socket_mode = \"660\"", |text| {
        match u32::from_str_radix(text, 8) {
            Ok(mode @ 0..=0o777) => Ok(mode),
            Ok(_) | Err(_) => Err("it must be from 0 to 777"),
        }
    });
    *value = parsed.unwrap_or(*value);
}

/// Two processes cannot bind one unix socket at once, and nobody else's machine reaches one.
fn unix_sockets(root: &Section<'_>, config: &Config) {
    let sides = [
        ("api", &config.api.bind, "address", &config.node.address),
        ("admin", &config.admin.bind, "admin", &config.node.admin),
    ];
    for (name, binds, reached, written) in sides {
        let Some(section) = root.section(name) else { continue };
        if let Some(bind) = binds.iter().find(|bind| bind.is_unix())
            && config.upgrade.strategy.binds_twice()
        {
            let strategy = config.upgrade.strategy;
            let what = format!("has {bind}, and under {strategy} both processes bind their sockets");
            let hint = "SO_REUSEPORT means nothing to a unix socket; write strategy = \"handoff-live\", or an IP address";
            section.fault_at("bind", what, hint);
        }
        if config.etcd.is_some() && written.is_none() && binds.iter().all(Bind::is_unix) {
            let what = "is reached by nobody on other machines, which [etcd] tells where this one is";
            section.fault_at(
                "bind",
                what,
                format!("write [node] with {reached} = \"10.0.0.1:8080\", or an IP address"),
            );
        }
    }
}

/// Whether `text` is `host:port`, or what is wrong with it.
pub(super) fn host_and_port(text: &str) -> Result<(), &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("there is no port")?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || host.contains(char::is_whitespace) || (host.contains(':') && !bracketed) {
        return Err("there is no host before the port");
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(()),
        Ok(0) | Err(_) => Err("the port must be from 1 to 65535"),
    }
}

/// Two settings that name one file would overwrite each other.
fn distinct_files(root: &Section<'_>, config: &Config) {
    let files = [
        ("global", "pid", &config.global.pid),
        ("api", "blacklist", &config.api.blacklist),
        ("admin", "token_file", &config.admin.token_file),
        ("auth", "secret_file", &config.auth.secret_file),
        ("store", "path", &config.store.path),
        ("sale", "activities", &config.sale.activities),
        ("upgrade", "socket", &config.upgrade.socket),
    ];
    for (index, this) in files.iter().enumerate() {
        let Some(other) = files[..index].iter().find(|other| normal(other.2) == normal(this.2)) else {
            continue;
        };
        // The later one gets the blame, unless it is a default that is written down nowhere.
        let written = root.section(this.0).is_some_and(|section| section.has(this.1));
        let (blamed, other) = if written { (this, other) } else { (other, this) };
        if let Some(section) = root.section(blamed.0) {
            let what = format!("is the file of {}.{} too", other.0, other.1);
            section.fault_at(blamed.1, what, "give it a file of its own");
        }
    }
}

/// The path without `.` steps, so that `./a` and `a` are one.
fn normal(path: &Path) -> PathBuf {
    path.components().filter(|step| !matches!(step, std::path::Component::CurDir)).collect()
}
