//! The files of the repository, in memory: what git tracks, and what it would track after `git add`.
//!
//! Files that are not UTF-8 are listed without text: no rule of ours is about them.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// Path from the root of the repository, with `/`, to text.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
}

/// Reads as what follows "failed to".
pub(crate) type Error = String;

impl Tree {
    /// The tree of the repository around `start`.
    ///
    /// # Errors
    /// When git cannot be run, when `start` is in no repository, or when a file cannot be read.
    pub(crate) fn of_repository(start: &Path) -> Result<Self, Error> {
        let root = PathBuf::from(git(start, &["rev-parse", "--show-toplevel"])?.trim_end());
        let listed = git(&root, &["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?;
        let mut files = BTreeMap::new();
        for path in listed.split_terminator('\0') {
            let text = match fs::read(root.join(path)) {
                Ok(bytes) => String::from_utf8(bytes).unwrap_or_default(),
                // Deleted and not yet committed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(format!("read {path}: {error}")),
            };
            files.insert(path.to_owned(), text);
        }
        Ok(Self { files })
    }

    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// All files, by path.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Whether there is such a file, or a folder with a file in it. The root of the tree is the empty path.
    pub(crate) fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        path.is_empty() || self.files.contains_key(path) || {
            let folder = format!("{path}/");
            self.files.range(folder.clone()..).next().is_some_and(|(file, _)| file.starts_with(&folder))
        }
    }
}

fn git(folder: &Path, arguments: &[&str]) -> Result<String, Error> {
    let shown = || format!("run git {} in {}", arguments.join(" "), folder.display());
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(arguments)
        .output()
        .map_err(|error| format!("{}: {error}", shown()))?;
    if !output.status.success() {
        return Err(format!("{}: {}", shown(), String::from_utf8_lossy(&output.stderr).trim_end()));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("{}: {error}", shown()))
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Tree {
    fn from(files: [(&str, &str); N]) -> Self {
        Self { files: files.into_iter().map(|(path, text)| (path.to_owned(), text.to_owned())).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::Tree;

    #[test]
    fn folders_are_there_when_a_file_is_in_them() {
        let tree = Tree::from([("a/b/c.rs", ""), ("a/bc.rs", "")]);
        let there = ["", "a", "a/", "a/b", "a/b/", "a/b/c.rs", "a/bc.rs"];
        let missing = ["b", "a/bc", "a/b/c", "a/b/c.rs/d", "A"];
        for (paths, expected) in [(&there[..], true), (&missing[..], false)] {
            for path in paths {
                assert_eq!(tree.has(path), expected, "{path:?}");
            }
        }
    }
}
