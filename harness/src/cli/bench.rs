//! `harness bench`: the arms and their plans, from what was asked for.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, builder::RangedU64ValueParser};

use super::{SEED, flag, refuse};
use crate::{
    bench::Arm,
    exit::ExitCode,
    plan::Plan,
    run::{self, BenchOptions},
    scenario::{self, Override},
};

/// What every arm of a bench runs.
const UPGRADE_SCENARIO: &str = "bench/upgrade";
const RELOAD_SCENARIO: &str = "bench/reload";

/// What is done in different ways.
#[derive(Debug, Subcommand)]
pub(super) enum BenchCommand {
    /// Swap the server's binary with one strategy after the other.
    #[command(next_line_help = true)]
    Upgrade(UpgradeArgs),
    /// Change the server's configuration by one mechanism after the other.
    #[command(next_line_help = true)]
    Reload(ReloadArgs),
}

#[derive(Debug, Args)]
pub(super) struct UpgradeArgs {
    /// Strategies, separated by commas; the others are compared with the first.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "handoff-live,handoff,inherit,activate,reuseport-drain,reuseport,stop-start"
    )]
    strategies: Vec<String>,
    /// Swaps in each run.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = RangedU64ValueParser::<u32>::new().range(1..))]
    upgrades: u32,
    /// Binary that it is upgraded to, in turn with the old one.
    #[arg(long, value_name = "BIN")]
    new: Option<String>,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    /// Mechanisms, separated by commas; the others are compared with the first.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "file,etcd,push,timer")]
    mechanisms: Vec<String>,
    /// What is changed: cluster, blacklist or activities.
    #[arg(
        long,
        value_name = "DATA",
        value_parser = ["cluster", "blacklist", "activities"],
        default_value = "cluster",
        hide_possible_values = true
    )]
    data: String,
    /// Single changes in each run.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = RangedU64ValueParser::<u32>::new().range(1..))]
    changes: u32,
    /// Changes of the storm in each run, as fast as they can be made.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = RangedU64ValueParser::<u32>::new().range(2..=1_000))]
    storm: u32,
    /// Milliseconds between two looks of the timer; at most 100, so that each change is found in its window.
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = RangedU64ValueParser::<u64>::new().range(10..=100))]
    timer_every_ms: u64,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Args)]
struct CommonArgs {
    /// Runs of each arm.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = RangedU64ValueParser::<u32>::new().range(1..))]
    rounds: u32,
    /// Requests per second, all streams together, instead of the scenario's.
    #[arg(long, value_name = "N")]
    rate: Option<String>,
    /// Binary that the server starts from.
    #[arg(long, value_name = "BIN")]
    old: Option<String>,
    /// Seed of arrival times and of the choice of requests.
    #[arg(long, value_name = "N", default_value_t = SEED)]
    seed: u64,
    /// Folder for the runs and bench.json, instead of one in reports/runs/.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print bench.json instead of a table.
    #[arg(long)]
    json: bool,
}

/// A kind of bench: what it is called, its arms and what it changes in their scenario.
struct Bench<'a> {
    subject: &'static str,
    /// The option that lists the arms.
    option: &'static str,
    arms: Vec<Arm>,
    plan: &'a dyn Fn(&[Override]) -> Result<Plan, scenario::Error>,
    common: &'a CommonArgs,
}

pub(super) fn bench(
    wanted: BenchCommand,
    command: Vec<String>,
    working_folder: &Path,
    err: &mut dyn Write,
) -> io::Result<ExitCode> {
    match wanted {
        BenchCommand::Upgrade(asked) => {
            let bench = Bench {
                subject: "upgrade",
                option: "--strategies",
                arms: asked.strategies.iter().map(|strategy| Arm::of_strategy(strategy)).collect(),
                plan: &|overrides| asked.plan(overrides, working_folder),
                common: &asked.common,
            };
            bench.run(command, err)
        }
        BenchCommand::Reload(asked) => {
            let arm = |mechanism: &String| Arm::of_mechanism(mechanism, &asked.data, asked.timer_every_ms);
            let bench = Bench {
                subject: "reload",
                option: "--mechanisms",
                arms: asked.mechanisms.iter().map(arm).collect(),
                plan: &|overrides| asked.plan(overrides, working_folder),
                common: &asked.common,
            };
            bench.run(command, err)
        }
    }
}

impl Bench<'_> {
    fn run(self, command: Vec<String>, err: &mut dyn Write) -> io::Result<ExitCode> {
        let Self { subject, option, arms, plan, common } = self;
        let mut named: Vec<&str> = arms.iter().map(|arm| arm.name.as_str()).collect();
        named.sort_unstable();
        if let Some(twice) = named.windows(2).find(|pair| pair[0] == pair[1]) {
            writeln!(err, "error: failed to set {} beside itself: name it once in {option}", twice[0])?;
            return Ok(ExitCode::Usage);
        }
        let arms: Result<Vec<(Arm, Plan)>, scenario::Error> = arms
            .into_iter()
            .map(|arm| {
                let plan = plan(&[arm.settings.clone(), common.overrides()].concat())?;
                Ok((arm, plan))
            })
            .collect();
        match arms {
            Ok(arms) => {
                let CommonArgs { rounds, ref out, json, .. } = *common;
                let (subject, option, out) = (subject.to_owned(), option.to_owned(), out.clone());
                Ok(run::bench(&arms, &BenchOptions { subject, option, rounds, out, json, command }))
            }
            Err(error) => refuse(err, &error),
        }
    }
}

impl CommonArgs {
    fn overrides(&self) -> Vec<Override> {
        let rate = self.rate.as_ref().map(|rate| number("--rate", "load.rate", rate));
        let old = self.old.as_ref().map(|old| flag("--old", "target.old", old));
        rate.into_iter().chain(old).collect()
    }
}

impl UpgradeArgs {
    /// As long as the swaps need, with the scenario's quiet time behind the last one.
    fn plan(&self, overrides: &[Override], working_folder: &Path) -> Result<Plan, scenario::Error> {
        let mut overrides = overrides.to_vec();
        overrides.extend(self.new.as_ref().map(|new| flag("--new", "target.new", new)));
        let load = |overrides: &[Override]| {
            Ok(scenario::load(UPGRADE_SCENARIO, working_folder, overrides)?.plan(self.common.seed))
        };
        let as_written = load(&overrides)?;
        let due: Vec<u64> = as_written.events.iter().map(|event| event.at_ns).collect();
        let (&[first_ns, second_ns, ..], Some(last_ns)) = (due.as_slice(), due.last()) else {
            return Ok(as_written);
        };
        let swaps_ns = (second_ns - first_ns) * u64::from(self.upgrades - 1);
        let duration_ns = first_ns + swaps_ns + (as_written.load.duration_ns - last_ns);
        overrides.push(number("--upgrades", "event.0.count", &self.upgrades.to_string()));
        overrides.push(time("--upgrades", "load.duration", duration_ns));
        load(&overrides)
    }
}

impl ReloadArgs {
    /// As long as the changes under load need; the pause after them comes so much later or sooner.
    fn plan(&self, overrides: &[Override], working_folder: &Path) -> Result<Plan, scenario::Error> {
        let mut overrides = overrides.to_vec();
        for event in ["event.0", "event.1", "event.2"] {
            overrides.push(flag("--data", &format!("{event}.datum"), &self.data));
        }
        overrides.push(number("--storm", "event.0.storm", &self.storm.to_string()));
        let load = |overrides: &[Override]| {
            Ok(scenario::load(RELOAD_SCENARIO, working_folder, overrides)?.plan(self.common.seed))
        };
        let as_written = load(&overrides)?;
        let busy_ns = as_written.load.stages.first().map_or(0, |stage| stage.duration_ns);
        // The first event is the storm.
        let due: Vec<u64> = as_written.events.iter().skip(1).map(|event| event.at_ns).collect();
        let (under_load, in_pause) = due.split_at(due.partition_point(|at_ns| *at_ns < busy_ns));
        let (&[first_ns, second_ns, ..], &[pause_ns, ..]) = (under_load, in_pause) else {
            return Ok(as_written);
        };
        let every_ns = second_ns - first_ns;
        let moved = |ns| ns + every_ns * u64::from(self.changes) - every_ns * under_load.len() as u64;
        overrides.push(number("--changes", "event.1.count", &self.changes.to_string()));
        overrides.push(time("--changes", "event.2.at", moved(pause_ns)));
        overrides.push(time("--changes", "load.stage.0.duration", moved(busy_ns)));
        load(&overrides)
    }
}

fn number(name: &str, path: &str, value: &str) -> Override {
    Override { is_text: false, ..flag(name, path, value) }
}

fn time(name: &str, path: &str, ns: u64) -> Override {
    flag(name, path, &format!("{}ms", ns / 1_000_000))
}
