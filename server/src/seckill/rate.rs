//! How many requests are let through in a second: of each user, and of all users together.
//!
//! The generic cell rate algorithm (ITU-T I.371), as a virtual schedule: one instant is kept, at which a
//! steady stream of requests would be due next. That is one number, it can be written down and handed on,
//! and no second boundary lets a double burst through. How many a second is told with each request and kept
//! nowhere, so a limit that changes while the process serves holds from the next request on: what was used
//! up under the limit before weighs for a second at most.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use jiff::Timestamp;

use super::UserId;

/// So that two requests seldom want the same lock.
const SHARDS: usize = 16;

/// Users remembered at once per shard. Each is forgotten a second after his last request, so this is
/// reached only by more than a million different users in one second.
const USERS_PER_SHARD_MAX: usize = 65_536;

/// The window and the largest burst, in nanoseconds.
const WINDOW_NS: i64 = 1_000_000_000;

/// Which user has used how much of what each of them may.
#[derive(Debug)]
pub struct UserLimit {
    /// Nanoseconds after the Unix epoch at which the user's next request is due.
    due_ns: Vec<Mutex<HashMap<UserId, i64>>>,
}

/// How much of what they may all users have used together. Never waits.
#[derive(Debug, Default)]
pub struct SharedLimit {
    /// Nanoseconds after the Unix epoch at which the next request is due.
    due_ns: AtomicI64,
}

impl UserLimit {
    /// Nobody has used anything.
    #[must_use]
    pub fn new() -> Self {
        Self { due_ns: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// Whether `user` may go ahead at `now` if each may `per_second` times; if so, it is counted. 0: no limit.
    ///
    /// When more users are remembered than there is room for, a user who is not remembered goes ahead:
    /// the limit keeps one user from hurting the others, and must not hurt them itself.
    pub fn admit(&self, user: UserId, per_second: u32, now: Timestamp) -> bool {
        if per_second == 0 {
            return true;
        }
        let now_ns = nanoseconds(now);
        let shard = usize::try_from(user.0 % SHARDS as u64).unwrap_or(0);
        let mut due_ns = self.due_ns[shard].lock().unwrap_or_else(PoisonError::into_inner);
        if due_ns.len() >= USERS_PER_SHARD_MAX && !due_ns.contains_key(&user) {
            due_ns.retain(|_, due| *due > now_ns);
            if due_ns.len() >= USERS_PER_SHARD_MAX {
                return true;
            }
        }
        let due = due_ns.entry(user).or_insert(now_ns);
        let next = advance(*due, per_second, now_ns);
        *due = next.unwrap_or(*due);
        next.is_some()
    }
}

impl UserLimit {
    /// What is left at `now` of what each user has used up, in nanoseconds, for the next process. The users of one
    /// shard wait while it is copied, less than a millisecond.
    #[must_use]
    pub fn used(&self, now: Timestamp) -> Vec<(UserId, u32)> {
        let now_ns = nanoseconds(now);
        let mut used = Vec::new();
        for shard in &self.due_ns {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            used.extend(shard.iter().filter_map(|(user, due)| Some((*user, left(*due, now_ns)?))));
        }
        used
    }

    /// Adds what was used up elsewhere, as [`UserLimit::used`] told it. Who finds no room is forgotten.
    pub fn add(&self, used: &[(UserId, u32)], now: Timestamp) {
        let now_ns = nanoseconds(now);
        for (user, left_ns) in used {
            let shard = usize::try_from(user.0 % SHARDS as u64).unwrap_or(0);
            let mut due_ns = self.due_ns[shard].lock().unwrap_or_else(PoisonError::into_inner);
            if due_ns.len() < USERS_PER_SHARD_MAX || due_ns.contains_key(user) {
                let due = due_ns.entry(*user).or_insert(now_ns);
                *due = later(*due, *left_ns, now_ns);
            }
        }
    }
}

impl Default for UserLimit {
    fn default() -> Self {
        Self::new()
    }
}

impl SharedLimit {
    /// Whether somebody may go ahead at `now` if all together may `per_second` times; if so, it is counted.
    /// 0: no limit.
    pub fn admit(&self, per_second: u32, now: Timestamp) -> bool {
        if per_second == 0 {
            return true;
        }
        let now_ns = nanoseconds(now);
        // The number stands for itself: nothing else is read or written because of it.
        let counted = self
            .due_ns
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| advance(due, per_second, now_ns));
        counted.is_ok()
    }

    /// What is left at `now` of what was used up, in nanoseconds.
    #[must_use]
    pub fn used(&self, now: Timestamp) -> u32 {
        left(self.due_ns.load(Ordering::Relaxed), nanoseconds(now)).unwrap_or(0)
    }

    /// Adds what was used up elsewhere, as [`SharedLimit::used`] told it.
    pub fn add(&self, left_ns: u32, now: Timestamp) {
        let now_ns = nanoseconds(now);
        let added = self
            .due_ns
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| Some(later(due, left_ns, now_ns)));
        // It always has a value to put in.
        _ = added;
    }
}

/// When the request after one at `now_ns` is due; `None`: this one is too early.
fn advance(due_ns: i64, per_second: u32, now_ns: i64) -> Option<i64> {
    let interval_ns = WINDOW_NS / i64::from(per_second);
    // Further ahead than a full window can only mean that the clock was set back.
    let start_ns = if due_ns > now_ns + WINDOW_NS { now_ns } else { due_ns.max(now_ns) };
    let next_ns = start_ns + interval_ns;
    (next_ns <= now_ns + WINDOW_NS).then_some(next_ns)
}

/// Nanoseconds from `now_ns` until `due_ns`, within the window; `None`: it is over, or the clock was set back.
fn left(due_ns: i64, now_ns: i64) -> Option<u32> {
    u32::try_from(due_ns - now_ns).ok().filter(|left| *left > 0 && i64::from(*left) <= WINDOW_NS)
}

/// When the next request is due if so much more was used up; no later than at the end of a window.
fn later(due_ns: i64, left_ns: u32, now_ns: i64) -> i64 {
    let mine = left(due_ns, now_ns).unwrap_or(0);
    now_ns + (i64::from(mine) + i64::from(left_ns)).min(WINDOW_NS)
}

/// After the Unix epoch; the sum with a window is far from the ends of the range until the year 2262.
fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX - 2 * WINDOW_NS)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    const SECOND_US: i64 = 1_000_000;

    fn at_us(us: i64) -> Timestamp {
        Timestamp::from_microsecond(us).unwrap()
    }

    /// How many of `n` requests of user 1 at `us` get through.
    fn admitted(limit: &UserLimit, per_second: u32, us: i64, n: usize) -> usize {
        (0..n).filter(|_| limit.admit(UserId(1), per_second, at_us(us))).count()
    }

    #[test]
    fn zero_is_no_limit() {
        assert_eq!(admitted(&UserLimit::new(), 0, 0, 10_000), 10_000);
        let shared = SharedLimit::default();
        assert!((0..10_000).all(|_| shared.admit(0, at_us(0))));
    }

    #[test]
    fn a_burst_gets_the_limit_and_then_one_per_interval() {
        let limit = UserLimit::new();
        assert_eq!(admitted(&limit, 4, 0, 10), 4);
        assert_eq!(admitted(&limit, 4, 249_999, 10), 0);
        assert_eq!(admitted(&limit, 4, 250_000, 10), 1);
        assert_eq!(admitted(&limit, 4, 5_000_000, 10), 4, "a quiet second gives it all back");
        let neighbour = (0..10).filter(|_| limit.admit(UserId(17), 4, at_us(5_000_000))).count();
        assert_eq!(neighbour, 4, "a user of the same shard has his own");
    }

    #[test]
    fn no_window_of_a_second_has_more_than_twice_the_limit_less_one() {
        let (user, shared) = (UserLimit::new(), SharedLimit::default());
        let every_10_ms = || (0..4_000_000).step_by(10_000);
        let of_user = every_10_ms().filter(|&us| user.admit(UserId(1), 5, at_us(us)));
        let of_all = every_10_ms().filter(|&us| shared.admit(5, at_us(us)));
        for passed in [of_user.collect::<Vec<i64>>(), of_all.collect()] {
            for &from in &passed {
                let within = passed.iter().filter(|&&us| us >= from && us < from + SECOND_US).count();
                assert!(within <= 9, "{within} from {from}");
            }
            assert_eq!(passed.len(), 5 + 4 * 5 - 1, "the steady rate is the limit");
        }
    }

    #[test]
    fn a_limit_that_changes_holds_from_the_next_request_on() {
        let limit = UserLimit::new();
        assert_eq!(admitted(&limit, 2, 0, 10), 2);
        assert_eq!(admitted(&limit, 1_000, 1_000, 10), 1, "what is used up stays used up, the rate is new");
        assert_eq!(admitted(&limit, 0, 1_000, 10), 10, "and no limit holds nobody");
        assert_eq!(admitted(&limit, 1_000, 1_001_000, 2_000), 1_000);
        assert_eq!(
            admitted(&limit, 2, 1_002_000, 10),
            0,
            "a lower one counts what was used under the higher"
        );
        assert_eq!(admitted(&limit, 2, 2_001_000, 10), 2, "for a second at most");
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let limit = UserLimit::new();
        assert_eq!(admitted(&limit, 2, 3_600_000_000, 5), 2);
        assert_eq!(admitted(&limit, 2, 0, 5), 2);
    }

    #[test]
    fn all_users_together_get_what_they_may_and_no_more_from_many_threads() {
        let (limit, passed) = (SharedLimit::default(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let count = (0..1_000).filter(|_| limit.admit(300, at_us(7))).count();
                    passed.fetch_add(count, Ordering::Relaxed)
                });
            }
        });
        assert_eq!(passed.into_inner(), 300);
    }

    #[test]
    fn what_is_used_up_counts_in_another_process_with_another_clock() {
        let (old, new) = (UserLimit::new(), UserLimit::new());
        assert_eq!(admitted(&old, 4, 9_000_000, 3), 3);
        assert!(old.admit(UserId(9), 4, at_us(7_000_000)), "long ago");
        let used = old.used(at_us(9_100_000));
        assert_eq!(used, [(UserId(1), 650_000_000)]);
        new.add(&used, at_us(500));
        assert_eq!(admitted(&new, 4, 500, 10), 1, "three of four are used up, less a tenth of a second");
        assert_eq!(admitted(&new, 4, 500 + 249_999, 10), 1);
        assert_eq!(admitted(&new, 4, 500 + 250_000, 10), 0);
        // What the old one let through meanwhile is added; more than a window is no debt.
        new.add(&[(UserId(1), 900_000_000), (UserId(2), 250_000_000)], at_us(250_500));
        assert_eq!(admitted(&new, 4, 250_500 + 249_999, 10), 0);
        assert_eq!(admitted(&new, 4, 250_500 + 250_000, 10), 1);
        assert_eq!((0..10).filter(|_| new.admit(UserId(2), 4, at_us(250_500))).count(), 3);
        let (old, new) = (SharedLimit::default(), SharedLimit::default());
        assert_eq!((0..10).filter(|_| old.admit(5, at_us(0))).count(), 5);
        assert_eq!((old.used(at_us(0)), old.used(at_us(2_000_000))), (1_000_000_000, 0));
        new.add(old.used(at_us(0)), at_us(70));
        assert_eq!((0..10).filter(|_| new.admit(5, at_us(200_069))).count(), 0);
        assert_eq!((0..10).filter(|_| new.admit(5, at_us(200_070))).count(), 1);
    }

    #[test]
    fn memory_is_bounded_and_the_forgotten_are_let_through() {
        let limit = UserLimit::new();
        let users = (SHARDS * USERS_PER_SHARD_MAX) as u64;
        for user in 0..users + 1_000 {
            assert!(limit.admit(UserId(user), 1, at_us(0)));
        }
        let remembered: usize = limit.due_ns.iter().map(|shard| shard.lock().unwrap().len()).sum();
        assert_eq!(remembered, SHARDS * USERS_PER_SHARD_MAX);
        assert!(limit.admit(UserId(users + 5_000), 1, at_us(2_000_000)), "room is made when they expire");
    }
}
