//! How many orders a user may ask for in a second.
//!
//! The generic cell rate algorithm (ITU-T I.371), as a virtual schedule: of each user one instant is
//! kept, at which a steady stream of his requests would be due next. That is one number per user, it
//! can be written down and handed on, and no second boundary lets a double burst through.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;

use super::UserId;

/// So that two requests seldom want the same lock.
const SHARDS: usize = 16;

/// Users remembered at once per shard. Each is forgotten a second after his last request, so this is
/// reached only by more than a million different users in one second.
const USERS_PER_SHARD_MAX: usize = 65_536;

/// The window and the largest burst, in microseconds.
const WINDOW_US: i64 = 1_000_000;

/// The limit and who has used how much of it.
#[derive(Debug)]
pub struct RateLimit {
    /// Microseconds between two requests of a steady stream; 0: no limit.
    interval_us: i64,
    /// Microseconds after the Unix epoch at which the user's next request is due.
    due_us: Vec<Mutex<HashMap<UserId, i64>>>,
}

impl RateLimit {
    /// A limit of `per_second` requests of each user; 0: no limit.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        let interval_us = if per_second == 0 { 0 } else { (WINDOW_US / i64::from(per_second)).max(1) };
        Self { interval_us, due_us: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// Whether `user` may go ahead at `now`; if so, it is counted.
    ///
    /// When more users are remembered than there is room for, a user who is not remembered goes ahead:
    /// the limit keeps one user from hurting the others, and must not hurt them itself.
    pub fn admit(&self, user: UserId, now: Timestamp) -> bool {
        if self.interval_us == 0 {
            return true;
        }
        let now_us = now.as_microsecond();
        let shard = usize::try_from(user.0 % SHARDS as u64).unwrap_or(0);
        let mut due_us = self.due_us[shard].lock().unwrap_or_else(PoisonError::into_inner);
        if due_us.len() >= USERS_PER_SHARD_MAX && !due_us.contains_key(&user) {
            due_us.retain(|_, due| *due > now_us);
            if due_us.len() >= USERS_PER_SHARD_MAX {
                return true;
            }
        }
        let due = due_us.entry(user).or_insert(now_us);
        // Further ahead than a full window can only mean that the clock was set back.
        let start = if *due > now_us + WINDOW_US { now_us } else { (*due).max(now_us) };
        let next = start + self.interval_us;
        let admitted = next <= now_us + WINDOW_US;
        if admitted {
            *due = next;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_us(us: i64) -> Timestamp {
        Timestamp::from_microsecond(us).unwrap()
    }

    /// How many of `n` requests at `us` get through.
    fn admitted(limit: &RateLimit, user: u64, us: i64, n: usize) -> usize {
        (0..n).filter(|_| limit.admit(UserId(user), at_us(us))).count()
    }

    #[test]
    fn zero_is_no_limit() {
        assert_eq!(admitted(&RateLimit::new(0), 1, 0, 10_000), 10_000);
    }

    #[test]
    fn a_burst_gets_the_limit_and_then_one_per_interval() {
        let limit = RateLimit::new(4);
        assert_eq!(admitted(&limit, 1, 0, 10), 4);
        assert_eq!(admitted(&limit, 1, 249_999, 10), 0);
        assert_eq!(admitted(&limit, 1, 250_000, 10), 1);
        assert_eq!(admitted(&limit, 1, 5_000_000, 10), 4, "a quiet second gives it all back");
        assert_eq!(admitted(&limit, 17, 5_000_000, 10), 4, "a user of the same shard has his own");
    }

    #[test]
    fn no_window_of_a_second_has_more_than_twice_the_limit_less_one() {
        let limit = RateLimit::new(5);
        let passed: Vec<i64> =
            (0..4_000_000).step_by(10_000).filter(|&us| limit.admit(UserId(1), at_us(us))).collect();
        for &from in &passed {
            let within = passed.iter().filter(|&&us| us >= from && us < from + WINDOW_US).count();
            assert!(within <= 9, "{within} from {from}");
        }
        assert_eq!(passed.len(), 5 + 4 * 5 - 1, "the steady rate is the limit");
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let limit = RateLimit::new(2);
        assert_eq!(admitted(&limit, 1, 3_600_000_000, 5), 2);
        assert_eq!(admitted(&limit, 1, 0, 5), 2);
    }

    #[test]
    fn memory_is_bounded_and_the_forgotten_are_let_through() {
        let limit = RateLimit::new(1);
        let users = (SHARDS * USERS_PER_SHARD_MAX) as u64;
        for user in 0..users + 1_000 {
            assert!(limit.admit(UserId(user), at_us(0)));
        }
        let remembered: usize = limit.due_us.iter().map(|shard| shard.lock().unwrap().len()).sum();
        assert_eq!(remembered, SHARDS * USERS_PER_SHARD_MAX);
        assert!(limit.admit(UserId(users + 5_000), at_us(2_000_000)), "room is made when they expire");
    }
}
