//! One copy as it is on disk: a line of JSON that says what it is, then the text.
//!
//! A copy is put in place by a rename, so that there is the one before or the new one, whenever the process dies.
//! It is believed only if its text still has the digest that its first line names: what is torn, made by hand, or
//! of a later release is told and not used.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    reload::Candidate,
    state::{Datum, Generation, Mechanism, Origin, Snapshot},
};

/// Of this file and of that of the deltas. A later release that writes something else counts up.
pub(super) const FORMAT: u32 = 1;

/// A first line is far shorter.
const HEAD_BYTES_MAX: u64 = 16 * 1024;

/// Why a copy is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damage {
    #[error("read it: {0}")]
    Unreadable(#[from] io::Error),
    #[error("understand it: it has format {0}, this release knows {FORMAT}")]
    Format(u32),
    #[error("understand its line {line}: {reason}")]
    Foreign { line: usize, reason: String },
    #[error("trust it: it holds the {0}")]
    Other(Datum),
    #[error("trust it: it is torn, its digest is {found:?} and should be {expected:?}")]
    Torn { expected: String, found: String },
}

/// What a copy says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    pub(super) format: u32,
    pub(super) datum: Datum,
    /// How it came, and from where.
    pub(super) mechanism: Mechanism,
    pub(super) place: String,
    /// The first that was served with it.
    pub(super) generation: Generation,
    pub(super) digest: String,
    pub(super) at: Timestamp,
    /// The version of the watched place that was seen last when this came.
    pub(super) version: Option<String>,
}

/// A copy that is written and not in place yet. Dropped it leaves nothing.
#[derive(Debug)]
pub(super) struct Staged {
    written: PathBuf,
    place: PathBuf,
}

/// The first line alone. `None`: there is no copy.
pub(super) fn read_head(path: &Path, datum: Datum) -> Result<Option<Head>, Damage> {
    open(path, datum).map(|opened| opened.map(|(head, _)| head))
}

/// The whole copy as something to be served.
pub(super) fn read(path: &Path, datum: Datum) -> Result<Option<Candidate>, Damage> {
    let Some((head, mut rest)) = open(path, datum)? else { return Ok(None) };
    let mut text = Vec::new();
    rest.read_to_end(&mut text)?;
    let origin = Origin::new(head.mechanism, head.place);
    let candidate = Candidate::parse(datum, origin, &text);
    let found = candidate.digest();
    if found != head.digest {
        return Err(Damage::Torn { expected: head.digest, found });
    }
    Ok(Some(Candidate { version: head.version, copied_at: Some(head.at), ..candidate }))
}

fn open(path: &Path, datum: Datum) -> Result<Option<(Head, BufReader<File>)>, Damage> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    reader.by_ref().take(HEAD_BYTES_MAX).read_until(b'\n', &mut line)?;
    let head: Head = from_line(&line, 1)?;
    if head.datum == datum { Ok(Some((head, reader))) } else { Err(Damage::Other(head.datum)) }
}

/// What a line says, after a look at the format that it says it has.
pub(super) fn from_line<'l, T: Deserialize<'l>>(text: &'l [u8], line: usize) -> Result<T, Damage> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let foreign = |error: serde_json::Error| Damage::Foreign { line, reason: error.to_string() };
    let Format { format } = serde_json::from_slice(text).map_err(foreign)?;
    if format != FORMAT {
        return Err(Damage::Format(format));
    }
    serde_json::from_slice(text).map_err(foreign)
}

/// Writes what `snapshot` has of `head.datum` beside its place.
pub(super) fn stage(place: PathBuf, head: &Head, snapshot: &Snapshot) -> io::Result<Staged> {
    let staged = Staged { written: place.with_extension("tmp"), place };
    let file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staged.written)?;
    let mut writer = BufWriter::with_capacity(1 << 16, file);
    write_line(&mut writer, head)?;
    write_text(&mut writer, snapshot, head.datum)?;
    writer.flush()?;
    Ok(staged)
}

pub(super) fn write_line<T: Serialize>(writer: &mut impl Write, value: &T) -> io::Result<()> {
    serde_json::to_writer(&mut *writer, value)?;
    writer.write_all(b"\n")
}

/// A text that [`Candidate::parse`] reads, without a second copy of it in memory.
fn write_text(writer: &mut impl Write, snapshot: &Snapshot, datum: Datum) -> io::Result<()> {
    match datum {
        Datum::Blacklist => snapshot.blacklist.iter().try_for_each(|user| write_number(writer, user.0)),
        Datum::Cluster => Ok(serde_json::to_writer(writer, &*snapshot.cluster)?),
        Datum::Activities => writer.write_all(&snapshot.activities.list_body()),
        Datum::Nodes => Ok(serde_json::to_writer(writer, &*snapshot.nodes)?),
    }
}

/// A line with a number; a fourth of the time that the formatter of the standard library takes.
fn write_number(writer: &mut impl Write, mut number: u64) -> io::Result<()> {
    let mut line = [b'\n'; 21];
    let mut start = line.len() - 1;
    loop {
        start -= 1;
        line[start] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            return writer.write_all(&line[start..]);
        }
    }
}

impl Staged {
    /// From now on it is the copy.
    pub(super) fn put(self) -> io::Result<()> {
        fs::rename(&self.written, &self.place)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After the rename there is nothing.
        _ = fs::remove_file(&self.written);
    }
}
