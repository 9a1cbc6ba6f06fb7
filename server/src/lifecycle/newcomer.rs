//! Starts the binary that is to take over, and tells exactly why it could not.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use rustix::{
    fs::{MemfdFlags, memfd_create},
    io::Errno,
};
use tokio::process::{Child, Command};

use super::{UpgradeError, activation, predecessor::TICKET_VARIABLE};
use crate::http::Side;

/// How much of what the new process wrote before it failed is told.
const STDERR_BYTES_MAX: usize = 4096;

/// Where this process was started from: another binary may lie there by now, or a link on the way lead elsewhere.
pub(super) fn own_path() -> PathBuf {
    let typed = std::env::args_os().next().map(PathBuf::from).filter(|path| path.components().count() > 1);
    // Without a folder the shell has found it in PATH, and only the kernel knows where.
    typed.or_else(|| std::env::current_exe().ok()).unwrap_or_default()
}

/// A started process that has not taken over yet. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Newcomer {
    child: Child,
    /// Its standard error until it is welcomed: a file in memory, so that nobody has to read along and
    /// nothing breaks when this process ends.
    stderr: File,
    took_over: bool,
}

impl Newcomer {
    /// Starts `binary` with this process's own arguments and the sockets that it is to inherit.
    ///
    /// # Errors
    /// With the kinds `missing`, `not-executable`, `not-a-program` and `start-failed`.
    pub(super) fn start(
        binary: &Path,
        ticket: &str,
        inherited: &[(Side, OwnedFd)],
    ) -> Result<Self, UpgradeError> {
        look_at(binary)?;
        let stderr =
            memfd_create("seckill-startup", MemfdFlags::CLOEXEC).map(File::from).map_err(|error| {
                UpgradeError::at_start("start-failed", format!("no file in memory for its output: {error}"))
            })?;
        let output =
            stderr.try_clone().map_err(|error| UpgradeError::at_start("start-failed", error.to_string()))?;
        let mut command = Command::new(binary);
        command
            .args(std::env::args_os().skip(1))
            .env(TICKET_VARIABLE, ticket)
            .stdin(Stdio::null())
            .stderr(output);
        activation::pass(&mut command, inherited)
            .map_err(|error| UpgradeError::at_start("start-failed", error.to_string()))?;
        let child = command.spawn().map_err(|error| not_started(binary, &error))?;
        Ok(Self { child, stderr, took_over: false })
    }

    /// Waits until it ends.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// From now on it stays when this value is dropped.
    pub(super) fn take_over(&mut self) {
        self.took_over = true;
    }

    /// Ends it for good, and gives the last lines that it wrote to standard error.
    pub(super) async fn end(mut self) -> String {
        if !self.took_over {
            // It may have ended by itself already; then there is nothing to kill.
            _ = self.child.kill().await;
        }
        self.stderr_tail()
    }

    /// What it wrote to standard error so far, its end.
    pub(super) fn stderr_tail(&mut self) -> String {
        let mut text = Vec::new();
        let read = self.stderr.seek(SeekFrom::Start(0)).and_then(|_| self.stderr.read_to_end(&mut text));
        if let Err(error) = read {
            return format!("(its standard error cannot be read: {error})");
        }
        let start = text.len().saturating_sub(STDERR_BYTES_MAX);
        String::from_utf8_lossy(text.get(start..).unwrap_or_default()).trim_end().to_owned()
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        if !self.took_over {
            // An error means that it has ended.
            _ = self.child.start_kill();
        }
    }
}

/// Finds out what is wrong with a binary before it is started, in words that help.
fn look_at(binary: &Path) -> Result<(), UpgradeError> {
    let named = |what: &str| format!("{}: {what}", binary.display());
    let metadata = match binary.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(UpgradeError::at_start("missing", named("there is no such file; deploy it first")));
        }
        Err(error) => return Err(UpgradeError::at_start("missing", named(&error.to_string()))),
    };
    if !metadata.is_file() {
        return Err(UpgradeError::at_start("not-a-program", named("it is not a file")));
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(UpgradeError::at_start(
            "not-executable",
            named("it is not executable; run chmod +x on it"),
        ));
    }
    let mut magic = [0_u8; 4];
    let length = File::open(binary)
        .and_then(|mut file| file.read(&mut magic))
        .map_err(|error| UpgradeError::at_start("not-executable", named(&error.to_string())))?;
    let magic = magic.get(..length).unwrap_or_default();
    if magic != b"\x7fELF" && !magic.starts_with(b"#!") {
        return Err(UpgradeError::at_start(
            "not-a-program",
            named("it is neither an ELF program nor a script with #!"),
        ));
    }
    Ok(())
}

/// The kernel's reason, where looking at the file did not find one.
fn not_started(binary: &Path, error: &io::Error) -> UpgradeError {
    let kind = match Errno::from_io_error(error) {
        Some(Errno::NOEXEC) => "not-a-program",
        Some(Errno::ACCESS) => "not-executable",
        _ => "start-failed",
    };
    UpgradeError::at_start(kind, format!("{}: {error}", binary.display()))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn check(contents: Option<&[u8]>, mode: u32, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("binary");
        if let Some(contents) = contents {
            fs::write(&path, contents).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let kind = look_at(&path).err().map_or_else(String::new, |error| error.kind);
        assert_eq!(kind, expected);
    }

    #[test]
    fn a_binary_that_cannot_run_is_named_by_its_fault() {
        check(None, 0, "missing");
        check(Some(b"\x7fELF"), 0o644, "not-executable");
        check(Some(b"garbage that is no program"), 0o755, "not-a-program");
        check(Some(b""), 0o755, "not-a-program");
        check(Some(b"#!/bin/sh\nexit 1\n"), 0o755, "");
        check(Some(b"\x7fELF"), 0o755, "");
    }
}
