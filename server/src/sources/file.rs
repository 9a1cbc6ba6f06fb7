//! Files, and how to tell that one has changed.
//!
//! What is read is one file from its first to its last byte: the open file has the same version before and after,
//! and the path still names it. Whether its writer is done nothing of that can tell; [`super::watch`] knows more.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::OFlags;

use super::{Look, Version, blacklist};
use crate::{
    clock,
    reload::Candidate,
    state::{Datum, Origin},
};

/// For how long a file must not have been written to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stood {
    any: Duration,
    /// If nothing is in it: to open a file for writing cuts it off, and what comes into it may take its time.
    empty: Duration,
}

impl Stood {
    /// It may be written at this moment. Somebody else knows that it is whole.
    pub(super) const NOT_AT_ALL: Self = Self { any: Duration::ZERO, empty: EMPTY_AND_CLOSED };
    /// Until the kernel's next tick: from then on another write shows in its version.
    pub(super) const ONE_TICK: Self = Self { any: ONE_TICK, empty: EMPTY_AND_CLOSED };
    /// Whoever asks for a look says that the writer is done.
    pub(super) const ASKED: Self = Self::both(A_WHILE);
    /// The same at the start of the process, when nothing hurries.
    pub(super) const AT_THE_START: Self = Self::both(Duration::from_millis(50));
    /// Nobody tells when a writer is done; whoever pauses for longer than this in the middle of a file is read.
    pub(super) const BY_ITSELF: Self = Self { any: A_WHILE, empty: EMPTY };
    /// The same of a file that is another one each time, and so was whole before it came there.
    pub(super) const REPLACED: Self = Self { any: Duration::ZERO, empty: EMPTY };

    const fn both(stood: Duration) -> Self {
        Self { any: stood, empty: stood }
    }

    /// Somebody has opened the file and has not closed it, or has only read it.
    pub(super) fn opened(self) -> Self {
        Self { empty: EMPTY_AND_OPENED, ..self }
    }
}

/// Less than any tick.
const ONE_TICK: Duration = Duration::from_nanos(1);
/// A writer that writes one piece after the other is back sooner.
const A_WHILE: Duration = Duration::from_millis(8);
/// The kernel first cuts a file off and tells of it when that is done, for which it may have to wait for the disk.
const EMPTY_AND_CLOSED: Duration = Duration::from_millis(12);
const EMPTY: Duration = Duration::from_secs(1);
const EMPTY_AND_OPENED: Duration = Duration::from_secs(30);

/// A time that is further ahead is not that of a write of just now.
const AHEAD_MAX: Duration = Duration::from_secs(1);

/// Looks at a file on a thread of its own.
pub(super) async fn look(
    path: PathBuf,
    datum: Datum,
    origin: Origin,
    known: Option<Version>,
    stood: Stood,
) -> Look {
    let reading = move || read(&path, datum, origin, known.as_ref(), stood);
    tokio::task::spawn_blocking(reading).await.unwrap_or_else(|_| Look::unsettled("the look was cut short"))
}

/// Looks at a file; blocks.
pub(super) fn read(path: &Path, datum: Datum, origin: Origin, known: Option<&Version>, stood: Stood) -> Look {
    match try_read(path, datum, &origin, known, stood) {
        Ok(look) => look,
        Err(error) if is_absence(&error) => Look::Absent,
        Err(error) => Look::failed(datum, origin, format!("it cannot be read: {error}"), known),
    }
}

fn try_read(
    path: &Path,
    datum: Datum,
    origin: &Origin,
    known: Option<&Version>,
    stood: Stood,
) -> io::Result<Look> {
    // A pipe at this place must not hold up whoever opens it.
    let nonblock = OFlags::NONBLOCK.bits().cast_signed();
    let mut file = File::options().read(true).custom_flags(nonblock).open(path)?;
    let before = file.metadata()?;
    if !before.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    if known == Some(&version(&before)) {
        return Ok(Look::Same);
    }
    let young = is_young(&before, Stood::ONE_TICK);
    if is_young(&before, stood) {
        let which = Some(Version(identity(&before)));
        return Ok(Look::Unsettled { reason: "it was written just now".to_owned(), which });
    }
    let candidate = match load(&mut file, datum, origin) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Ok(Look::unsettled("somebody is writing it"));
        }
        candidate => Box::new(candidate?),
    };
    let (after, named) = (file.metadata()?, fs::metadata(path)?);
    if identity(&named) != identity(&before) {
        return Ok(Look::unsettled("another file took its place while it was read"));
    }
    if version(&after) != version(&before) {
        return Ok(Look::unsettled("somebody is writing it"));
    }
    let version = version(&before);
    // Another write within this tick would not show in the version, so it must not be taken for known.
    let version = if young { version.or_later() } else { version };
    Ok(Look::Found { candidate, version })
}

/// What the open file has in it, from its first byte.
fn load(file: &mut File, datum: Datum, origin: &Origin) -> io::Result<Candidate> {
    if datum == Datum::Blacklist {
        return blacklist::load(file, origin);
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(Candidate::parse(datum, origin.clone(), &text))
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn version(metadata: &Metadata) -> Version {
    let bytes = metadata.size();
    let (modified, changed) = (metadata.mtime(), metadata.ctime());
    let (modified_ns, changed_ns) = (metadata.mtime_nsec(), metadata.ctime_nsec());
    let identity = identity(metadata);
    Version(format!("{identity} {bytes} {modified}.{modified_ns:09} {changed}.{changed_ns:09}"))
}

fn identity(metadata: &Metadata) -> String {
    format!("{}:{}", metadata.dev(), metadata.ino())
}

/// Whether it was written less than `stood` ago.
fn is_young(metadata: &Metadata, stood: Stood) -> bool {
    let stood = if metadata.size() == 0 { stood.empty } else { stood.any };
    let modified_ns = u32::try_from(metadata.mtime_nsec()).unwrap_or(0);
    let modified = Duration::new(u64::try_from(metadata.mtime()).unwrap_or(0), modified_ns);
    let now = clock::tick();
    match now.checked_sub(modified) {
        _ if stood.is_zero() => false,
        Some(age) => age < stood,
        // Newer kernels give times between two ticks to a file that somebody looks at.
        None => modified.saturating_sub(now) < AHEAD_MAX,
    }
}
