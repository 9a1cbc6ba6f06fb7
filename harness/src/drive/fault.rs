//! A fault as an event: it begins, lasts, and is acknowledged when what was broken is ready again. Where orders have a way
//! into MySQL that it has broken, it is over when one from after its acknowledgement has arrived, and all before it.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::timeline::Ending;
use crate::{
    clock::RunClock,
    environment::{Conduct, Error, Queue, Running, Started, chain},
    observe::EventOutcome,
    plan::{Fault, FaultAction, Service, Victim},
};

/// For etcd to throw its history away.
const COMPACT_LIMIT: Duration = Duration::from_secs(10);
/// For an order from after the end of a fault, and those before it, to arrive; what takes longer counts as endless.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(10);

/// Breaks a service or the way to it, and mends it.
pub(super) async fn of_service(
    action: &FaultAction,
    running: &mut Running,
    queue: Option<&Queue>,
    clock: &RunClock,
) -> Ending {
    let begun_ns = clock.now_ns();
    let suffered = suffer(action, running).await;
    ending(action, suffered, queue, begun_ns, clock).await
}

/// Breaks the server, and mends it.
pub(super) async fn of_server(
    action: &FaultAction,
    target: &mut impl Started,
    queue: Option<&Queue>,
    clock: &RunClock,
) -> Ending {
    let begun_ns = clock.now_ns();
    let lasts = Duration::from_millis(action.for_ms);
    let suffered = match action.fault {
        Fault::Kill => {
            target.kill();
            sleep(lasts).await;
            target.start_again().await
        }
        Fault::Pause => {
            target.signal(Signal::STOP);
            sleep(lasts).await;
            target.signal(Signal::CONT);
            target.become_ready().await
        }
        Fault::Partition | Fault::Reset | Fault::Slow { .. } | Fault::Compact => {
            return Ending::impossible(clock, "no such thing can happen to the server");
        }
    };
    ending(action, suffered, queue, begun_ns, clock).await
}

async fn ending(
    action: &FaultAction,
    suffered: Result<(), Error>,
    queue: Option<&Queue>,
    begun_ns: u64,
    clock: &RunClock,
) -> Ending {
    if let Err(error) = suffered {
        return Ending::impossible(clock, &chain(&error));
    }
    let acked_ns = clock.now_ns();
    let lasted_ms = (acked_ns - begun_ns) / 1_000_000;
    let mut detail = json!({ "of": action.of.word(), "fault": action.fault, "lasted_ms": lasted_ms });
    let queue = queue.filter(|_| action.of != Victim::Service(Service::Etcd));
    if let Some(queue) = queue {
        let recovered = queue.catch_up(CATCH_UP_LIMIT).await;
        let recovered_ms = recovered.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        detail["recovered_ms"] = recovered_ms.map_or(Value::Null, Value::from);
    }
    Ending { acked_ns, outcome: EventOutcome::Ok, as_expected: true, detail }
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
