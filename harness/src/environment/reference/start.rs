//! How every process of our own server is started.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use crate::environment::{Error, group::Program, log, manager::Manager, settings};

/// How the server is started.
const ARGUMENTS: [&str; 3] = ["serve", "-c", settings::SETTINGS];

/// How the server is started, the first time and after it was killed.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) program: PathBuf,
    pub(super) faults: (&'static str, String),
    pub(super) log: PathBuf,
    /// Who holds the server's sockets, under `activate`.
    pub(super) manager: Option<Manager>,
}

impl Start {
    /// Has `start` start the program, as it is always started.
    pub(super) fn run<T>(
        &self,
        path: &Path,
        start: impl FnOnce(Program<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut variables = vec![self.faults.clone()];
        let mut passed = Vec::new();
        if let Some(manager) = &self.manager {
            variables.extend(manager.variables());
            passed = manager.sockets().map_err(Error::Manager)?;
        }
        let log = log::open(&self.log).map_err(Error::file("open the server's log", &self.log))?;
        let arguments = &ARGUMENTS.map(OsStr::new);
        start(Program { path, arguments, variables: &variables, passed, log: &log })
    }
}
