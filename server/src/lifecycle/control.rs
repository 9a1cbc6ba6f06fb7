//! What the admin side may ask of the process's life, and how it is told the outcome.
//!
//! [`Control`] is a cheap handle; the requests are carried out by the one loop in `lifecycle` that owns
//! the listeners and the connections.

use std::path::PathBuf;

use tokio::sync::{mpsc, oneshot, watch};

use super::{Phase, UpgradeReport};

/// A handle on the process's life.
#[derive(Debug, Clone)]
pub struct Control {
    requests: mpsc::Sender<ControlRequest>,
    phase: watch::Receiver<Phase>,
}

/// A request to the loop that owns the process's life.
#[derive(Debug)]
pub enum ControlRequest {
    /// Replace this process.
    Upgrade {
        to: UpgradeTo,
        /// Gets the outcome when it is over, a refusal at once.
        answer: oneshot::Sender<UpgradeReport>,
    },
    /// Serve no new connection, finish what is in flight, and stop.
    Drain {
        /// Gets `false` when an upgrade goes on.
        answer: oneshot::Sender<bool>,
    },
}

/// What is to run after an upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpgradeTo {
    /// The program at this path.
    Binary(PathBuf),
    /// What ran before this process: a rollback.
    Previous,
}

impl Control {
    /// A handle and the receiving end for the loop that carries the requests out.
    #[must_use]
    pub fn new(phase: watch::Receiver<Phase>) -> (Self, mpsc::Receiver<ControlRequest>) {
        let (requests, receiver) = mpsc::channel(16);
        (Self { requests, phase }, receiver)
    }

    /// Where the process is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits until the process is in another phase than that in which it serves alone.
    pub async fn past_ready(&self) {
        // Whoever announces the phases lives as long as the process serves.
        _ = self.phase.clone().wait_for(|phase| *phase != Phase::Ready).await;
    }

    /// Asks for an upgrade and waits until it is over. `None`: the process stopped before it could answer.
    pub async fn upgrade(&self, to: UpgradeTo) -> Option<UpgradeReport> {
        let (answer, outcome) = oneshot::channel();
        self.requests.send(ControlRequest::Upgrade { to, answer }).await.ok()?;
        outcome.await.ok()
    }

    /// Asks for an orderly stop. `false`: an upgrade goes on, and nothing is stopped.
    pub async fn drain(&self) -> bool {
        let (answer, accepted) = oneshot::channel();
        // Nobody is left to answer when the process is stopping already, which is what is asked.
        _ = self.requests.send(ControlRequest::Drain { answer }).await;
        accepted.await.unwrap_or(true)
    }
}
