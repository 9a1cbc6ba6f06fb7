//! One broken rule at one place.

use std::fmt;

/// Sorts by file, then line, then text. Line 0 stands for the file as a whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    file: String,
    line: usize,
    text: String,
}

impl Violation {
    pub(crate) fn new(file: &str, line: usize, text: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, text: text.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.text),
            line => write!(f, "{}:{line}: {}", self.file, self.text),
        }
    }
}

/// For tests: what a check found, a line each.
#[cfg(test)]
pub(crate) fn listing(found: impl IntoIterator<Item = Violation>) -> Vec<String> {
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort();
    found.iter().map(ToString::to_string).collect()
}
