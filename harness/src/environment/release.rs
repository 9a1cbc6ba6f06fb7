//! Release folders as a deployment has them: `releases/1/seckill`, `releases/2/seckill`, ..., each with a
//! file `RELEASE` that holds its label, and a link `releases/current` that is switched atomically.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::Error;

/// Name of the server's executable in a release folder.
pub(super) const BINARY: &str = "seckill";
/// Name of the link to the release that serves.
pub(super) const CURRENT: &str = "current";

/// The release folders of one run.
#[derive(Debug)]
pub struct Releases {
    /// Absolute path of `releases/`.
    root: PathBuf,
    /// Binary of the odd releases.
    old: PathBuf,
    /// Binary of the even releases.
    new: PathBuf,
    /// The last release that was laid out; 0 is none.
    last: u32,
    /// Where each binary was copied first; later releases link to the copy.
    copies: BTreeMap<PathBuf, PathBuf>,
}

/// One release folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    pub number: u32,
    /// Absolute path of its executable.
    pub binary: PathBuf,
}

impl Release {
    /// What the server calls itself in `x-seckill-version`.
    #[must_use]
    pub fn label(&self) -> String {
        self.number.to_string()
    }
}

impl Releases {
    /// Release folders in `work_dir/releases`, of which the odd ones hold `old` and the even ones `new`.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(work_dir: &Path, old: PathBuf, new: PathBuf) -> Result<Self, Error> {
        let root = work_dir.join("releases");
        fs::create_dir_all(&root).map_err(Error::file("create the folder", &root))?;
        Ok(Self { root, old, new, last: 0, copies: BTreeMap::new() })
    }

    /// Lays out the next release with the binary whose turn it is, or with `binary` for this one.
    ///
    /// A `binary` that does not exist makes a release without an executable: to say what is wrong with it
    /// is the server's part.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn lay_out(&mut self, binary: Option<&Path>) -> Result<Release, Error> {
        let number = self.last + 1;
        let folder = self.root.join(number.to_string());
        fs::create_dir(&folder).map_err(Error::file("create the folder", &folder))?;
        let label = folder.join("RELEASE");
        fs::write(&label, format!("{number}\n")).map_err(Error::file("write", &label))?;
        let release = Release { number, binary: folder.join(BINARY) };
        let in_turn = if number % 2 == 1 { &self.old } else { &self.new };
        let source = binary.unwrap_or(in_turn).to_owned();
        if binary.is_none() || source.exists() {
            self.place(&source, &release.binary)?;
        }
        self.last = number;
        Ok(release)
    }

    /// Points `current` at a release; whoever opens the link sees either the one before or this one.
    ///
    /// # Errors
    /// When the link cannot be made.
    pub fn switch(&self, number: u32) -> Result<(), Error> {
        let fresh = self.root.join(".current.new");
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::file("remove", &fresh)(error));
            }
            _ => {}
        }
        // Relative, so that the whole folder may be moved.
        symlink(number.to_string(), &fresh).map_err(Error::file("create the link", &fresh))?;
        let current = self.root.join(CURRENT);
        fs::rename(&fresh, &current).map_err(Error::file("switch the link", &current))
    }

    /// Copies a binary once, so that a build going on beside the run cannot change it, and links to the
    /// copy after that, so that sixty releases do not take the room of sixty binaries.
    fn place(&mut self, source: &Path, destination: &Path) -> Result<(), Error> {
        if let Some(copy) = self.copies.get(source) {
            return fs::hard_link(copy, destination).map_err(Error::file("link the binary to", destination));
        }
        fs::copy(source, destination).map_err(Error::file("copy the binary from", source))?;
        self.copies.insert(source.to_owned(), destination.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use tempfile::TempDir;

    use super::*;

    fn releases() -> (TempDir, Releases) {
        let dir = tempfile::tempdir().unwrap();
        for name in ["old", "new"] {
            let path = dir.path().join(name);
            fs::write(&path, name).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let releases = Releases::new(dir.path(), dir.path().join("old"), dir.path().join("new")).unwrap();
        (dir, releases)
    }

    #[test]
    fn odd_releases_hold_the_old_binary_and_even_ones_the_new() {
        let (dir, mut releases) = releases();
        for (number, content) in [(1, "old"), (2, "new"), (3, "old"), (4, "new")] {
            let release = releases.lay_out(None).unwrap();
            assert_eq!(release.number, number);
            assert_eq!(release.binary, dir.path().join(format!("releases/{number}/seckill")));
            assert_eq!(fs::read_to_string(&release.binary).unwrap(), content);
            assert_eq!(fs::metadata(&release.binary).unwrap().mode() & 0o777, 0o755);
            let label = fs::read_to_string(release.binary.with_file_name("RELEASE")).unwrap();
            assert_eq!(label.trim(), release.label());
        }
        let inode =
            |number: u32| fs::metadata(dir.path().join(format!("releases/{number}/seckill"))).unwrap().ino();
        assert_eq!(inode(1), inode(3), "the third release must share the first one's copy");
        assert_ne!(
            inode(1),
            fs::metadata(dir.path().join("old")).unwrap().ino(),
            "the source must not be shared"
        );
    }

    #[test]
    fn an_event_may_bring_a_binary_of_its_own_even_a_missing_one() {
        let (dir, mut releases) = releases();
        let own = dir.path().join("own");
        fs::write(&own, "own").unwrap();
        assert_eq!(fs::read_to_string(releases.lay_out(Some(&own)).unwrap().binary).unwrap(), "own");
        assert!(!releases.lay_out(Some(Path::new("/nowhere/at/all"))).unwrap().binary.exists());
    }

    #[test]
    fn the_link_is_switched_there_and_back() {
        let (dir, mut releases) = releases();
        let through_link = dir.path().join("releases/current/RELEASE");
        for _ in 0..2 {
            releases.lay_out(None).unwrap();
        }
        for number in [1, 2, 1] {
            releases.switch(number).unwrap();
            assert_eq!(fs::read_to_string(&through_link).unwrap(), format!("{number}\n"));
        }
        assert!(fs::read_link(dir.path().join("releases/current")).unwrap().is_relative());
    }

    #[test]
    fn a_missing_binary_in_turn_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut releases = Releases::new(dir.path(), dir.path().join("a"), dir.path().join("b")).unwrap();
        let error = releases.lay_out(None).unwrap_err().to_string();
        assert!(error.starts_with("copy the binary from"), "{error}");
    }
}
