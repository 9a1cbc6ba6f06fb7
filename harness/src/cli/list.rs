//! `harness list` and `harness check`: what there is, and whether it is valid.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{
    exit::ExitCode,
    scenario::{self, Catalog, Scenario, files_below, load_file, show_ns},
};

use super::{
    refuse,
    text::{Align, table},
};

/// Prints a row for each scenario, a faulty one included.
pub(super) fn list(working_folder: &Path, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<ExitCode> {
    let files = match Catalog::find(working_folder).and_then(|catalog| catalog.files()) {
        Ok(files) => files,
        Err(error) => return refuse(err, &error),
    };
    let mut code = ExitCode::Pass;
    let mut rows = vec![["name", "target", "time", "what"].map(str::to_owned).to_vec()];
    for file in files {
        rows.push(match load_file(&file, working_folder, &[]) {
            Ok(scenario) => row(scenario),
            Err(_) => {
                code = ExitCode::Usage;
                let shown = file.strip_prefix(working_folder).unwrap_or(&file).display().to_string();
                vec![shown, "-".to_owned(), "-".to_owned(), "has faults: see `harness check`".to_owned()]
            }
        });
    }
    write!(out, "{}", table(&[Align::Left, Align::Left, Align::Right, Align::Left], &rows))?;
    Ok(code)
}

fn row(scenario: Scenario) -> Vec<String> {
    vec![
        scenario.name,
        scenario.target.word().to_owned(),
        show_ns(scenario.load.duration_ns),
        scenario.description,
    ]
}

/// Prints every fault of the files that are meant, and how many files were looked at.
pub(super) fn check(
    paths: &[String],
    working_folder: &Path,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<ExitCode> {
    let files = match files_meant(paths, working_folder) {
        Ok(files) => files,
        Err(error) => return refuse(err, &error),
    };
    let mut faulty = 0;
    for file in &files {
        if let Err(error) = load_file(file, working_folder, &[]) {
            faulty += 1;
            refuse(err, &error)?;
        }
    }
    if faulty > 0 {
        writeln!(err, "{faulty} of {} scenarios have faults", files.len())?;
        return Ok(ExitCode::Usage);
    }
    writeln!(out, "{} scenarios without a fault", files.len())?;
    Ok(ExitCode::Pass)
}

fn files_meant(paths: &[String], working_folder: &Path) -> Result<Vec<PathBuf>, scenario::Error> {
    if paths.is_empty() {
        return Catalog::find(working_folder)?.files();
    }
    let mut files = Vec::new();
    for wanted in paths {
        let path = working_folder.join(wanted);
        if path.exists() || wanted.ends_with(".toml") {
            files.extend(files_below(&path)?);
        } else {
            files.push(Catalog::find(working_folder)?.locate(wanted)?);
        }
    }
    Ok(files)
}
