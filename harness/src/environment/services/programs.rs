//! The programs of the services: where they are, and how they are started.
//!
//! Each listens on one loopback port alone and keeps its data in its folder, which is its working directory. None
//! waits for the disk, because a run has no use for what outlives the machine; but each has handed over to the
//! kernel what it acknowledges, so that nothing of it is lost when the process is killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
};

use super::{Error, template};
use crate::plan::{Access, Service};

/// Daemons are often in these, which are not in everybody's PATH.
const MORE_FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];
/// Has a program killed when the thread that started it is gone.
const KEEPER: &str = "setpriv";

/// Settings of Redis that hold wherever it runs: each write is in the append-only file, which is the kernel's, before
/// it is acknowledged. (`everysec` would hold writes back while a flush goes on.)
pub(super) const REDIS: [(&str, &str); 4] =
    [("save", ""), ("appendonly", "yes"), ("appendfsync", "no"), ("auto-aof-rewrite-percentage", "0")];

/// Settings of MySQL that hold wherever it runs: the log is written at each commit and flushed by nobody. What is
/// `loose` not every version has.
pub(super) const MYSQL: [&str; 8] = [
    "--skip-name-resolve",
    "--skip-log-bin",
    "--performance-schema=OFF",
    "--innodb-buffer-pool-size=64M",
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-flush-method=nosync",
    "--loose-innodb-log-file-size=4M",
    "--loose-mysqlx=OFF",
];

/// Settings of etcd that hold wherever it runs: quick to elect itself, and bearing to be asked often.
pub(super) const ETCD: [&str; 9] = [
    "--name=harness",
    // Nobody is there, and nobody is asked: it is alone.
    "--initial-advertise-peer-urls=http://127.0.0.1:1",
    "--initial-cluster=harness=http://127.0.0.1:1",
    "--heartbeat-interval=10",
    "--election-timeout=100",
    "--grpc-keepalive-min-time=100ms",
    "--unsafe-no-fsync",
    "--logger=zap",
    "--log-level=warn",
];

/// The programs of all services; every one that is missing is told at once.
pub(super) fn find_all(needed: &BTreeSet<Service>) -> Result<BTreeMap<Service, PathBuf>, Error> {
    find_in(needed, &env::var_os("PATH").unwrap_or_default())
}

fn find_in(needed: &BTreeSet<Service>, path: &OsStr) -> Result<BTreeMap<Service, PathBuf>, Error> {
    let folders: Vec<PathBuf> =
        env::split_paths(path).chain(MORE_FOLDERS.iter().map(PathBuf::from)).collect();
    let mut found = BTreeMap::new();
    let (mut missing, mut packages) = (Vec::new(), Vec::new());
    for service in needed {
        let (names, package) = names(*service);
        match names.iter().find_map(|name| find(name, &folders)) {
            Some(program) => {
                found.insert(*service, program);
            }
            None => {
                missing.push(names.join(" or "));
                packages.push(package);
            }
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    Err(Error::Missing { missing: missing.join(", "), packages: packages.join(" ") })
}

/// What the program may be called, and the package that brings it.
fn names(service: Service) -> (&'static [&'static str], &'static str) {
    match service {
        Service::Etcd => (&["etcd"], "etcd-server"),
        Service::Mysql => (&["mariadbd", "mysqld"], "mariadb-server"),
        Service::Redis => (&["redis-server"], "redis-server"),
    }
}

fn find(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

/// Lays out what a service starts from in its empty folder; its arguments.
pub(super) async fn prepare(
    service: Service,
    program: &Path,
    folder: &Path,
    access: &Access,
) -> Result<Vec<OsString>, Error> {
    let port = access.port();
    let password = &access.password.0;
    match service {
        Service::Etcd => {
            let client = format!("http://{}", access.address);
            let own = [
                "--data-dir=data".to_owned(),
                format!("--listen-client-urls={client}"),
                format!("--advertise-client-urls={client}"),
                "--listen-peer-urls=unix://peers:0".to_owned(),
            ];
            Ok(own.into_iter().chain(ETCD.map(str::to_owned)).map(OsString::from).collect())
        }
        Service::Redis => {
            let mut text = format!("bind 127.0.0.1\nport {port}\nrequirepass {password}\n");
            for (key, value) in REDIS {
                text += &format!("{key} \"{value}\"\n");
            }
            write(&folder.join("redis.conf"), &text)?;
            Ok(vec!["redis.conf".into()])
        }
        Service::Mysql => {
            template::data(program, &folder.join("data")).await?;
            let Access { username, database, .. } = access;
            // A statement for each line.
            let text = format!(
                "CREATE DATABASE IF NOT EXISTS {database};\n\
                 CREATE USER IF NOT EXISTS '{username}'@'%' IDENTIFIED BY '{password}';\n\
                 GRANT ALL ON {database}.* TO '{username}'@'%';\n"
            );
            let init = folder.join("init.sql");
            write(&init, &text)?;
            let mut arguments: Vec<OsString> = vec!["--no-defaults".into()];
            let data = folder.join("data");
            // Where it starts it removes temporary tables, those of other servers too.
            for (key, path) in [("--datadir=", &*data), ("--init-file=", &init), ("--tmpdir=", folder)] {
                let mut argument = OsString::from(key);
                argument.push(path);
                arguments.push(argument);
            }
            // Relative to the data, which keeps the path of the socket short.
            for own in ["--socket=socket", "--pid-file=pid", "--bind-address=127.0.0.1"] {
                arguments.push(own.into());
            }
            arguments.push(format!("--port={port}").into());
            arguments.extend(as_root());
            arguments.extend(MYSQL.map(OsString::from));
            Ok(arguments)
        }
    }
}

/// MySQL refuses to run as root unless it is asked for.
pub(super) fn as_root() -> Option<OsString> {
    rustix::process::geteuid().is_root().then(|| "--user=root".into())
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::file("write", path))
}

/// The same under the keeper, where there is one.
pub(super) fn kept(program: &Path, arguments: Vec<OsString>) -> (PathBuf, Vec<OsString>) {
    kept_in(program, arguments, &env::var_os("PATH").unwrap_or_default())
}

fn kept_in(program: &Path, arguments: Vec<OsString>, path: &OsStr) -> (PathBuf, Vec<OsString>) {
    let folders: Vec<PathBuf> = env::split_paths(path).collect();
    let Some(keeper) = find(KEEPER, &folders) else { return (program.to_owned(), arguments) };
    let mut all: Vec<OsString> = ["--pdeathsig", "KILL", "--"].map(OsString::from).into();
    all.push(program.into());
    all.extend(arguments);
    (keeper, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_a_file_of_its_name_and_is_kept_where_it_can_be() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("etcd"), "").unwrap();
        fs::create_dir(dir.path().join("folder")).unwrap();
        let folders = [PathBuf::from("/nowhere"), dir.path().to_owned()];
        assert_eq!(find("etcd", &folders), Some(dir.path().join("etcd")));
        assert_eq!(find("folder", &folders), None);
        assert_eq!(find("etcd", &folders[..1]), None);
        let path = env::join_paths(folders).unwrap();
        let (program, arguments) = kept_in(Path::new("/bin/etcd"), vec!["-x".into()], &path);
        assert_eq!((program, arguments), ("/bin/etcd".into(), vec![OsString::from("-x")]));
        fs::write(dir.path().join("setpriv"), "").unwrap();
        let (program, arguments) = kept_in(Path::new("/bin/etcd"), vec!["-x".into()], &path);
        assert_eq!(program, dir.path().join("setpriv"));
        assert_eq!(arguments, ["--pdeathsig", "KILL", "--", "/bin/etcd", "-x"]);
    }

    #[test]
    fn all_that_is_missing_is_told_at_once_with_what_brings_it() {
        let told = |missing: &[&str], packages: &[&str]| {
            Error::Missing { missing: missing.join(", "), packages: packages.join(" ") }.to_string()
        };
        insta::assert_snapshot!(
            told(&["etcd", "mariadbd or mysqld"], &["etcd-server", "mariadb-server"]),
            @"start etcd, mariadbd or mysqld as processes: not in PATH, /usr/sbin or /usr/local/sbin; `apt-get install etcd-server mariadb-server` brings what is missing, and `--services containers` or `--services external` does without"
        );
        // Nobody has etcd in one of the folders that are always looked into.
        let needed = BTreeSet::from([Service::Etcd]);
        match find_in(&needed, OsStr::new("/nowhere")) {
            Err(Error::Missing { missing, packages }) => {
                assert_eq!((missing.as_str(), packages.as_str()), ("etcd", "etcd-server"));
            }
            other => assert!(other.is_ok_and(|found| found.contains_key(&Service::Etcd))),
        }
    }
}
