//! `[target]`: the server under test.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use tomlcheck::{Entry, Section};

use crate::plan::{CommandPlan, ExternalPlan, ReferencePlan, ServicesPlan, TargetPlan, TlsPlan};

use super::{
    change,
    duration::{POSITIVE, duration},
    request::{checked_path, is_token},
};

/// The strategies that the reference server has today.
const STRATEGIES: &[(&str, &str)] = &[
    ("handoff-live", "handoff-live"),
    ("handoff", "handoff"),
    ("inherit", "inherit"),
    ("activate", "activate"),
    ("reuseport-drain", "reuseport-drain"),
    ("reuseport", "reuseport"),
    ("stop-start", "stop-start"),
];

/// The one that loses nothing, which is what the project is about.
const STRATEGY: &str = "handoff-live";

/// Enough different users that a user's requests seldom meet each other, and few enough to mint tokens for.
const USERS: u32 = 500;

/// Sale events, one good each: as many as a page of a shop shows.
const SALE_EVENTS: u32 = 10;

/// Pieces of each good: more than a run of some minutes can buy, so that buying does not end in "sold out"
/// unless a scenario wants it.
const STOCK: u64 = 1_000_000;

/// Orders of one good per user: likewise out of the way unless a scenario wants it.
const LIMIT_PER_USER: u32 = 1_000_000;

/// Ids on the blacklist: a non-empty list keeps the look-up honest.
const BLACKLIST: u64 = 2;

/// More ids than this do not fit between the users of the load and the largest number of ten digits.
const BLACKLIST_MAX: u64 = 100_000_000;

/// Settings of the server's `[upgrade]` that a scenario may give, all in milliseconds.
const UPGRADE_SETTINGS: [&str; 10] = [
    "start_timeout_ms",
    "load_timeout_ms",
    "probe_timeout_ms",
    "probation_ms",
    "state_timeout_ms",
    "commit_timeout_ms",
    "transfer_timeout_ms",
    "drain_ms",
    "idle_grace_ms",
    "farewell_ms",
];

/// Longest of these settings: ten minutes, in milliseconds.
const UPGRADE_SETTING_MS_MAX: u64 = 600_000;

/// What is asked until a server of a command is ready.
const READY_PATH: &str = "/";

/// From the start of a command until there has to be an answer: what a large application needs. Milliseconds.
const READY_TIMEOUT_MS: u64 = 30_000;

const NS_PER_MS: u64 = 1_000_000;

/// The schemes that can be loaded, with the port of a URL that names none.
const SCHEMES: [(&str, u16); 2] = [("http", 80), ("https", 443)];

#[derive(Clone, Copy)]
enum Kind {
    Reference,
    Command,
    External,
}

const KINDS: &[(&str, Kind)] =
    &[("reference", Kind::Reference), ("command", Kind::Command), ("external", Kind::External)];

pub(super) fn read(section: Section<'_>) -> Option<TargetPlan> {
    section.require("kind", "write kind = \"reference\", kind = \"command\" or kind = \"external\"");
    let target = match section.choice("kind", KINDS) {
        Some(Kind::Reference) => TargetPlan::Reference(read_reference(&section)),
        Some(Kind::Command) => TargetPlan::Command(read_command(&section)),
        Some(Kind::External) => TargetPlan::External(read_external(&section)),
        // Which keys are known depends on the kind, so nothing more can be said here.
        None => return None,
    };
    section.finish();
    Some(target)
}

fn read_reference(section: &Section<'_>) -> ReferencePlan {
    let path = |key| section.string(key).map(|entry| PathBuf::from(entry.value));
    let users = section.integer("users", 1..=1_000_000).map_or(USERS, |entry| entry.value);
    let reload = section.section("reload").map(|section| {
        let feeds = change::read_feeds(&section);
        section.finish();
        feeds
    });
    ReferencePlan {
        strategy: section.choice("strategy", STRATEGIES).unwrap_or(STRATEGY).to_owned(),
        old: path("old"),
        new: path("new"),
        users,
        sale_events: section.integer("sale_events", 1..=10_000).map_or(SALE_EVENTS, |entry| entry.value),
        stock: section.integer("stock", 0..=1_000_000_000).map_or(STOCK, |entry| entry.value),
        limit_per_user: section
            .integer("limit_per_user", 1..=1_000_000_000)
            .map_or(LIMIT_PER_USER, |entry| entry.value),
        faults: section.strings("faults").map(check_faults).unwrap_or_default(),
        upgrade: section.section("upgrade").map(read_upgrade).unwrap_or_default(),
        blacklist: section.integer("blacklist", 0..=BLACKLIST_MAX).map_or(BLACKLIST, |entry| entry.value),
        listed: section.integer("listed", 0..=users / 2).map_or(0, |entry| entry.value),
        reload: reload.unwrap_or_default(),
        services: ServicesPlan::default(),
    }
}

/// What the faults are called is the server's business; it refuses those that it does not know.
fn check_faults(faults: Entry<'_, Vec<String>>) -> Vec<String> {
    let is_word = |fault: &String| {
        let is_in_one =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-:".contains(&byte);
        !fault.is_empty() && fault.bytes().all(is_in_one)
    };
    if let Some(other) = faults.value.iter().find(|fault| !is_word(fault)) {
        faults.fault(format!("{other:?} is no fault"), "write them like \"drop:100\" or \"oversell\"");
    }
    faults.value
}

fn read_upgrade(section: Section<'_>) -> BTreeMap<String, u64> {
    let setting = |key: &str| {
        let value = section.integer(key, 0..=UPGRADE_SETTING_MS_MAX)?.value;
        Some((key.to_owned(), value))
    };
    let settings = UPGRADE_SETTINGS.into_iter().filter_map(setting).collect();
    section.finish();
    settings
}

fn read_command(section: &Section<'_>) -> CommandPlan {
    section.require("command", "write the command that starts the server and stays in the foreground");
    let hint = "write it like \"/health\": any answer means that the server is ready";
    let ready_path = section.parse("ready_path", "a path", hint, checked_path);
    let ready_timeout = duration(section, "ready_timeout", &POSITIVE);
    CommandPlan {
        command: section.string("command").map(|entry| entry.value).unwrap_or_default(),
        ready_path: ready_path.unwrap_or_else(|| READY_PATH.to_owned()),
        ready_timeout_ms: ready_timeout.map_or(READY_TIMEOUT_MS, |ns| ns / NS_PER_MS),
        at: read_external(section),
    }
}

fn read_external(section: &Section<'_>) -> ExternalPlan {
    const HINT: &str = "write url = \"http://127.0.0.1:8080\"";
    section.require("url", HINT);
    let header = |key: &str| {
        section.parse(key, "the name of a header", "write it like \"x-process\"", |name| {
            if is_token(name) { Ok(name.to_ascii_lowercase()) } else { Err("it has other characters") }
        })
    };
    let url = section.parse("url", "a URL on this machine", HINT, loopback_url).unwrap_or_default();
    ExternalPlan {
        tls: read_tls(section, &url),
        url,
        process_header: header("process_header"),
        config_header: header("config_header"),
    }
}

/// Whom TLS trusts has to be said: no public authority signs for this machine.
fn read_tls(section: &Section<'_>, url: &str) -> Option<TlsPlan> {
    let ca = section.string("ca").map(|entry| PathBuf::from(entry.value));
    let insecure = section.boolean("insecure").is_some_and(|entry| entry.value);
    if !url.starts_with("https:") {
        for key in ["ca", "insecure"].into_iter().filter(|key| section.has(key) && !url.is_empty()) {
            section.fault_at(key, "only https trusts anybody", "remove it, or write url = \"https://..\"");
        }
        return None;
    }
    if insecure && section.has("ca") {
        section.fault_at("insecure", "whoever trusts everybody needs no ca", "remove one of them");
    } else if !insecure && !section.has("ca") {
        section.missing("ca", "write ca = \"ca.pem\", or insecure = true to trust any certificate");
    }
    Some(TlsPlan { ca: ca.filter(|_| !insecure) })
}

/// `http://host:port` or `https://host:port` with the port filled in. Load is for servers on this machine only: a typing error
/// must not turn the harness on somebody else's.
pub(super) fn loopback_url(text: &str) -> Result<String, &'static str> {
    const ELSEWHERE: &str = "only localhost, 127.0.0.0/8 and [::1] are loaded";
    let of_scheme = |&(scheme, port): &(&'static str, u16)| {
        Some((scheme, port, text.strip_prefix(scheme)?.strip_prefix("://")?))
    };
    let (scheme, port, rest) =
        SCHEMES.iter().find_map(of_scheme).ok_or("it does not begin with http:// or https://")?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#', '@']) {
        return Err("it has more than a host and a port");
    }
    let (host, port) = match (rest.rsplit_once(':'), rest.ends_with(']')) {
        (Some((host, port)), false) => (host, port.parse().map_err(|_| "its port is not a number")?),
        _ => (rest, port),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_loopback = host == "localhost" || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    if is_loopback { Ok(format!("{scheme}://{host}:{port}")) } else { Err(ELSEWHERE) }
}

#[cfg(test)]
mod tests {
    use super::loopback_url;

    #[test]
    fn only_this_machine_is_loaded() {
        for (text, expected) in [
            ("http://127.0.0.1:8080", Ok("http://127.0.0.1:8080")),
            ("http://127.9.9.9:1/", Ok("http://127.9.9.9:1")),
            ("http://localhost", Ok("http://localhost:80")),
            ("http://[::1]:8080", Ok("http://[::1]:8080")),
            ("http://[::1]", Ok("http://[::1]:80")),
            ("https://127.0.0.1", Ok("https://127.0.0.1:443")),
            ("https://localhost:8443/", Ok("https://localhost:8443")),
            ("httpss://127.0.0.1", Err("it does not begin with http:// or https://")),
            ("127.0.0.1", Err("it does not begin with http:// or https://")),
            ("http://127.0.0.1:x", Err("its port is not a number")),
            ("http://127.0.0.1:8080/path", Err("it has more than a host and a port")),
            ("http://me@127.0.0.1", Err("it has more than a host and a port")),
            ("http://10.0.0.1:80", Err("only localhost, 127.0.0.0/8 and [::1] are loaded")),
            ("http://0.0.0.0:80", Err("only localhost, 127.0.0.0/8 and [::1] are loaded")),
            ("http://example.com", Err("only localhost, 127.0.0.0/8 and [::1] are loaded")),
            ("http://localhost.example.com:80", Err("only localhost, 127.0.0.0/8 and [::1] are loaded")),
            ("http://", Err("only localhost, 127.0.0.0/8 and [::1] are loaded")),
        ] {
            assert_eq!(loopback_url(text), expected.map(str::to_owned), "{text}");
        }
    }
}
