//! The parts of `ci/blacklist`, which compares the list of `seckill` with the obvious design.
//!
//!     blacklist make random|sorted FILE        ten million ids
//!     blacklist obvious SECRET_FILE FILE       a server with a hash set of strings behind a lock; prints its address
//!     blacklist drive PUBLIC RELOAD TOKENS N   load on a server, quiet and during N reloads; prints figures
//!     blacklist lookup packed|set|wait FILE    nanoseconds of a look-up, at the median

mod drive;
mod lookup;
mod make;
mod obvious;

use std::{env, error::Error, process::ExitCode};

use std::io::Write as _;

type Failed = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["make", order, file] => make::make(order == "random", file),
        ["obvious", secret, file] => obvious::serve(secret, file),
        ["drive", public, reload, tokens, count] => drive::drive(public, reload, tokens, count),
        ["lookup", design, file] => lookup::measure(design, file),
        _ => Err("see the head of this file for what to say".into()),
    };
    if let Err(error) = done {
        _ = writeln!(std::io::stderr(), "error: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
