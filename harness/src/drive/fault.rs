//! A fault as an event: it begins, lasts, and is over when what was broken is ready again.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tokio::time::sleep;

use super::timeline::Ending;
use crate::{
    clock::RunClock,
    environment::{Conduct, Error, Reference, Running, chain},
    observe::EventOutcome,
    plan::{Fault, FaultAction},
};

/// For etcd to throw its history away.
const COMPACT_LIMIT: Duration = Duration::from_secs(10);

/// Breaks a service or the way to it, and mends it.
pub(super) async fn of_service(action: &FaultAction, running: &mut Running, clock: &RunClock) -> Ending {
    let begun_ns = clock.now_ns();
    let suffered = suffer(action, running).await;
    ending(action, suffered, begun_ns, clock)
}

/// Breaks the server, and mends it.
pub(super) async fn of_server(action: &FaultAction, reference: &mut Reference, clock: &RunClock) -> Ending {
    let begun_ns = clock.now_ns();
    let lasts = Duration::from_millis(action.for_ms);
    let suffered = match action.fault {
        Fault::Kill => {
            reference.kill();
            sleep(lasts).await;
            reference.start_again().await
        }
        Fault::Pause => {
            reference.signal(Signal::STOP);
            sleep(lasts).await;
            reference.signal(Signal::CONT);
            reference.become_ready().await
        }
        Fault::Partition | Fault::Reset | Fault::Slow { .. } | Fault::Compact => {
            return Ending::impossible(clock, "no such thing can happen to the server");
        }
    };
    ending(action, suffered, begun_ns, clock)
}

fn ending(action: &FaultAction, suffered: Result<(), Error>, begun_ns: u64, clock: &RunClock) -> Ending {
    match suffered {
        Ok(()) => {
            let acked_ns = clock.now_ns();
            let lasted_ms = (acked_ns - begun_ns) / 1_000_000;
            let detail = json!({ "of": action.of.word(), "fault": action.fault, "lasted_ms": lasted_ms });
            Ending { acked_ns, outcome: EventOutcome::Ok, as_expected: true, detail }
        }
        Err(error) => Ending::impossible(clock, &chain(&error)),
    }
}

async fn suffer(action: &FaultAction, running: &mut Running) -> Result<(), Error> {
    let lasts = Duration::from_millis(action.for_ms);
    let conduct = match action.fault {
        Fault::Kill => {
            running.kill().await?;
            sleep(lasts).await;
            return Ok(running.start_again().await?);
        }
        Fault::Pause => {
            running.pause().await?;
            sleep(lasts).await;
            return Ok(running.resume().await?);
        }
        Fault::Compact => return running.compact(COMPACT_LIMIT).await,
        Fault::Partition => Conduct::Cut,
        Fault::Reset => Conduct::Reset,
        Fault::Slow { latency_ms, bandwidth } => {
            Conduct::Slow { latency: Duration::from_millis(latency_ms), bandwidth }
        }
    };
    running.conduct(conduct)?;
    sleep(lasts).await;
    Ok(running.conduct(Conduct::Normal)?)
}
