//! The files that the reference server starts with: settings, and what it is configured with.
//!
//! All paths in them are relative to the server's working directory, which keeps the path of its unix
//! socket short whatever the run's folder is called. What the plan says how it comes has a folder of its own: no
//! other file changes there.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    io::BufWriter,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Error,
    contents::{Content, Contents, ID_LINE_BYTES},
    pages::Pages,
    services::Services,
};
use crate::plan::{Access, By, Datum, Kept, ReferencePlan, Service};

/// Name of the settings file in the working directory.
pub(super) const SETTINGS: &str = "seckill.toml";
/// Name of the admin token's file in the working directory.
pub(super) const ADMIN_TOKEN: &str = ".admin-token";
/// Name of the embedded store's file in the working directory.
pub(super) const STORE: &str = "seckill.db";
/// Last good copies, in the working directory.
const COPIES: &str = "copies";
/// The data with a folder of their own are in this one.
const FEEDS: &str = "feeds";
/// For etcd to take what the server starts with.
const PUT_LIMIT: Duration = Duration::from_secs(10);

/// Where a kind of data is kept, and can be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    File(PathBuf),
    /// Path of an address of the harness's own.
    Page(String),
    /// Key of etcd.
    Key(String),
}

/// Where every kind of data is kept.
pub(super) type Places = BTreeMap<Datum, Place>;

/// Where the server listens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sides {
    pub(super) api: SocketAddr,
    pub(super) admin: SocketAddr,
}

/// Where every kind of data of a plan is kept.
pub(super) fn places(work_dir: &Path, plan: &ReferencePlan) -> Places {
    let place = |datum: Datum| {
        let word = datum.word();
        let place = match plan.reload.get(&datum).map(|feed| feed.from) {
            None => Place::File(work_dir.join(file(datum))),
            Some(Kept::File) => Place::File(work_dir.join(FEEDS).join(word).join(file(datum))),
            Some(Kept::Http) => Place::Page(format!("/{word}")),
            // Where the server looks when nobody tells it where.
            Some(Kept::Etcd) if datum == Datum::Cluster => Place::Key("/seckill/config".to_owned()),
            Some(Kept::Etcd) => Place::Key(format!("/seckill/{word}")),
        };
        (datum, place)
    };
    Datum::ALL.into_iter().map(place).collect()
}

/// Writes all that the server starts with, wherever it is kept.
pub(super) async fn write(
    work_dir: &Path,
    plan: &ReferencePlan,
    sides: Sides,
    contents: &Contents,
    pages: Option<&Pages>,
    services: &Services,
) -> Result<Places, Error> {
    let places = places(work_dir, plan);
    for (datum, place) in &places {
        // Only whoever asks for it has a cluster configuration.
        if *datum == Datum::Cluster && !plan.reload.contains_key(datum) {
            continue;
        }
        let content = contents.of(*datum, 0);
        match place {
            Place::File(path) => write_file(path, &content)?,
            Place::Page(path) => pages.expect("there must be pages for a page").put(path, content),
            Place::Key(key) => {
                let gateway = services.gateway().expect("there must be an etcd for a key");
                gateway.put(key, &content.to_vec(), PUT_LIMIT).await?;
            }
        }
    }
    let path = work_dir.join(SETTINGS);
    let text = settings(work_dir, plan, sides, &places, pages, &of_services(services));
    fs::write(&path, text).map_err(Error::file("write", &path))?;
    Ok(places)
}

fn write_file(path: &Path, content: &Content) -> Result<(), Error> {
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = BufWriter::new(File::create(path)?);
        content.write_to(&mut file)?;
        file.into_inner().map_err(std::io::IntoInnerError::into_error).map(drop)
    };
    write().map_err(Error::file("write", path))
}

fn settings(
    work_dir: &Path,
    plan: &ReferencePlan,
    sides: Sides,
    places: &Places,
    pages: Option<&Pages>,
    services: &str,
) -> String {
    let Sides { api, admin } = sides;
    let mut upgrade = String::new();
    for (key, value) in &plan.upgrade {
        writeln!(upgrade, "{key} = {value}").expect("writing to a string must succeed");
    }
    let (blacklist, activities) = (file(Datum::Blacklist), file(Datum::Activities));
    let reload = reload(work_dir, plan, places, pages);
    format!(
        r#"# Written by the harness for one run.
[global]
logLevel = "info"
pid = "./.pid"

[api]
bind = "{api}"
blacklist = "./{blacklist}"

[admin]
bind = "{admin}"
token_file = "./{ADMIN_TOKEN}"

[auth]
secret_file = "./.token-secret"

[store]
path = "./{STORE}"

[sale]
activities = "./{activities}"
{services}{reload}
[upgrade]
strategy = "{strategy}"
socket = "./.seckill.sock"
{upgrade}
[limits]
orders_per_user_per_second = 0
"#,
        strategy = plan.strategy,
    )
}

/// A table for each service that the server uses.
fn of_services(services: &Services) -> String {
    let mut text = String::new();
    for service in Service::ALL {
        if let Some(running) = services.get(service) {
            text += &of_service(service, &running.address(), running.access());
        }
    }
    text
}

fn of_service(service: Service, address: &str, access: &Access) -> String {
    let Access { username, password, database, .. } = access;
    let [username, password, database] = [username, &password.0, database].map(|text| quoted(text));
    let rest = match service {
        Service::Etcd => format!("keep_alive_ms = {KEEP_ALIVE_MS}\n"),
        Service::Mysql => format!("username = {username}\npassword = {password}\ndatabase = {database}\n"),
        Service::Redis => format!("auth = {password}\n"),
    };
    format!("\n[{}]\naddress = {}\n{rest}", service.word(), quoted(address))
}

/// As TOML writes a string: JSON's way is one of its ways.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string must be expressible in JSON")
}

/// `[reload]` for what the plan says how it comes.
fn reload(work_dir: &Path, plan: &ReferencePlan, places: &Places, pages: Option<&Pages>) -> String {
    if plan.reload.is_empty() {
        return String::new();
    }
    let mut text = format!("\n[reload]\ncopies = \"./{COPIES}\"\n");
    let push_bytes_max = plan.blacklist * ID_LINE_BYTES + PUSH_BYTES_SPARE;
    if plan.reload.values().any(|feed| feed.by == By::Push) {
        writeln!(text, "push_bytes_max = {push_bytes_max}").expect("writing to a string must succeed");
    }
    for (datum, feed) in &plan.reload {
        let from = match &places[datum] {
            Place::File(path) => {
                format!("./{}", path.strip_prefix(work_dir).expect("a feed must lie there").display())
            }
            Place::Page(path) => pages.expect("there must be pages for a page").url(path),
            Place::Key(key) => format!("etcd:{key}"),
        };
        let (word, by) = (datum.word(), feed.by.word());
        write!(text, "\n[reload.{word}]\nby = \"{by}\"\nfrom = \"{from}\"\n")
            .expect("writing to a string must succeed");
        if let Some(every_ms) = feed.every_ms {
            writeln!(text, "every_ms = {every_ms}").expect("writing to a string must succeed");
        }
    }
    text
}

fn file(datum: Datum) -> &'static str {
    match datum {
        Datum::Blacklist => "blacklist.txt",
        Datum::Cluster => "cluster.json",
        Datum::Activities => "activities.json",
    }
}

/// A frozen etcd has to be noticed within a second; ours is started so that it bears to be asked so often.
const KEEP_ALIVE_MS: u64 = 300;
/// Room in a push for everything but a list's long part.
const PUSH_BYTES_SPARE: u64 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{FeedPlan, Feeds, Password};

    fn plan() -> ReferencePlan {
        ReferencePlan {
            upgrade: BTreeMap::from([("drain_ms".to_owned(), 1500), ("probation_ms".to_owned(), 50)]),
            ..ReferencePlan::example()
        }
    }

    fn text(plan: &ReferencePlan) -> String {
        let [api, admin] = ["127.0.0.1:20001", "127.0.0.1:20002"].map(|side| side.parse().unwrap());
        let work_dir = Path::new("/run/work");
        settings(work_dir, plan, Sides { api, admin }, &places(work_dir, plan), None, "")
    }

    #[test]
    fn what_comes_by_a_mechanism_has_a_folder_of_its_own() {
        let feed = |by, from| FeedPlan { by, from, every_ms: Some(200).filter(|_| by == By::Timer) };
        let mut plan = plan();
        plan.blacklist = 1_000;
        plan.reload = Feeds::from([
            (Datum::Blacklist, feed(By::Timer, Kept::File)),
            (Datum::Activities, feed(By::Push, Kept::File)),
            (Datum::Cluster, feed(By::Etcd, Kept::Etcd)),
        ]);
        let text = text(&plan);
        let reload = text.split("\n\n[upgrade]").next().unwrap().split("[reload]").nth(1).unwrap();
        insta::assert_snapshot!(reload, @r#"

        copies = "./copies"
        push_bytes_max = 16788216

        [reload.blacklist]
        by = "timer"
        from = "./feeds/blacklist/blacklist.txt"
        every_ms = 200

        [reload.cluster]
        by = "etcd"
        from = "etcd:/seckill/config"

        [reload.activities]
        by = "push"
        from = "./feeds/activities/activities.json"
        "#);
    }

    #[test]
    fn services_are_named_with_their_accounts() {
        let access = Access {
            address: "127.0.0.1:1".to_owned(),
            username: "seckill".to_owned(),
            password: Password("a\"b".to_owned()),
            database: "sale".to_owned(),
        };
        let texts = Service::ALL.map(|service| of_service(service, "127.0.0.1:2", &access));
        insta::assert_snapshot!(texts.concat(), @r#"

        [etcd]
        address = "127.0.0.1:2"
        keep_alive_ms = 300

        [mysql]
        address = "127.0.0.1:2"
        username = "seckill"
        password = "a\"b"
        database = "sale"

        [redis]
        address = "127.0.0.1:2"
        auth = "a\"b"
        "#);
    }

    #[test]
    fn settings_name_every_file_relative_to_the_working_directory() {
        let text = text(&plan());
        insta::assert_snapshot!(text, @r#"
        # Written by the harness for one run.
        [global]
        logLevel = "info"
        pid = "./.pid"

        [api]
        bind = "127.0.0.1:20001"
        blacklist = "./blacklist.txt"

        [admin]
        bind = "127.0.0.1:20002"
        token_file = "./.admin-token"

        [auth]
        secret_file = "./.token-secret"

        [store]
        path = "./seckill.db"

        [sale]
        activities = "./activities.json"

        [upgrade]
        strategy = "handoff-live"
        socket = "./.seckill.sock"
        drain_ms = 1500
        probation_ms = 50

        [limits]
        orders_per_user_per_second = 0
        "#);
    }
}
