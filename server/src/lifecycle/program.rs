//! The file that a process runs, remembered so that the next process can go back to it.
//!
//! A release is often reached by a link that leads elsewhere by then, and another file may have taken its place: so the
//! path is kept without links, and the file is known again by its number on the disk, its length and the time at which
//! it was written. Deliberately absent: its digest, which takes a start longer than all else in it.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::UpgradeError;
use crate::identity;

/// Where the kernel tells what this process runs.
const OWN: &str = "/proc/self/exe";

/// What the kernel adds to the path of a file that has been removed.
const DELETED: &str = " (deleted)";

/// A file that was run, and by what it is known again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Without links, as it was at the start.
    pub path: PathBuf,
    /// Release label.
    pub version: String,
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
}

/// What this process runs, and what the one before it ran.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Programs {
    /// `None`: the kernel does not say, or the path is no text.
    pub own: Option<Program>,
    /// The last one that was another one; if there was none, this one, and `None` in the first process of a chain.
    pub previous: Option<Program>,
}

impl Program {
    /// What this process runs. To be called at the start, before the file can be replaced.
    pub(super) fn own() -> Option<Self> {
        let path = fs::read_link(OWN).ok()?;
        let path = path.to_str()?;
        Some(Self::of(Path::new(path.strip_suffix(DELETED).unwrap_or(path)), &fs::metadata(OWN).ok()?))
    }

    fn of(path: &Path, file: &Metadata) -> Self {
        Self {
            path: path.to_owned(),
            version: identity::release_label(),
            device: file.dev(),
            inode: file.ino(),
            bytes: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
        }
    }

    fn is_same_file(&self, other: &Self) -> bool {
        *self == Self { version: self.version.clone(), ..other.clone() }
    }

    /// Where it still is.
    ///
    /// # Errors
    /// It has gone, or another file lies there.
    fn found(&self) -> Result<PathBuf, UpgradeError> {
        let file = match fs::metadata(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(self.refused("missing", "has gone"));
            }
            Err(error) => return Err(self.refused("missing", &format!("cannot be looked at: {error}"))),
        };
        if !self.is_same_file(&Self::of(&self.path, &file)) {
            return Err(self.refused("changed", "is another file than the one that was run"));
        }
        Ok(self.path.clone())
    }

    fn refused(&self, kind: &str, what: &str) -> UpgradeError {
        let path = self.path.display();
        let version = &self.version;
        UpgradeError::at_start(
            kind,
            format!("{path} (release {version}), which served before, {what}; upgrade to a path instead"),
        )
    }
}

impl Programs {
    /// What this process runs, after one that ran `theirs` and has `before` for its previous one.
    pub(super) fn after(theirs: Option<Program>, before: Option<Program>) -> Self {
        let own = Program::own();
        let is_same = own.as_ref().zip(theirs.as_ref()).is_some_and(|(own, theirs)| own.is_same_file(theirs));
        // Who upgrades to the same file, for its settings, wants to go back to what was before that.
        let previous = if is_same { before.or(theirs) } else { theirs };
        Self { own, previous }
    }

    /// The file of the previous one.
    ///
    /// # Errors
    /// There was none, or its file is not there any more.
    pub(super) fn to_go_back_to(&self) -> Result<PathBuf, UpgradeError> {
        let none = "nothing has served before this process since the chain of upgrades began; upgrade to a path instead";
        self.previous.as_ref().ok_or_else(|| UpgradeError::at_start("no-previous", none.to_owned()))?.found()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(path: &Path) -> Program {
        Program::of(path, &fs::metadata(path).unwrap())
    }

    #[test]
    fn a_file_is_known_again_until_it_changes_or_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        let check = |program: &Program, kind: &str| {
            let found = program.found();
            assert_eq!(found.as_ref().err().map_or("", |error| error.kind.as_str()), kind, "{found:?}");
        };
        fs::write(&path, "one").unwrap();
        let first = program(&path);
        check(&first, "");
        fs::write(folder.path().join("other"), "one").unwrap();
        fs::rename(folder.path().join("other"), &path).unwrap();
        check(&first, "changed");
        let second = program(&path);
        fs::write(&path, "longer").unwrap();
        check(&second, "changed");
        fs::remove_file(&path).unwrap();
        check(&second, "missing");
        fs::create_dir(&path).unwrap();
        check(&second, "changed");
    }

    #[test]
    fn the_previous_one_is_the_last_other_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other");
        fs::write(&path, "").unwrap();
        let (own, other) = (Program::own(), Some(program(&path)));
        assert!(own.as_ref().is_some_and(|own| own.found().is_ok()), "{own:?}");
        let previous = |theirs: &Option<Program>, before: &Option<Program>| {
            Programs::after(theirs.clone(), before.clone()).previous
        };
        assert_eq!(previous(&other, &own), other);
        assert_eq!(previous(&own, &other), other);
        assert_eq!(previous(&own, &None), own);
        assert_eq!(previous(&None, &None), None);
        assert_eq!(Programs::default().to_go_back_to().unwrap_err().kind, "no-previous");
    }
}
