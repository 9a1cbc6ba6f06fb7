//! The only place that spawns tasks, so that none is ever lost: each belongs to a set that is waited for.

use std::{future::Future, time::Duration};

use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// A set of tasks. Copies share the set.
#[derive(Debug, Clone, Default)]
pub struct Tasks(TaskTracker);

impl Tasks {
    /// Runs `task` in the set. A panic in it is told by the process's panic hook and ends only that task.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.spawn(task)
    }

    /// Runs `work`, which blocks, on a thread of its own.
    pub fn spawn_blocking<F, T>(&self, work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.0.spawn_blocking(work)
    }

    /// Number of tasks that have not ended.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// No task is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits until every task has ended, `limit` at most. Returns how many are left.
    pub async fn finish(&self, limit: Duration) -> usize {
        self.0.close();
        // Running into the limit is an answer here, not an error: the caller counts what is left.
        let _timed_out = tokio::time::timeout(limit, self.0.wait()).await.is_err();
        self.0.len()
    }
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        // The set remembers the task; its handle is not needed.
        drop(self.spawn(task));
    }
}
