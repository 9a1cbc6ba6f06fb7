//! What a service manager is told (`sd_notify(3)`), if one listens at `NOTIFY_SOCKET`: with systemd, a unit with
//! `Type=notify` and `NotifyAccess=all`, so that it follows an upgrade to the new process.

use sd_notify::NotifyState;

/// This process serves, and is the one to watch.
pub(super) fn tell_ready() {
    tell(&[NotifyState::Ready, NotifyState::MainPid(std::process::id())]);
}

/// An upgrade goes on; its end is told by [`tell_ready`] of the process that serves then.
pub(super) fn tell_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no clock for the service manager"),
    }
}

/// This process ends, and nobody comes after it.
pub(super) fn tell_stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager at NOTIFY_SOCKET cannot be told");
    }
}
