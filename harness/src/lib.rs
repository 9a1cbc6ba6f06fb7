//! Makes hot updates happen in the middle of traffic and says with numbers what they cost.
//!
//! The rooms, in the order the data flows through them:
//!
//! `scenario` (the file) -> `plan` (what will happen, pure) -> `environment` (the target, started) ->
//! `drive` (load and timeline, at the same time) -> `observe` (what was seen, on disk) ->
//! `analyze` (pure) -> `verdict` (pure) -> `report` (pure renderers).
//!
//! Beside that way: `conclude` (from a run's folder to its report), `compare` (two sets of runs, pure), and
//! `bench` (several ways of doing the same, pure).

pub mod clock;
pub mod exit;

pub mod plan;
pub mod scenario;
pub mod tls;

pub mod environment;

pub mod observe;

pub mod drive;

pub mod analyze;
pub mod verdict;

pub mod report;

pub mod bench;
pub mod compare;
pub mod conclude;

pub mod run;

pub mod calibrate;

pub mod cli;

use std::{
    env,
    io::{self, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
};

use exit::ExitCode;

/// Runs the program with the arguments and the working directory of the process.
pub fn main() -> ExitCode {
    // A panic is a bug of ours and has a number of its own; what it says is printed by the panic itself.
    catch_unwind(AssertUnwindSafe(run_process)).unwrap_or(ExitCode::Bug)
}

fn run_process() -> ExitCode {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let result = env::current_dir().and_then(|folder| cli::run(env::args_os(), &folder, &mut out, &mut err));
    match result {
        Ok(code) => code,
        // The reader has seen enough, as in `harness list | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::Pass,
        Err(error) => {
            // With the output gone as well there is nobody left to tell.
            writeln!(err, "error: failed to print the result: {error}").ok();
            ExitCode::Environment
        }
    }
}
