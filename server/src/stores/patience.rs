//! How long the answer of a service is waited for.

use std::{pin::pin, time::Duration};

use tokio::time::timeout;

/// Waits for `answer`, `limit` at most. `None`: it is late.
///
/// When this process is stopped for a while, or gets no processor, its timers are over before it has read what came
/// meanwhile. So the limit is waited for in two halves: such a pause uses up one of them at most.
pub(super) async fn within<T>(limit: Duration, answer: impl Future<Output = T>) -> Option<T> {
    let mut answer = pin!(answer);
    let half = limit / 2;
    for part in [half, limit - half] {
        if let Ok(answer) = timeout(part, &mut answer).await {
            return Some(answer);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::{future::pending, thread, time::Instant};

    use tokio::{
        join,
        sync::oneshot,
        time::{Duration, sleep},
    };

    use super::within;
    use crate::tasks::Tasks;

    const LIMIT: Duration = Duration::from_millis(40);

    /// As a process that is stopped for longer than the limit.
    async fn stop() {
        let begun = Instant::now();
        while begun.elapsed() < 2 * LIMIT {
            thread::park_timeout(LIMIT);
        }
    }

    #[tokio::test]
    async fn an_answer_that_came_while_nobody_looked_is_not_late() {
        let (first, heard) = oneshot::channel();
        let (second, answered) = oneshot::channel();
        // It is through two hands when all timers are over at once.
        let tasks = Tasks::default();
        drop(tasks.spawn(async move {
            sleep(LIMIT / 40).await;
            first.send(7).unwrap();
        }));
        drop(tasks.spawn(async move { second.send(heard.await.unwrap()).unwrap() }));
        let waiting = tasks.spawn(within(LIMIT, answered));
        tokio::task::yield_now().await;
        let (answer, ()) = join!(waiting, stop());
        assert_eq!(answer.unwrap(), Some(Ok(7)));
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_is_waited_for_as_long_as_the_limit_says() {
        let begun = Instant::now();
        assert_eq!(within(LIMIT, pending::<()>()).await, None);
        assert!(begun.elapsed() >= LIMIT);
    }
}
