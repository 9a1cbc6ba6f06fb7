//! An upgrade under `activate`: the next release started beside the old one, with the sockets of a service manager.

use std::time::Instant;

use rustix::process::{Signal, kill_process};
use tokio::time::{sleep, timeout};

use super::{READY_INTERVAL, READY_LIMIT, Reference};
use crate::environment::{Release, chain, group::ended_how, log::tail};

impl Reference {
    /// Under `activate`: starts a release beside the one that serves, as a service manager does, and waits until it
    /// tells that it serves and the other one has ended. What was told, or why that did not happen. `None` under every
    /// other strategy.
    pub async fn activate(&mut self, release: &Release) -> Option<Result<Vec<String>, String>> {
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
                return Some(Ok(told));
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
}
