//! A program that a test needs beside the server: looked for, started, signalled, and ended with the test.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

/// Whether all of these are installed, each with the package that brings it. What is missing is said aloud, and is a
/// failure in continuous integration.
pub(crate) fn are_installed(programs: &[(&str, &str)]) -> bool {
    let missing = programs.iter().filter(|(program, _)| !is_installed(program));
    let missing: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return true;
    }
    let missing = missing.join(" ");
    assert!(env::var_os("CI").is_none(), "a program to test with is missing; install {missing}");
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    // Past the test harness, which would show nothing of a test that does not fail.
    _ = writeln!(std::io::stderr(), "NOT RUN: {test}: install {missing}");
    false
}

fn is_installed(program: &str) -> bool {
    let output = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    output.is_ok_and(|status| status.success())
}

/// A running program. It is killed when this is dropped, or when the thread that runs the test is gone.
#[derive(Debug)]
pub(crate) struct Daemon(Child);

impl Daemon {
    /// Starts it in its folder, where it finds its data and leaves its log.
    pub(crate) fn start<S: AsRef<OsStr>>(
        program: &str,
        folder: &Path,
        arguments: impl IntoIterator<Item = S>,
    ) -> Self {
        let log = fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", program]).args(arguments).current_dir(folder);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Self(command.spawn().unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Ends it; what it has written stays.
    pub(crate) fn stop(&mut self, signal: Signal) {
        self.signal(signal);
        self.0.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}
