//! A fault of a service as an event: it begins, lasts, and is over when the service is healthy again.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::timeline::Ending;
use crate::{
    clock::RunClock,
    environment::{Error, Etcd, chain},
    observe::EventOutcome,
    plan::{EtcdFault, FaultAction},
};

/// For etcd to throw its history away.
const COMPACT_LIMIT: Duration = Duration::from_secs(10);

/// Breaks etcd, and mends it.
pub(super) async fn run(action: &FaultAction, etcd: Option<&mut Etcd>, clock: &RunClock) -> Ending {
    let Some(etcd) = etcd else { return Ending::impossible(clock, "there is no etcd that could be broken") };
    let begun_ns = clock.now_ns();
    match suffer(action, etcd).await {
        Ok(()) => {
            let acked_ns = clock.now_ns();
            let lasted_ms = (acked_ns - begun_ns) / 1_000_000;
            let detail = json!({ "fault": action.fault, "lasted_ms": lasted_ms });
            Ending { acked_ns, outcome: EventOutcome::Ok, as_expected: true, detail }
        }
        Err(error) => Ending::impossible(clock, &chain(&error)),
    }
}

async fn suffer(action: &FaultAction, etcd: &mut Etcd) -> Result<(), Error> {
    let lasts = Duration::from_millis(action.for_ms);
    match action.fault {
        EtcdFault::Kill => {
            etcd.kill()?;
            sleep(lasts).await;
            etcd.start_again().await
        }
        EtcdFault::Freeze => {
            etcd.freeze()?;
            sleep(lasts).await;
            etcd.thaw().await
        }
        EtcdFault::Compact => etcd.gateway().compact(COMPACT_LIMIT).await.map(drop),
    }
}
