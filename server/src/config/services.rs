//! `[mysql]` and `[redis]`: both, and then orders are kept there, or neither.

use std::{convert::Infallible, fs, io, path::PathBuf, time::Duration};

use tomlcheck::Section;

use super::{
    file::{host_and_port, milliseconds},
    settings::{Config, Secret},
};

/// `[mysql]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MysqlSettings {
    /// `host:port`
    pub address: String,
    pub username: String,
    pub password: Password,
    pub database: String,
    /// How long a statement may take; a batch of orders eight times as long.
    pub timeout: Duration,
}

/// `[redis]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// `host:port`
    pub address: String,
    /// Empty: the server asks for no password.
    pub auth: Password,
    /// How long a command may take, connecting included.
    pub timeout: Duration,
    /// An order that somebody has fetched and not written for so long is written by another one.
    pub claim_after: Duration,
    /// How many orders may wait for MySQL before nothing is sold any more.
    pub orders_waiting_max: u64,
}

/// A password, or where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    Word(Secret),
    /// The text of this file without white space around it.
    File(PathBuf),
}

/// The file of a password cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("read the password in {}", path.display())]
pub struct PasswordError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Both services answer within a few milliseconds; a disk that is waited for takes a tenth of this.
const TIMEOUT_MS: u64 = 500;
/// Less than a busy machine needs.
const TIMEOUT_MS_FROM: u64 = 10;
/// Many times what a batch usually takes, and short enough that nothing waits for a second. A batch may take longer,
/// up to eight times `mysql.timeout_ms`; then two write it, which does no harm.
const CLAIM_AFTER_MS: u64 = 500;
/// About 200 bytes each.
const ORDERS_WAITING_MAX: u64 = 100_000;
/// What Redis can count to.
const ORDERS_WAITING_MAX_TO: u64 = 1_000_000_000;

/// Reads both sections. One without the other is a fault, because an order goes through both.
pub(super) fn services(root: &Section<'_>, config: &mut Config) {
    config.mysql = root.section("mysql").map(mysql);
    config.redis = root.section("redis").map(redis);
    for (name, other, needs) in [
        ("redis", "mysql", "orders that are taken in redis are kept in mysql, and there is no [mysql]"),
        ("mysql", "redis", "orders that are kept in mysql are taken in redis, and there is no [redis]"),
    ] {
        if let (Some(section), None) = (root.section(name), root.section(other)) {
            let hint = format!("write [{other}] too, or take [{name}] away: then orders are kept in [store]");
            section.fault(needs, hint);
        }
    }
}

fn mysql(section: Section<'_>) -> MysqlSettings {
    section.require("username", "write username = \"root\"");
    section.require("database", "write database = \"seckill\"");
    let word = |key| section.string(key).map(|entry| entry.value).unwrap_or_default();
    let mut settings = MysqlSettings {
        address: service(&section, "127.0.0.1:3306"),
        username: word("username"),
        password: password(&section, "password", "password_file"),
        database: word("database"),
        timeout: Duration::from_millis(TIMEOUT_MS),
    };
    milliseconds(&section, "timeout_ms", TIMEOUT_MS_FROM, &mut settings.timeout);
    section.finish();
    settings
}

fn redis(section: Section<'_>) -> RedisSettings {
    let mut settings = RedisSettings {
        address: service(&section, "127.0.0.1:6379"),
        auth: password(&section, "auth", "auth_file"),
        timeout: Duration::from_millis(TIMEOUT_MS),
        claim_after: Duration::from_millis(CLAIM_AFTER_MS),
        orders_waiting_max: ORDERS_WAITING_MAX,
    };
    milliseconds(&section, "timeout_ms", TIMEOUT_MS_FROM, &mut settings.timeout);
    milliseconds(&section, "claim_after_ms", TIMEOUT_MS_FROM, &mut settings.claim_after);
    if let Some(entry) = section.integer("orders_waiting_max", 1..=ORDERS_WAITING_MAX_TO) {
        settings.orders_waiting_max = entry.value;
    }
    section.finish();
    settings
}

/// A password; it may be empty. A value of another type is not repeated in the fault.
fn password(section: &Section<'_>, key: &str, file_key: &str) -> Password {
    let word = section.parse(key, "a string", "write it between quotes", |word| {
        Ok::<_, Infallible>(Secret::new(word.to_owned()))
    });
    let file = section.string(file_key);
    if file.is_some() && section.has(key) {
        section.fault_at(file_key, format!("is beside {key}"), "keep one of the two");
    }
    match file {
        Some(file) => Password::File(file.value.into()),
        None => Password::Word(word.unwrap_or_else(|| Secret::new(String::new()))),
    }
}

/// The address of another service, which has to be there.
fn service(section: &Section<'_>, example: &str) -> String {
    let hint = format!("write address = \"{example}\"");
    section.require("address", &hint);
    let parsed = section
        .parse("address", "a host and a port", hint, |text| host_and_port(text).map(|()| text.to_owned()));
    parsed.unwrap_or_default()
}

impl Password {
    /// The password itself.
    ///
    /// # Errors
    /// Its file cannot be read.
    pub fn read(&self) -> Result<Secret, PasswordError> {
        match self {
            Self::Word(word) => Ok(word.clone()),
            Self::File(path) => match fs::read_to_string(path) {
                Ok(text) => Ok(Secret::new(text.trim().to_owned())),
                Err(source) => Err(PasswordError { path: path.clone(), source }),
            },
        }
    }

    pub(super) fn word(&self) -> Option<&Secret> {
        match self {
            Self::Word(word) => Some(word),
            Self::File(_) => None,
        }
    }

    pub(super) fn file(&self) -> Option<String> {
        match self {
            Self::Word(_) => None,
            Self::File(path) => Some(path.display().to_string()),
        }
    }
}

/// The two halves of a checked address; an address of IP version 6 without its brackets.
#[must_use]
pub fn halves(address: &str) -> (&str, u16) {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    (host.trim_start_matches('[').trim_end_matches(']'), port.parse().unwrap_or(0))
}
