//! A change in etcd: a key is written, as soon as etcd takes it.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    clock::RunClock,
    environment::{Content, Gateway, chain},
};

/// Between two tries while etcd is away.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// Writes a key until etcd has taken it; when it said so, and how many tries it took. While etcd is frozen a write
/// waits; while it is gone the next one is tried soon.
pub(super) async fn put(
    gateway: &Gateway,
    key: &str,
    content: &Content,
    clock: &RunClock,
    deadline_ns: u64,
) -> Result<(u64, u64), String> {
    let value = content.to_vec();
    let mut tries = 1;
    loop {
        let put = gateway.put(key, &value, clock.until(deadline_ns)).await;
        let at_ns = clock.now_ns();
        match put {
            Ok(()) => return Ok((at_ns, tries)),
            Err(error) if at_ns >= deadline_ns => return Err(chain(&error)),
            Err(_) => tries += 1,
        }
        sleep(RETRY_INTERVAL).await;
    }
}
