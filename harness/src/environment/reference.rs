//! Our own server: laid out in release folders, started, filled with users, and stopped.

mod activation;
mod rest;
mod start;

use std::{
    collections::BTreeMap,
    fs, io, mem,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use rustix::process::{Pid, Signal};
use serde_json::json;
use tokio::{process::Command, time::timeout};

pub use self::activation::Activated;
use self::start::Start;
use super::{
    Control, Error, Group, GroupWatch, Release, Releases, Started, Stored, build,
    contents::Contents,
    log::{self, tail},
    manager::Manager,
    pages::Pages,
    ports,
    release::{BINARY, CURRENT},
    services::Services,
    settings::{self, Place, Sides},
    store,
};
use crate::plan::{Datum, Kept, ReferencePlan};

/// From the start of the process until it must be ready.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// For minting the tokens of all users.
const TOKENS_LIMIT: Duration = Duration::from_secs(60);
/// For an orderly stop once the load is gone, asked for over the admin side and again by SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// What a debug build of the server reads its faults from.
const FAULTS: &str = "SECKILL_FAULTS";
/// The strategy under which a service manager starts every process.
const ACTIVATE: &str = "activate";
/// The server's working directory in the run's folder.
const WORK_DIR: &str = "work";

/// The reference server while it runs.
#[derive(Debug)]
pub struct Reference {
    // First, so that the processes end before anything that they use is dropped.
    group: Group,
    control: Control,
    releases: Releases,
    serving: Release,
    tokens: Vec<String>,
    work_dir: PathBuf,
    old: PathBuf,
    new: PathBuf,
    upgrade_time: Duration,
    contents: Arc<Contents>,
    places: BTreeMap<Datum, Place>,
    pages: Option<Pages>,
    /// Lent to the timeline while it runs.
    services: Services,
    start: Start,
    is_killed: bool,
}

/// What was left of the server when it was stopped.
#[derive(Debug)]
pub struct Stopped {
    /// Orders and stock, or why they cannot be read.
    pub stored: Result<Stored, Error>,
    /// Processes that did not end by themselves; 0 is as it should be.
    pub killed: usize,
}

impl Reference {
    /// Lays out and starts the server; returns when it is ready and every user has a token.
    pub(super) async fn start(
        plan: &ReferencePlan,
        seed: u64,
        folder: &Path,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let (old, new) = build::binaries(plan.old.as_deref(), plan.new.as_deref()).await?;
        let work_dir = folder.join(WORK_DIR);
        fs::create_dir_all(&work_dir).map_err(Error::file("create the folder", &work_dir))?;
        // Absolute and without links, as /proc shows the paths of the server's processes.
        let work_dir = work_dir.canonicalize().map_err(Error::file("resolve", &work_dir))?;
        let mut releases = Releases::new(&work_dir, old.clone(), new.clone())?;
        let serving = releases.lay_out(None)?;
        releases.switch(serving.number)?;
        let services = Services::start(&plan.services, folder).await?;
        // Free until the server binds them, so not before anybody else looks for free ones.
        let [api, admin] = ports::pick_two()?;
        let is_page = plan.reload.values().any(|feed| feed.from == Kept::Http);
        let pages = is_page.then(Pages::serve).transpose().map_err(Error::Pages)?;
        let contents = Arc::new(Contents::new(plan, seed, now));
        let sides = Sides { api, admin };
        let places = settings::write(&work_dir, plan, sides, &contents, pages.as_ref(), &services).await?;

        let program = work_dir.join("releases").join(CURRENT).join(BINARY);
        // Also when there are none: a variable of whoever runs the harness must not break the target.
        let faults = (FAULTS, plan.faults.join(","));
        let manager = (plan.strategy == ACTIVATE).then(|| Manager::new(sides)).transpose();
        let manager = manager.map_err(Error::Manager)?;
        let start = Start { program: program.clone(), faults, log: folder.join(log::SERVER), manager };
        let group = start.run(&program, |program| Group::start(program, &work_dir))?;
        let control = Control { api, admin, token: String::new() };
        // Each setting bounds a step of the upgrade.
        let upgrade_time = Duration::from_millis(plan.upgrade.values().sum());
        let mut reference = Self {
            group,
            control,
            releases,
            serving,
            tokens: Vec::new(),
            work_dir,
            old,
            new,
            upgrade_time,
            contents,
            places,
            pages,
            services,
            start,
            is_killed: false,
        };
        reference.become_ready().await?;
        let token = reference.work_dir.join(settings::ADMIN_TOKEN);
        let token = fs::read_to_string(&token).map_err(Error::file("read the admin token from", &token))?;
        token.trim().clone_into(&mut reference.control.token);
        reference.check_faults(&plan.faults).await?;
        reference.tokens = mint(&program, plan.users, &reference.work_dir).await?;
        Ok(reference)
    }

    /// Address of the public side.
    #[must_use]
    pub fn api(&self) -> std::net::SocketAddr {
        self.control.api
    }

    /// The admin side.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Bearer tokens, the one of user 1 first.
    #[must_use]
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// Where the server works, with its settings.
    #[must_use]
    pub fn work_dir(&self) -> &Path {
        &self.work_dir
    }

    /// The binaries of the odd and of the even releases.
    #[must_use]
    pub fn binaries(&self) -> (&Path, &Path) {
        (&self.old, &self.new)
    }

    /// What the server is configured with, by change.
    #[must_use]
    pub fn contents(&self) -> &Arc<Contents> {
        &self.contents
    }

    /// Where each kind of data is kept.
    #[must_use]
    pub fn places(&self) -> &BTreeMap<Datum, Place> {
        &self.places
    }

    /// The addresses that the server asks, if it asks any.
    #[must_use]
    pub fn pages(&self) -> Option<&Pages> {
        self.pages.as_ref()
    }

    /// The services that the server uses; none while somebody has borrowed them.
    #[must_use]
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Lends the services out, to whoever breaks them.
    pub fn lend_services(&mut self) -> Services {
        mem::take(&mut self.services)
    }

    /// Takes the services back.
    pub fn take_back(&mut self, services: Services) {
        self.services = services;
    }

    /// How long the settings that the plan gives let an upgrade take.
    #[must_use]
    pub fn upgrade_time(&self) -> Duration {
        self.upgrade_time
    }

    /// The release that serves, as far as the timeline knows.
    #[must_use]
    pub fn serving(&self) -> &Release {
        &self.serving
    }

    /// The process that runs the serving release.
    pub fn serving_pid(&mut self) -> Option<Pid> {
        self.group.running(&self.serving.binary)
    }

    /// A handle for the question whether anything lives.
    #[must_use]
    pub fn watch(&self) -> GroupWatch {
        self.group.watch()
    }

    /// Lays out the next release and points `current` at it, as a deployment does before it asks the
    /// server to swap.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn deploy(&mut self, binary: Option<&Path>) -> Result<Release, Error> {
        let release = self.releases.lay_out(binary)?;
        self.releases.switch(release.number)?;
        Ok(release)
    }

    /// Notes that a deployed release serves now.
    pub fn serves(&mut self, release: Release) {
        self.serving = release;
    }

    /// Points `current` back at the release that serves, after a deployment that did not work.
    ///
    /// # Errors
    /// When the link cannot be switched.
    pub fn roll_back(&mut self) -> Result<(), Error> {
        self.releases.switch(self.serving.number)
    }

    /// It was killed, and not started again.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.is_killed
    }

    /// Stops every process, in order where it is heeded, and reads the store. Orders that are on their way into it
    /// are waited for while the server, which takes them there, still serves.
    pub async fn stop(mut self) -> Stopped {
        let settled = self.services.settle().await;
        let drained = self.control.drain().await.is_ok() && self.group.ended_within(STOP_LIMIT).await;
        if !drained {
            self.group.signal_all(Signal::TERM);
            self.group.ended_within(STOP_LIMIT).await;
        }
        let killed = self.group.kill();
        let stored = match settled {
            Ok(None) => store::read(&self.work_dir.join(settings::STORE)),
            Ok(Some(waited)) => self.services.read(waited).await.map_err(Error::from),
            Err(error) => Err(error.into()),
        };
        self.services.stop().await;
        if stored.is_ok() {
            // The store is read and the binaries can be built again; what failed stays to be looked at.
            let _left_behind: io::Result<()> = fs::remove_dir_all(&self.work_dir);
        }
        Stopped { stored, killed }
    }

    /// A binary without the faults would pass every test of the instrument.
    async fn check_faults(&self, wanted: &[String]) -> Result<(), Error> {
        if wanted.is_empty() {
            return Ok(());
        }
        let status = self.control.status().await.map_err(Error::Control)?;
        let has =
            |fault: &&String| status["faults"].as_array().is_some_and(|all| all.contains(&json!(fault)));
        match wanted.iter().find(|fault| !has(fault)) {
            Some(missing) => Err(Error::NoFaults { missing: missing.clone() }),
            None => Ok(()),
        }
    }
}

impl Started for Reference {
    fn kill(&mut self) {
        self.group.kill();
        self.is_killed = true;
    }

    fn signal(&mut self, signal: Signal) {
        self.group.signal_all(signal);
    }

    /// In the release that `current` points at.
    async fn start_again(&mut self) -> Result<(), Error> {
        self.start.run(&self.start.program, |program| self.group.start_again(program))?;
        self.is_killed = false;
        self.become_ready().await
    }

    async fn become_ready(&mut self) -> Result<(), Error> {
        let Self { group, control, .. } = self;
        let ready = group.ready_within(READY_LIMIT, "GET /health/ready", || control.ready()).await;
        ready.map_err(|how| {
            let log = self.start.log.clone();
            Error::NotReady { how, tail: tail(&log), log }
        })
    }
}

/// Has the server mint one token per user.
async fn mint(program: &Path, users: u32, work_dir: &Path) -> Result<Vec<String>, Error> {
    let range = format!("1-{users}");
    let arguments = ["token", "-c", settings::SETTINGS, "--users", &range];
    let command = format!("{BINARY} {}", arguments.join(" "));
    let failed = |how: String| Error::Tokens { command: command.clone(), how };
    let minting = Command::new(program)
        .args(arguments)
        .current_dir(work_dir)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match timeout(TOKENS_LIMIT, minting).await {
        Ok(Ok(output)) => output,
        Ok(Err(source)) => return Err(Error::Run { command, source }),
        Err(_) => return Err(failed(format!("was not done after {} s", TOKENS_LIMIT.as_secs()))),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(failed(format!("ended with {}: {}", output.status, said.trim())));
    }
    let tokens: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    if tokens.len() != usize::try_from(users).unwrap_or(usize::MAX) {
        return Err(failed(format!("printed {} tokens for {users} users", tokens.len())));
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::clock::RunClock;

    /// Starts a shell script in the server's place.
    fn start(script: &str, users: u32) -> (tempfile::TempDir, Result<Reference, Error>) {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let plan = ReferencePlan { old: Some(program), users, ..ReferencePlan::example() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let now = RunClock::starting_in(Duration::ZERO).anchor();
        let reference = runtime.block_on(Reference::start(&plan, 1, dir.path(), now));
        (dir, reference)
    }

    #[test]
    fn a_server_that_exits_at_once_is_told_with_its_last_words() {
        let (dir, reference) = start("echo 'no such key: [api].bnd' >&2; exit 2", 1);
        let error = reference.unwrap_err().to_string();
        let log = dir.path().join("server.log");
        assert_eq!(
            error,
            format!(
                "see the server ready: it exited with code 2; its log is {}, which ends with:\nno such key: [api].bnd",
                log.display()
            )
        );
    }

    #[test]
    fn a_server_that_is_no_program_is_told() {
        let (_dir, reference) = start("", 1);
        assert!(matches!(reference, Err(Error::NotReady { .. })), "an empty script ends at once");
    }
}
