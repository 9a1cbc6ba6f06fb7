//! Files as they come: cut anywhere, long, faulty, without lines, shorter than they were.

use std::{
    fs,
    io::{ErrorKind, Write as _},
};

use proptest::prelude::*;

use super::*;

fn file_of(text: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text).unwrap();
    file
}

/// Lines of a list and what may be mistaken for one.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        6 => "[0-9]{1,20}",
        1 => "0{20,40}[0-9]{1,3}",
        1 => "[ \t\r\x0c]{0,3}[0-9]{0,19}[ \t\r\x0c]{0,3}",
        1 => "#.{0,40}",
        1 => any::<u64>().prop_map(|id| id.to_string()),
        1 => ".{0,12}",
        1 => prop::collection::vec(any::<u8>(), 0..12).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
    ];
    (prop::collection::vec(line, 0..40), any::<bool>()).prop_map(|(lines, is_ended)| {
        let mut text = lines.join("\n");
        if is_ended {
            text.push('\n');
        }
        text.into_bytes()
    })
}

proptest! {
    #[test]
    fn a_file_is_read_like_its_text_wherever_it_is_cut(text in text(), piece_bytes in 1_usize..64) {
        let (file, bytes) = (file_of(&text), text.len() as u64);
        let expected = Blacklist::parse(&text);
        prop_assert_eq!(read_in_pieces(&file, bytes, piece_bytes).unwrap(), expected);
    }
}

#[test]
fn a_long_file_in_any_order() {
    let count = 200_000_u64;
    let scattered = (0..count).map(|index| index * 7_919_393 % count);
    let text: String = scattered.map(|id| format!("{}\n", 1_000_000 + id)).collect();
    assert!(text.len() as u64 >= LONG_BYTES);
    let list = read(&file_of(text.as_bytes()), text.len() as u64).unwrap().unwrap();
    assert!(list.iter().map(|user| user.0).eq(1_000_000..1_000_000 + count));
}

#[test]
fn the_first_ten_faults_of_a_long_file_are_told_by_their_lines() {
    let lines = 300_000;
    let bad = |line: usize| line.is_multiple_of(40_000);
    let text: String = (1..=lines).map(|line| if bad(line) { "x\n" } else { "77777\n" }).collect();
    let told = read(&file_of(text.as_bytes()), text.len() as u64).unwrap().unwrap_err().to_string();
    assert!(told.starts_with("7 of its lines"), "{told}");
    assert!(told.ends_with(": 40000, 80000, 120000, 160000, 200000, 240000, 280000"), "{told}");
}

#[test]
fn a_line_without_end_takes_no_memory() {
    // A hole of a quarter of a gigabyte, which is one line of zero bytes.
    let file = tempfile::tempfile().unwrap();
    let bytes = 1 << 28;
    file.set_len(bytes).unwrap();
    let peak_kb = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let before = peak_kb();
    let told = read(&file, bytes).unwrap().unwrap_err().to_string();
    assert!(told.starts_with("1 of its lines"), "{told}");
    // The kernel adds its counters up by and by, so that a peak may seem to fall.
    assert!(peak_kb().saturating_sub(before) < 128 * 1024, "it was held in memory");
}

#[test]
fn a_file_that_gets_shorter_is_no_end_of_the_process() {
    let text = "123456\n".repeat(400_000);
    let file = file_of(text.as_bytes());
    file.set_len(1_000_000).unwrap();
    assert_eq!(read(&file, text.len() as u64).unwrap_err().kind(), ErrorKind::UnexpectedEof);
}
