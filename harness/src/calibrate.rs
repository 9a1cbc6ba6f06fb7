//! `harness calibrate`: the instrument measures itself against a target with known faults.
//!
//! The real pipe (plan, load, logs on disk, analysis, verdict, report) runs against a scripted target that
//! counts and times what it does. Every row is true beside measured. Two rules keep it honest:
//! - The truth is what the target did, by its own clock, and not what it was told to do.
//! - A trial that is off is wrong, unless somebody noticed that the machine did not let a thread run; then it
//!   is disturbed, counted as that, and repeated a bounded number of times. What proves nothing never passes.

mod alarms;
mod cases;
mod compare;
mod model;
mod pipe;
mod target;
mod text;
mod witness;

use std::{
    fs,
    io::{self, IsTerminal as _, Write},
    path::{Path, PathBuf},
    thread::available_parallelism,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget};
use tempfile::TempDir;

pub use self::{
    alarms::Alarms,
    cases::Extent,
    model::{Bracket, Calibration, LossRow, OutageRow, QuietRow, StallRow, Trials},
};
use self::{
    cases::cases,
    compare::{Finding, judge},
    model::Ledger,
};
use crate::{clock::RunClock, drive::load, environment::chain, exit::ExitCode, observe, report::json};

/// A case whose trials are disturbed is run at most so many times as often as was asked for.
const REPEATS_MAX: u64 = 8;
/// Redraws a second of the progress; they must not take processor time from what is measured.
const REDRAWS_HZ: u8 = 2;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub extent: Extent,
    /// How often each case is run.
    pub rounds: u64,
    /// Measure false alarms with so many runs instead.
    pub false_alarms: Option<u64>,
    /// Print JSON instead of the table.
    pub json: bool,
    /// Folder for the table and its JSON; the runs that were wrong stay there too.
    pub out: Option<PathBuf>,
    /// The command line as it was typed.
    pub command: Vec<String>,
}

/// Why there is no calibration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("run the scripted target")]
    Target(#[source] io::Error),
    #[error("watch the machine")]
    Witness(#[source] io::Error),
    #[error(transparent)]
    Load(load::Error),
    #[error("keep what a run saw")]
    Observe(#[source] observe::Error),
    #[error("keep the runs in a folder")]
    Folder(#[source] io::Error),
    #[error("write {path}")]
    Result {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Calibrates and prints the result.
///
/// # Errors
/// When `out` or `err` cannot be written to.
pub fn run(options: &Options, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<ExitCode> {
    let results = match options.false_alarms {
        Some(runs) => false_alarms(runs, options).map(|alarms| Results {
            name: "false-alarms",
            code: alarms.exit_code,
            text: text::alarms(&alarms),
            json: json::render(&alarms),
        }),
        None => calibrate(options).map(|calibration| Results {
            name: "calibration",
            code: calibration.exit_code,
            text: text::table(&calibration),
            json: json::render(&calibration),
        }),
    };
    match results.and_then(|results| results.write(options.out.as_deref()).map(|()| results)) {
        Ok(results) => {
            out.write_all(if options.json { &results.json } else { results.text.as_bytes() })?;
            Ok(results.code)
        }
        Err(error) => {
            writeln!(err, "error: failed to {}", chain(&error))?;
            Ok(ExitCode::Environment)
        }
    }
}

/// Runs every case of the extent, in turn, until enough trials prove something.
///
/// # Errors
/// When a run could not take place.
pub fn calibrate(options: &Options) -> Result<Calibration, Error> {
    let begun = RunClock::starting_in(Duration::ZERO);
    let folder = Folder::make(options.out.as_deref())?;
    let rounds = options.rounds.max(1);
    let mut ledgers: Vec<Ledger> =
        cases(options.extent).into_iter().map(|case| Ledger::new(case, rounds)).collect();
    let bar = progress(rounds * ledgers.len() as u64);
    for round in 0..rounds * REPEATS_MAX {
        for (index, ledger) in ledgers.iter_mut().enumerate().filter(|(_, ledger)| !ledger.is_settled()) {
            let (plan, script) = ledger.case.work();
            let kept = folder.path().join(format!("{:02}-{round}", index + 1));
            let trial = pipe::run(plan, script, &kept, &options.command)?;
            let judged = judge(&ledger.case, &trial);
            if !judged.iter().any(|judged| matches!(judged.finding(), Finding::Wrong(_))) {
                fs::remove_dir_all(&kept).map_err(Error::Folder)?;
            }
            ledger.judged.extend(judged);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let cpus = available_parallelism().map_or(1, usize::from);
    let empty = Calibration::new(options.command.clone(), begun.anchor().to_string(), kernel, cpus);
    let mut calibration = empty.conclude(&ledgers);
    calibration.duration_s = seconds(&begun);
    if calibration.trials().wrong > 0 {
        let kept = folder.keep();
        calibration.reasons.push(format!("The runs that were wrong are kept in {}.", kept.display()));
    }
    Ok(calibration)
}

fn false_alarms(runs: u64, options: &Options) -> Result<Alarms, Error> {
    let begun = RunClock::starting_in(Duration::ZERO);
    let folder = Folder::make(options.out.as_deref())?;
    let bar = progress(runs);
    let mut alarms = alarms::measure(runs, &folder.path().join("run"), &options.command, || bar.inc(1))?;
    bar.finish_and_clear();
    alarms.duration_s = seconds(&begun);
    Ok(alarms)
}

/// What is printed and written.
struct Results {
    name: &'static str,
    code: ExitCode,
    text: String,
    json: Vec<u8>,
}

impl Results {
    /// Writes both forms into the folder that was asked for.
    fn write(&self, folder: Option<&Path>) -> Result<(), Error> {
        let Some(folder) = folder else { return Ok(()) };
        for (extension, content) in [("txt", self.text.as_bytes()), ("json", &self.json)] {
            let path = folder.join(self.name).with_extension(extension);
            fs::write(&path, content).map_err(|source| Error::Result { path, source })?;
        }
        Ok(())
    }
}

/// Where the runs are while they are judged.
enum Folder {
    /// Of the user.
    Given(PathBuf),
    Own(TempDir),
}

impl Folder {
    fn make(out: Option<&Path>) -> Result<Self, Error> {
        match out {
            Some(out) => fs::create_dir_all(out).map(|()| Self::Given(out.to_owned())),
            None => tempfile::Builder::new().prefix("calibrate-").tempdir().map(Self::Own),
        }
        .map_err(Error::Folder)
    }

    fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Own(folder) => folder.path(),
        }
    }

    fn keep(self) -> PathBuf {
        match self {
            Self::Given(path) => path,
            Self::Own(folder) => folder.keep(),
        }
    }
}

fn progress(steps: u64) -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(REDRAWS_HZ)
    } else {
        ProgressDrawTarget::hidden()
    };
    ProgressBar::with_draw_target(Some(steps), target)
}

fn seconds(begun: &RunClock) -> f64 {
    (Duration::from_nanos(begun.now_ns()).as_secs_f64() * 10.0).round() / 10.0
}
