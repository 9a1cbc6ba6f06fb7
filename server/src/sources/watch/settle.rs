//! When to look at a file, given what the file system tells of it; pure.
//!
//! A close after a write and a rename over it prove that a file is whole, so the look follows soon. Between a write
//! and its close nobody looks. What proves nothing is waited for longer.

use std::time::{Duration, Instant};

/// What the file system told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// A name came to be: a file that somebody goes on to write, or a link to one that is there.
    Created,
    /// Somebody opened it, to read or to write. If that has cut it off, some kernels tell nothing more.
    Opened,
    /// It was written, or cut off.
    Written,
    /// Somebody who could write it has closed it.
    Closed,
    /// Another file took its name.
    Replaced,
    /// Only what is known about it has changed, not what is in it.
    Touched,
    /// It lost its name.
    Gone,
    /// A folder or a link on the way to it is another one, or gone.
    Strayed,
    /// Nobody knows what has happened in between.
    Lost,
}

/// After a close: who writes in pieces and closes each time is back by then.
pub(super) const QUIET: Duration = Duration::from_millis(3);
/// From the first sign that was not followed by a look: no more patience with whoever comes back each time.
pub(super) const LATEST: Duration = Duration::from_millis(10);
/// A writer that never closes is done when it has not written for so long.
pub(super) const STILL: Duration = Duration::from_secs(2);
/// When signs were lost, a writer shows himself by then.
pub(super) const BLIND: Duration = Duration::from_millis(50);
/// Between the end of a look and the next.
pub(super) const REST: Duration = Duration::from_millis(2);

/// Waits for the right moment to look.
#[derive(Debug, Default)]
pub(super) struct Settle {
    due: Option<Instant>,
    /// First sign since the last look.
    first: Option<Instant>,
    /// Somebody has written, and nobody closed since.
    writing: bool,
    created: bool,
    /// Whether the way to the file has to be found anew.
    strayed: bool,
    /// How often what is in it may have become something else.
    writes: u64,
    /// How often it was opened, but for the looks, and how often until the last close. Who opens it to write
    /// may have cut it off.
    opens: i64,
    opens_closed: i64,
    /// End of the last look.
    ended: Option<Instant>,
}

/// A look that has begun.
#[derive(Debug)]
pub(super) struct Begun {
    /// It was put off for long enough: that it was written just now is no reason to put it off again.
    pub(super) at_last: bool,
    /// Somebody has opened it since it was last closed.
    pub(super) opened: bool,
    writes: u64,
    first: Option<Instant>,
}

/// What a look has found, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    Yes,
    No,
    /// There is nothing in the file.
    Empty,
    /// Somebody has opened it and there is nothing in it, so he may be about to fill it.
    Filled,
    /// There is no file to be opened.
    Absent,
}

impl Settle {
    pub(super) fn note(&mut self, sign: Sign, now: Instant) {
        match sign {
            Sign::Opened => self.opens += 1,
            Sign::Closed | Sign::Replaced | Sign::Strayed => self.opens_closed = self.opens,
            _ => {}
        }
        match sign {
            Sign::Created => {
                (self.created, self.strayed) = (true, true);
                self.look_at(now + QUIET);
            }
            // Who makes a file has it open; who makes a link has not.
            Sign::Opened if self.created => self.wait_for_close(now),
            Sign::Opened => {}
            Sign::Written => {
                self.writes += 1;
                self.wait_for_close(now);
            }
            Sign::Closed => {
                self.proven(now);
                let latest = self.first.get_or_insert(now).checked_add(LATEST);
                self.due = latest.map(|latest| self.rested((now + QUIET).min(latest.max(now))));
            }
            Sign::Replaced => {
                self.proven(now);
                self.writes += 1;
                self.due = Some(self.rested(now));
            }
            Sign::Strayed => {
                self.proven(now);
                self.strayed = true;
                self.writes += 1;
                self.due = Some(self.rested(now));
            }
            Sign::Gone => {
                (self.writing, self.created) = (false, false);
                self.look_at(now + QUIET);
            }
            Sign::Touched if self.writing => {}
            Sign::Touched => self.look_at(now + QUIET),
            Sign::Lost => {
                (self.writing, self.created, self.strayed) = (false, false, true);
                self.writes += 1;
                self.due = Some(now + BLIND);
            }
        }
    }

    /// When to look, if nothing else happens.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Looks at `at`, unless something is to be looked at before. A writer that is there is left in peace.
    pub(super) fn look_at(&mut self, at: Instant) {
        if !self.writing {
            self.due = Some(self.due.map_or(at, |due| due.min(at)));
        }
    }

    /// The way to the file has to be found anew.
    pub(super) fn stray(&mut self) {
        self.strayed = true;
    }

    /// Whether the way to the file has to be found anew; asked once.
    pub(super) fn take_strayed(&mut self) -> bool {
        std::mem::take(&mut self.strayed)
    }

    /// Begins a look; `None`: somebody is writing, or will be back in a moment.
    pub(super) fn begin(&mut self, now: Instant) -> Option<Begun> {
        if self.due.map_or(self.writing, |due| due > now) {
            return None;
        }
        let first = self.first.take();
        (self.due, self.writing, self.created) = (None, false, false);
        let at_last = first.is_some_and(|first| now >= first + LATEST);
        let opened = self.opened();
        // The look opens it, too.
        self.opens -= 1;
        Some(Begun { at_last, opened, writes: self.writes, first })
    }

    /// Ends a look. `false`: what it has found is worth nothing, because somebody wrote meanwhile.
    pub(super) fn end(&mut self, begun: &Begun, result: Settled, now: Instant) -> bool {
        self.ended = Some(now);
        if result == Settled::Absent {
            self.opens += 1;
        }
        let is_being_filled = match result {
            Settled::Filled => true,
            Settled::Empty => self.opened() && !begun.opened,
            Settled::Yes | Settled::No | Settled::Absent => false,
        };
        let is_worth = self.writes == begun.writes && !is_being_filled;
        if !is_worth || result == Settled::No {
            self.first = begun.first.or(self.first);
        }
        match result {
            // Unless he is done already.
            _ if is_being_filled && self.opened() => self.wait_for_close(now),
            Settled::No => self.look_at(now + REST),
            _ => {}
        }
        is_worth
    }

    fn opened(&self) -> bool {
        self.opens > self.opens_closed
    }

    fn wait_for_close(&mut self, now: Instant) {
        (self.writing, self.created) = (true, false);
        self.due = Some(now + STILL);
    }

    fn proven(&mut self, now: Instant) {
        (self.writing, self.created) = (false, false);
        self.first.get_or_insert(now);
    }

    fn rested(&self, at: Instant) -> Instant {
        self.ended.map_or(at, |ended| at.max(ended + REST))
    }
}

#[cfg(test)]
mod tests;
