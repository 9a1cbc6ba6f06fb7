//! Listening sockets that the process was started with (`sd_listen_fds(3)`): by a service manager that holds them, or by
//! an old process that is to be replaced (`inherit`).
//!
//! Under `activate` the manager starts the next instance beside the one that serves, with the same sockets: with systemd,
//! two units `seckill@a.service` and `seckill@b.service` with `Type=notify` and `Sockets=seckill.socket`. The new
//! process greets the old one, and goes through the same steps as under `handoff`.
//!
//! A name (`LISTEN_FDNAMES`, `FileDescriptorName=` of systemd.socket(5)) says what a socket is for: `public` or `admin`.
//! Without one its address has to be that of the configuration.

use std::{
    env,
    io::{self, ErrorKind},
    os::fd::{AsFd, OwnedFd},
};

use command_fds::{CommandFdExt as _, FdMapping};
use listenfd::ListenFd;
use tokio::process::Command;

use super::listeners::Listener;
use crate::{
    config::{Bind, Config},
    http::Side,
};

/// The first descriptor that is passed on (`SD_LISTEN_FDS_START`).
const FIRST: i32 = 3;
const COUNT: &str = "LISTEN_FDS";
const NAMES: &str = "LISTEN_FDNAMES";
const PID: &str = "LISTEN_PID";

/// The sockets that were passed to this process. Once; do it before there is another thread, because it changes the
/// environment.
///
/// # Errors
/// When one of them does not listen, or nobody knows what it is for.
pub(super) fn listeners(config: &Config) -> io::Result<Vec<Listener>> {
    let names = env::var(NAMES).unwrap_or_default();
    let mut names = names.split(':');
    let mut passed = ListenFd::from_env();
    (0..passed.len())
        .map(|index| {
            let number = FIRST + i32::try_from(index).unwrap_or(i32::MAX);
            let failed = |what: String| {
                let hint =
                    "it must be a TCP or unix stream socket named public or admin, or bound to api.bind or admin.bind";
                io::Error::new(
                    ErrorKind::InvalidInput,
                    format!("descriptor {number} was passed on, but {what}; {hint}"),
                )
            };
            let name = names.next().unwrap_or_default();
            let socket = socket(&mut passed, index).map_err(|error| failed(error.to_string()))?;
            let socket = socket.ok_or_else(|| failed("it is not there".to_owned()))?;
            rustix::io::ioctl_fionbio(&socket, true)?;
            let mut listener =
                Listener::inherited(Side::Public, socket).map_err(|error| failed(error.to_string()))?;
            listener.side = side(name, &listener.bound, config)
                .ok_or_else(|| failed(format!("it is named {name:?} and bound to {}", listener.bound)))?;
            Ok(listener)
        })
        .collect()
}

fn socket(passed: &mut ListenFd, index: usize) -> io::Result<Option<OwnedFd>> {
    match passed.take_tcp_listener(index) {
        // It stays where it is if it is none.
        Err(_) => Ok(passed.take_unix_listener(index)?.map(OwnedFd::from)),
        taken => Ok(taken?.map(OwnedFd::from)),
    }
}

fn side(name: &str, bound: &Bind, config: &Config) -> Option<Side> {
    let sides = [(Side::Public, &config.api.bind), (Side::Admin, &config.admin.bind)];
    let named = sides.iter().find(|(side, _)| side.to_string() == name);
    named.or_else(|| sides.iter().find(|(_, binds)| binds.contains(bound))).map(|(side, _)| *side)
}

/// Lets a process that is about to be started have these sockets; none: it gets none of those that this one had.
///
/// # Errors
/// When a descriptor cannot be duplicated, that is, when none is left.
pub(super) fn pass(command: &mut Command, listeners: &[(Side, impl AsFd)]) -> io::Result<()> {
    for variable in [COUNT, NAMES, PID] {
        command.env_remove(variable);
    }
    if listeners.is_empty() {
        return Ok(());
    }
    let owned: Vec<OwnedFd> =
        listeners.iter().map(|(_, socket)| socket.as_fd().try_clone_to_owned()).collect::<Result<_, _>>()?;
    let mappings = (FIRST..).zip(owned).map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd });
    let names: Vec<String> = listeners.iter().map(|(side, _)| side.to_string()).collect();
    // Without `LISTEN_PID`: nobody knows the number before the process is there.
    command.env(COUNT, listeners.len().to_string()).env(NAMES, names.join(":"));
    command.fd_mappings(mappings.collect()).map(drop).map_err(io::Error::other)
}
