//! Makes up the log of a run, or analyses, judges and reports one as a run does at its end.
//!
//!     cargo run -p harness --example analyze_log -- make FOLDER ATTEMPTS FAILED_PER_MILLE
//!     cargo run -p harness --example analyze_log -- judge FOLDER
//!
//! `judge` prints the most memory that it has had.

#[path = "../benches/made_log.rs"]
mod made_log;
#[path = "../benches/peak.rs"]
mod peak;

use std::{
    env,
    error::Error,
    fs,
    io::{self, Write as _},
    path::Path,
};

use harness::{analyze::analyze_log, observe::RunDir, report, verdict::judge};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["make", folder, attempts, failed_per_mille] => {
            made_log::write(Path::new(folder), attempts.parse()?, failed_per_mille.parse()?)?;
        }
        ["judge", folder] => {
            let run = RunDir::new(*folder);
            let background = run.load_background()?;
            let analysis = analyze_log(&background, run.read_attempts()?)?;
            let verdict = judge(&background.plan, &analysis);
            let report = report::build(&background, &analysis, &verdict);
            fs::write(run.path().join("report.json"), report::json::render(&report))?;
            let kb = peak::kb()?;
            writeln!(io::stdout(), "{} attempts, peak memory {kb} kB", report.requests.total)?;
        }
        _ => return Err("give `make FOLDER ATTEMPTS FAILED_PER_MILLE` or `judge FOLDER`".into()),
    }
    Ok(())
}
