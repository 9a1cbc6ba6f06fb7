//! The `scenarios/` folder: which scenarios there are, what they are called, where they lie.
//!
//! A scenario's name is its path under the folder without `.toml`. The main scenario of a folder has the
//! folder's own name, so `upgrade/upgrade.toml` is `upgrade`. This is the only part of the room that
//! reads files.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use tomlcheck::{Faults, nearest};

use super::{Override, Scenario};

const FOLDER: &str = "scenarios";
const SUFFIX: &str = ".toml";

/// Why there is no checked scenario.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("find a folder `{FOLDER}` in {from} or above it: change into the project, or give a file's path")]
    NoFolder { from: PathBuf },
    #[error("find the scenario `{name}`: {hint}")]
    Unknown { name: String, hint: String },
    #[error("tell which scenario `{name}` is: {files}; give the path of one")]
    Ambiguous { name: String, files: String },
    #[error("read {path}: see that it exists and may be read")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Already complete sentences with their places, to be printed as they are.
    #[error("accept the scenario:\n{0}")]
    Faults(Faults),
}

/// The scenarios of one folder.
#[derive(Debug, Clone)]
pub struct Catalog {
    root: PathBuf,
}

impl Catalog {
    /// The folder `scenarios` in `from` or in the nearest folder above it.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(from: &Path) -> Result<Self, Error> {
        let mut roots = from.ancestors().map(|folder| folder.join(FOLDER));
        match roots.find(|root| root.is_dir()) {
            Some(root) => Ok(Self { root }),
            None => Err(Error::NoFolder { from: from.to_owned() }),
        }
    }

    /// All scenario files, sorted by path.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn files(&self) -> Result<Vec<PathBuf>, Error> {
        files_below(&self.root)
    }

    /// The file of the scenario with this name.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn locate(&self, name: &str) -> Result<PathBuf, Error> {
        let files = self.files()?;
        let names: Vec<String> = files.iter().filter_map(|file| name_of(file)).collect();
        let is_meant = |file: &&PathBuf| {
            name_of(file).is_some_and(|known| known == name)
                || file
                    .strip_prefix(&self.root)
                    .is_ok_and(|path| path == Path::new(&format!("{name}{SUFFIX}")))
        };
        match files.iter().filter(is_meant).collect::<Vec<_>>().as_slice() {
            [file] => Ok((*file).clone()),
            [] => {
                let hint = hint(name, &names);
                Err(Error::Unknown { name: name.to_owned(), hint })
            }
            several => {
                let files: Vec<String> = several.iter().map(|file| file.display().to_string()).collect();
                Err(Error::Ambiguous { name: name.to_owned(), files: files.join(" and ") })
            }
        }
    }
}

/// What somebody may have meant who asked for a scenario that there is not.
fn hint(name: &str, names: &[String]) -> String {
    let below: Vec<&str> =
        names.iter().map(String::as_str).filter(|known| known.starts_with(&format!("{name}/"))).collect();
    match nearest(name, names.iter().map(String::as_str)) {
        _ if !below.is_empty() => format!("it is a folder with {}", below.join(", ")),
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}", names.join(", ")),
    }
}

/// All scenario files at or below `path`, sorted.
///
/// # Errors
/// When the path or a folder below it cannot be read.
pub(crate) fn files_below(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |source| Error::Read { path: path.to_owned(), source };
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let below = entry.map_err(unreadable)?.path();
        if below.is_dir() {
            files.extend(files_below(&below)?);
        } else if below.to_string_lossy().ends_with(SUFFIX) {
            files.push(below);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads and checks the scenario that a person named: a path to a file, or a name under `scenarios/`.
///
/// # Errors
/// When it cannot be found or read, or has faults.
pub fn load(wanted: &str, working_folder: &Path, overrides: &[Override]) -> Result<Scenario, Error> {
    let as_path = working_folder.join(wanted);
    let file = if wanted.ends_with(SUFFIX) || as_path.is_file() {
        as_path
    } else {
        Catalog::find(working_folder)?.locate(wanted.trim_end_matches('/'))?
    };
    load_file(&file, working_folder, overrides)
}

/// Reads and checks one file; faults name it as seen from `working_folder`.
///
/// # Errors
/// When it cannot be read or has faults.
pub(crate) fn load_file(
    file: &Path,
    working_folder: &Path,
    overrides: &[Override],
) -> Result<Scenario, Error> {
    let shown = file.strip_prefix(working_folder).unwrap_or(file);
    let source = fs::read_to_string(file).map_err(|source| Error::Read { path: shown.to_owned(), source })?;
    Scenario::read(shown, &source, name_of(file).as_deref(), overrides).map_err(Error::Faults)
}

/// The name that a file's place gives it, if its path leads through a folder `scenarios`.
fn name_of(file: &Path) -> Option<String> {
    let mut steps = Vec::new();
    for component in file.components() {
        match component {
            Component::Normal(step) => steps.push(step.to_str()?),
            Component::ParentDir => drop(steps.pop()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    let last = steps.pop()?.strip_suffix(SUFFIX)?;
    let root = steps.iter().rposition(|step| *step == FOLDER)?;
    let mut name = steps.split_off(root + 1);
    if name.last() != Some(&last) {
        name.push(last);
    }
    Some(name.join("/"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::name_of;

    #[test]
    fn a_name_is_the_path_below_the_folder() {
        for (file, expected) in [
            ("/p/scenarios/smoke.toml", Some("smoke")),
            ("/p/scenarios/upgrade/upgrade.toml", Some("upgrade")),
            ("/p/scenarios/must-fail/stop-start.toml", Some("must-fail/stop-start")),
            ("/scenarios/p/scenarios/a/b/b.toml", Some("a/b")),
            ("/p/harness/.././scenarios/smoke.toml", Some("smoke")),
            ("/p/scenarios/../smoke.toml", None),
            ("/p/other/smoke.toml", None),
            ("/p/scenarios/README.md", None),
        ] {
            assert_eq!(name_of(Path::new(file)).as_deref(), expected, "{file}");
        }
    }
}
