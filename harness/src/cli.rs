//! The command line: what was asked for, and what it prints.
//!
//! Results go to `out`, everything about what went wrong to `err`, so that both can be tested without a
//! process. Deliberately absent: running a plan (`run`) and reading a scenario (`scenario`).

mod bench;
mod compare;
mod describe;
mod list;
mod replay;
mod text;

use std::{
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand};

use crate::{
    calibrate::{self, Extent},
    exit::ExitCode,
    run,
    scenario::{self, Override},
};

/// Seeds every random choice of a run when none is asked for. It is always the same, so that two runs of
/// a scenario are the same work unless somebody wants otherwise.
const SEED: u64 = 1;

const AFTER_HELP: &str = "\
A scenario is named by its path under scenarios/ without .toml; a folder's name
alone means its main scenario (`upgrade` is scenarios/upgrade/upgrade.toml).

Exit codes: 0 pass, 1 a gate failed, 2 usage or scenario error, 3 the
environment could not start, 4 inconclusive, 5 correctness violated,
70 a bug of ours, 130 interrupted (everything that was started is stopped).
When several hold, the gravest wins: 70, 3, 5, 4, 1.";

const BENCH_HELP: &str = "\
Exit codes: 0 everything was measured, whatever was lost; 1 a change of the
configuration never arrived (`reload`), 3 the environment could not start, 4 a
run is inconclusive, 130 interrupted. What was finished is reported in any
case, and kept as runs for `replay` and `compare`.";

const COMPARE_HELP: &str = "\
    harness compare reports/runs/A reports/runs/B
    harness compare --a reports/runs/*-one-* --b reports/runs/*-other-*

Exit codes: 0 no row of B is shown to be worse, 1 one is, 2 usage, or runs of
different work, 4 too few values to say, or an inconclusive run.";

/// Makes hot updates happen under load and says with numbers what they cost.
#[derive(Debug, Parser)]
#[command(name = "harness", version, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario and judge it by its gates.
    #[command(next_line_help = true)]
    Scenario(ScenarioArgs),
    /// Show the scenarios there are.
    List,
    /// Check scenario files: all faults at once, with file, line and hint.
    Check {
        /// Files, folders or names; all of scenarios/ when there is none.
        #[arg(value_name = "PATH")]
        paths: Vec<String>,
    },
    /// Show what a scenario would do, without doing it.
    #[command(next_line_help = true)]
    Plan {
        #[command(flatten)]
        wanted: Wanted,
        /// Print plan.json instead of a text.
        #[arg(long)]
        json: bool,
    },
    /// Set several ways of doing the same side by side, in turns.
    #[command(subcommand, after_help = BENCH_HELP)]
    Bench(bench::BenchCommand),
    /// Say what sets two runs, or two sets of runs, apart.
    #[command(next_line_help = true, after_help = COMPARE_HELP)]
    Compare(compare::CompareArgs),
    /// Analyse, judge and report a run again from what it recorded.
    Replay {
        /// Folder of a run, for example one in reports/runs/.
        #[arg(value_name = "RUN_DIR")]
        folder: PathBuf,
        /// Print report.json instead of a text.
        #[arg(long)]
        json: bool,
    },
    /// Measure the instrument against known faults: true beside measured.
    #[command(next_line_help = true)]
    Calibrate(CalibrateArgs),
}

#[derive(Debug, Args)]
struct CalibrateArgs {
    /// The shorter stalls and outages, once: a quarter of a minute.
    #[arg(long)]
    quick: bool,
    /// How often each case is run; 3, or 1 of the quick form.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000))]
    runs: Option<u64>,
    /// Instead: how many of N runs to which nothing happens are called a failure.
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..=1_000_000),
        conflicts_with_all = ["quick", "runs"]
    )]
    false_alarms: Option<u64>,
    /// Print JSON instead of the table.
    #[arg(long)]
    json: bool,
    /// Folder for the table and its JSON, and for the runs that were wrong.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ScenarioArgs {
    #[command(flatten)]
    wanted: Wanted,
    /// auto, containers, processes, embedded or external.
    #[arg(
        long,
        value_name = "KIND",
        value_parser = ["auto", "containers", "processes", "embedded", "external"],
        default_value = "auto",
        hide_possible_values = true
    )]
    services: String,
    /// Folder for records and reports, instead of one in reports/runs/.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the verdict alone.
    #[arg(long)]
    quiet: bool,
}

/// A scenario with what the command line changes in it.
#[derive(Debug, Args)]
struct Wanted {
    /// Name of a scenario under scenarios/, or path of a file.
    #[arg(value_name = "NAME|PATH")]
    scenario: String,
    /// How the reference server swaps its binary.
    #[arg(long, value_name = "STRATEGY")]
    strategy: Option<String>,
    /// Binary that the reference server starts from.
    #[arg(long, value_name = "BIN")]
    old: Option<String>,
    /// Binary that it is upgraded to, in turn with the old one.
    #[arg(long, value_name = "BIN")]
    new: Option<String>,
    /// Replace a value of the file, for example load.stream.busy.rate=500.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment)]
    sets: Vec<Override>,
    /// Seed of arrival times and of the choice of requests.
    #[arg(long, value_name = "N", default_value_t = SEED)]
    seed: u64,
}

/// How a plan is run, beside what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOptions {
    /// Folder for the run's records and reports; `None` makes one below `reports/runs/`.
    pub out: Option<PathBuf>,
    /// Print the verdict alone.
    pub quiet: bool,
    /// The command line as it was typed, for the report.
    pub command: Vec<String>,
}

/// Does what the command line asks for.
///
/// # Errors
/// When `out` or `err` cannot be written to.
pub fn run(
    args: impl IntoIterator<Item = OsString>,
    working_folder: &Path,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<ExitCode> {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            write!(err, "{error}")?;
            return Ok(ExitCode::Usage);
        }
        Err(help) => {
            write!(out, "{help}")?;
            return Ok(ExitCode::Pass);
        }
    };
    match cli.command {
        Command::Scenario(asked) => {
            let mut overrides = asked.wanted.overrides();
            if asked.services != "auto" {
                overrides.push(flag("--services", "services.kind", &asked.services));
            }
            let scenario = match scenario::load(&asked.wanted.scenario, working_folder, &overrides) {
                Ok(scenario) => scenario,
                Err(error) => return refuse(err, &error),
            };
            let options = RunOptions { out: asked.out, quiet: asked.quiet, command: typed(&args) };
            Ok(run::run(&scenario.plan(asked.wanted.seed), &options))
        }
        Command::List => list::list(working_folder, out, err),
        Command::Check { paths } => list::check(&paths, working_folder, out, err),
        Command::Plan { wanted, json } => {
            let plan = match scenario::load(&wanted.scenario, working_folder, &wanted.overrides()) {
                Ok(scenario) => scenario.plan(wanted.seed),
                Err(error) => return refuse(err, &error),
            };
            if json {
                writeln!(out, "{}", serde_json::to_string_pretty(&plan)?)?;
            } else {
                write!(out, "{}", describe::describe(&plan))?;
            }
            Ok(ExitCode::Pass)
        }
        Command::Bench(wanted) => bench::bench(wanted, typed(&args), working_folder, err),
        Command::Compare(wanted) => compare::compare_runs(&wanted, working_folder, out, err),
        Command::Replay { folder, json } => replay::replay(&working_folder.join(folder), json, out, err),
        Command::Calibrate(asked) => calibrate::run(&asked.options(typed(&args)), out, err),
    }
}

/// Settings whose values no report may show.
const SECRETS: [&str; 2] = ["services.redis_auth=", "services.mysql_password="];

/// The command line as it was typed, but for passwords.
fn typed(args: &[OsString]) -> Vec<String> {
    let shown = |arg: &OsString| {
        let arg = arg.to_string_lossy();
        let secret = SECRETS.iter().find_map(|name| arg.find(name).map(|at| at + name.len()));
        secret.map_or_else(|| arg.to_string(), |at| format!("{}***", &arg[..at]))
    };
    args.iter().map(shown).collect()
}

impl CalibrateArgs {
    fn options(self, command: Vec<String>) -> calibrate::Options {
        let (extent, rounds) = if self.quick { (Extent::Quick, 1) } else { (Extent::Full, 3) };
        calibrate::Options {
            extent,
            rounds: self.runs.unwrap_or(rounds),
            false_alarms: self.false_alarms,
            json: self.json,
            out: self.out,
            command,
        }
    }
}

impl Wanted {
    fn overrides(&self) -> Vec<Override> {
        let flags = [
            ("--strategy", "target.strategy", &self.strategy),
            ("--old", "target.old", &self.old),
            ("--new", "target.new", &self.new),
        ];
        let flags =
            flags.into_iter().filter_map(|(name, path, value)| Some(flag(name, path, value.as_ref()?)));
        // Last, because what is spelled out in full goes before a flag.
        flags.chain(self.sets.iter().cloned()).collect()
    }
}

fn flag(name: &str, path: &str, value: &str) -> Override {
    let blame = format!("{name} {value}");
    Override { path: path.to_owned(), value: value.to_owned(), is_text: true, blame }
}

fn assignment(text: &str) -> Result<Override, &'static str> {
    let (path, value) = text.split_once('=').ok_or("there is no `=`; write it like load.rate=500")?;
    let (path, value) = (path.trim().to_owned(), value.trim().to_owned());
    Ok(Override { path, value, is_text: false, blame: format!("--set {text}") })
}

/// Prints why nothing was done; all of it is the asker's to mend.
fn refuse(err: &mut dyn Write, error: &scenario::Error) -> io::Result<ExitCode> {
    match error {
        scenario::Error::Faults(faults) => writeln!(err, "{faults}")?,
        other => {
            write!(err, "error: failed to {other}")?;
            if let Some(cause) = std::error::Error::source(other) {
                write!(err, ": {cause}")?;
            }
            writeln!(err)?;
        }
    }
    Ok(ExitCode::Usage)
}

#[cfg(test)]
mod tests;
