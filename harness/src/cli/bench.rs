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

/// What every arm runs.
const UPGRADE_SCENARIO: &str = "bench/upgrade";

/// What is done in different ways.
#[derive(Debug, Subcommand)]
pub(super) enum BenchCommand {
    /// Swap the server's binary with one strategy after the other.
    #[command(next_line_help = true)]
    Upgrade(UpgradeArgs),
}

#[derive(Debug, Args)]
pub(super) struct UpgradeArgs {
    /// Strategies, separated by commas; the others are compared with the first.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "handoff-live,handoff,reuseport,stop-start"
    )]
    strategies: Vec<String>,
    /// Swaps in each run.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = RangedU64ValueParser::<u32>::new().range(1..))]
    upgrades: u32,
    /// Runs of each strategy.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = RangedU64ValueParser::<u32>::new().range(1..))]
    rounds: u32,
    /// Requests per second, all streams together, instead of the scenario's.
    #[arg(long, value_name = "N")]
    rate: Option<String>,
    /// Binary that the server starts from.
    #[arg(long, value_name = "BIN")]
    old: Option<String>,
    /// Binary that it is upgraded to, in turn with the old one.
    #[arg(long, value_name = "BIN")]
    new: Option<String>,
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

pub(super) fn bench(
    wanted: BenchCommand,
    command: Vec<String>,
    working_folder: &Path,
    err: &mut dyn Write,
) -> io::Result<ExitCode> {
    let BenchCommand::Upgrade(asked) = wanted;
    let mut named = asked.strategies.clone();
    named.sort_unstable();
    if let Some(twice) = named.windows(2).find(|pair| pair[0] == pair[1]) {
        writeln!(err, "error: failed to set {} beside itself: name each strategy once", twice[0])?;
        return Ok(ExitCode::Usage);
    }
    let arms: Result<Vec<(Arm, Plan)>, scenario::Error> =
        asked.strategies.iter().map(|strategy| arm(strategy, &asked, working_folder)).collect();
    match arms {
        Ok(arms) => {
            let UpgradeArgs { rounds, out, json, .. } = asked;
            let options = BenchOptions { subject: "upgrade".to_owned(), rounds, out, json, command };
            Ok(run::bench(&arms, &options))
        }
        Err(error) => refuse(err, &error),
    }
}

/// An arm with its plan: as long as the swaps need, with the scenario's quiet time behind the last one.
fn arm(strategy: &str, asked: &UpgradeArgs, working_folder: &Path) -> Result<(Arm, Plan), scenario::Error> {
    let arm = Arm::of_strategy(strategy);
    let mut overrides = arm.settings.clone();
    for (name, path, value) in [("--old", "target.old", &asked.old), ("--new", "target.new", &asked.new)] {
        overrides.extend(value.as_ref().map(|value| flag(name, path, value)));
    }
    overrides.extend(asked.rate.as_ref().map(|rate| number("--rate", "load.rate", rate)));

    let as_written = scenario::load(UPGRADE_SCENARIO, working_folder, &overrides)?.plan(asked.seed);
    let due: Vec<u64> = as_written.events.iter().map(|event| event.at_ns).collect();
    let (&[first_ns, second_ns, ..], Some(last_ns)) = (due.as_slice(), due.last()) else {
        return Ok((arm, as_written));
    };
    let swaps_ns = (second_ns - first_ns) * u64::from(asked.upgrades - 1);
    let duration_ms = (first_ns + swaps_ns + (as_written.load.duration_ns - last_ns)) / 1_000_000;
    overrides.push(number("--upgrades", "event.0.count", &asked.upgrades.to_string()));
    overrides.push(flag("--upgrades", "load.duration", &format!("{duration_ms}ms")));
    let plan = scenario::load(UPGRADE_SCENARIO, working_folder, &overrides)?.plan(asked.seed);
    Ok((arm, plan))
}

fn number(name: &str, path: &str, value: &str) -> Override {
    Override { is_text: false, ..flag(name, path, value) }
}
