//! The task of one kind of data: waits until a look is due, looks, offers what it finds, and tells how it stands.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::RwLockReadGuard;
use tokio_util::sync::CancellationToken;

use super::{Look, SourceStates, Standing, Version, etcd, timer::Timer, watch::Watch};
use crate::{
    clock,
    config::{Config, FeedSettings},
    reload::{self, Candidate, Published, Refused, Reload, Terms},
    state::{Datum, Mechanism, Origin},
};

/// What is gone for less is being replaced.
const GONE: Duration = Duration::from_millis(100);

/// After what may be other by itself, such as a full disk.
const AGAIN: Duration = Duration::from_secs(5);

/// One kind of data that is looked at.
#[derive(Debug)]
pub(super) struct Feed {
    datum: Datum,
    config: Arc<Config>,
    eye: Eye,
    states: Arc<SourceStates>,
    /// What was there the last time.
    known: Option<Version>,
    /// The digest of that; empty if it had faults.
    digest: String,
    /// Since when nothing is there.
    absent: Option<Instant>,
    /// What was said of missing events.
    told_blind: Option<String>,
}

/// How a place is looked at.
#[derive(Debug)]
pub(super) enum Eye {
    Watch(Watch),
    Etcd(Box<etcd::Watch>),
    Timer(Box<Timer>),
}

/// What became of an offer.
enum Offered {
    /// It is known from now on.
    Settled(String),
    /// It may be offered again when the successor has not come.
    HandingOver,
    /// It may be offered again later.
    Later(String),
}

impl Feed {
    pub(super) fn new(datum: Datum, config: Arc<Config>, eye: Eye, states: Arc<SourceStates>) -> Self {
        Self {
            datum,
            config,
            eye,
            states,
            known: None,
            digest: String::new(),
            absent: None,
            told_blind: None,
        }
    }

    /// What is there when the process starts, at the latest after `limit`.
    pub(super) async fn first(&mut self, limit: Duration) -> Option<Candidate> {
        let deadline = Instant::now() + limit;
        let mut last = "somebody is writing it".to_owned();
        loop {
            if tokio::time::timeout_at(deadline.into(), self.eye.due()).await.is_err() {
                return Some(Candidate::unreadable(self.datum, self.origin(Mechanism::Start), last));
            }
            let look = self.eye.look(self.known.as_ref(), Mechanism::Start).await;
            if let Some(look) = &look {
                self.tell(look.word());
            }
            match look {
                None | Some(Look::Same) => {}
                Some(Look::Unsettled { reason, .. }) => last = reason,
                Some(Look::Absent) => {
                    self.absent = Some(Instant::now());
                    self.stand();
                    return None;
                }
                Some(Look::Found { candidate, version }) => {
                    let candidate = version.of(*candidate);
                    (self.known, self.digest) = (Some(version), candidate.digest());
                    self.stand();
                    return Some(candidate);
                }
            }
        }
    }

    /// Looks and offers until `stop`.
    pub(super) async fn run(mut self, reload: Arc<Reload>, stop: CancellationToken) {
        self.stand();
        self.tell_blind(&reload).await;
        while let Some(()) = stop.run_until_cancelled(Box::pin(self.turn(&reload))).await {}
    }

    async fn turn(&mut self, reload: &Arc<Reload>) {
        self.eye.due().await;
        let states = Arc::clone(&self.states);
        let turn = states.turn().await;
        let mechanism = self.eye.mechanism();
        let look = self.eye.look(self.known.as_ref(), mechanism).await;
        self.tell_blind(reload).await;
        let Some(look) = look else { return self.stand() };
        self.tell(look.word());
        match look {
            Look::Same => self.absent = None,
            Look::Unsettled { reason, .. } => tracing::debug!(datum = %self.datum, reason, "not looked at"),
            Look::Absent => match self.miss(reload).await {
                Offered::HandingOver => return self.reopened(reload, turn).await,
                Offered::Settled(_) | Offered::Later(_) => {}
            },
            Look::Found { candidate, version } => {
                self.absent = None;
                let digest = candidate.digest();
                let is_confirmed = self.known.as_ref().is_some_and(|known| version.confirms(known));
                if is_confirmed && digest == self.digest {
                    // What was pushed since then must stay: there is nothing new here.
                    self.known = Some(version);
                    return self.stand();
                }
                match self.offer(reload, version.of(*candidate)).await {
                    Offered::Settled(told) => {
                        (self.known, self.digest) = (Some(version), digest);
                        self.tell(told);
                    }
                    Offered::Later(told) => {
                        self.tell(told);
                        self.eye.again(Instant::now() + AGAIN);
                    }
                    Offered::HandingOver => return self.reopened(reload, turn).await,
                }
            }
        }
        self.stand();
    }

    /// Nothing is there: what is served stays, and the history says why.
    async fn miss(&mut self, reload: &Arc<Reload>) -> Offered {
        let now = Instant::now();
        let since = *self.absent.get_or_insert(now);
        let nothing = Offered::Settled(String::new());
        if self.known.is_none() {
            return nothing;
        }
        if now < since + GONE {
            self.eye.again(since + GONE);
            return nothing;
        }
        let reason = "it is not there any more; what was there is served on".to_owned();
        let gone = Candidate::unreadable(self.datum, self.origin(self.eye.mechanism()), reason);
        let offered = self.offer(reload, gone).await;
        if !matches!(offered, Offered::HandingOver) {
            self.known = None;
        }
        offered
    }

    /// Waits until something can be published again, and then looks: what is there by then is more than what was
    /// there before.
    async fn reopened(&mut self, reload: &Reload, turn: RwLockReadGuard<'_, ()>) {
        drop(turn);
        reload.reopened().await;
        self.eye.again(Instant::now());
    }

    /// Offers on a thread of its own, which also drops what was served before.
    async fn offer(&self, reload: &Arc<Reload>, candidate: Candidate) -> Offered {
        let reload = Arc::clone(reload);
        let place = candidate.origin.place.clone();
        let offering = tokio::task::spawn_blocking(move || reload.offer(candidate, Terms::default()));
        let datum = self.datum;
        match offering.await {
            Ok(Ok(Published { generation, changed: true })) => {
                tracing::info!(%datum, place, %generation, "published");
                Offered::Settled(format!("generation {generation}"))
            }
            Ok(Ok(Published { .. })) => Offered::Settled("what is served already".to_owned()),
            Ok(Err(Refused::HandingOver)) => Offered::HandingOver,
            Ok(Err(refused)) => {
                let reason = reload::reason(&refused);
                tracing::warn!(%datum, reason, "refused");
                match refused {
                    Refused::Unprepared { .. } => Offered::Later(format!("refused: {reason}")),
                    _ => Offered::Settled(format!("refused: {reason}")),
                }
            }
            Err(error) => Offered::Later(error.to_string()),
        }
    }

    /// Says once in the log and the history that there are no events, and in the log that there are some again.
    async fn tell_blind(&mut self, reload: &Arc<Reload>) {
        let Eye::Watch(watch) = &self.eye else { return };
        if watch.blind == self.told_blind {
            return;
        }
        self.told_blind.clone_from(&watch.blind);
        match &self.told_blind {
            Some(reason) => {
                let every_ms = self.settings().every.as_millis();
                let told = format!("{reason}; until then it is looked at every {every_ms} ms");
                let candidate = Candidate::unreadable(self.datum, self.origin(Mechanism::File), told);
                // Whatever becomes of it, it is in the history.
                _ = self.offer(reload, candidate).await;
            }
            None => tracing::info!(datum = %self.datum, "there are events again"),
        }
        self.stand();
    }

    /// It should be told by etcd, which is away.
    pub(super) fn misses_etcd(&self) -> bool {
        matches!(&self.eye, Eye::Etcd(watch) if watch.away.is_some())
    }

    fn stand(&self) {
        let standing = match &self.eye {
            Eye::Watch(Watch { blind: Some(reason), .. }) => Standing::Fallback { reason: reason.clone() },
            Eye::Etcd(watch) if watch.away.is_some() => {
                Standing::Away { reason: watch.away.clone().unwrap_or_default() }
            }
            _ if self.absent.is_some() => Standing::Absent,
            Eye::Watch(_) | Eye::Etcd(_) => Standing::Watching,
            Eye::Timer(_) => Standing::Polling,
        };
        self.states.update(self.datum, |state| state.state = standing);
    }

    fn tell(&self, found: String) {
        self.states.update(self.datum, |state| {
            (state.looked_at, state.found) = (Some(clock::now()), Some(found));
        });
    }

    fn settings(&self) -> &FeedSettings {
        self.config.reload.feed(self.datum)
    }

    fn origin(&self, mechanism: Mechanism) -> Origin {
        Origin::new(mechanism, self.settings().from.to_string())
    }
}

impl Eye {
    async fn due(&mut self) {
        match self {
            Self::Watch(watch) => watch.due().await,
            Self::Etcd(watch) => watch.due().await,
            Self::Timer(timer) => timer.due().await,
        }
    }

    async fn look(&mut self, known: Option<&Version>, mechanism: Mechanism) -> Option<Look> {
        match self {
            Self::Watch(watch) => watch.look(known, mechanism).await,
            Self::Etcd(watch) => watch.look(known, mechanism).await,
            Self::Timer(timer) => Some(timer.look(known, mechanism).await),
        }
    }

    fn again(&mut self, at: Instant) {
        match self {
            Self::Watch(watch) => watch.again(at),
            Self::Etcd(watch) => watch.again(at),
            Self::Timer(timer) => timer.again(at),
        }
    }

    fn mechanism(&self) -> Mechanism {
        match self {
            Self::Watch(watch) => watch.mechanism(),
            Self::Etcd(_) => Mechanism::Etcd,
            Self::Timer(_) => Mechanism::Timer,
        }
    }
}

#[cfg(test)]
mod tests;
