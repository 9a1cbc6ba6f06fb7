//! What the server holds when it has come to rest, and what memory it has under load.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::Reference;
use crate::{
    environment::holding::{self, OfProcess},
    observe::Holding,
};

/// For an old process to end, and for what belonged to connections to be given back.
const REST_LIMIT: Duration = Duration::from_secs(6);
/// Between two looks at what is held.
const REST_INTERVAL: Duration = Duration::from_millis(50);
/// Looks that found the same as the one before: longer together than a busy machine keeps a process waiting.
const ALIKE_MIN: u32 = 12;

impl Reference {
    /// Memory of the process that serves that belongs to no file, kilobytes.
    pub fn memory_kb(&mut self) -> Option<u64> {
        self.serving_pid().and_then(holding::memory_of)
    }

    /// What the server holds when it has come to rest: one process, or those that do not go away within
    /// `REST_LIMIT`, and several looks in a row that find the same. `None` when nobody serves.
    pub async fn at_rest(&mut self) -> Option<Holding> {
        let deadline = Instant::now() + REST_LIMIT;
        let (mut last, mut alike) = (None, 0);
        loop {
            sleep(REST_INTERVAL).await;
            let look = self.look();
            let same = |last: &Holding| look.is_some_and(|look| counts(&look) == counts(last));
            alike = if last.as_ref().is_some_and(same) { alike + 1 } else { 0 };
            last = look;
            let rests = alike >= ALIKE_MIN && look.is_some_and(|look| look.processes == 1);
            if rests || Instant::now() >= deadline {
                return look;
            }
        }
    }

    fn look(&mut self) -> Option<Holding> {
        let OfProcess { descriptors, threads, memory_kb } = holding::of_process(self.serving_pid()?)?;
        Some(Holding { processes: self.group.count() as u64, descriptors, threads, memory_kb })
    }
}

/// What has to stay the same at rest; threads and memory may still be given back.
fn counts(look: &Holding) -> (u64, u64) {
    (look.processes, look.descriptors)
}
