//! JSON files of a run: single values, and one value per line for what grows with the run.
//!
//! Every line ends with a newline, so a file that was cut short is told from a whole one.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, BufWriter, Write as _},
    marker::PhantomData,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use super::Error;

/// Reads one value per line.
#[derive(Debug)]
pub struct JsonLines<T> {
    path: PathBuf,
    file: BufReader<File>,
    line: usize,
    text: Vec<u8>,
    value: PhantomData<T>,
}

impl<T: DeserializeOwned> JsonLines<T> {
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::Open { path: path.to_owned(), source })?;
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::new(file),
            line: 0,
            text: Vec::new(),
            value: PhantomData,
        })
    }
}

impl<T: DeserializeOwned> Iterator for JsonLines<T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.text.clear();
        match self.file.read_until(b'\n', &mut self.text) {
            Err(source) => return Some(Err(Error::Read { path: self.path.clone(), source })),
            Ok(0) => return None,
            Ok(_) => {}
        }
        if self.text.last() != Some(&b'\n') {
            let whole = self.line as u64;
            return Some(Err(Error::Truncated { path: self.path.clone(), whole }));
        }
        self.line += 1;
        Some(serde_json::from_slice(&self.text).map_err(|source| Error::Json {
            path: self.path.clone(),
            line: self.line,
            source,
        }))
    }
}

/// Writes one value per line.
#[derive(Debug)]
pub struct JsonLinesWriter {
    path: PathBuf,
    file: BufWriter<File>,
}

impl JsonLinesWriter {
    /// Makes the file, or empties it.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let file = File::create(path).map_err(|source| Error::Create { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file) })
    }

    /// # Errors
    /// When the line cannot be written.
    pub fn push<T: Serialize>(&mut self, value: &T) -> Result<(), Error> {
        serde_json::to_writer(&mut self.file, value)
            .map_err(io::Error::from)
            .and_then(|()| self.file.write_all(b"\n"))
            .map_err(|source| Error::Write { path: self.path.clone(), source })
    }

    /// Hands everything to the operating system.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<(), Error> {
        self.file.flush().map_err(|source| Error::Write { path: self.path, source })
    }
}

/// The word that an enum without fields is written as in the logs.
///
/// # Panics
/// For a value that is no such enum.
pub fn word<T: Serialize>(value: &T) -> String {
    let json = serde_json::to_value(value).expect("an enum must be expressible in JSON");
    json.as_str().expect("an enum without fields must be written as a word").to_owned()
}

/// Writes one value as an indented file.
pub(super) fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let fault = |source| Error::Write { path: path.to_owned(), source };
    let mut text = serde_json::to_vec_pretty(value).map_err(io::Error::from).map_err(fault)?;
    text.push(b'\n');
    fs::write(path, text).map_err(fault)
}

/// Reads one value.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = fs::read(path).map_err(|source| Error::Open { path: path.to_owned(), source })?;
    serde_json::from_slice(&text).map_err(|source| Error::Json {
        path: path.to_owned(),
        line: source.line(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};

    use super::{Error, JsonLines, JsonLinesWriter};
    use crate::observe::{Buy, BuyOutcome, EventOutcome, EventRecord};

    fn buys() -> impl Strategy<Value = Buy> {
        let outcome = prop_oneof![
            ".*".prop_map(|order| BuyOutcome::Acknowledged { order: order.into() }),
            any::<u16>().prop_map(|status| BuyOutcome::Rejected { status }),
            prop::sample::select(vec![BuyOutcome::Unsent, BuyOutcome::Unknown]),
        ];
        (any::<[u64; 3]>(), any::<[u32; 4]>(), ".*", outcome).prop_map(|(long, short, key, outcome)| Buy {
            attempt: long[0],
            invoked_ns: long[1],
            ended_ns: long[2],
            user: short[0],
            event: short[1],
            goods: short[2],
            process: short[3],
            key,
            outcome,
        })
    }

    fn round_trip<T: serde::Serialize + serde::de::DeserializeOwned>(values: &[T]) -> Vec<T> {
        let folder = tempfile::tempdir().expect("a folder must be had");
        let path = folder.path().join("values.jsonl");
        let mut writer = JsonLinesWriter::create(&path).expect("the file must be made");
        for value in values {
            writer.push(value).expect("the line must be written");
        }
        writer.finish().expect("the file must be written");
        JsonLines::open(&path).and_then(Iterator::collect).expect("the file must be readable")
    }

    proptest! {
        /// Whatever a key or an order holds, line ends included.
        #[test]
        fn buys_survive(values in prop::collection::vec(buys(), 0..20)) {
            prop_assert_eq!(round_trip(&values), values);
        }
    }

    #[test]
    fn events_survive() {
        let event = EventRecord {
            id: "upgrade-1".to_owned(),
            kind: "upgrade".to_owned(),
            at_ns: 1,
            started_ns: 2,
            acked_ns: 3,
            ended_ns: 4,
            outcome: EventOutcome::Refused,
            as_expected: true,
            detail: serde_json::json!({"error": {"step": "load", "stderr": "a\nb"}}),
        };
        assert_eq!(round_trip(std::slice::from_ref(&event)), [event]);
    }

    #[test]
    fn a_broken_line_is_named() {
        let folder = tempfile::tempdir().expect("a folder must be had");
        let path = folder.path().join("values.jsonl");
        std::fs::write(&path, "1\n2\nthree\n").expect("the file must be writable");
        let error = JsonLines::<u32>::open(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        assert!(matches!(error, Err(Error::Json { line: 3, .. })), "{error:?}");
        std::fs::write(&path, "1\n2\n3").expect("the file must be writable");
        let error = JsonLines::<u32>::open(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        assert!(matches!(error, Err(Error::Truncated { whole: 2, .. })), "{error:?}");
    }
}
