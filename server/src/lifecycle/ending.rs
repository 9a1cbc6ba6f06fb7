//! How the process ends: why, and what is still answered.

use super::{
    Phase,
    connections::Directive,
    life::Life,
    service_manager,
    signals::{Request, Signals},
};

/// Why the process ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// A successor has everything.
    Replaced,
    /// It was told to.
    Stopped,
    /// The process before it serves again, and says why.
    Dismissed(String),
}

/// An orderly stop: no new connections, the requests in flight are finished, the rest is cut in time.
/// Meanwhile `others` goes on, which tells whoever wants to take over that it is too late.
pub(super) async fn stop(life: &Life, signals: &mut Signals, others: impl Future<Output = ()>) -> End {
    service_manager::tell_stopping();
    life.phase(Phase::Draining);
    life.close_listeners().await;
    let others = async {
        others.await;
        std::future::pending::<()>().await;
    };
    tokio::select! { () = drain(life, signals) => {}, () = others => {} }
    End::Stopped
}

/// The end of a process that serves beside one that serves again, whose the files at the paths are.
pub(super) async fn leave(life: &Life, signals: &mut Signals, reason: String) -> End {
    life.phase(Phase::Draining);
    life.leave_listeners().await;
    drain(life, signals).await;
    End::Dismissed(reason)
}

/// Answers what is in flight, with the listeners closed.
async fn drain(life: &Life, signals: &mut Signals) {
    life.connections.direct(Directive::Close);
    // Others are to know it before the last answer is given.
    let leaving = async {
        if let Some(registration) = &life.registration {
            registration.leave().await;
        }
    };
    let again = async { while signals.next().await != Request::Stop {} };
    tokio::select! {
        _ = async { tokio::join!(life.connections.gone(life.config.upgrade.drain), leaving) } => {}
        () = again => tracing::warn!("told twice: what is in flight is cut"),
    }
    let ended = life.connections.ended();
    tracing::info!(finished = ended.finished, closed = ended.closed, cut = ended.cut, "drained");
}
