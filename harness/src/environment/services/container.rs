//! A service as a container, through the `docker` command.
//!
//! Every container has a label that names the process that started it; whoever starts some removes those whose
//! process is gone. Ports are fixed and on the loopback alone: an engine that chooses chooses anew after a kill.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    Error,
    owner::Owner,
    process::{output, own_access, secret},
    programs::{ETCD, MYSQL, REDIS},
};
use crate::plan::{Access, Service};

const DOCKER: &str = "docker";
/// The label with the harness that owns the container.
const OWNER: &str = "seckill-harness.owner";
/// How much of a log goes into a message.
const TAIL_LINES: &str = "20";

/// A container that can be killed, stopped, and started again with its data. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Container {
    name: String,
}

impl Container {
    /// Starts a service on a free port with a password of its own; it need not be ready yet.
    pub(super) async fn start(service: Service, image: &str) -> Result<(Self, Access), Error> {
        let access = own_access(service)?;
        let port = access.port();
        // Nobody else's: a name is what is removed in the end.
        let container = Self { name: format!("seckill-harness-{}-{}", service.word(), secret()?) };
        let owner = format!("{OWNER}={}", Owner::us());
        let publish = format!("127.0.0.1:{port}:{}", port_inside(service));
        let mut words: Vec<String> =
            ["run", "--detach", "--name", &container.name, "--label", &owner, "--publish", &publish]
                .map(str::to_owned)
                .into();
        for (name, value) in variables(service, &access) {
            words.extend(["--env".to_owned(), format!("{name}={value}")]);
        }
        words.push(image.to_owned());
        words.extend(arguments(service, &access));
        docker(&words).await?;
        Ok((container, access))
    }

    /// Does one of the engine's own verbs to it.
    pub(super) async fn ask(&self, verb: &str) -> Result<(), Error> {
        docker(&[verb, &self.name]).await.map(drop)
    }

    /// How it ended, once it has by itself.
    pub(super) async fn ended(&self) -> Option<String> {
        let format = "{{.State.Running}} {{.State.ExitCode}}";
        let state = docker(&["inspect", "--format", format, &self.name]).await.ok()?;
        let code = state.trim().strip_prefix("false ")?;
        Some(format!("it exited with code {code}"))
    }

    /// Where its log is to be had, and how that ends.
    pub(super) async fn log(&self) -> (PathBuf, String) {
        let shown = format!("{DOCKER} logs --tail {TAIL_LINES} {} 2>&1", self.name);
        let tail = output(Path::new("sh"), &["-c".into(), shown.into()]).await.unwrap_or_default();
        (format!("the container's ({DOCKER} logs {})", self.name).into(), tail.trim().to_owned())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Whoever ends a run must not wait for an engine that hangs.
        let removing = Command::new("timeout")
            .args(["--kill-after=5", "30", DOCKER, "rm", "--force", "--volumes", &self.name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        // What is left is removed by the next start, which finds its owner gone.
        let _left_behind = removing;
    }
}

/// Whether there is an engine to be asked.
pub(super) async fn look_for_engine() -> Result<(), Error> {
    let why = match docker(&["version", "--format", "{{.Server.Version}}"]).await {
        Ok(_) => return Ok(()),
        Err(Error::Run { source, .. }) => format!("the command `{DOCKER}` does not run ({source})"),
        Err(Error::Command { said, .. }) => said,
        Err(other) => return Err(other),
    };
    Err(Error::NoEngine { why })
}

/// The image for a service: the one asked for, else the official one where it is at hand, else the one that
/// `ci/images` builds, else the official one, pulled.
pub(super) async fn image(service: Service, asked: Option<&String>) -> Result<String, Error> {
    let (official, built) = images(service);
    let wanted = asked.map_or(official, String::as_str);
    let candidates: Vec<&str> = if asked.is_some() { vec![wanted] } else { vec![official, built] };
    for candidate in candidates {
        if docker(&["image", "inspect", "--format", "{{.Id}}", candidate]).await.is_ok() {
            return Ok(candidate.to_owned());
        }
    }
    match docker(&["pull", "--quiet", wanted]).await {
        Ok(_) => Ok(wanted.to_owned()),
        Err(Error::Command { said, .. }) => {
            Err(Error::NoImage { service: service.word(), image: wanted.to_owned(), said })
        }
        Err(other) => Err(other),
    }
}

/// The official image, and the one that `ci/images` builds.
fn images(service: Service) -> (&'static str, &'static str) {
    match service {
        Service::Etcd => ("quay.io/coreos/etcd:v3.5.21", "seckill-local/etcd"),
        Service::Mysql => ("mariadb:11.4", "seckill-local/mariadb"),
        Service::Redis => ("redis:7.4", "seckill-local/redis"),
    }
}

fn port_inside(service: Service) -> u16 {
    match service {
        Service::Etcd => 2379,
        Service::Mysql => 3306,
        Service::Redis => 6379,
    }
}

/// The account, as the official images of MySQL and MariaDB take it.
fn variables(service: Service, access: &Access) -> Vec<(&'static str, &str)> {
    match service {
        Service::Etcd | Service::Redis => Vec::new(),
        Service::Mysql => vec![
            ("MYSQL_RANDOM_ROOT_PASSWORD", "yes"),
            ("MYSQL_DATABASE", &access.database),
            ("MYSQL_USER", &access.username),
            ("MYSQL_PASSWORD", &access.password.0),
        ],
    }
}

/// What follows the image: options alone where the image knows its program, as the official ones of Redis, MySQL and
/// MariaDB do.
fn arguments(service: Service, access: &Access) -> Vec<String> {
    match service {
        Service::Etcd => {
            let own = [
                "etcd".to_owned(),
                "--data-dir=/tmp/etcd".to_owned(),
                "--listen-client-urls=http://0.0.0.0:2379".to_owned(),
                format!("--advertise-client-urls=http://{}", access.address),
                "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
            ];
            own.into_iter().chain(ETCD.map(str::to_owned)).collect()
        }
        Service::Redis => {
            let password = ["--requirepass".to_owned(), access.password.0.clone()];
            let settings = REDIS.iter().flat_map(|(key, value)| [format!("--{key}"), (*value).to_owned()]);
            password.into_iter().chain(settings).collect()
        }
        Service::Mysql => MYSQL.map(str::to_owned).into(),
    }
}

/// Removes the containers of harnesses that are gone.
pub(super) async fn sweep() -> Result<(), Error> {
    let format = format!("{{{{.ID}}}} {{{{.Label {OWNER:?}}}}}");
    let filter = format!("label={OWNER}");
    let listed = docker(&["ps", "--all", "--no-trunc", "--filter", &filter, "--format", &format]).await?;
    let left = listed.lines().filter_map(|line| line.split_once(' '));
    for (id, _) in left.filter(|(_, owner)| Owner::parse(owner).is_some_and(|owner| owner.is_gone())) {
        match docker(&["rm", "--force", "--volumes", id]).await {
            // Somebody else sweeps too.
            Ok(_) | Err(Error::Command { .. }) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

async fn docker(words: &[impl AsRef<str>]) -> Result<String, Error> {
    let words: Vec<OsString> = words.iter().map(|word| word.as_ref().into()).collect();
    output(Path::new(DOCKER), &words).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_told_in_the_images_own_ways() {
        for (service, expected) in [(Service::Etcd, false), (Service::Mysql, true), (Service::Redis, true)] {
            let access = own_access(service).unwrap();
            let mut told: Vec<String> = arguments(service, &access);
            told.extend(variables(service, &access).into_iter().map(|(_, value)| value.to_owned()));
            let secret = &access.password.0;
            assert_eq!(!secret.is_empty() && told.contains(secret), expected, "{service:?}");
        }
    }
}
