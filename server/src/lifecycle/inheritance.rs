//! What a new process still gets from the old one when it serves already: connections, what was counted, the right to
//! publish.
//!
//! Invariant: in the end one of the two serves. The old process lets go of its end of the channel only when it dies, or
//! when it has said who serves: `Done`, or `Refuse`. So whoever sees the end without a word is alone, and whoever loses
//! his way asks for that word.

use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use super::{
    carrying,
    channel::{self, Channel},
    life::Life,
    message::Message,
    predecessor::{self, Held, Turn},
};
use crate::telemetry;

/// Between two tries to hear a process that cannot be heard.
const PAUSE: Duration = Duration::from_millis(10);

/// The old process while it has more to hand over.
#[derive(Debug)]
pub(super) struct Giver {
    pub(super) channel: Channel,
    /// From then on no request begins in it, even if it is stopped and cannot say so.
    pub(super) closed_at: Option<Instant>,
}

/// Serves the connections that the predecessor still sends, and waits until the pid file names this process: whoever
/// comes next reads there whom to signal. Gives the reason why this process has to go, if it has to.
pub(super) async fn take(
    life: Arc<Life>,
    predecessor: Option<Giver>,
    claim: Option<JoinHandle<()>>,
) -> Option<String> {
    if let Some(giver) = predecessor
        && let Some(reason) = take_the_rest(&life, giver).await
    {
        return Some(reason);
    }
    if let Some(claim) = claim {
        // It cannot panic, and is not ended by anybody.
        _ = claim.await;
    }
    None
}

async fn take_the_rest(life: &Arc<Life>, giver: Giver) -> Option<String> {
    let Giver { channel, closed_at } = giver;
    let mut held = Held::default();
    let taken = tokio::select! {
        biased;
        taken = take_until_over(life, &channel, &mut held) => taken,
        never = publish_from(life, closed_at) => match never {},
    };
    let turn = match taken {
        Ok(turn) => turn,
        Err(detail) => lose_way(&channel, detail).await,
    };
    match turn {
        Turn::Refused(reason) => return Some(format!("the process that serves now refuses: {reason}")),
        Turn::Done(report) => {
            tracing::info!("everything is handed over");
            life.app.taken_over(report);
        }
        _ => tracing::warn!("the old process ended before everything was handed over"),
    }
    held.serve(&life.connections);
    life.reload.reopen();
    life.app.settle(true);
    life.close_dropped().await;
    None
}

/// Takes what the old process gives until it is done, dead, or serves again. `Err`: why no more can be taken.
async fn take_until_over(life: &Arc<Life>, channel: &Channel, held: &mut Held) -> Result<Turn, String> {
    loop {
        match predecessor::adopt(channel, &life.connections, held).await {
            Ok(Turn::State(document)) => {
                if let Err(error) = carrying::absorb(&life.app, document).await {
                    tracing::error!("failed to {error}; what the old process has counted last is lost");
                }
                life.app.settle(true);
            }
            // It publishes no more; until now a request may have begun in it.
            Ok(Turn::Stopped) => life.reload.reopen(),
            Ok(turn @ (Turn::Done(_) | Turn::Gone | Turn::Refused(_))) => return Ok(turn),
            Ok(Turn::Commit { .. }) => return Err("it was told twice to serve".to_owned()),
            Err(error) => return Err(format!("it failed to {}", telemetry::chain(&error))),
        }
    }
}

/// Publishes from `closed_at` on, if the old process has not said before that it may.
async fn publish_from(life: &Life, closed_at: Option<Instant>) -> Infallible {
    if let Some(closed_at) = closed_at {
        sleep_until(closed_at).await;
        if !*life.reload.openings().borrow() {
            tracing::warn!(
                "the old process says nothing; is it stopped? No request begins in it: changes are published"
            );
            life.reload.reopen();
        }
    }
    std::future::pending().await
}

/// Nothing more can be taken from the old process, which therefore decides who serves: itself, with everything that was
/// not acknowledged, or this process, if there is nothing more to take. If it is dead this one serves. Until it is
/// known both are there, and the old one accepts nobody.
async fn lose_way(channel: &Channel, detail: String) -> Turn {
    tracing::error!(error = detail, "the handover broke off; the old process decides who serves");
    // That it has gone is read next.
    _ = channel.send(&Message::Failed { detail }, &[], &[]).await;
    loop {
        match channel.receive().await.map(|received| received.message) {
            Ok(Message::Refuse { reason }) => return Turn::Refused(reason),
            Ok(Message::Done { report }) => return Turn::Done(report),
            Err(channel::Error::Gone) => return Turn::Gone,
            // What was on its way is not acknowledged, and so the old one's.
            Ok(_) | Err(channel::Error::Protocol(_)) => {}
            Err(channel::Error::Io(error)) => {
                tracing::error!(%error, "the old process cannot be heard");
                sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{http::Side, lifecycle::channel::ControlSocket};

    /// What the old process says after it has been told, and what the new one makes of it.
    async fn check(words: &[Message], expected: Turn) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let control = ControlSocket::bind(&path).unwrap();
        let near = Channel::connect(&path).unwrap();
        let far = control.accept().await.unwrap();
        let old = async {
            let told = far.receive().await.unwrap().message;
            assert_eq!(told, Message::Failed { detail: "no room".to_owned() });
            for word in words {
                far.send(word, &[], &[]).await.unwrap();
            }
            drop(far);
        };
        let (turn, ()) = tokio::join!(lose_way(&near, "no room".to_owned()), old);
        assert_eq!(turn, expected, "{words:?}");
    }

    #[tokio::test]
    async fn whoever_loses_his_way_leaves_unless_the_old_process_is_done_or_dead() {
        let connection = Message::Connection { id: 7, side: Side::Public };
        let refusal = Message::Refuse { reason: "taken back".to_owned() };
        check(&[connection.clone(), refusal], Turn::Refused("taken back".to_owned())).await;
        check(&[connection.clone(), Message::Done { report: None }], Turn::Done(None)).await;
        check(&[connection], Turn::Gone).await;
        check(&[], Turn::Gone).await;
    }
}
