//! `[services]`: what the reference server leans on, and where that comes from.

use std::collections::{BTreeMap, BTreeSet};

use tomlcheck::Section;

use crate::plan::{
    Access, Action, FaultAction, Kept, Origin, Password, ReferencePlan, Service, ServicesPlan, TargetPlan,
    Victim,
};

use super::{event::Schedule, target::loopback_url};

/// Where services come from.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Auto,
    Containers,
    Processes,
    Embedded,
    External,
}

/// Where the server keeps stock and orders.
#[derive(Clone, Copy, PartialEq)]
enum Store {
    Embedded,
    RedisMysql,
}

const KINDS: &[(&str, Kind)] = &[
    ("auto", Kind::Auto),
    ("containers", Kind::Containers),
    ("processes", Kind::Processes),
    ("embedded", Kind::Embedded),
    ("external", Kind::External),
];
const STORES: &[(&str, Store)] = &[("embedded", Store::Embedded), ("redis-mysql", Store::RedisMysql)];

/// Keys of the credentials of external services.
const CREDENTIALS: [&str; 4] = ["redis_auth", "mysql_username", "mysql_password", "mysql_database"];
/// Keys of the names of images.
const IMAGES: [(&str, Service); 3] =
    [("etcd_image", Service::Etcd), ("mysql_image", Service::Mysql), ("redis_image", Service::Redis)];

/// Whoever is asked for by name and has no name of its own.
const DATABASE: &str = "seckill";

/// Reads the table into the target.
pub(super) fn read(root: &Section<'_>, target: &mut Option<TargetPlan>) {
    let section = root.section("services");
    let reference = match target {
        Some(TargetPlan::Reference(reference)) => Some(reference),
        Some(TargetPlan::Command(_) | TargetPlan::External(_)) => {
            if let Some(section) = section {
                section.fault("only the reference server is given services", "remove [services]");
            }
            return;
        }
        None => None,
    };
    let mut asked = Asked::default();
    if let Some(section) = section {
        asked = read_asked(&section);
        section.finish();
    }
    if let Some(reference) = reference {
        reference.services = services(root, reference, asked);
    }
}

/// The table as it was written.
struct Asked {
    kind: Kind,
    store: Option<Store>,
    access: BTreeMap<Service, Access>,
    images: BTreeMap<Service, String>,
}

impl Default for Asked {
    fn default() -> Self {
        Self { kind: Kind::Auto, store: None, access: BTreeMap::new(), images: BTreeMap::new() }
    }
}

fn read_asked(section: &Section<'_>) -> Asked {
    let kind = section.choice("kind", KINDS).unwrap_or(Kind::Auto);
    let store = section.choice("store", STORES);
    let text = |key: &str| section.string(key).map(|entry| entry.value);
    let [auth, username, password, database] = CREDENTIALS.map(text);
    let mut access = BTreeMap::new();
    for service in Service::ALL {
        let word = service.word();
        let hint = format!("write {word} = \"127.0.0.1:{}\"", usual_port(service));
        let address = section.parse(word, "an address on this machine", hint, loopback_address);
        let Some(address) = address else { continue };
        let found = match service {
            Service::Etcd => Access { address, ..Access::default() },
            Service::Redis => {
                let password = Password(auth.clone().unwrap_or_default());
                Access { address, password, ..Access::default() }
            }
            Service::Mysql => Access {
                address,
                username: username.clone().unwrap_or_else(|| "root".to_owned()),
                password: Password(password.clone().unwrap_or_default()),
                database: database.clone().unwrap_or_else(|| DATABASE.to_owned()),
            },
        };
        access.insert(service, found);
    }
    if kind != Kind::External {
        for key in Service::ALL.map(Service::word).into_iter().chain(CREDENTIALS) {
            if section.has(key) {
                let what = format!("only external services have {key:?}");
                section.fault_at(key, what, "write kind = \"external\", or remove it");
            }
        }
    }
    let images: BTreeMap<Service, String> =
        IMAGES.into_iter().filter_map(|(key, service)| Some((service, text(key)?))).collect();
    for (key, _) in IMAGES {
        if section.has(key) && !matches!(kind, Kind::Auto | Kind::Containers) {
            section.fault_at(key, "only containers have an image", "write kind = \"containers\"");
        }
    }
    Asked { kind, store, access, images }
}

/// What is needed, and whether it can be had.
fn services(root: &Section<'_>, reference: &ReferencePlan, asked: Asked) -> ServicesPlan {
    let Asked { kind, store, access, images } = asked;
    let store = store.unwrap_or(match kind {
        // So that the main job needs nothing but cargo.
        Kind::Auto | Kind::Embedded => Store::Embedded,
        Kind::External if access.keys().eq([&Service::Etcd]) => Store::Embedded,
        // Whoever asks for services means those of production.
        Kind::Containers | Kind::Processes | Kind::External => Store::RedisMysql,
    });
    let mut needed = BTreeSet::new();
    if reference.reload.values().any(|feed| feed.from == Kept::Etcd) {
        needed.insert(Service::Etcd);
    }
    if store == Store::RedisMysql {
        needed.extend([Service::Redis, Service::Mysql]);
        if kind != Kind::External || access.contains_key(&Service::Etcd) {
            needed.insert(Service::Etcd);
        }
    }
    let from = match kind {
        Kind::Auto => Origin::Auto,
        Kind::Containers => Origin::Containers,
        Kind::Processes => Origin::Processes,
        Kind::Embedded => {
            if store == Store::RedisMysql {
                let what = "the store is Redis and MySQL, and there are no embedded ones";
                root.fault_at("services", what, "write kind = \"processes\", or store = \"embedded\"");
            } else if !needed.is_empty() {
                let what = "something comes from etcd, and there is no embedded one";
                root.fault_at("services", what, "write kind = \"processes\" or \"external\"");
            }
            return ServicesPlan::default();
        }
        Kind::External => {
            for service in needed.iter().filter(|service| !access.contains_key(service)) {
                let (word, port) = (service.word(), usual_port(*service));
                let what = format!("services.{word} is missing: nobody says where it is");
                root.fault_at("services", what, format!("write {word} = \"127.0.0.1:{port}\""));
            }
            Origin::External { access }
        }
    };
    ServicesPlan { from, needed, linked: BTreeSet::new(), images }
}

/// The services whose links the events break.
pub(super) fn linked(events: &[Schedule]) -> BTreeSet<Service> {
    let of_link = |schedule: &Schedule| match &schedule.action {
        Action::Fault(FaultAction { of: Victim::Service(service), fault, .. }) if fault.is_of_link() => {
            Some(*service)
        }
        _ => None,
    };
    events.iter().filter_map(of_link).collect()
}

fn usual_port(service: Service) -> u16 {
    match service {
        Service::Etcd => 2379,
        Service::Mysql => 3306,
        Service::Redis => 6379,
    }
}

/// `host:port` with an address of this machine: what the harness fills and empties is nobody's but a test's.
fn loopback_address(text: &str) -> Result<String, &'static str> {
    let has_port = text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    match loopback_url(&format!("http://{text}")) {
        Ok(_) if has_port => Ok(text.to_owned()),
        _ => Err("it is no host:port on localhost, 127.0.0.0/8 or [::1]"),
    }
}
