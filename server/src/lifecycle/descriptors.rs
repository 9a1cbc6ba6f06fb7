//! How many descriptors this process may have (`RLIMIT_NOFILE`): as many as the machine grants.
//!
//! The soft limit is 1,024 in most places, for the sake of programs that call `select(2)`, and it is each program's own
//! to raise.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a process needs beside its connections: listeners, files, connections to services and of the admin side.
const BESIDE_CONNECTIONS: u64 = 256;

/// Raises the soft limit to the hard one, and tells if that is too low for `connections_max` connections. Answers how
/// many descriptors this process may have.
pub(super) fn raise(connections_max: usize) -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit of descriptors stays as it is");
    }
    // No limit is told as none.
    let may_have = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if needed_for(connections_max as u64) > may_have {
        tracing::warn!(
            descriptors = may_have,
            connections_max,
            "there are too few descriptors for limits.connections_max: who comes when they are used up has to wait; \
             raise the hard limit (ulimit -Hn, LimitNOFILE= of systemd), or lower connections_max"
        );
    }
    may_have
}

/// How many descriptors a process has to have for so many connections.
pub(super) fn needed_for(connections: u64) -> u64 {
    connections.saturating_add(BESIDE_CONNECTIONS)
}
