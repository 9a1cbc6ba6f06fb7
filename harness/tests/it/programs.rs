//! Programs that a test needs beside the harness.

use std::{
    env,
    io::{self, Write as _},
};

/// Whether they are there. In continuous integration they have to be.
pub(crate) fn are_here(names: &[&str]) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = env::split_paths(&path).chain(["/usr/sbin".into()]).collect();
    let missing = names.iter().find(|name| !folders.iter().any(|folder| folder.join(name).is_file()));
    let Some(missing) = missing else { return true };
    assert!(env::var_os("CI").is_none(), "{missing} is missing");
    // Not through `eprintln`, which is heard of a failed test only.
    writeln!(io::stderr(), "NOT TESTED: {missing} is missing").expect("standard error must take it");
    false
}
