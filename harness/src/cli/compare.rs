//! `harness compare`: finds the runs that are meant, reads them one after the other, and prints what sets
//! them apart.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;

use crate::{
    compare::{self, Sample, compare, render},
    conclude::conclude,
    environment::{chain, shown},
    exit::ExitCode,
    observe::{self, RunDir},
    report::json,
};

/// What is compared: two folders, or two lists of them.
#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// What to compare with: a run's folder, or a folder of runs.
    #[arg(value_name = "A", required_unless_present = "a", conflicts_with = "a")]
    a_folder: Option<PathBuf>,
    /// What is in question, likewise.
    #[arg(value_name = "B", required_unless_present = "b", conflicts_with = "b")]
    b_folder: Option<PathBuf>,
    /// Several folders for A, for example reports/runs/*-smoke-*.
    #[arg(long, value_name = "DIR", num_args = 1.., requires = "b")]
    a: Vec<PathBuf>,
    /// Several folders for B.
    #[arg(long, value_name = "DIR", num_args = 1.., requires = "a")]
    b: Vec<PathBuf>,
    /// Print JSON instead of a text.
    #[arg(long)]
    json: bool,
}

/// Why there is nothing to compare.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("find a run in {folder}: neither it nor a folder in it has a plan.json")]
    NoRun { folder: String },
    #[error("look into {folder}")]
    Folder {
        folder: String,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Run(#[from] observe::Error),
    #[error(transparent)]
    Compare(#[from] compare::Error),
}

pub(super) fn compare_runs(
    args: &CompareArgs,
    working_folder: &Path,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<ExitCode> {
    let side = |one: &Option<PathBuf>, several: &[PathBuf]| -> Result<Vec<Sample>, Error> {
        samples(one.iter().chain(several).map(|folder| working_folder.join(folder)))
    };
    let found = side(&args.a_folder, &args.a)
        .and_then(|a| Ok((a, side(&args.b_folder, &args.b)?)))
        .and_then(|(a, b)| Ok(compare(&a, &b)?));
    match found {
        Ok(comparison) => {
            if args.json {
                out.write_all(&json::render(&comparison))?;
            } else {
                write!(out, "{}", render(&comparison))?;
            }
            Ok(comparison.exit_code)
        }
        Err(error) => {
            writeln!(err, "error: failed to {}", chain(&error))?;
            Ok(ExitCode::Usage)
        }
    }
}

/// The runs in these folders, each once, in the order of their paths.
fn samples(folders: impl Iterator<Item = PathBuf>) -> Result<Vec<Sample>, Error> {
    let mut runs = BTreeSet::new();
    for folder in folders {
        runs.extend(runs_in(&folder)?);
    }
    // One after the other, because the log of a long run is large and only its figures are kept.
    runs.iter().map(|folder| Ok(sample(folder)?)).collect()
}

/// The folder itself, or those in it that are runs.
fn runs_in(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let is_run = |folder: &Path| RunDir::new(folder).plan().is_file();
    let unreadable = |source| Error::Folder { folder: shown(folder), source };
    let folder = folder.canonicalize().map_err(unreadable)?;
    if is_run(&folder) {
        return Ok(vec![folder]);
    }
    let mut runs = Vec::new();
    for entry in fs::read_dir(&folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if is_run(&path) {
            runs.push(path);
        }
    }
    if runs.is_empty() { Err(Error::NoRun { folder: shown(&folder) }) } else { Ok(runs) }
}

fn sample(folder: &Path) -> Result<Sample, observe::Error> {
    let folder = RunDir::new(folder);
    conclude(&folder)?.sample(shown(folder.path()), &folder)
}
