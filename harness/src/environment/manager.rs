//! The harness in the place of a service manager (`activate`): it holds the listening sockets, starts every process of the
//! server with them (`sd_listen_fds(3)`), and hears from it when it serves (`sd_notify(3)`).

use std::{io, net::TcpListener, os::fd::OwnedFd};

use command_fds::FdMapping;
use rustix::process::Pid;
use tempfile::TempDir;
use tokio::net::UnixDatagram;

use super::settings::Sides;

/// The first descriptor that is passed on (`SD_LISTEN_FDS_START`).
const FIRST: i32 = 3;
/// What the sockets are for, in their order.
const NAMES: &str = "public:admin";
/// Where the server tells how it is.
const NOTIFY: &str = "notify";
/// Longer than anything that a server says at once, bytes.
const SAID_BYTES_MAX: usize = 4_096;

/// What a service manager has of a service.
#[derive(Debug)]
pub(super) struct Manager {
    sockets: [TcpListener; 2],
    told: UnixDatagram,
    /// Holds the socket where the server tells: the path of a run's folder may be too long for one.
    folder: TempDir,
}

impl Manager {
    /// Listens at both sides, and for what the server tells.
    ///
    /// # Errors
    /// When a socket cannot be bound.
    pub(super) fn new(sides: Sides) -> io::Result<Self> {
        let sockets = [TcpListener::bind(sides.api)?, TcpListener::bind(sides.admin)?];
        let folder = tempfile::tempdir()?;
        let told = UnixDatagram::bind(folder.path().join(NOTIFY))?;
        Ok(Self { sockets, told, folder })
    }

    /// What a process of the server finds in its environment.
    pub(super) fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LISTEN_FDS", self.sockets.len().to_string()),
            ("LISTEN_FDNAMES", NAMES.to_owned()),
            ("NOTIFY_SOCKET", self.folder.path().join(NOTIFY).display().to_string()),
        ]
    }

    /// The sockets, where a process of the server finds them.
    ///
    /// # Errors
    /// When a descriptor cannot be duplicated.
    pub(super) fn sockets(&self) -> io::Result<Vec<FdMapping>> {
        let mapped = |(child_fd, socket): (i32, &TcpListener)| {
            Ok(FdMapping { parent_fd: OwnedFd::from(socket.try_clone()?), child_fd })
        };
        (FIRST..).zip(&self.sockets).map(mapped).collect()
    }

    /// Forgets what was told until now.
    pub(super) fn forget(&self) {
        let mut said = [0; SAID_BYTES_MAX];
        while self.told.try_recv(&mut said).is_ok() {}
    }

    /// Waits until `process` tells that it serves, and keeps all that is told meanwhile.
    ///
    /// # Errors
    /// When nothing can be received any more.
    pub(super) async fn until_ready(&self, process: Pid, told: &mut Vec<String>) -> io::Result<()> {
        loop {
            let mut said = [0; SAID_BYTES_MAX];
            let length = self.told.recv(&mut said).await?;
            let text = String::from_utf8_lossy(&said[..length]).into_owned();
            let is_ready = is_ready(&text, process);
            told.push(text);
            if is_ready {
                return Ok(());
            }
        }
    }
}

/// Whether a process tells that it serves, and that it is the one.
fn is_ready(text: &str, process: Pid) -> bool {
    let mainpid = format!("MAINPID={}", process.as_raw_pid());
    text.lines().any(|line| line == "READY=1") && text.lines().any(|line| line == mainpid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_was_started_is_waited_for() {
        let process = Pid::from_raw(17).unwrap();
        assert!(is_ready("READY=1\nMAINPID=17\n", process));
        assert!(!is_ready("READY=1\nMAINPID=170\n", process), "the old one, which serves on");
        assert!(!is_ready("RELOADING=1\nMAINPID=17\n", process));
        assert!(!is_ready("READY=1\n", process));
    }
}
