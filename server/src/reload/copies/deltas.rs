//! The changes of the blacklist since its base, each a line of its own, so that one user more does not cost a copy
//! of all of them.
//!
//! The first line names the base by its digest: a copy that is there too, or the local file in the version that was
//! seen. A last line without its end was never acknowledged and does not count; anything else that is wrong makes
//! all of them count for nothing.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::document::{Damage, FORMAT, from_line, write_line};
use crate::{
    reload::{Candidate, Content},
    state::{Delta, Generation, Mechanism, Origin},
};

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Base {
    format: u32,
    /// Of the list that the first delta changes.
    digest: String,
    /// The version of the local file that the list is from; `None`: the list is the copy.
    version: Option<String>,
}

/// Every other line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    format: u32,
    pub(super) mechanism: Mechanism,
    pub(super) place: String,
    pub(super) generation: Generation,
    pub(super) at: Timestamp,
    /// Of the list with the delta made in it.
    pub(super) digest: String,
    delta: String,
}

/// The end of the file, to which more may be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    /// Of the list with all deltas made in it.
    pub(super) digest: String,
    /// Length of the file.
    pub(super) bytes: u64,
}

/// The deltas of one base.
#[derive(Debug)]
pub(super) struct Deltas {
    base: Base,
    /// One delta that does what all do: the last word on an id wins.
    sum: Delta,
    last: Record,
    pub(super) end: End,
    /// Something follows that was never acknowledged.
    pub(super) torn: bool,
}

impl Base {
    pub(super) fn new(digest: &str, version: Option<&str>) -> Self {
        Self { format: FORMAT, digest: digest.to_owned(), version: version.map(str::to_owned) }
    }
}

impl Record {
    pub(super) fn new(
        origin: &Origin,
        (generation, at): (Generation, Timestamp),
        digest: &str,
        delta: &Delta,
    ) -> Self {
        let Origin { mechanism, place } = origin.clone();
        Self {
            format: FORMAT,
            mechanism,
            place,
            generation,
            at,
            digest: digest.to_owned(),
            delta: text(delta),
        }
    }
}

/// Reads all of them. `None`: there are none.
pub(super) fn read(path: &Path) -> Result<Option<Deltas>, Damage> {
    let file = match fs::read(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut lines: Vec<&[u8]> = file.split_inclusive(|byte| *byte == b'\n').collect();
    let torn = lines.pop_if(|line| !line.ends_with(b"\n")).is_some();
    let Some((base, records)) = lines.split_first() else { return Ok(None) };
    let base = from_line(base, 1)?;
    let records = records.iter().enumerate().map(|(index, line)| from_line(line, index + 2));
    let records = records.collect::<Result<Vec<Record>, _>>()?;
    let texts: Vec<&str> = records.iter().map(|record| record.delta.as_str()).collect();
    let sum = Delta::parse(texts.concat().as_bytes())
        .map_err(|faults| Damage::Foreign { line: 2, reason: faults.to_string() })?;
    let Some(last) = records.into_iter().next_back() else { return Ok(None) };
    let end = End { digest: last.digest.clone(), bytes: u64::try_from(file.len()).unwrap_or(u64::MAX) };
    Ok(Some(Deltas { base, sum, last, end, torn }))
}

/// Begins with `record` a file for `base`, in the place of any other.
pub(super) fn begin(path: &Path, base: &Base, record: &Record) -> io::Result<End> {
    let mut text = Vec::new();
    write_line(&mut text, base)?;
    write_line(&mut text, record)?;
    let written = path.with_extension("delta-tmp");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&written)?;
    file.write_all(&text)?;
    fs::rename(&written, path)?;
    Ok(End { digest: record.digest.clone(), bytes: u64::try_from(text.len()).unwrap_or(u64::MAX) })
}

/// Adds `record` after `end`; what does not get through as a whole is taken back.
pub(super) fn append(path: &Path, end: &End, record: &Record) -> io::Result<End> {
    let mut text = Vec::new();
    write_line(&mut text, record)?;
    let mut file = OpenOptions::new().append(true).open(path)?;
    if file.metadata()?.len() != end.bytes {
        return Err(io::Error::other("somebody else has written into it"));
    }
    if let Err(error) = file.write_all(&text) {
        file.set_len(end.bytes)?;
        return Err(error);
    }
    let bytes = end.bytes + u64::try_from(text.len()).unwrap_or(u64::MAX);
    Ok(End { digest: record.digest.clone(), bytes })
}

impl Deltas {
    /// The list with all of them made in it; `None`: they belong to another list.
    pub(super) fn on(self, list: &Candidate) -> Result<Option<Candidate>, Damage> {
        let Ok(Content::Blacklist(base)) = &list.content else { return Ok(None) };
        let same_file = list.copied_at.is_some() || list.version == self.base.version;
        if !same_file || base.digest() != self.base.digest {
            return Ok(None);
        }
        let changed = base.with(&self.sum);
        let (expected, found) = (self.end.digest, changed.digest());
        if found != expected {
            return Err(Damage::Torn { expected, found });
        }
        Ok(Some(Candidate {
            origin: Origin::new(self.last.mechanism, self.last.place),
            copied_at: Some(self.last.at),
            content: Ok(Content::Blacklist(Arc::new(changed))),
            ..list.clone()
        }))
    }
}

fn text(delta: &Delta) -> String {
    delta.words().map(|(user, adds)| format!("{}{}\n", if adds { '+' } else { '-' }, user.0)).collect()
}
