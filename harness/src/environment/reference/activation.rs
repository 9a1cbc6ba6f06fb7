//! An upgrade under `activate`: the next release started beside the old one, with the sockets of a service manager.

use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use serde_json::{Map, Value};
use tokio::time::{sleep, timeout};

use super::{READY_LIMIT, Reference};
use crate::environment::{
    Release, chain,
    group::{READY_INTERVAL, ended_how},
    log::tail,
};

/// For the new process to tell the old one's report, which comes with its last word.
const REPORT_LIMIT: Duration = Duration::from_secs(2);

/// What is known of an upgrade for which nobody has asked the server.
#[derive(Debug)]
pub struct Activated {
    /// What it told its service manager.
    pub told: Vec<String>,
    /// The old process's report, as the new one shows it; empty when it shows none.
    pub report: Map<String, Value>,
}

impl Reference {
    /// Under `activate`: starts a release beside the one that serves, as a service manager does, and waits until it
    /// tells that it serves and the other one has ended. What was told, or why that did not happen. `None` under every
    /// other strategy.
    pub async fn activate(&mut self, release: &Release) -> Option<Result<Activated, String>> {
        let manager = self.start.manager.as_ref()?;
        let old = self.group.running(&self.serving.binary);
        manager.forget();
        let started = self.start.run(&release.binary, |program| self.group.start_beside(program));
        let process = match started {
            Ok(process) => process,
            Err(error) => return Some(Err(chain(&error))),
        };
        let deadline = Instant::now() + READY_LIMIT + self.upgrade_time;
        let (mut told, mut serves) = (Vec::new(), false);
        let why = loop {
            if !serves {
                match timeout(READY_INTERVAL, manager.until_ready(process, &mut told)).await {
                    Ok(Ok(())) => serves = true,
                    Ok(Err(error)) => break format!("the server cannot be heard: {error}"),
                    Err(_) => {}
                }
            } else if old.is_none_or(|old| !self.group.lives(old)) {
                return Some(Ok(Activated { told, report: self.taken_over().await }));
            } else {
                sleep(READY_INTERVAL).await;
            }
            if let Some(status) = self.group.status(process) {
                break format!("{}, and never served alone", ended_how(status));
            }
            if Instant::now() >= deadline && serves {
                break "it serves, but the old process did not end in time".to_owned();
            }
            if Instant::now() >= deadline {
                // It may be hanging.
                let _gone = kill_process(process, Signal::KILL);
                break "it did not tell in time that it serves".to_owned();
            }
        };
        Some(Err(format!("{why}; its log ends with:\n{}", tail(&self.start.log))))
    }

    async fn taken_over(&self) -> Map<String, Value> {
        let deadline = Instant::now() + REPORT_LIMIT;
        loop {
            let status = self.control.status().await;
            let report = status.as_ref().ok().and_then(|status| status.get("taken_over"));
            if let Some(Value::Object(report)) = report {
                return report.clone();
            }
            // A release that does not know the field never will.
            if (status.is_ok() && report.is_none()) || Instant::now() >= deadline {
                return Map::new();
            }
            sleep(READY_INTERVAL).await;
        }
    }
}
