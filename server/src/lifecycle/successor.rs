//! The old process's side of a swap: starts or greets the successor, watches it, hands everything over.
//!
//! Until the successor has committed, nothing that this process serves is touched, so whatever goes wrong
//! with it ends in an [`UpgradeError`] and nothing else. Should it die between its commitment and the end,
//! this process takes back every connection that was not acknowledged and accepts again.

mod failure;
mod memory;
mod strategy;
mod trial;

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock, atomic::AtomicBool},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{Instant as Deadline, timeout, timeout_at},
};

use self::failure::Step;
use super::{
    ConnectionCounts, Phase, PhaseTimes, ProcessIdentity, UpgradeError, UpgradeOutcome, UpgradeReport,
    carrying::HandedOn,
    channel::{self, Channel},
    connections::{Directive, Parcel},
    life::Life,
    message::{Hello, Message},
    newcomer::Newcomer,
    service_manager, transfer,
};
use crate::{
    config::{self, Strategy},
    tasks::Tasks,
};

/// How long a process that failed may take to make room for its refusal.
const REFUSAL: Duration = Duration::from_millis(100);

/// How long a process that finds a limit over looks whether the word had come before.
const CATCH_UP: Duration = Duration::from_millis(50);

/// Who wants this process replaced.
#[derive(Debug)]
pub(super) enum Cause {
    /// The admin side, with a binary.
    Asked { binary: PathBuf, answer: oneshot::Sender<UpgradeReport> },
    /// A process that was started beside this one and has greeted it.
    Arrived { hello: Hello, channel: Channel },
}

/// What else the main loop tells a swap while it runs.
#[derive(Debug)]
pub(super) struct Inbox {
    /// A process that greets with this swap's ticket.
    pub(super) arrivals: mpsc::Receiver<(Hello, Channel)>,
    /// The seed's signal: the successor wants this process to leave.
    pub(super) retired: Arc<Notify>,
    pub(super) seen: Arc<Seen>,
}

/// What the main loop knows of the new process, so that it can judge signals and break the swap off.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The way to it, from its greeting on.
    pub(super) channel: OnceLock<Channel>,
    /// It may serve without being told, and so have this one leave, from now on (`reuseport`).
    pub(super) may_serve: AtomicBool,
}

/// Has a new process go. One that is stopped, with its socket full, is told when it goes on, as long as this process
/// lives: it would take the end of the channel for the end of this process, and serve.
pub(super) async fn refuse(channel: &Channel, reason: &str) {
    let (channel, refusal) = (channel.clone(), Message::Refuse { reason: reason.to_owned() });
    // If it is dead it need not be told.
    let telling = Tasks::default().spawn(async move { _ = channel.send(&refusal, &[], &[]).await });
    _ = timeout(REFUSAL, telling).await;
}

/// A swap that is going on.
pub(super) struct Swap {
    life: Arc<Life>,
    inbox: Inbox,
    ticket: String,
    strategy: Strategy,
    began: Instant,
    lap: Instant,
    times: PhaseTimes,
    new: Option<ProcessIdentity>,
    sockets: u32,
    handed_over: u32,
    ended_before: ConnectionCounts,
    newcomer: Option<Newcomer>,
    channel: Option<Channel>,
    /// The new process takes several connections in one message.
    batches: bool,
    handed_on: Option<HandedOn>,
    /// Connections that the new process was sent and has not acknowledged.
    back: Vec<Parcel>,
}

impl Swap {
    pub(super) fn new(life: Arc<Life>, inbox: Inbox, ticket: String) -> Self {
        let now = Instant::now();
        Self {
            inbox,
            ticket,
            strategy: life.config.upgrade.strategy,
            began: now,
            lap: now,
            times: PhaseTimes::default(),
            new: None,
            sockets: 0,
            handed_over: 0,
            ended_before: life.connections.ended(),
            newcomer: None,
            channel: None,
            batches: false,
            handed_on: None,
            back: Vec::new(),
            life,
        }
    }

    /// Carries the swap out and tells whoever asked. `true`: this process has been replaced.
    pub(super) async fn run(mut self, cause: Cause) -> bool {
        let (outcome, answer) = match cause {
            Cause::Asked { binary, answer } => (self.swap(Some(&binary)).await, Some(answer)),
            Cause::Arrived { hello, channel } => {
                self.strategy = hello.strategy;
                match self.meet(&hello, channel) {
                    Ok(()) => (self.swap(None).await, None),
                    Err(error) => (Err(error), None),
                }
            }
        };
        let failure = outcome.err();
        let failure = match failure {
            None => None,
            Some(error) => Some(self.recover(error).await),
        };
        let replaced = failure.is_none();
        let report = self.report(failure);
        self.life.note(&report);
        if let Some(answer) = answer {
            // Whoever asked may have gone; the log has the outcome.
            _ = answer.send(report.clone());
        }
        if replaced {
            self.life.commit();
            self.farewell(report).await;
        }
        replaced
    }

    async fn swap(&mut self, binary: Option<&std::path::Path>) -> Result<(), UpgradeError> {
        service_manager::tell_reloading();
        strategy::run(self, binary).await
    }

    /// Has a process that greets, with what it needs to load.
    async fn bring_up(&mut self, binary: Option<&std::path::Path>) -> Result<(), UpgradeError> {
        if let Some(binary) = binary {
            self.greet(binary).await?;
        }
        self.welcome().await
    }

    /// Makes the new process serve, then stops to accept here.
    async fn commit(&mut self) -> Result<(), UpgradeError> {
        let channel = self.channel("commit")?;
        let (generation, digests) = self.life.close_reload().await;
        let closes = (self.strategy == Strategy::HandoffLive).then(|| self.life.config.upgrade.silence());
        if let Some(limit) = closes {
            // From before it is said, so that it comes true before the new process counts on it.
            self.life.connections.close_after(limit);
        }
        let closes_ms = closes.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        let commit = Message::Commit { generation, digests, closes_ms };
        if let Err(error) = channel.send(&commit, &[], &[]).await {
            return Err(self.broken("commit", &error));
        }
        self.life.commit();
        self.expect(&Message::Committed, Step::Commit).await?;
        self.life.phase(Phase::HandingOver);
        self.life.stop_accepting().await;
        Ok(())
    }

    /// Moves every connection as it comes to a boundary, until only those who wait for the outcome are left.
    async fn move_connections(&mut self) -> Result<(), UpgradeError> {
        let moved = self.transfer(transfer::Until::Quiet, self.life.config.upgrade.drain).await?;
        self.times.transfer = Some(millis(moved.idle_moved));
        self.lap += moved.idle_moved;
        self.times.drain = Some(self.lap());
        Ok(())
    }

    async fn transfer(
        &mut self,
        until: transfer::Until,
        limit: Duration,
    ) -> Result<transfer::Moved, UpgradeError> {
        let channel = self.channel("transfer")?;
        // If the new process ends, its end of the channel tells.
        match transfer::run(&self.life, &channel, until, limit, self.batches).await {
            Ok(moved) => {
                self.handed_over += moved.handed_over;
                Ok(moved)
            }
            Err(failure) => {
                self.handed_over += failure.handed_over;
                self.back = failure.back;
                Err(self.transfer_failed(failure.error).await)
            }
        }
    }

    /// The seed's way: the new process serves already, and tells this one by a signal to leave.
    async fn await_signal(&mut self) -> Result<(), UpgradeError> {
        let retired = Arc::clone(&self.inbox.retired);
        let newcomer = self.newcomer.as_mut();
        tokio::select! {
            biased;
            signal = timeout(Step::Commit.limit(&self.life.config), retired.notified()) => {
                if signal.is_err() {
                    return Err(self.late(Step::Commit, "did not signal this process"));
                }
            }
            detail = ended(newcomer) => return Err(UpgradeError::new("commit", "died", detail)),
        }
        self.life.commit();
        self.times.transfer = Some(self.lap());
        Ok(())
    }

    /// Each connection may be used for one more request, whose answer announces its end.
    async fn answer_once_more(&mut self) -> Result<(), UpgradeError> {
        let config::UpgradeSettings { drain, idle_grace, .. } = self.life.config.upgrade;
        self.life.connections.direct(Directive::LastAnswer { grace: idle_grace.min(drain) });
        self.quiet().await
    }

    /// Closes listeners and idle connections, and waits for the requests in flight.
    async fn stop_serving(&mut self) -> Result<(), UpgradeError> {
        self.life.phase(Phase::Draining);
        self.life.close_listeners().await;
        self.life.connections.direct(Directive::Close);
        self.quiet().await
    }

    /// Waits for the requests in flight. A new process that dies meanwhile has to be replaced by this one.
    async fn quiet(&mut self) -> Result<(), UpgradeError> {
        let life = Arc::clone(&self.life);
        let quiet = life.connections.quiet(life.config.upgrade.drain);
        if let Some(channel) = self.channel.clone() {
            tokio::select! {
                biased;
                () = quiet => {}
                detail = ended(self.newcomer.as_mut()) => return Err(UpgradeError::new("drain", "died", detail)),
                received = channel.receive() => return Err(self.spoke_out_of_turn("drain", received).await),
            }
        } else {
            quiet.await;
        }
        self.times.drain = Some(self.lap());
        Ok(())
    }

    /// After the outcome is told: the last connections leave, and the successor learns that all is its own.
    async fn farewell(&mut self, report: UpgradeReport) {
        let limit = self.life.config.upgrade.farewell;
        if self.strategy == Strategy::HandoffLive
            && let Err(error) = self.transfer(transfer::Until::Empty, limit).await
        {
            tracing::warn!(%error.detail, "the last connections could not be handed over");
        }
        self.life.connections.gone(limit).await;
        // Then nobody has those that the successor drops but itself.
        self.life.leave_listeners().await;
        if let Err(error) = self.send_rest().await {
            tracing::warn!(%error.detail, "the last counts are lost");
        }
        if let Some(channel) = &self.channel {
            // A successor that is gone by now, or stopped, needs no farewell.
            let done = Message::Done { report: Some(Box::new(report)) };
            _ = timeout(limit, channel.send(&done, &[], &[])).await;
        }
        if let Some(newcomer) = &mut self.newcomer {
            newcomer.take_over();
        }
    }

    /// Serves on as before. The error is completed with what the failed process wrote.
    async fn recover(&mut self, mut error: UpgradeError) -> UpgradeError {
        self.refuse(&error.detail).await;
        self.channel = None;
        if let Some(newcomer) = self.newcomer.take() {
            error.stderr = newcomer.end().await;
        }
        if let Err(cause) = self.life.serve_again(std::mem::take(&mut self.back)).await {
            error.detail = format!("{}; and this process cannot serve again: {cause}", error.detail);
        }
        error
    }

    /// Waits until the new process says `word`, for as long as the step may take.
    async fn expect(&mut self, word: &Message, step: Step) -> Result<(), UpgradeError> {
        let deadline = Deadline::now() + step.limit(&self.life.config);
        self.expect_until(word, step, deadline).await
    }

    async fn expect_until(
        &mut self,
        word: &Message,
        limited: Step,
        deadline: Deadline,
    ) -> Result<(), UpgradeError> {
        let step = limited.word();
        let channel = self.channel(step)?;
        let newcomer = self.newcomer.as_mut();
        let in_time = async {
            match timeout_at(deadline, channel.receive()).await {
                // A process that was stopped for longer than the limit reads what came meanwhile.
                Err(_) => timeout(CATCH_UP, channel.receive()).await,
                received => received,
            }
        };
        let received = tokio::select! {
            biased;
            received = in_time => received,
            detail = ended(newcomer) => return Err(UpgradeError::new(step, "exited", detail)),
        };
        match received {
            Ok(Ok(received)) if received.message == *word => Ok(()),
            Ok(Ok(received)) => Err(self.unexpected(step, received.message)),
            Ok(Err(channel::Error::Gone)) => Err(self.gone(step).await),
            Ok(Err(error)) => Err(self.broken(step, &error)),
            Err(_) => Err(self.late(limited, "did not get any further")),
        }
    }

    /// The way to the new process; there is one from its greeting on.
    fn channel(&self, step: &str) -> Result<Channel, UpgradeError> {
        let channel = self.channel.clone();
        channel.ok_or_else(|| UpgradeError::new(step, "protocol", "nobody greeted".to_owned()))
    }

    async fn refuse(&self, reason: &str) {
        if let Some(channel) = &self.channel {
            refuse(channel, reason).await;
        }
    }

    fn report(&self, error: Option<UpgradeError>) -> UpgradeReport {
        let (now, before) = (self.life.connections.ended(), self.ended_before);
        let mut phases_ms = self.times;
        phases_ms.total = Some(millis(self.began.elapsed()));
        UpgradeReport {
            outcome: if error.is_some() { UpgradeOutcome::Failed } else { UpgradeOutcome::Ok },
            strategy: self.strategy.to_string(),
            old: self.life.identity.clone(),
            new: self.new.clone(),
            sockets: self.sockets,
            connections: ConnectionCounts {
                handed_over: self.handed_over,
                finished: now.finished - before.finished,
                closed: now.closed - before.closed,
                cut: now.cut - before.cut,
            },
            phases_ms,
            error,
        }
    }

    /// Milliseconds since the last call.
    fn lap(&mut self) -> f64 {
        let now = Instant::now();
        millis(now.saturating_duration_since(std::mem::replace(&mut self.lap, now)))
    }
}

/// Waits until the started process ends; for ever if it was not started by this one.
async fn ended(newcomer: Option<&mut Newcomer>) -> String {
    match newcomer {
        Some(newcomer) => match newcomer.ended().await {
            Ok(status) => format!("the new process ended with {status}"),
            Err(error) => format!("the new process cannot be waited for: {error}"),
        },
        None => std::future::pending().await,
    }
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
