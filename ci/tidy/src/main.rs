//! House rules that clippy cannot check, over all files of the repository.
//!
//! `cargo run -p tidy` prints every violation at once, sorted by file and line, and ends with 1; a clean tree
//! ends with 0, a tree that cannot be read with 2. The checks are pure functions from a [`tree::Tree`] to
//! [`violation::Violation`]s. Nothing is repaired: a rule that a program can follow belongs to rustfmt.

mod catalogue;
mod docs;
mod files;
mod imports;
mod machine_paths;
mod manifests;
mod paths;
mod purity;
mod rooms;
mod source;
mod tokens;
mod tree;
mod violation;

use std::{
    env,
    io::{self, Write as _},
    process::ExitCode,
};

use source::Source;
use tree::Tree;
use violation::Violation;

fn main() -> ExitCode {
    let start = env::args_os().nth(1).unwrap_or_else(|| ".".into());
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let printed = match Tree::of_repository(start.as_ref()) {
        Ok(tree) => {
            let found = violations(&tree);
            let code = if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            found
                .iter()
                .try_for_each(|violation| writeln!(out, "{violation}"))
                .and_then(|()| writeln!(out, "tidy: {} files, {} violations", tree.len(), found.len()))
                .map(|()| code)
        }
        Err(error) => writeln!(err, "error: failed to {error}").map(|()| ExitCode::from(2)),
    };
    // Without an output there is nobody left to tell, and nobody may take that for a clean tree.
    printed.unwrap_or(ExitCode::from(2))
}

/// Everything that is wrong with the tree, sorted.
fn violations(tree: &Tree) -> Vec<Violation> {
    let sources = Source::all(tree);
    let mut found = Vec::new();
    for house in rooms::HOUSES {
        found.extend(imports::check(house, &sources));
        found.extend(purity::check(house, rooms::EXCEPTIONS, &sources));
    }
    found.extend(files::check(tree, &sources));
    found.extend(machine_paths::check(tree));
    found.extend(manifests::check(tree));
    found.extend(catalogue::check(tree, &sources));
    found.extend(docs::check(tree, &sources));
    found.sort();
    found.dedup();
    found
}
