//! `harness replay`: a run's folder reported on again.
//!
//! What is printed is the report that this harness makes of the recorded observations, and the exit code is
//! that of its verdict. The report in the folder is left alone; that it says something else is told on
//! standard error, with the first field that differs. An interrupted run ended with 130; its replay, which
//! nobody interrupted, ends with its verdict, inconclusive.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use crate::{
    compare::first_difference,
    conclude::{REPORT_FILE, conclude},
    environment::{chain, shown},
    exit::ExitCode,
    observe::RunDir,
    report::{json, terminal},
    run::paint,
};

pub(super) fn replay(
    folder: &Path,
    as_json: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<ExitCode> {
    let conclusion = match conclude(&RunDir::new(folder)) {
        Ok(conclusion) => conclusion,
        Err(error) => {
            writeln!(err, "error: failed to {}", chain(&error))?;
            return Ok(ExitCode::Usage);
        }
    };
    let fresh = json::render(&conclusion.report);
    let stored = folder.join(REPORT_FILE);
    if let Some(differs) = difference(fs::read(&stored), &fresh) {
        writeln!(err, "harness: {} {differs}", shown(&stored))?;
    }
    if as_json {
        out.write_all(&fresh)?;
    } else {
        let text = terminal::render(&conclusion.report, &shown(folder), paint());
        out.write_all(text.as_bytes())?;
    }
    Ok(conclusion.verdict.exit_code)
}

/// What sets the report in the folder apart from the one made now; `None` when nothing does.
fn difference(stored: io::Result<Vec<u8>>, fresh: &[u8]) -> Option<String> {
    let stored = match stored {
        Ok(stored) => stored,
        Err(error) => return Some(format!("cannot be compared with the report made now: {error}")),
    };
    if stored == fresh {
        return None;
    }
    let Ok(was) = serde_json::from_slice(&stored) else {
        return Some("is no JSON; the report made now is".to_owned());
    };
    let is = serde_json::from_slice(fresh).expect("a report must be JSON");
    Some(match first_difference(&was, &is) {
        Some(found) => format!(
            "differs from the report made now, first in {}: {} there, {} now",
            found.field,
            found.a.as_deref().unwrap_or("nothing"),
            found.b.as_deref().unwrap_or("nothing"),
        ),
        None => "has the figures of the report made now, but is written in another way".to_owned(),
    })
}
