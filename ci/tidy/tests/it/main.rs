//! The program on a real folder: what it prints, and how it ends.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;

#[test]
fn all_violations_are_printed_at_once_and_sorted() {
    let folder = repository(&[
        (".gitignore", "ignored/\n"),
        ("ignored/mod.rs", "fn not_looked_at() {}"),
        ("z/src/mod.rs", "//! Z.\n"),
        ("a/src/b.rs", "fn b() {}\n"),
        ("a/src/binary.rs.gz", "\u{1}"),
        ("README.md", "[gone](gone.md)\n"),
    ]);
    fs::write(folder.path().join("a/src/not-utf-8.bin"), [0xff, 0xfe]).unwrap();
    let output = tidy(&folder.path().join("a/src"));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = stdout.lines().collect();
    for expected in [
        "README.md:1: the link to `gone.md` leads to nothing in the repository",
        "a/src/b.rs: begin the file with `//!`: purpose, invariants, what is absent on purpose",
        "z/src/mod.rs: no mod.rs: `foo.rs` is the door, `foo/` the room",
    ] {
        assert!(lines.contains(&expected), "{stdout}");
    }
    assert!(!stdout.contains("ignored"), "{stdout}");
    let (total, violations) = lines.split_last().unwrap();
    assert_eq!(*total, format!("tidy: 6 files, {} violations", violations.len()));
    assert!(violations.iter().any(|line| line.starts_with("ci/tidy/src/rooms.rs: the row ")), "{stdout}");
    let files: Vec<_> = violations.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert!(files.is_sorted(), "{stdout}");
}

#[test]
fn a_folder_that_is_no_repository_is_not_taken_for_a_clean_one() {
    let folder = TempDir::new().unwrap();
    let output = tidy(&folder.path().join("missing"));
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: failed to run git "), "{output:?}");
}

fn repository(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder must be possible");
    for (path, text) in files {
        let path = folder.path().join(path);
        path.parent().map(fs::create_dir_all).transpose().expect("a folder must be writable");
        fs::write(path, text).expect("a folder must be writable");
    }
    let made = Command::new("git")
        .args(["init", "--quiet"])
        .arg(folder.path())
        .status()
        .expect("git must be installed");
    assert!(made.success());
    folder
}

fn tidy(start: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidy")).arg(start).output().expect("the program must start")
}
