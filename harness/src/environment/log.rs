//! What a process writes: one file for all of its starts, whose end goes into a message when it fails.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

/// That of the server, in the run's folder.
pub(super) const SERVER: &str = "server.log";

/// How much of a log goes into a message.
const TAIL_BYTES_MAX: usize = 2_000;

/// The log at `path`, to be written on.
pub(super) fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

/// The end of a text file, from the start of a line.
pub(super) fn tail(path: &Path) -> String {
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let text = text.trim_end();
    if text.len() <= TAIL_BYTES_MAX {
        return if text.is_empty() { "(nothing)".to_owned() } else { text.to_owned() };
    }
    let start = text.ceil_char_boundary(text.len() - TAIL_BYTES_MAX);
    let cut = &text[start..];
    cut.split_once('\n').map_or(cut, |(_, whole)| whole).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_is_cut_at_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert_eq!(tail(&path), "(nothing)");
        fs::write(&path, "é12345678\n".repeat(1_000)).unwrap();
        let end = tail(&path);
        assert!(end.len() <= TAIL_BYTES_MAX && end.lines().all(|line| line == "é12345678"), "{end}");
    }
}
