//! Files, and how to tell that one has changed.

use std::{
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{Look, Version};
use crate::{
    reload::Candidate,
    state::{Datum, Origin},
};

/// Looks at a file on a thread of its own.
pub(super) async fn look(path: PathBuf, datum: Datum, origin: Origin, known: Option<Version>) -> Look {
    let reading = move || read(&path, datum, origin, known.as_ref());
    tokio::task::spawn_blocking(reading)
        .await
        .unwrap_or_else(|_| Look::Unsettled { reason: "the look was cut short".to_owned() })
}

fn read(path: &Path, datum: Datum, origin: Origin, known: Option<&Version>) -> Look {
    let unreadable = |error: io::Error| {
        let reason = format!("it cannot be read: {error}");
        let candidate = Box::new(Candidate::unreadable(datum, origin.clone(), reason.clone()));
        Look::Found { candidate, version: Version(reason) }
    };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Look::Absent,
        Err(error) => return unreadable(error),
    };
    let before = match file.metadata() {
        Ok(metadata) => version(&metadata),
        Err(error) => return unreadable(error),
    };
    if known == Some(&before) {
        return Look::Same;
    }
    let mut text = Vec::new();
    if let Err(error) = file.read_to_end(&mut text) {
        return unreadable(error);
    }
    match file.metadata() {
        Ok(metadata) if version(&metadata) == before => {
            let candidate = Box::new(Candidate::parse(datum, origin, &text));
            Look::Found { candidate, version: before }
        }
        Ok(_) => Look::Unsettled { reason: "somebody is writing it".to_owned() },
        Err(error) => unreadable(error),
    }
}

fn version(metadata: &Metadata) -> Version {
    let (device, inode, bytes) = (metadata.dev(), metadata.ino(), metadata.size());
    let (modified, changed) = (metadata.mtime(), metadata.ctime());
    let (modified_ns, changed_ns) = (metadata.mtime_nsec(), metadata.ctime_nsec());
    Version(format!("{device}:{inode} {bytes} {modified}.{modified_ns:09} {changed}.{changed_ns:09}"))
}
