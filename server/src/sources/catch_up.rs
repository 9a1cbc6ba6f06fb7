//! Going on after another process: nothing that it has served last may be lost, nor go back.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::{SETTLE_EVERY, choose, look_until_settled};
use crate::{
    config::Config,
    reload::{Candidate, Copies, Refused, Reload},
    state::{Datum, Digests, Generation, Mechanism, Origin},
};

/// How long what is not there is waited for. The other process waits meanwhile, or clients do.
const ABSENT_MAX: Duration = Duration::from_millis(1500);

/// How long one look may take, so that both together are less than what the other process waits.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// Looks again at what may have changed while another process served, and has that served with a number after
/// `last`. `theirs` is what that process has served last: whatever is not the same here is read
/// again, from its place and its copy, and must be there. Without a word of it only copies that it has touched are
/// looked at: changes of the places themselves are noticed by who watches them.
///
/// # Errors
/// What that process has served is nowhere to be found, or has faults.
pub async fn catch_up(
    config: &Arc<Config>,
    reload: &Arc<Reload>,
    last: Generation,
    theirs: Option<&Digests>,
) -> Result<(), Refused> {
    let deadline = Instant::now() + ABSENT_MAX;
    let ours = reload.cell().load().digests.clone();
    let mut again = Vec::new();
    if let Some(copies) = reload.copies() {
        for datum in Datum::SOURCED {
            let is_same = theirs.is_none_or(|theirs| theirs.of(datum) == ours.of(datum));
            if is_same && copies.is_untouched(datum) {
                continue;
            }
            let is_needed = theirs.is_some_and(|theirs| !theirs.of(datum).is_empty());
            again.extend(find(config, copies, datum, is_needed, deadline).await);
        }
    }
    let reload = Arc::clone(reload);
    let following = tokio::task::spawn_blocking(move || reload.follow(last, again));
    following.await.expect("to follow must not panic")
}

/// What is there or was kept; if it `is_needed` it is waited for, and nothing is a fault.
async fn find(
    config: &Config,
    copies: &Arc<Copies>,
    datum: Datum,
    is_needed: bool,
    deadline: Instant,
) -> Option<Candidate> {
    let nothing = |reason: &str| {
        let origin = Origin::new(Mechanism::Start, config.reload.feed(datum).from.to_string());
        Some(Candidate::unreadable(datum, origin, reason.to_owned()))
    };
    loop {
        let looked = timeout(LOOK_MAX, look_until_settled(config, datum, Mechanism::Start)).await;
        let found = looked.unwrap_or_else(|_| nothing("it does not come to rest"));
        let chosen = choose(copies, datum, found).await;
        match chosen {
            Some(Candidate { content: Ok(_), .. }) => return chosen,
            // Whoever replaces a file may delete it first.
            _ if is_needed && Instant::now() < deadline => sleep(SETTLE_EVERY).await,
            None if is_needed => {
                return nothing(
                    "the process that serves now has it from there, and it is not there any more",
                );
            }
            Some(_) if is_needed => return chosen,
            // What is served stays.
            _ => return None,
        }
    }
}
