//! Any server that a command starts: run by `sh -c` in a process group of its own, in the folder in which the harness
//! was started, as the commands of events are.

use std::{
    env,
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use reqwest::Client;
use rustix::process::{Pid, Signal};

use super::{
    Error, External, Group, GroupWatch, Started,
    control::client_builder,
    group::{Program, ended_how},
    log::{self, tail},
};
use crate::{
    plan::{CommandPlan, ExternalPlan},
    tls,
};

/// From SIGTERM to SIGKILL.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// The server of a command while it runs.
#[derive(Debug)]
pub struct CommandTarget {
    group: Group,
    plan: CommandPlan,
    at: External,
    client: Client,
    log: PathBuf,
}

impl CommandTarget {
    /// Starts the command; returns when somebody answers who did not before.
    pub(super) async fn start(plan: &CommandPlan, folder: &Path) -> Result<Self, Error> {
        let plan = plan.clone();
        refuse_strangers(&plan).await?;
        let log = folder.join(log::SERVER);
        let here = env::current_dir().and_then(|here| here.canonicalize());
        let here = here.map_err(Error::file("resolve", Path::new(".")))?;
        let client = client(&plan.at)?;
        let mut group = run(&plan.command, &log, |program| Group::start(program, &here))?;
        become_ready(&mut group, &plan, &client, &log).await?;
        stays(&mut group, &plan, &log)?;
        let at = External::reach(&plan.at).await?;
        Ok(Self { group, plan, at, client, log })
    }

    /// Where it answers.
    #[must_use]
    pub fn at(&self) -> &External {
        &self.at
    }

    /// The process that the command has become, or the one that has taken its place.
    pub fn pid(&mut self) -> Option<Pid> {
        self.group.head()
    }

    /// A handle for the question whether anything lives.
    #[must_use]
    pub fn watch(&self) -> GroupWatch {
        self.group.watch()
    }

    /// Stops every process, in order where that is heeded. Returns how many had to be killed.
    pub async fn stop(mut self) -> usize {
        self.group.signal_all(Signal::TERM);
        self.group.ended_within(STOP_LIMIT).await;
        self.group.kill()
    }
}

impl Started for CommandTarget {
    fn kill(&mut self) {
        self.group.kill();
    }

    fn signal(&mut self, signal: Signal) {
        self.group.signal_all(signal);
    }

    async fn start_again(&mut self) -> Result<(), Error> {
        run(&self.plan.command, &self.log, |program| self.group.start_again(program))?;
        self.become_ready().await?;
        stays(&mut self.group, &self.plan, &self.log)
    }

    async fn become_ready(&mut self) -> Result<(), Error> {
        become_ready(&mut self.group, &self.plan, &self.client, &self.log).await
    }
}

/// Whoever answers before the start would be measured in the target's place.
async fn refuse_strangers(plan: &CommandPlan) -> Result<(), Error> {
    let nobody = |kind| {
        matches!(
            kind,
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::AddrNotAvailable
                | io::ErrorKind::NetworkUnreachable
        )
    };
    match External::reach(&plan.at).await {
        Err(Error::Unreachable { source, .. }) if nobody(source.kind()) => Ok(()),
        Ok(_) => Err(Error::Occupied { command: plan.command.clone(), url: plan.at.url.clone() }),
        Err(error) => Err(error),
    }
}

/// Has `start` start the command, as it is always started.
fn run<T>(
    command: &str,
    log: &Path,
    start: impl FnOnce(Program<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let file = log::open(log).map_err(Error::file("open the server's log", log))?;
    let arguments = &["-c", command].map(OsStr::new);
    start(Program { path: Path::new("sh"), arguments, variables: &[], passed: Vec::new(), log: &file })
}

async fn become_ready(
    group: &mut Group,
    plan: &CommandPlan,
    client: &Client,
    log: &Path,
) -> Result<(), Error> {
    let CommandPlan { ready_path, ready_timeout_ms, at, .. } = plan;
    let url = format!("{}{ready_path}", at.url);
    let answers = async || client.get(&url).send().await.is_ok();
    let limit = Duration::from_millis(*ready_timeout_ms);
    let ready = group.ready_within(limit, &format!("GET {ready_path}"), answers).await;
    ready.map_err(|how| no_answer(plan, how, log))
}

/// A command that leaves its server in the background has nobody who could be signalled, or known to have ended.
fn stays(group: &mut Group, plan: &CommandPlan, log: &Path) -> Result<(), Error> {
    match group.leader_status() {
        None => Ok(()),
        Some(status) => Err(no_answer(plan, ended_how(status), log)),
    }
}

fn no_answer(plan: &CommandPlan, mut how: String, log: &Path) -> Error {
    if how.ends_with("code 0") {
        how += " (the server has to stay in the foreground)";
    }
    Error::NoAnswer { command: plan.command.clone(), how, tail: tail(log), log: log.to_owned() }
}

/// Whoever asks whether the target is ready.
fn client(at: &ExternalPlan) -> Result<Client, Error> {
    let mut builder = client_builder();
    if let Some(plan) = &at.tls {
        let host = at.url.trim_start_matches("https://");
        let tls = tls::client(plan, host, &["http/1.1"]).map_err(Error::Tls)?;
        builder = builder.tls_backend_preconfigured(Arc::unwrap_or_clone(tls.config));
    }
    builder.build().map_err(Error::Asking)
}
