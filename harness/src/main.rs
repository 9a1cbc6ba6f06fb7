//! The `harness` program: its arguments in, its exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    harness::main().into()
}
