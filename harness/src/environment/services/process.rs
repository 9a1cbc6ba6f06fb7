//! A service as a process of our own, and the short commands beside it.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::Signal;
use tokio::{process::Command, time::timeout};

use super::{Error, programs};
use crate::{
    environment::{
        Group,
        group::{Program, ended_how},
        log::{self, tail},
        ports,
    },
    plan::{Access, Password, Service},
};

/// For a short command; an image of MySQL may have to be pulled over a slow line.
const COMMAND_LIMIT: Duration = Duration::from_secs(300);

/// A process that can be killed, stopped, and started again with its data. Dropping it ends it and removes its data.
#[derive(Debug)]
pub(super) struct Process {
    /// `None` while it is killed.
    group: Option<Group>,
    program: PathBuf,
    arguments: Vec<OsString>,
    folder: PathBuf,
    log: PathBuf,
}

impl Process {
    /// Starts a service on a free port with a password of its own; it need not be ready yet.
    pub(super) async fn start(
        service: Service,
        program: &Path,
        run_folder: &Path,
    ) -> Result<(Self, Access), Error> {
        let folder = run_folder.join(service.word());
        fs::create_dir_all(&folder).map_err(Error::file("create the folder", &folder))?;
        let mut process = Self {
            group: None,
            program: program.to_owned(),
            arguments: Vec::new(),
            folder: folder.canonicalize().map_err(Error::file("resolve", &folder))?,
            log: run_folder.join(format!("{}.log", service.word())),
        };
        let access = own_access(service)?;
        let arguments = programs::prepare(service, program, &process.folder, &access).await?;
        (process.program, process.arguments) = programs::kept(program, arguments);
        process.launch()?;
        Ok((process, access))
    }

    fn launch(&mut self) -> Result<(), Error> {
        let log = log::open(&self.log).map_err(Error::file("open the log", &self.log))?;
        let arguments: Vec<&OsStr> = self.arguments.iter().map(OsString::as_os_str).collect();
        // Never two at once in one folder: a group takes whoever works there for one of its own.
        self.group = None;
        let (path, arguments) = (self.program.as_path(), arguments.as_slice());
        let program = Program { path, arguments, variables: &[], passed: Vec::new(), log: &log };
        self.group = Some(Group::start(program, &self.folder)?);
        Ok(())
    }

    /// Kills it; its data stays.
    pub(super) fn kill(&mut self) {
        self.group = None;
    }

    /// Starts it once more with its data, at its address.
    pub(super) fn start_again(&mut self) -> Result<(), Error> {
        self.launch()
    }

    pub(super) fn signal(&mut self, signal: Signal) {
        if let Some(group) = &mut self.group {
            group.signal_all(signal);
        }
    }

    /// How it ended, once it has by itself.
    pub(super) fn ended(&mut self) -> Option<String> {
        self.group.as_mut().and_then(Group::leader_status).map(ended_how)
    }

    /// Its log, and how that ends.
    pub(super) fn log(&self) -> (PathBuf, String) {
        (self.log.clone(), tail(&self.log))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be stopped, and would hear nothing but a kill.
        self.group = None;
        // What cannot be removed is in the run's folder, where it can be seen.
        let _left_behind = fs::remove_dir_all(&self.folder);
    }
}

/// A free port, and an account with a password that nobody else knows.
pub(super) fn own_access(service: Service) -> Result<Access, Error> {
    let address = ports::pick()?.to_string();
    let password = Password(secret()?);
    Ok(match service {
        Service::Etcd => Access { address, ..Access::default() },
        Service::Redis => Access { address, password, ..Access::default() },
        Service::Mysql => {
            Access { address, password, username: "seckill".to_owned(), database: "seckill".to_owned() }
        }
    })
}

/// A word that nobody else has.
pub(super) fn secret() -> Result<String, Error> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0_u8; 16];
    let read = File::open(source).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(Error::file("read", source))?;
    Ok(hex(&bytes))
}

/// Two digits for each byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs a short command; what it prints. One that takes too long is killed.
pub(super) async fn output(program: &Path, arguments: &[OsString]) -> Result<String, Error> {
    let words = arguments.iter().map(|word| word.to_string_lossy());
    let command = std::iter::once(program.to_string_lossy()).chain(words).collect::<Vec<_>>().join(" ");
    let running = Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let late =
        || io::Error::new(io::ErrorKind::TimedOut, format!("not done after {} s", COMMAND_LIMIT.as_secs()));
    let output = timeout(COMMAND_LIMIT, running).await.unwrap_or_else(|_| Err(late()));
    let output = output.map_err(|source| Error::Run { command: command.clone(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout).trim(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Err(Error::Command { command, how: output.status.to_string(), said })
}
