//! The listeners that a process begins with: those of the one before it where they fit, others bound anew.
//!
//! A configuration may add, drop and change listeners with any upgrade:
//!
//! - one that is added is bound before the old process is asked for anything, so that an address in use ends the upgrade;
//! - one that is dropped is accepted from until the old process has gone, then closed (see [`super::life`]);
//! - one that is changed is both.

use std::io;

use super::listeners::{Listener, Manner};
use crate::{
    config::{Bind, Config, Strategy, only_v6},
    http::Side,
};

/// Listeners by what is to become of them.
#[derive(Debug, Default)]
pub(super) struct Bound {
    /// What the configuration asks for, in its order, the public side first.
    pub(super) wanted: Vec<Listener>,
    /// What the old process had, and the configuration does not name.
    pub(super) dropped: Vec<Listener>,
}

/// The listeners that `config` asks for: inherited where one fits, else bound.
///
/// # Errors
/// When an address cannot be bound; the message names it.
pub(super) fn bind(config: &Config, strategy: Strategy, mut inherited: Vec<Listener>) -> io::Result<Bound> {
    let mut wanted = Vec::new();
    let sides = [
        (Side::Public, &config.api.bind, config.api.socket_mode),
        (Side::Admin, &config.admin.bind, config.admin.socket_mode),
    ];
    for (side, binds, mode) in sides {
        for bind in binds {
            let manner = Manner {
                shared_port: strategy.binds_twice(),
                only_v6: only_v6(bind, binds),
                mode,
                backlog: config.limits.listen_backlog,
            };
            let fits = |listener: &Listener| {
                listener.side == side && listener.only_v6 == manner.only_v6 && is_at(&listener.bound, bind)
            };
            let listener = match inherited.iter().position(fits) {
                Some(index) => inherited.swap_remove(index),
                None => {
                    let refused = |error| refused(side, bind, &error, &inherited);
                    Listener::bind(side, bind, manner).map_err(refused)?
                }
            };
            wanted.push(listener);
        }
    }
    Ok(Bound { wanted, dropped: inherited })
}

/// Whether what is bound at `bound` was asked for as `asked`. Port 0 means any, so what was given then fits.
fn is_at(bound: &Bind, asked: &Bind) -> bool {
    match (bound, asked) {
        (Bind::Tcp(bound), Bind::Tcp(asked)) if asked.port() == 0 => bound.ip() == asked.ip(),
        _ => bound == asked,
    }
}

fn refused(side: Side, bind: &Bind, error: &io::Error, inherited: &[Listener]) -> io::Error {
    let port = |bind: &Bind| bind.tcp().map(|address| address.port());
    let in_the_way =
        inherited.iter().find(|listener| port(bind).is_some() && port(&listener.bound) == port(bind));
    let hint = match in_the_way {
        Some(listener) if listener.side != side && is_at(&listener.bound, bind) => format!(
            "; the socket at this address came as one of the {} side: stop the process that serves now, then start the \
             new one",
            listener.side
        ),
        Some(listener) if error.kind() == io::ErrorKind::AddrInUse => format!(
            "; the process that serves now has {} there, which cannot be changed into this one: stop it, then start \
             the new one",
            listener.bound
        ),
        _ => String::new(),
    };
    io::Error::new(error.kind(), format!("cannot listen at {bind}: {error}{hint}"))
}
