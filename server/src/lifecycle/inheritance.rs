//! What a new process still gets from the old one when it serves already: connections, what was counted, the right to
//! publish.
//!
//! Invariant: in the end one of the two serves. The old process lets go of its end of the channel only when it dies, or
//! when it has said who serves: `Done`, or `Refuse`. So whoever sees the end without a word is alone, and whoever loses
//! his way asks for that word.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::sleep};

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

/// Serves the connections that the predecessor still sends, and waits until the pid file names this process: whoever
/// comes next reads there whom to signal. Gives the reason why this process has to go, if it has to.
pub(super) async fn take(
    life: Arc<Life>,
    predecessor: Option<Channel>,
    claim: Option<JoinHandle<()>>,
) -> Option<String> {
    if let Some(channel) = predecessor
        && let Some(reason) = take_the_rest(&life, channel).await
    {
        return Some(reason);
    }
    if let Some(claim) = claim {
        // It cannot panic, and is not ended by anybody.
        _ = claim.await;
    }
    None
}

async fn take_the_rest(life: &Arc<Life>, channel: Channel) -> Option<String> {
    let mut held = Held::default();
    let turn = loop {
        match predecessor::adopt(&channel, &life.connections, &mut held).await {
            Ok(Turn::State(document)) => {
                if let Err(error) = carrying::absorb(&life.app, document).await {
                    tracing::error!("failed to {error}; what the old process has counted last is lost");
                }
                life.app.settle(true);
            }
            // It publishes no more; until now a request may have begun in it.
            Ok(Turn::Stopped) => life.reload.reopen(),
            Ok(turn @ (Turn::Done(_) | Turn::Gone | Turn::Refused(_))) => break turn,
            Ok(turn @ Turn::Commit { .. }) => {
                break lose_way(&channel, format!("it was told {turn:?} twice")).await;
            }
            Err(error) => {
                break lose_way(&channel, format!("it failed to {}", telemetry::chain(&error))).await;
            }
        }
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
