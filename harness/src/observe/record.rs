//! The binary logs of a run: a header, then records of one fixed size, little-endian.
//!
//! A header names what the records are, the schema version and the record size, and a reader refuses
//! anything else, so that a log is never misread. Deliberately absent: an index, compression, and any
//! reading of a log that breaks off, because such a run cannot be vouched for.

mod wire;

use std::{
    fmt,
    fs::File,
    io::{self, BufWriter, Read as _, Write as _},
    marker::PhantomData,
    path::{Path, PathBuf},
};

use zerocopy::{
    FromBytes, FromZeros as _, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U32, U64},
};

use super::{Attempt, Connection, Error};
use wire::{AttemptWire, ConnectionWire};

/// Version of the record layouts; rises with every change of them.
pub const LOG_SCHEMA_VERSION: u32 = 2;

/// Something that is logged in records of one size: an [`Attempt`] or a [`Connection`].
pub trait Record: Sized {
    /// What the log holds, for messages.
    const NAME: &'static str;
    /// The log's first eight bytes.
    const MAGIC: [u8; 8];
    /// The record as it lies in the file.
    type Wire: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned + fmt::Debug;

    fn to_wire(&self) -> Self::Wire;

    /// # Errors
    /// The field that no value of ours has, and what it holds.
    fn from_wire(wire: &Self::Wire) -> Result<Self, (&'static str, u8)>;
}

impl Record for Attempt {
    const NAME: &'static str = "attempts";
    const MAGIC: [u8; 8] = *b"HARN-ATT";
    type Wire = AttemptWire;

    fn to_wire(&self) -> AttemptWire {
        AttemptWire::from(self)
    }

    fn from_wire(wire: &AttemptWire) -> Result<Self, (&'static str, u8)> {
        Self::try_from(wire)
    }
}

impl Record for Connection {
    const NAME: &'static str = "connections";
    const MAGIC: [u8; 8] = *b"HARN-CON";
    type Wire = ConnectionWire;

    fn to_wire(&self) -> ConnectionWire {
        ConnectionWire::from(self)
    }

    fn from_wire(wire: &ConnectionWire) -> Result<Self, (&'static str, u8)> {
        Self::try_from(wire)
    }
}

#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    version: U32,
    record_size: U32,
    reserved: U64,
}

/// Writes a log.
#[derive(Debug)]
pub struct Writer<R> {
    path: PathBuf,
    file: BufWriter<File>,
    record: PhantomData<R>,
}

impl<R: Record> Writer<R> {
    /// Makes the file, or empties it, and writes the header.
    ///
    /// # Errors
    /// When the file cannot be made or written.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let file = File::create(path).map_err(|source| Error::Create { path: path.to_owned(), source })?;
        let mut writer = Self {
            path: path.to_owned(),
            file: BufWriter::with_capacity(1 << 16, file),
            record: PhantomData,
        };
        let header = Header {
            magic: R::MAGIC,
            version: U32::new(LOG_SCHEMA_VERSION),
            record_size: U32::new(record_size::<R>()),
            reserved: U64::ZERO,
        };
        writer.write(header.as_bytes())?;
        Ok(writer)
    }

    /// # Errors
    /// When the record cannot be written.
    pub fn push(&mut self, record: &R) -> Result<(), Error> {
        self.write(record.to_wire().as_bytes())
    }

    /// Hands everything to the operating system.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<(), Error> {
        self.file.flush().map_err(|source| Error::Write { path: self.path, source })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|source| Error::Write { path: self.path.clone(), source })
    }
}

/// Records that a reader fetches at once.
const BATCH: usize = 1_024;

/// Reads a log record by record, in constant memory.
#[derive(Debug)]
pub struct Reader<R: Record> {
    path: PathBuf,
    file: File,
    /// Records given out.
    index: u64,
    batch: Vec<R::Wire>,
    /// Whole records in the batch, and how many of them were given out.
    filled: usize,
    given: usize,
    /// The file broke off in the middle of a record, after those in the batch.
    broken: bool,
    /// Records in the file when it was opened, so that a collection makes room for them but once.
    expected: usize,
}

impl<R: Record> Reader<R> {
    /// Opens a log and checks its header.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a log of this kind, version and record size.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let path = path.to_owned();
        let mut file = File::open(&path).map_err(|source| Error::Open { path: path.clone(), source })?;
        let mut header = Header::new_zeroed();
        match read_full(&mut file, header.as_mut_bytes()) {
            Ok(read) if read < size_of::<Header>() => return Err(Error::Truncated { path, whole: 0 }),
            Ok(_) => {}
            Err(source) => return Err(Error::Read { path, source }),
        }
        if header.magic != R::MAGIC {
            return Err(Error::Magic { path, expected: R::NAME, found: header.magic });
        }
        if header.version.get() != LOG_SCHEMA_VERSION {
            let found = header.version.get();
            return Err(Error::Version { path, expected: LOG_SCHEMA_VERSION, found });
        }
        if header.record_size.get() != record_size::<R>() {
            let found = header.record_size.get();
            return Err(Error::RecordSize { path, expected: record_size::<R>(), found });
        }
        let bytes = file.metadata().map_err(|source| Error::Read { path: path.clone(), source })?.len();
        let expected = usize::try_from(bytes).unwrap_or(0) / size_of::<R::Wire>();
        let mut batch = Vec::new();
        batch.resize_with(BATCH, R::Wire::new_zeroed);
        Ok(Self { path, file, index: 0, batch, filled: 0, given: 0, broken: false, expected })
    }

    /// Fetches the next records; says whether there are any.
    fn fetch(&mut self) -> Result<bool, Error> {
        if self.broken {
            return Err(Error::Truncated { path: self.path.clone(), whole: self.index });
        }
        let read = read_full(&mut self.file, self.batch.as_mut_bytes())
            .map_err(|source| Error::Read { path: self.path.clone(), source })?;
        let size = size_of::<R::Wire>();
        (self.filled, self.given, self.broken) = (read / size, 0, !read.is_multiple_of(size));
        if self.filled == 0 && self.broken { self.fetch() } else { Ok(self.filled > 0) }
    }
}

impl<R: Record> Iterator for Reader<R> {
    type Item = Result<R, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.given == self.filled {
            match self.fetch() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        let record = R::from_wire(&self.batch[self.given]);
        let index = self.index;
        self.given += 1;
        self.index += 1;
        Some(record.map_err(|(field, value)| Error::Value { path: self.path.clone(), index, field, value }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.expected.saturating_sub(usize::try_from(self.index).unwrap_or(usize::MAX)), None)
    }
}

/// Fills the buffer as far as the file goes; says how far.
fn read_full(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn record_size<R: Record>() -> u32 {
    u32::try_from(size_of::<R::Wire>()).expect("a record must be far smaller than 4 GiB")
}

#[cfg(test)]
mod tests;
