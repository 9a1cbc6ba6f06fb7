//! The way to a file: every folder and link that its path goes through, as they are now.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ffi::OsString,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
};

/// More links in a row than this no kernel follows.
const LINKS_MAX: usize = 40;

/// A folder by device and number, which stay when it gets another name.
pub(super) type Identity = (u64, u64);

/// The way to a file, as far as it goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Trail {
    /// The folders on the way, without links.
    pub(super) folders: BTreeMap<PathBuf, Identity>,
    /// What is looked up in them: folders, links, and what is missing.
    pub(super) steps: BTreeSet<PathBuf>,
    /// Where the file is, or would be if it were there; `None`: a folder on the way is missing.
    pub(super) file: Option<PathBuf>,
}

impl Trail {
    /// Finds the way along `path`. What is missing ends it; then the folder in which it is missing is the last.
    ///
    /// # Errors
    /// The working directory of a relative path is gone.
    pub(super) fn find(path: &Path) -> io::Result<Self> {
        let mut trail = Self::default();
        let mut here = PathBuf::from("/");
        let mut ahead = VecDeque::new();
        put_in_front(&mut ahead, &std::path::absolute(path)?);
        let mut links = 0;
        while let Some(step) = ahead.pop_front() {
            if step == Component::RootDir.as_os_str() {
                here = PathBuf::from("/");
                continue;
            }
            if step == Component::ParentDir.as_os_str() {
                here.pop();
                continue;
            }
            let Ok(folder) = fs::symlink_metadata(&here) else { break };
            trail.folders.insert(here.clone(), (folder.dev(), folder.ino()));
            let next = here.join(&step);
            let kind = fs::symlink_metadata(&next).map(|metadata| metadata.file_type());
            match kind {
                Ok(kind) if kind.is_symlink() => {
                    trail.steps.insert(next.clone());
                    links += 1;
                    let Ok(target) = fs::read_link(&next) else { break };
                    if links > LINKS_MAX {
                        break;
                    }
                    put_in_front(&mut ahead, &target);
                }
                Ok(kind) if kind.is_dir() && !ahead.is_empty() => {
                    trail.steps.insert(next.clone());
                    here = next;
                }
                Ok(_) | Err(_) if ahead.is_empty() => trail.file = Some(next),
                Ok(_) | Err(_) => {
                    trail.steps.insert(next);
                    break;
                }
            }
        }
        Ok(trail)
    }
}

fn put_in_front(ahead: &mut VecDeque<OsString>, path: &Path) {
    let steps = path.components().filter(|step| *step != Component::CurDir);
    for step in steps.rev() {
        ahead.push_front(step.as_os_str().to_owned());
    }
}
