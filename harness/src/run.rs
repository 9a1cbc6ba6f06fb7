//! Runs a plan. Placeholder: the engine is not part of this branch.

use std::io::{Write as _, stderr};

use crate::{cli::RunOptions, exit::ExitCode, plan::Plan};

/// Says that nothing was run.
pub fn run(_plan: Plan, _options: RunOptions) -> ExitCode {
    writeln!(stderr(), "error: failed to run the plan: the engine is missing from this build").ok();
    ExitCode::Bug
}
