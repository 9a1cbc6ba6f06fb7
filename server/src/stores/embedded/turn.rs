//! Whose turn it is to write, while two processes share the database.
//!
//! SQLite's own lock goes to whoever asks first when it is free, and who waits for it asks only now and then: a
//! process with much to write takes it again and again, and on a busy machine the purchases of the other one wait
//! until they fail. So writers stand in line: one lock is the turn, and another one, before it, the place of the next.
//! Who has just written finds that place taken and comes after.
//!
//! It is courtesy and no more. SQLite's lock keeps the orders right, and who waits for a turn too long goes without:
//! the other process may be stopped, or be of a release that knows no turns, or the disk may have no such locks.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    thread,
};

use super::schema::BUSY_WAIT;

/// Questions for a turn, about half a second of them.
const TRIES_MAX: u32 = 2_500;

/// A writer's place in the line.
#[derive(Debug)]
pub(super) struct Turns {
    next: File,
    turn: File,
    /// Few after a turn that never came, so that not every commit waits for somebody who stands still.
    tries_max: u32,
}

/// The right to write, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'t>(Option<&'t File>);

impl Turns {
    /// The line of the database at `path`; its locks are on two empty files beside it.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let open = |suffix: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            File::options().create(true).append(true).open(PathBuf::from(name))
        };
        Ok(Self { next: open("-next")?, turn: open("-turn")?, tries_max: TRIES_MAX })
    }

    /// Blocks until it is our turn, or it has taken too long.
    pub(super) fn take(&mut self) -> Turn<'_> {
        let mut tries = self.tries_max;
        let is_ours = lock(&self.next, &mut tries) && {
            let is_ours = lock(&self.turn, &mut tries);
            unlock(&self.next);
            is_ours
        };
        self.tries_max = if is_ours { TRIES_MAX } else { 1 };
        Turn(is_ours.then_some(&self.turn))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(turn) = self.0 {
            unlock(turn);
        }
    }
}

/// `false`: somebody else has had it all the time, or there are no locks here.
#[expect(
    clippy::disallowed_methods,
    reason = "a wait that is woken by the lock itself has no end of its own"
)]
fn lock(file: &File, tries: &mut u32) -> bool {
    loop {
        match file.try_lock() {
            Ok(()) => return true,
            Err(TryLockError::Error(_)) => return false,
            Err(TryLockError::WouldBlock) => {}
        }
        *tries = tries.saturating_sub(1);
        if *tries == 0 {
            return false;
        }
        thread::sleep(BUSY_WAIT);
    }
}

fn unlock(file: &File) {
    // It cannot fail for a lock that is held; and if it did, the others would go without.
    drop(file.unlock());
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn is_taken(file: &File) -> bool {
        match file.try_lock() {
            Ok(()) => {
                unlock(file);
                false
            }
            Err(_) => true,
        }
    }

    #[test]
    fn who_has_just_had_a_turn_comes_after_who_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seckill.db");
        let [mut ours, mut theirs, look] = [(); 3].map(|()| Turns::of(&path).unwrap());
        let (order, turns) = channel();
        thread::scope(|scope| {
            let first = ours.take();
            let told = order.clone();
            scope.spawn(move || {
                let _turn = theirs.take();
                told.send("theirs").unwrap();
            });
            while !is_taken(&look.next) {
                thread::yield_now();
            }
            drop(first);
            let _turn = ours.take();
            order.send("ours").unwrap();
        });
        assert_eq!(turns.try_iter().collect::<Vec<_>>(), ["theirs", "ours"]);
    }

    #[test]
    fn who_stands_still_with_the_turn_or_before_it_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seckill.db");
        let [mut ours, still] = [(); 2].map(|()| Turns::of(&path).unwrap());
        for file in [&still.turn, &still.next] {
            file.lock().unwrap();
            for _ in 0..2 {
                assert!(ours.take().0.is_none());
            }
            unlock(file);
            assert!(ours.take().0.is_some(), "it is remembered no longer than it lasts");
        }
    }
}
