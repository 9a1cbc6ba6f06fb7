//! Logs survive the round trip, and anything else than a whole log is refused.

use std::{
    fs,
    path::{Path, PathBuf},
};

use proptest::prelude::{Strategy, any, prop, prop_assert_eq, proptest};
use tempfile::TempDir;

use super::{Reader, Record, Writer, record_size};
use crate::observe::{Attempt, Cause, ClosedBy, Connection, Error, Phase, record::wire};

fn attempts() -> impl Strategy<Value = Attempt> {
    let times = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    let counts = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>());
    let small = (any::<u16>(), any::<u16>(), any::<u16>());
    let ending = (prop::sample::select(&wire::PHASES[..]), prop::sample::select(&wire::CAUSES[..]));
    (times, counts, small, ending).prop_map(|(times, counts, small, (phase, cause))| Attempt {
        id: times.0,
        intended_ns: times.1,
        sent_ns: times.2,
        first_byte_ns: times.3,
        ended_ns: times.4,
        connection: counts.0,
        connection_requests: counts.1,
        idle_us: counts.2,
        process: counts.3,
        config: counts.4,
        stream: small.0,
        request: small.1,
        status: small.2,
        phase,
        cause,
    })
}

fn connections() -> impl Strategy<Value = Connection> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u32>(), any::<u32>(), any::<u16>());
    (numbers, prop::sample::select(&wire::SIDES[..])).prop_map(|(numbers, closed_by)| Connection {
        opened_ns: numbers.0,
        closed_ns: numbers.1,
        id: numbers.2,
        requests: numbers.3,
        stream: numbers.4,
        closed_by,
    })
}

fn write<R: Record>(records: &[R]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder must be had");
    let path = folder.path().join("records.bin");
    let mut writer = Writer::create(&path).expect("the log must be made");
    for record in records {
        writer.push(record).expect("the record must be written");
    }
    writer.finish().expect("the log must be written");
    (folder, path)
}

fn read<R: Record>(path: &Path) -> Result<Vec<R>, Error> {
    Reader::open(path)?.collect()
}

/// The tables that decode a byte hold every value at the place that encodes it.
#[test]
fn every_byte_is_its_value() {
    for (index, phase) in wire::PHASES.iter().enumerate() {
        assert_eq!(*phase as usize, index);
    }
    for (index, cause) in wire::CAUSES.iter().enumerate() {
        assert_eq!(*cause as usize, index);
    }
    for (index, side) in wire::SIDES.iter().enumerate() {
        assert_eq!(*side as usize, index);
    }
    assert_eq!(
        (wire::PHASES.last(), wire::CAUSES.last()),
        (Some(&Phase::Validate), Some(&Cause::Unresolved))
    );
    assert_eq!(wire::SIDES.last(), Some(&ClosedBy::Server));
}

#[test]
fn records_are_small() {
    assert_eq!((record_size::<Attempt>(), record_size::<Connection>()), (72, 32));
}

proptest! {
    #[test]
    fn attempts_survive(records in prop::collection::vec(attempts(), 0..50)) {
        let (_folder, path) = write(&records);
        prop_assert_eq!(read::<Attempt>(&path).expect("the log must be readable"), records);
    }

    #[test]
    fn connections_survive(records in prop::collection::vec(connections(), 0..50)) {
        let (_folder, path) = write(&records);
        prop_assert_eq!(read::<Connection>(&path).expect("the log must be readable"), records);
    }

    /// However much of the tail is missing, the log is not taken for a whole one.
    #[test]
    fn a_cut_log_is_refused(records in prop::collection::vec(connections(), 1..5), missing in 1_usize..32) {
        let (_folder, path) = write(&records);
        let mut bytes = fs::read(&path).expect("the log must be there");
        bytes.truncate(bytes.len() - missing);
        fs::write(&path, bytes).expect("the log must be writable");
        let error = read::<Connection>(&path).expect_err("a cut log must be refused");
        let Error::Truncated { whole, .. } = error else { panic!("{error:?}") };
        prop_assert_eq!(whole, records.len() as u64 - 1);
    }
}

/// Changes one byte of a log with one connection; the message names what is wrong.
fn check_damage(offset: usize, byte: u8, expected: &str) {
    let connection =
        Connection { id: 1, stream: 0, opened_ns: 2, closed_ns: 3, requests: 4, closed_by: ClosedBy::Client };
    let (folder, path) = write(&[connection]);
    let mut bytes = fs::read(&path).expect("the log must be there");
    bytes[offset] = byte;
    fs::write(&path, bytes).expect("the log must be writable");
    let error = read::<Connection>(&path).expect_err("a damaged log must be refused");
    let folder = folder.path().display().to_string();
    assert_eq!(error.to_string().replace(&folder, "RUN"), expected);
}

#[test]
fn what_is_no_log_of_ours_is_refused() {
    check_damage(5, b'X', "read RUN/records.bin: it is no connections log (it begins with \"HARN-XON\")");
    check_damage(
        8,
        9,
        "read RUN/records.bin: its schema version is 9, this harness reads 2; use the harness that wrote it",
    );
    check_damage(
        12,
        40,
        "read RUN/records.bin: its records have 40 bytes instead of 32; use the harness that wrote it",
    );
    check_damage(24 + 26, 7, "read RUN/records.bin: record 0 has 7 for its closed_by; the file is damaged");
}

#[test]
fn an_empty_file_is_no_log() {
    let folder = tempfile::tempdir().expect("a folder must be had");
    let path = folder.path().join("attempts.bin");
    fs::write(&path, b"HARN").expect("the file must be writable");
    assert!(matches!(read::<Attempt>(&path), Err(Error::Truncated { whole: 0, .. })));
}
