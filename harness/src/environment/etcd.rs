//! etcd as a process of our own, or somebody else's.
//!
//! Ours listens on loopback addresses alone, keeps its data in the run's folder, and ends with the harness, also
//! when that is killed. It does not wait for the disk: what it would lose with the machine nobody wants to keep.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::time::sleep;

use super::{Error, Group, gateway::Gateway, group::ended_how, ports, reference::tail};
use crate::plan::{EtcdPlan, Plan, TargetPlan};

const PROGRAM: &str = "etcd";
/// Has a program killed when the thread that started it is gone.
const KEEPER: &str = "setpriv";
/// Its folder in the run's folder.
const FOLDER: &str = "etcd";
const LOG: &str = "etcd.log";
/// From the start until it must be healthy: a tenth of a second when the machine is idle.
const READY_LIMIT: Duration = Duration::from_secs(15);
const READY_INTERVAL: Duration = Duration::from_millis(10);
/// Another program may take a free port before it does.
const STARTS_MAX: usize = 3;

/// A running etcd. Dropping it ends it, if it is ours.
#[derive(Debug)]
pub struct Etcd {
    /// `None` for somebody else's.
    process: Option<Process>,
    gateway: Gateway,
}

#[derive(Debug)]
struct Process {
    /// `None` while it is killed.
    group: Option<Group>,
    program: PathBuf,
    arguments: Vec<OsString>,
    folder: PathBuf,
    log: PathBuf,
}

/// Whether a plan needs an etcd of our own, and there is no such program.
#[must_use]
pub fn lacks_etcd(plan: &Plan) -> bool {
    let TargetPlan::Reference(reference) = &plan.target else { return false };
    let path = env::var_os("PATH").unwrap_or_default();
    reference.etcd == EtcdPlan::Process && find(PROGRAM, &path).is_none()
}

impl Etcd {
    /// Starts what the plan asks for; `None` when that is nothing. It is healthy then.
    ///
    /// # Errors
    /// When there is no such program, it does not start, or nobody answers at the address.
    pub(super) async fn start(plan: &EtcdPlan, run_folder: &Path) -> Result<Option<Self>, Error> {
        match plan {
            EtcdPlan::None => Ok(None),
            EtcdPlan::External { address } => {
                let gateway = Gateway::new(address.clone())?;
                if !gateway.is_healthy().await {
                    return Err(Error::NoHealthyEtcd { address: address.clone() });
                }
                Ok(Some(Self { process: None, gateway }))
            }
            EtcdPlan::Process => Self::start_own(run_folder).await.map(Some),
        }
    }

    async fn start_own(run_folder: &Path) -> Result<Self, Error> {
        let path = env::var_os("PATH").unwrap_or_default();
        let program = find(PROGRAM, &path).ok_or(Error::NoEtcd)?;
        let folder = run_folder.join(FOLDER);
        let log = run_folder.join(LOG);
        let mut starts = 1;
        loop {
            fs::create_dir_all(&folder).map_err(Error::file("create the folder", &folder))?;
            let folder = folder.canonicalize().map_err(Error::file("resolve", &folder))?;
            let address = ports::pick()?.to_string();
            let arguments = arguments(&address);
            let (program, arguments) = kept(program.clone(), arguments, &path);
            let group = launch(&program, &arguments, &folder, &log)?;
            let group = Some(group);
            let process = Process { group, program, arguments, folder: folder.clone(), log: log.clone() };
            let mut etcd = Self { process: Some(process), gateway: Gateway::new(address)? };
            match etcd.become_ready().await {
                Err(_) if starts < STARTS_MAX => starts += 1,
                ready => return ready.map(|()| etcd),
            }
            drop(etcd);
            fs::remove_dir_all(&folder).map_err(Error::file("remove the folder", &folder))?;
        }
    }

    /// How it is talked to.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// What the report calls it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        if self.process.is_some() { "process" } else { "external" }
    }

    /// Kills it; its data stays.
    ///
    /// # Errors
    /// When it is not ours.
    pub fn kill(&mut self) -> Result<(), Error> {
        // The group would take the next process in the same folder for one of its own.
        self.own()?.group = None;
        Ok(())
    }

    /// Starts it once more with its data, at its address; returns when it is healthy.
    ///
    /// # Errors
    /// When it is not ours, or does not start.
    pub async fn start_again(&mut self) -> Result<(), Error> {
        let process = self.own()?;
        process.group = None;
        process.group = Some(launch(&process.program, &process.arguments, &process.folder, &process.log)?);
        self.become_ready().await
    }

    /// Stops it where it is.
    ///
    /// # Errors
    /// When it is not ours.
    pub fn freeze(&mut self) -> Result<(), Error> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on; returns when it is healthy.
    ///
    /// # Errors
    /// When it is not ours, or does not come back.
    pub async fn thaw(&mut self) -> Result<(), Error> {
        self.signal(Signal::CONT)?;
        self.become_ready().await
    }

    /// Ends it and removes its data.
    pub(super) fn stop(self) {
        let Some(mut process) = self.process else { return };
        // It may be frozen, and would hear nothing but the kill of the drop.
        process.group = None;
        // What cannot be removed is in the run's folder, where it can be seen.
        let _left_behind = fs::remove_dir_all(&process.folder);
    }

    fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        if let Some(group) = &mut self.own()?.group {
            group.signal_all(signal);
        }
        Ok(())
    }

    fn own(&mut self) -> Result<&mut Process, Error> {
        let address = self.gateway.address();
        self.process.as_mut().ok_or_else(|| Error::NotOurEtcd { address: address.to_owned() })
    }

    async fn become_ready(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + READY_LIMIT;
        while !self.gateway.is_healthy().await {
            let Some(process) = &mut self.process else {
                return Err(Error::NoHealthyEtcd { address: self.gateway.address().to_owned() });
            };
            let status = process.group.as_mut().and_then(Group::leader_status);
            let how = match status {
                Some(status) => Some(ended_how(status)),
                None if Instant::now() >= deadline => Some("it is not healthy (GET /health)".to_owned()),
                None => None,
            };
            if let Some(how) = how {
                let log = process.log.clone();
                return Err(Error::EtcdNotReady { how, tail: tail(&log), log });
            }
            sleep(READY_INTERVAL).await;
        }
        Ok(())
    }
}

fn launch(program: &Path, arguments: &[OsString], folder: &Path, log: &Path) -> Result<Group, Error> {
    let opened: Result<File, Error> =
        OpenOptions::new().create(true).append(true).open(log).map_err(Error::file("open etcd's log", log));
    let arguments: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
    Group::start(program, &arguments, &[], folder, &opened?)
}

/// One member, its peers' side on a unix socket in its folder, which is its working directory.
fn arguments(address: &str) -> Vec<OsString> {
    let client = format!("http://{address}");
    [
        "--name=harness",
        "--data-dir=data",
        &format!("--listen-client-urls={client}"),
        &format!("--advertise-client-urls={client}"),
        "--listen-peer-urls=unix://peers:0",
        // Nobody is there, and nobody is asked: it is alone.
        "--initial-advertise-peer-urls=http://127.0.0.1:1",
        "--initial-cluster=harness=http://127.0.0.1:1",
        "--heartbeat-interval=10",
        "--election-timeout=100",
        "--grpc-keepalive-min-time=100ms",
        "--unsafe-no-fsync",
        "--logger=zap",
        "--log-level=warn",
    ]
    .map(OsString::from)
    .to_vec()
}

/// The same under the keeper, where there is one.
fn kept(program: PathBuf, arguments: Vec<OsString>, path: &OsStr) -> (PathBuf, Vec<OsString>) {
    let Some(keeper) = find(KEEPER, path) else { return (program, arguments) };
    let mut all: Vec<OsString> = ["--pdeathsig", "KILL", "--"].map(OsString::from).into();
    all.push(program.into_os_string());
    all.extend(arguments);
    (keeper, all)
}

fn find(program: &str, path: &OsStr) -> Option<PathBuf> {
    env::split_paths(path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn it_is_found_in_the_path_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("etcd"), "").unwrap();
        fs::create_dir(dir.path().join("folder")).unwrap();
        let path = env::join_paths([Path::new("/nowhere"), dir.path()]).unwrap();
        assert_eq!(find("etcd", &path), Some(dir.path().join("etcd")));
        assert_eq!(find("folder", &path), None);
        assert_eq!(find("etcd", OsStr::new("/nowhere")), None);
        let (program, arguments) = kept("/bin/etcd".into(), vec!["-x".into()], &path);
        assert_eq!((program, arguments), ("/bin/etcd".into(), vec![OsString::from("-x")]));
        fs::write(dir.path().join("setpriv"), "").unwrap();
        let (program, arguments) = kept("/bin/etcd".into(), vec!["-x".into()], &path);
        assert_eq!(program, dir.path().join("setpriv"));
        assert_eq!(arguments, ["--pdeathsig", "KILL", "--", "/bin/etcd", "-x"]);
    }

    #[test]
    fn a_missing_etcd_says_how_to_get_one() {
        insta::assert_snapshot!(Error::NoEtcd, @r#"start etcd: there is no program of that name in PATH; `apt-get install etcd-server` brings one, and `--services external` with services.etcd = "127.0.0.1:2379" uses one that runs already"#);
        let nobody = EtcdPlan::External { address: "127.0.0.1:9".to_owned() };
        let error = block_on(Etcd::start(&nobody, Path::new("/nowhere"))).unwrap_err();
        insta::assert_snapshot!(error, @"use etcd at 127.0.0.1:9: it does not say that it is healthy (GET /health); start it, or name another");
    }

    /// Keys, the history thrown away, a kill and a freeze: what was written is there afterwards.
    #[test]
    fn it_keeps_what_it_was_told_through_every_fault() {
        let dir = tempfile::tempdir().unwrap();
        let limit = Duration::from_secs(20);
        let folder = block_on(async {
            let mut etcd = Etcd::start(&EtcdPlan::Process, dir.path()).await.unwrap().unwrap();
            let gateway = etcd.gateway().clone();
            gateway.put("/a", b"\x00one\xff", limit).await.unwrap();
            gateway.put("/b", b"two", limit).await.unwrap();
            gateway.delete("/b", limit).await.unwrap();
            assert!(gateway.compact(limit).await.unwrap() >= 3);
            etcd.kill().unwrap();
            assert!(!gateway.is_healthy().await);
            etcd.start_again().await.unwrap();
            etcd.freeze().unwrap();
            let frozen = gateway.put("/c", b"three", Duration::from_millis(100)).await;
            assert!(matches!(frozen, Err(Error::Etcd { .. })));
            etcd.thaw().await.unwrap();
            assert_eq!(gateway.get("/a", limit).await.unwrap().as_deref(), Some(&b"\x00one\xff"[..]));
            assert_eq!(gateway.get("/b", limit).await.unwrap(), None);
            let folder = etcd.process.as_ref().unwrap().folder.clone();
            etcd.stop();
            assert!(!gateway.is_healthy().await);
            folder
        });
        assert!(!folder.exists());
    }
}
