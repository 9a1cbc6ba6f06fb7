//! One run, from the plan to the exit code: environment, load beside timeline, observations on disk, and
//! from there analysis, verdict and report.
//!
//! Invariants: what was started is stopped before the exit code is known, whatever happens; what is judged
//! was read back from disk, so that it can be judged again. The first Ctrl-C or SIGTERM ends the run early
//! and still reports it, the second one kills at once.

mod bench;
mod folder;
mod interrupts;
mod progress;

use std::{
    cell::RefCell,
    env, fs,
    io::{self, IsTerminal, Write},
    panic::resume_unwind,
    path::PathBuf,
    pin::pin,
    time::Duration,
};

use tokio::{
    runtime::Builder,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use self::{
    interrupts::Interrupts,
    progress::{Progress, say},
};
use crate::{
    cli::RunOptions,
    clock::RunClock,
    compare,
    conclude::{Conclusion, REPORT_FILE, conclude},
    drive::{
        load::{self, HeaderNames, LoadHandle, Workload},
        timeline, upgrade,
    },
    environment::{self, Environment, GroupWatch, RunFacts, chain, shown},
    exit::ExitCode,
    observe::{self, EnvironmentRecord, EventRecord, Held, Holding, Instrument, RunDir},
    plan::{Gate, Plan, TargetPlan},
    report::{
        json,
        terminal::{self, Paint},
    },
};

pub use self::bench::{BenchOptions, bench};

/// From the clock's start to its zero: every sending thread is at work by then.
const LEAD: Duration = Duration::from_millis(300);
/// Between two looks at the progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// Between two looks at the target's processes, each of which goes through `/proc`.
const ALIVE_INTERVAL: Duration = Duration::from_secs(1);
const ALL_DEAD: &str = "no process of the target lives any more; server.log in the run's folder may say why";
const STOPPING: &str = "stopping what was started; once more kills it at once";

/// Carries the plan out and reports on standard output. Trouble is told on standard error.
///
/// # Panics
/// On a bug of ours; everything that was started is stopped by then.
#[must_use]
pub fn run(plan: &Plan, options: &RunOptions) -> ExitCode {
    let ended = on_a_runtime(async {
        let mut interrupts = Interrupts::listen().map_err(Error::Signals)?;
        conduct(plan, options, &mut interrupts).await
    });
    match ended {
        Ok(ended) => {
            if let Ended::Reported { conclusion, folder, .. } = &ended {
                print(conclusion, folder, options.quiet);
            }
            ended.exit_code()
        }
        Err(error) => {
            say(&format!("failed to {}", chain(&error)));
            error.exit_code()
        }
    }
}

fn on_a_runtime<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
    let outcome = runtime.block_on(work);
    // After a second Ctrl-C a thread may still be at work; it must not hold the exit up.
    runtime.shutdown_background();
    outcome
}

/// How a run ended.
enum Ended {
    /// With a report, which lies in its folder.
    Reported { conclusion: Box<Conclusion>, folder: RunDir, interrupted: bool },
    /// By a signal before there was anything to report, or by the second one.
    Killed,
}

impl Ended {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Reported { conclusion, interrupted: false, .. } => conclusion.verdict.exit_code,
            Self::Reported { .. } | Self::Killed => ExitCode::Interrupted,
        }
    }
}

/// Why a run has no verdict.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("start the harness's own runtime")]
    Runtime(#[source] io::Error),
    #[error("listen for Ctrl-C and SIGTERM")]
    Signals(#[source] io::Error),
    #[error(transparent)]
    Folder(observe::Error),
    #[error(transparent)]
    Environment(environment::Error),
    #[error("upgrade the server before the load: {detail}")]
    FirstUpgrade { detail: serde_json::Value },
    #[error(transparent)]
    LoadStart(load::Error),
    #[error("keep what the load saw")]
    Load(#[source] load::Error),
    #[error("keep what was seen")]
    Observe(#[source] observe::Error),
    #[error("write the report {path}")]
    Report {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Compare(compare::Error),
    #[error(
        "measure {arm}: there is no program `etcd` in PATH; `apt-get install etcd-server` brings one, or \
         {others}"
    )]
    NoEtcd { arm: String, others: String },
}

impl Error {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Runtime(_)
            | Self::Signals(_)
            | Self::Folder(_)
            | Self::Environment(_)
            | Self::FirstUpgrade { .. }
            | Self::LoadStart(_)
            | Self::NoEtcd { .. } => ExitCode::Environment,
            Self::Load(_) | Self::Observe(_) | Self::Report { .. } => ExitCode::Inconclusive,
            Self::Compare(_) => ExitCode::Usage,
        }
    }
}

async fn conduct(plan: &Plan, options: &RunOptions, interrupts: &mut Interrupts) -> Result<Ended, Error> {
    let now = RunClock::starting_in(Duration::ZERO).anchor();
    let id = folder::run_id(now, &plan.scenario);
    let here = env::current_dir().unwrap_or_default();
    let folder = RunDir::new(folder::locate(options.out.as_deref(), &here, &id));
    folder.create().and_then(|()| folder.write_plan(plan)).map_err(Error::Folder)?;

    let mut environment = tokio::select! {
        started = Environment::start(plan, folder.path(), now) => started.map_err(Error::Environment)?,
        () = interrupts.next() => return Ok(Ended::Killed),
    };
    if let Environment::Reference(reference) = &environment
        && !reference.services().told().is_empty()
    {
        say(&format!("services: {}", reference.services().told()));
    }
    let before = match rests(plan) {
        true => held_before(&mut environment).await?,
        false => None,
    };
    let clock = RunClock::starting_in(LEAD);
    let facts = RunFacts { id: &id, started_at: clock.anchor(), command: &options.command };
    let record = environment::record(plan, &environment, &facts);
    let workload = workload(plan, &environment, id.clone());
    let load = load::start(plan, environment.target(), &environment.host(), workload, &folder, clock)
        .map_err(Error::LoadStart)?;

    let progress = Progress::begin(plan, folder.path(), options.quiet);
    let driven = drive(plan, &mut environment, &load, clock, interrupts, &progress).await;
    let Some(mut driven) = driven else { return Ok(Ended::Killed) };
    driven.before = before;
    let mut interrupted = driven.interrupted;
    drop(progress);
    let mut finishing = pin!(finish(load, environment, &folder, record, driven));
    let conclusion = loop {
        tokio::select! {
            conclusion = &mut finishing => break conclusion?,
            () = interrupts.next() => {
                if interrupted {
                    return Ok(Ended::Killed);
                }
                interrupted = true;
                say(STOPPING);
            }
        }
    };
    Ok(Ended::Reported { conclusion: Box::new(conclusion), folder: folder.clone(), interrupted })
}

/// Whether a gate asks for what the server holds at rest.
fn rests(plan: &Plan) -> bool {
    plan.gates.iter().any(Gate::is_of_rest)
}

/// What the server holds after a first upgrade, without any load.
async fn held_before(environment: &mut Environment) -> Result<Option<Holding>, Error> {
    let Environment::Reference(reference) = environment else { return Ok(None) };
    let clock = RunClock::starting_in(Duration::ZERO);
    upgrade::once(reference, &clock).await.map_err(|detail| Error::FirstUpgrade { detail })?;
    Ok(reference.at_rest().await)
}

/// What came of load and timeline.
struct Driven {
    events: Vec<EventRecord>,
    interrupted: bool,
    /// What the server held before the load, where a gate asks for it.
    before: Option<Holding>,
}

/// Runs the timeline beside the load until the load's planned end or the first interruption; `None` after
/// the second.
async fn drive(
    plan: &Plan,
    environment: &mut Environment,
    load: &LoadHandle,
    clock: RunClock,
    interrupts: &mut Interrupts,
    progress: &Progress,
) -> Option<Driven> {
    let stop = CancellationToken::new();
    let events = RefCell::new(Vec::new());
    let mut watch = environment.watch();
    let mut interrupted = false;
    let [mut show, mut look] = [PROGRESS_INTERVAL, ALIVE_INTERVAL].map(interval);
    for ticks in [&mut show, &mut look] {
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    {
        let mut over = pin!(async {
            timeline::run(&plan.events, plan.load.duration_ns, environment, clock, &stop, &events).await;
            tokio::select! {
                () = timeline::wait_until(&clock, plan.load.duration_ns) => {}
                () = stop.cancelled() => {}
            }
        });
        loop {
            tokio::select! {
                () = &mut over => break,
                () = interrupts.next() => {
                    if interrupted {
                        return None;
                    }
                    interrupted = true;
                    load.stop();
                    stop.cancel();
                    progress.say(STOPPING);
                }
                _ = show.tick() => progress.show(clock.now_ns(), &load.progress(), events.borrow().len()),
                _ = look.tick() => {
                    if watch.as_ref().is_some_and(GroupWatch::died) {
                        progress.say(ALL_DEAD);
                        watch = None;
                    }
                }
            }
        }
    }
    Some(Driven { events: events.into_inner(), interrupted, before: None })
}

/// Ends load and target, writes down what is still only in memory, and judges what is on disk.
async fn finish(
    load: LoadHandle,
    mut environment: Environment,
    folder: &RunDir,
    mut record: EnvironmentRecord,
    driven: Driven,
) -> Result<Conclusion, Error> {
    let joined = spawn_blocking(move || load.join()).await;
    let mut instrument = match joined {
        Ok(instrument) => instrument.map_err(Error::Load)?,
        Err(failed) => resume_unwind(failed.into_panic()),
    };
    instrument.interrupted = driven.interrupted;
    // The load is gone, with all of its connections.
    if let (Some(before), Environment::Reference(reference)) = (driven.before, &mut environment) {
        record.held = reference.at_rest().await.map(|after| Held { before, after });
    }
    stop(environment, folder, &mut record, &mut instrument).await?;
    let written = folder
        .write_events(&driven.events)
        .and_then(|()| folder.write_instrument(&instrument))
        .and_then(|()| folder.write_environment(&record));
    written.map_err(Error::Observe)?;

    let folder = folder.clone();
    match spawn_blocking(move || report(&folder)).await {
        Ok(conclusion) => conclusion,
        Err(failed) => resume_unwind(failed.into_panic()),
    }
}

/// Stops the target and keeps what its store holds.
async fn stop(
    environment: Environment,
    folder: &RunDir,
    record: &mut EnvironmentRecord,
    instrument: &mut Instrument,
) -> Result<(), Error> {
    let (killed, stored) = match environment {
        Environment::Reference(reference) => {
            let stopped = reference.stop().await;
            (stopped.killed, Some(stopped.stored))
        }
        Environment::Command(command) => (command.stop().await, None),
        Environment::External(_) => return Ok(()),
    };
    if killed > 0 {
        say(&format!("{killed} processes of the server did not stop when asked and were killed"));
    }
    match stored {
        None => {}
        Some(Ok(stored)) => {
            folder
                .write_store(&stored.orders, &stored.stock, stored.queue.as_ref())
                .map_err(Error::Observe)?;
            record.store_read = true;
        }
        // Without the store no order can be called lost or kept.
        Some(Err(error)) => instrument.gaps.push(format!("the harness failed to {}", chain(&error))),
    }
    Ok(())
}

/// Judges what the folder holds, and leaves the report there.
fn report(folder: &RunDir) -> Result<Conclusion, Error> {
    let conclusion = conclude(folder).map_err(Error::Observe)?;
    let path = folder.path().join(REPORT_FILE);
    fs::write(&path, json::render(&conclusion.report)).map_err(|source| Error::Report { path, source })?;
    Ok(conclusion)
}

fn print(conclusion: &Conclusion, folder: &RunDir, quiet: bool) {
    let text = if quiet {
        terminal::render_verdict(&conclusion.report, paint())
    } else {
        terminal::render(&conclusion.report, &shown(folder.path()), paint())
    };
    // A reader that went away has what it wanted.
    let _closed = io::stdout().write_all(text.as_bytes());
}

/// Colours when standard output is a terminal whose user did not ask for none.
pub(crate) fn paint() -> Paint {
    // https://no-color.org: set to anything but nothing.
    let wants_plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if io::stdout().is_terminal() && !wants_plain { Paint::Colour } else { Paint::Plain }
}

fn workload(plan: &Plan, environment: &Environment, run_id: String) -> Workload {
    let (sale_events, some_listed) = match &plan.target {
        TargetPlan::Reference(reference) => (reference.sale_events, reference.listed > 0),
        TargetPlan::Command(_) | TargetPlan::External(_) => (0, false),
    };
    let headers = plan.target.foreign().map_or_else(HeaderNames::reference, |foreign| HeaderNames {
        process: foreign.process_header.clone(),
        config: foreign.config_header.clone(),
    });
    Workload { run_id, tokens: environment.tokens().to_vec(), sale_events, some_listed, headers }
}
