//! The runs of a bench, one after the other, and their table.
//!
//! Each is a normal run in `<arm>/round-<n>` below the bench's folder, where `bench.json` is written too.
//! Whatever ends the bench early, the runs that were finished are reported.

use std::{
    env, fs,
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use super::{Ended, Error, Interrupts, conduct, folder, on_a_runtime, say};
use crate::{
    bench::{Arm, Finished, ReloadSample, Setup, Turn, order, render, summarize},
    cli::RunOptions,
    clock::RunClock,
    environment::{self, chain, shown},
    exit::ExitCode,
    plan::Plan,
    report::json,
};

/// What a bench leaves in its folder.
const BENCH_FILE: &str = "bench.json";

/// How a bench is run, beside its arms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BenchOptions {
    /// What is done in different ways, for example `upgrade`.
    pub subject: String,
    /// The option that lists the arms.
    pub option: String,
    pub rounds: u32,
    /// Folder for the runs; `None` makes one below `reports/runs/`.
    pub out: Option<PathBuf>,
    /// Print `bench.json` instead of the table.
    pub json: bool,
    /// The command line as it was typed, for the report.
    pub command: Vec<String>,
}

/// Runs every arm in every round and reports on standard output. Trouble is told on standard error.
///
/// # Panics
/// On a bug of ours; everything that was started is stopped by then.
#[must_use]
pub fn bench(arms: &[(Arm, Plan)], options: &BenchOptions) -> ExitCode {
    let Some((_, first)) = arms.first() else { return ExitCode::Usage };
    let now = RunClock::starting_in(Duration::ZERO).anchor();
    let id = folder::run_id(now, &first.scenario);
    let here = env::current_dir().unwrap_or_default();
    let root = folder::locate(options.out.as_deref(), &here, &id);
    let mut bench = Bench { arms, options, root, finished: Vec::new() };
    let ended = bench.check().and_then(|()| on_a_runtime(bench.run())).unwrap_or_else(|error| {
        say(&format!("failed to {}", chain(&error)));
        error.exit_code()
    });
    bench.report(&id, ended).unwrap_or_else(|error| {
        say(&format!("failed to {}", chain(&error)));
        ExitCode::gravest([error.exit_code(), ended])
    })
}

struct Bench<'a> {
    arms: &'a [(Arm, Plan)],
    options: &'a BenchOptions,
    root: PathBuf,
    finished: Vec<Finished>,
}

impl Bench<'_> {
    /// Minutes of measuring must not end at an arm that could never run here.
    fn check(&self) -> Result<(), Error> {
        let Some((missing, _)) = self.arms.iter().find(|(_, plan)| environment::lacks_etcd(plan)) else {
            return Ok(());
        };
        let others = self.arms.iter().filter(|(_, plan)| !environment::lacks_etcd(plan));
        let others: Vec<&str> = others.map(|(arm, _)| arm.name.as_str()).collect();
        let others = match others.as_slice() {
            [] => "name another one".to_owned(),
            others => format!("leave it out: {} {}", self.options.option, others.join(",")),
        };
        Err(Error::NoEtcd { arm: missing.name.clone(), others })
    }

    /// Runs everybody in turn; how it ended, [`ExitCode::Pass`] when nothing was left out.
    async fn run(&mut self) -> Result<ExitCode, Error> {
        // One for all runs, so that a signal between two of them is heard by the second.
        let mut interrupts = Interrupts::listen().map_err(Error::Signals)?;
        for turn in order(self.arms.len(), self.options.rounds) {
            let (arm, plan) = &self.arms[turn.arm];
            let folder = format!("{}/round-{}", arm.name, turn.round);
            let options = RunOptions {
                out: Some(self.root.join(&folder)),
                quiet: true,
                command: self.options.command.clone(),
            };
            let Ended::Reported { conclusion, folder: run, interrupted: false } =
                conduct(plan, &options, &mut interrupts).await?
            else {
                return Ok(ExitCode::Interrupted);
            };
            let sample = conclusion.sample(folder.clone(), &run).map_err(Error::Observe)?;
            let attempts = run.read_attempts().map_err(Error::Observe)?;
            let reload = ReloadSample::new(&conclusion.background, attempts, &conclusion.analysis)
                .map_err(Error::Observe)?;
            self.finished.push(Finished { turn, folder, report: conclusion.report, sample, reload });
            self.tell(turn);
        }
        Ok(ExitCode::Pass)
    }

    /// Says how a run went, so that a long bench is no silence.
    fn tell(&self, Turn { round, arm }: Turn) {
        let (Some(run), (arm, _)) = (self.finished.last(), &self.arms[arm]) else { return };
        let requests = &run.report.requests;
        say(&format!(
            "round {round} of {}, {}: {} of {} requests failed around {} events",
            self.options.rounds, arm.name, requests.failed, requests.total, run.report.sla.events,
        ));
    }

    fn report(&self, id: &str, ended: ExitCode) -> Result<ExitCode, Error> {
        if self.finished.is_empty() {
            return Ok(ended);
        }
        let BenchOptions { subject, rounds, command, .. } = self.options;
        let setup = Setup { id, command, subject, rounds: *rounds, arms: self.arms };
        let (report, code) = summarize(&setup, &self.finished, ended).map_err(Error::Compare)?;
        let path = self.root.join(BENCH_FILE);
        let bytes = json::render(&report);
        fs::write(&path, &bytes).map_err(|source| Error::Report { path, source })?;
        let text = if self.options.json { bytes } else { render(&report, &shown(&self.root)).into_bytes() };
        // A reader that went away has what it wanted.
        let _closed = io::stdout().write_all(&text);
        Ok(code)
    }
}
