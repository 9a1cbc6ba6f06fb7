//! Who this process is: its id, its release label and its number in the chain of upgrades.

use std::{env, fs, path::Path};

use crate::lifecycle::{ProcessGeneration, ProcessIdentity};

/// Name of the file beside the executable that holds the release label.
const RELEASE_FILE: &str = "RELEASE";

/// Longest label that is put into a header, in bytes.
const LABEL_BYTES_MAX: usize = 64;

/// This process, as number `process` of its chain.
#[must_use]
pub fn current(process: ProcessGeneration) -> ProcessIdentity {
    ProcessIdentity { pid: std::process::id(), version: release_label(), process }
}

/// The release label: the text of the file `RELEASE` beside the executable, else the package version.
///
/// The executable's path is resolved first, because releases are switched with a symbolic link.
#[must_use]
pub fn release_label() -> String {
    env::current_exe()
        .and_then(fs::canonicalize)
        .ok()
        .and_then(|executable| label_beside(&executable))
        .unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned())
}

/// The label beside `executable`, when there is one that can stand in a header.
fn label_beside(executable: &Path) -> Option<String> {
    let text = fs::read_to_string(executable.parent()?.join(RELEASE_FILE)).ok()?;
    let label = text.trim();
    let printable = label.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    (!label.is_empty() && label.len() <= LABEL_BYTES_MAX && printable).then(|| label.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_is_the_trimmed_text_of_the_release_file() {
        let folder = tempfile::tempdir().unwrap();
        let executable = folder.path().join("seckill");
        let check = |text: &str, expected: Option<&str>| {
            fs::write(folder.path().join(RELEASE_FILE), text).unwrap();
            assert_eq!(label_beside(&executable).as_deref(), expected, "{text:?}");
        };
        check("17\n", Some("17"));
        check(" 2026.08-a \n", Some("2026.08-a"));
        check("", None);
        check("two\nlines", None);
        check(&"x".repeat(65), None);
    }

    #[test]
    fn without_a_release_file_there_is_no_label_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(label_beside(&folder.path().join("seckill")), None);
    }
}
