//! The single writer: a candidate -> checked -> published as the next generation, or refused with its reason.
//!
//! Nobody else may publish. Whatever brings a change (timer, file, etcd, push) makes a [`Candidate`] of it, on a
//! thread of its own, and comes to [`Reload::offer`]; requests never wait for any of it. While a successor takes
//! over nothing is published: see [`Reload::close`].

mod candidate;
mod copies;
mod retired;
mod writer;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

pub use self::{
    candidate::{Candidate, Content},
    copies::{Copies, CopyStatus},
};
use self::{
    copies::{Brought, NotKept},
    writer::{Told, Writer},
};
use crate::state::{
    Activities, ChangeOutcome, Datum, Digests, Generation, Mechanism, Snapshot, SnapshotCell,
};

/// What needs the activities before anybody sees them: goods must have their stock before they are sold.
/// Its error is a sentence for whoever asked.
pub type Prepare = Box<dyn Fn(&Activities) -> Result<(), String> + Send + Sync>;

/// Owns the right to publish. Its methods block; call them where that may be.
pub struct Reload {
    cell: Arc<SnapshotCell>,
    writer: Mutex<Writer>,
    changed: watch::Sender<Generation>,
    /// Read and written by whoever has the writer; others may only wait for it.
    open: watch::Sender<bool>,
    prepare: Prepare,
    copies: Option<Arc<Copies>>,
}

/// On which conditions something is published.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// Only if this is still what is served.
    pub expected: Option<Generation>,
    /// Only if what is served of the kind that is offered still has this digest.
    pub expected_digest: Option<String>,
    /// Check, and publish nothing.
    pub dry_run: bool,
    /// Publish what is served already once more.
    pub again: bool,
}

/// What is served after an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    pub generation: Generation,
    /// Something else is served than before; `false` too for what was only tried.
    pub changed: bool,
}

/// Why a candidate was not published. What was served before is served on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It has faults; all of them are told.
    #[error("use the {datum} from {place}: {reason}")]
    Faulty { datum: Datum, place: String, reason: String },
    /// Somebody else was first.
    #[error("replace generation {expected}: {served} is served; read it and try again")]
    Overtaken { expected: Generation, served: Generation },
    /// Somebody else was first, by what is served of one kind.
    #[error(
        "replace the {datum} of digest {expected:?}: that of digest {served:?} is served; read it and try again"
    )]
    Replaced { datum: Datum, expected: String, served: String },
    /// What needs it before it is served refuses it.
    #[error("prepare for what {place} brings: {reason}")]
    Unprepared { place: String, reason: String },
    /// It would not outlive this process, and whoever sent it could not know.
    #[error(
        "keep a copy of the {datum} from {place}: {reason}; see that the folder reload.copies can be written"
    )]
    NotKept { datum: Datum, place: String, reason: String },
    /// A successor takes over, which is to be asked instead.
    #[error("publish anything more: a new process takes over; ask it")]
    HandingOver,
}

impl Reload {
    /// Serves `first` as generation `generation`, whatever its candidates are, and nothing where there is none.
    ///
    /// # Errors
    /// One of them has faults.
    pub fn start(
        first: Vec<Candidate>,
        generation: Generation,
        prepare: Prepare,
    ) -> Result<Arc<Self>, Refused> {
        Self::start_with(first, generation, prepare, None)
    }

    /// As [`Reload::start`]; with copies it keeps them from the first [`Reload::follow`] on, and publishes nothing
    /// before [`Reload::reopen`].
    ///
    /// # Errors
    /// As [`Reload::start`].
    pub fn start_with(
        first: Vec<Candidate>,
        generation: Generation,
        prepare: Prepare,
        copies: Option<Arc<Copies>>,
    ) -> Result<Arc<Self>, Refused> {
        let (mut from, mut seen) = (BTreeMap::new(), BTreeMap::new());
        for candidate in &first {
            from.insert(candidate.datum, Brought::of(candidate, None));
            seen.extend(candidate.version.clone().map(|version| (candidate.datum, version)));
        }
        let mut snapshot = Snapshot::empty(generation);
        let mut changes = Vec::new();
        for candidate in first {
            let told = Told::of(&candidate);
            let place = candidate.origin.place.clone();
            let content = candidate.content.map_err(|reason| Refused::Faulty {
                datum: candidate.datum,
                place,
                reason,
            })?;
            content.put_into(&mut snapshot);
            changes.push(told.change(ChangeOutcome::Published, generation, None));
        }
        let (cell, mut publisher) = SnapshotCell::new(snapshot);
        for change in changes {
            publisher.remember(change);
        }
        let writer = Mutex::new(Writer { publisher, from, seen });
        let (changed, open) = (watch::Sender::new(generation), watch::Sender::new(copies.is_none()));
        Ok(Arc::new(Self { cell, writer, changed, open, prepare, copies }))
    }

    /// The cell that the requests read.
    #[must_use]
    pub fn cell(&self) -> Arc<SnapshotCell> {
        Arc::clone(&self.cell)
    }

    /// Tells of every snapshot that is published, for what has to be done outside of requests.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Generation> {
        self.changed.subscribe()
    }

    /// Publishes a candidate if it is without fault; what it does not bring stays as it is. What is served already
    /// is not published again. Whatever comes of it is in the history, except what changes nothing.
    ///
    /// # Errors
    /// It was refused; what is served stays.
    pub fn offer(&self, candidate: Candidate, terms: Terms) -> Result<Published, Refused> {
        self.offer_all(vec![candidate], terms)
    }

    /// Publishes all candidates as one generation, or none of them.
    ///
    /// # Errors
    /// As [`Reload::offer`].
    #[expect(clippy::needless_pass_by_value, reason = "terms are made for one offer")]
    pub fn offer_all(&self, candidates: Vec<Candidate>, terms: Terms) -> Result<Published, Refused> {
        self.settle(candidates, &terms).map(|(published, _)| published)
    }

    /// As [`Reload::offer`], with the digest of what is then served of the kind that was offered; after a trial
    /// of what would be.
    ///
    /// # Errors
    /// As [`Reload::offer`].
    pub fn offer_for_digest(
        &self,
        candidate: Candidate,
        terms: &Terms,
    ) -> Result<(Published, String), Refused> {
        let datum = candidate.datum;
        let (published, digests) = self.settle(vec![candidate], terms)?;
        Ok((published, digests.of(datum).to_owned()))
    }

    fn settle(&self, candidates: Vec<Candidate>, terms: &Terms) -> Result<(Published, Digests), Refused> {
        let mut writer = self.writer();
        let candidates = writer.new_only(candidates, terms);
        let told: Vec<Told> = candidates.iter().map(Told::of).collect();
        let brought = writer.brought(&candidates);
        let served = self.cell.load();
        let changes = |next: &Snapshot| !terms.dry_run && (next.digests != served.digests || terms.again);
        let next = self.check(&served, candidates, terms).and_then(|next| match &self.copies {
            Some(copies) if changes(&next) => {
                copies.keep(&served.digests, &next, &brought).map(|()| next).map_err(Refused::from)
            }
            _ => Ok(next),
        });
        match next {
            Ok(next) => {
                let (generation, digests) = (next.generation, next.digests.clone());
                if terms.dry_run {
                    return Ok((Published { generation: served.generation, changed: false }, digests));
                }
                writer.see(&brought);
                if !changes(&next) {
                    return Ok((Published { generation: served.generation, changed: false }, digests));
                }
                self.publish(&mut writer, next, told, brought);
                Ok((Published { generation, changed: true }, digests))
            }
            // Nobody has looked at it, and whoever brought it comes again; nor is a trial a change.
            Err(refused) if refused == Refused::HandingOver || terms.dry_run => Err(refused),
            Err(refused) => {
                let any_faulty = told.iter().any(|told| told.digest.is_empty());
                for told in told.into_iter().filter(|told| !any_faulty || told.digest.is_empty()) {
                    let reason = Some(reason(&refused));
                    let change = told.change(ChangeOutcome::Refused, served.generation, reason);
                    writer.publisher.remember(change);
                }
                Err(refused)
            }
        }
    }

    fn publish(&self, writer: &mut Writer, next: Snapshot, told: Vec<Told>, brought: Vec<Brought>) {
        let generation = next.generation;
        for mut told in told {
            // That of a delta is not that of the list it leads to.
            next.digests.of(told.datum).clone_into(&mut told.digest);
            writer.publisher.remember(told.change(ChangeOutcome::Published, generation, None));
        }
        writer
            .from
            .extend(brought.into_iter().map(|brought| (brought.datum, Brought { delta: None, ..brought })));
        let list = Arc::clone(&next.blacklist);
        let before = writer.publisher.publish(next);
        if !Arc::ptr_eq(&before.blacklist, &list) {
            retired::retire(Arc::clone(&before.blacklist));
        }
        self.changed.send_replace(generation);
    }

    fn check(
        &self,
        served: &Snapshot,
        candidates: Vec<Candidate>,
        terms: &Terms,
    ) -> Result<Snapshot, Refused> {
        if !*self.open.borrow() {
            return Err(Refused::HandingOver);
        }
        if let Some(expected) = terms.expected.filter(|expected| *expected != served.generation) {
            return Err(Refused::Overtaken { expected, served: served.generation });
        }
        if let Some(expected) = &terms.expected_digest {
            for datum in candidates.iter().map(|candidate| candidate.datum) {
                let (served, expected) = (served.digests.of(datum).to_owned(), expected.clone());
                if served != expected {
                    return Err(Refused::Replaced { datum, expected, served });
                }
            }
        }
        self.put(served, candidates, terms.dry_run)
    }

    /// What is served with all candidates in it, and everything ready for it.
    fn put(&self, served: &Snapshot, candidates: Vec<Candidate>, dry_run: bool) -> Result<Snapshot, Refused> {
        let mut next = Snapshot { generation: served.generation.next(), ..served.clone() };
        let mut faults = Vec::new();
        let mut to_prepare = None;
        for Candidate { datum, origin, content, .. } in candidates {
            match content {
                Ok(content) => content.put_into(&mut next),
                Err(reason) => faults.push((datum, origin.place.clone(), reason)),
            }
            to_prepare = (datum == Datum::Activities).then_some(origin.place).or(to_prepare);
        }
        match faults.into_iter().reduce(|(datum, place, reason), (_, also, more)| {
            (datum, format!("{place} and {also}"), format!("{reason}; {more}"))
        }) {
            None => {
                if let Some(place) = to_prepare.filter(|_| !dry_run) {
                    let unprepared = |reason| Refused::Unprepared { place, reason };
                    (self.prepare)(&next.activities).map_err(unprepared)?;
                }
                Ok(next)
            }
            Some((datum, place, reason)) => Err(Refused::Faulty { datum, place, reason }),
        }
    }

    /// Publishes nothing any more, because a successor goes on with the count; what it has to know for that.
    #[must_use]
    pub fn close(&self) -> (Generation, Digests) {
        let _writer = self.writer();
        self.open.send_replace(false);
        if let Some(copies) = &self.copies {
            copies.write(false);
        }
        let served = self.cell.load();
        (served.generation, served.digests.clone())
    }

    /// Publishes from now on, or again.
    pub fn reopen(&self) {
        let _writer = self.writer();
        if let Some(copies) = &self.copies {
            copies.write(true);
        }
        self.open.send_replace(true);
    }

    /// Goes on after another process, which has served `last` last, with `again` in the place of what is served.
    /// This process must not have answered anybody since that one did.
    ///
    /// # Errors
    /// Some of `again` has faults, or cannot be prepared for. What was served before is served on, with a
    /// number after `last`, and nothing more is published.
    pub fn follow(&self, last: Generation, again: Vec<Candidate>) -> Result<(), Refused> {
        let mut writer = self.writer();
        let told: Vec<Told> = again.iter().map(Told::of).collect();
        let brought = writer.brought(&again);
        let served = self.cell.load();
        let next = self.put(&served, again, false);
        let changes = next.as_ref().is_ok_and(|next| next.digests != served.digests);
        let generation = served.generation.max(last).next();
        let (next, told, brought, refused) = match next {
            Ok(next) => (next, told, brought, None),
            Err(refused) => (Snapshot::clone(&served), Vec::new(), Vec::new(), Some(refused)),
        };
        writer.see(&brought);
        if changes || served.generation <= last {
            self.publish(&mut writer, Snapshot { generation, ..next }, told, brought);
        }
        if let Some(refused) = refused {
            return Err(refused);
        }
        if let Some(copies) = &self.copies {
            copies.write(true);
            let from: Vec<_> = writer.from.values().cloned().collect();
            copies.settle(&self.cell.load(), &from);
        }
        Ok(())
    }

    /// Whether what is served was pushed, so that its place need not have it.
    #[must_use]
    pub fn is_pushed(&self, datum: Datum) -> bool {
        self.writer().from.get(&datum).is_some_and(|from| from.origin.mechanism == Mechanism::Push)
    }

    /// Where copies are kept, if anywhere.
    #[must_use]
    pub fn copies(&self) -> Option<&Arc<Copies>> {
        self.copies.as_ref()
    }

    /// Tells whether anything can be published, for those who would wait until it can.
    #[must_use]
    pub fn openings(&self) -> watch::Receiver<bool> {
        self.open.subscribe()
    }

    /// Waits until something can be published, which is at once unless a successor takes over.
    pub async fn reopened(&self) {
        // The sender is ours, so the wait cannot fail.
        _ = self.open.subscribe().wait_for(|open| *open).await;
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").field("cell", &self.cell).finish_non_exhaustive()
    }
}

impl From<NotKept> for Refused {
    fn from(NotKept { datum, place, reason }: NotKept) -> Self {
        Self::NotKept { datum, place, reason }
    }
}

/// The whole sentence for whoever asked, and for the history.
#[must_use]
pub fn reason(refused: &Refused) -> String {
    format!("failed to {refused}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{seckill::UserId, state::Origin};

    const ACTIVITIES: &str = r#"{"events":[{"id":1,"name":"e","starts_at":"2020-01-01T00:00:00Z",
        "ends_at":"2030-01-01T00:00:00Z",
        "goods":[{"id":1,"name":"g","price_cents":1,"stock":1,"limit_per_user":1}]}]}"#;

    fn candidate(datum: Datum, text: &str) -> Candidate {
        Candidate::parse(datum, Origin::new(Mechanism::Push, "test"), text.as_bytes())
    }

    fn list(text: &str) -> Candidate {
        candidate(Datum::Blacklist, text)
    }

    fn started() -> Arc<Reload> {
        let first = vec![candidate(Datum::Activities, ACTIVITIES)];
        Reload::start(first, Generation::FIRST, Box::new(|_| Ok(()))).unwrap()
    }

    #[test]
    fn what_is_not_brought_at_the_start_is_empty() {
        let reload = Reload::start(Vec::new(), Generation(4), Box::new(|_| Ok(()))).unwrap();
        let snapshot = reload.cell().load();
        assert_eq!(snapshot.generation, Generation(4));
        assert!(snapshot.blacklist.is_empty() && snapshot.activities.events().is_empty());
        let refused =
            Reload::start(vec![list("1\ntwo\n")], Generation::FIRST, Box::new(|_| Ok(()))).unwrap_err();
        assert!(reason(&refused).starts_with("failed to use the blacklist from test: 1 of its lines"));
    }

    #[test]
    fn a_good_candidate_is_published_and_a_bad_one_only_remembered() {
        let reload = started();
        let (cell, mut changes) = (reload.cell(), reload.changes());
        let published = reload.offer(list("7"), Terms::default()).unwrap();
        assert_eq!(published, Published { generation: Generation(2), changed: true });
        assert_eq!(*changes.borrow_and_update(), Generation(2));
        assert!(cell.load().blacklist.contains(UserId(7)));
        assert_eq!(cell.load().activities.events().len(), 1, "what was not offered stays");

        assert!(matches!(reload.offer(list("seven"), Terms::default()), Err(Refused::Faulty { .. })));
        assert_eq!(cell.load().generation, Generation(2));
        let history = cell.history();
        assert_eq!(history.len(), 3);
        assert_eq!(history[2].outcome, ChangeOutcome::Refused);
        let told = history[2].reason.as_deref().unwrap();
        assert!(told.starts_with("failed to use the blacklist from test: 1 of its lines"), "{told}");
    }

    #[test]
    fn equal_content_is_no_change_unless_it_is_asked_for() {
        let reload = started();
        reload.offer(list("7\n8"), Terms::default()).unwrap();
        let same = reload.offer(list("# spelt differently\n8\n7\n7"), Terms::default()).unwrap();
        assert_eq!(same, Published { generation: Generation(2), changed: false });
        assert_eq!(reload.cell().history().len(), 2);
        let again = Terms { again: true, ..Terms::default() };
        assert_eq!(reload.offer(list("7\n8"), again).unwrap().generation, Generation(3));
    }

    #[test]
    fn a_delta_changes_what_is_served_when_it_is_published() {
        let reload = started();
        let delta = |text: &str| Candidate::delta(Origin::new(Mechanism::Push, "test"), text.as_bytes());
        let late = delta("+9\n-7");
        reload.offer(list("7\n8"), Terms::default()).unwrap();
        assert_eq!(reload.offer(late, Terms::default()).unwrap().generation, Generation(3));
        let same = reload.offer(list("8\n9"), Terms::default()).unwrap();
        assert_eq!(same, Published { generation: Generation(3), changed: false });
        let nothing_new = reload.offer(delta("+9\n-7"), Terms::default()).unwrap();
        assert!(!nothing_new.changed);
        let refused = reload.offer(delta("+9\n7"), Terms::default()).unwrap_err();
        assert!(reason(&refused).contains("1 of its lines are not one +ID or -ID each"), "{refused}");
        assert_eq!(reload.cell().load().generation, Generation(3));
    }

    #[test]
    fn an_expected_generation_keeps_two_writers_apart() {
        let reload = started();
        let terms = |expected| Terms { expected: Some(Generation(expected)), ..Terms::default() };
        assert_eq!(reload.offer(list("1"), terms(1)).unwrap().generation, Generation(2));
        let refused = reload.offer(list("2"), terms(1)).unwrap_err();
        assert_eq!(reason(&refused), "failed to replace generation 1: 2 is served; read it and try again");
    }

    #[test]
    fn an_expected_digest_keeps_writers_of_one_kind_apart() {
        let reload = started();
        let terms = |digest: &str| Terms { expected_digest: Some(digest.to_owned()), ..Terms::default() };
        let first = list("1").digest();
        assert!(reload.offer(list("1"), terms("")).is_ok(), "nothing was served");
        reload.offer(candidate(Datum::Cluster, r#"{"log_level":"debug"}"#), Terms::default()).unwrap();
        assert_eq!(reload.offer(list("2"), terms(&first)).unwrap().generation, Generation(4));
        let refused = reload.offer(list("3"), terms(&first)).unwrap_err();
        assert!(matches!(refused, Refused::Replaced { datum: Datum::Blacklist, .. }), "{refused:?}");
    }

    #[test]
    fn a_dry_run_finds_faults_and_changes_nothing() {
        let reload = started();
        let dry = Terms { dry_run: true, ..Terms::default() };
        let tried = reload.offer(list("1"), dry.clone()).unwrap();
        assert_eq!(tried, Published { generation: Generation(1), changed: false });
        assert!(reload.offer(list("one"), dry).is_err());
        assert!(reload.cell().load().blacklist.is_empty());
        assert_eq!(reload.cell().history().len(), 1, "a trial is no change");
    }

    #[test]
    fn all_or_none_are_published_as_one_generation() {
        let reload = started();
        let pair = |list_text| vec![list(list_text), candidate(Datum::Cluster, r#"{"log_level":"debug"}"#)];
        assert!(reload.offer_all(pair("x"), Terms::default()).is_err());
        assert_eq!(reload.cell().load().cluster.log_level, None);
        assert_eq!(reload.offer_all(pair("9"), Terms::default()).unwrap().generation, Generation(2));
        assert!(reload.cell().load().blacklist.contains(UserId(9)));
    }

    #[test]
    fn what_must_be_prepared_can_refuse() {
        let reload =
            Reload::start(Vec::new(), Generation::FIRST, Box::new(|_| Err("the store is full".to_owned())))
                .unwrap();
        let refused = reload.offer(candidate(Datum::Activities, ACTIVITIES), Terms::default()).unwrap_err();
        assert_eq!(reason(&refused), "failed to prepare for what test brings: the store is full");
        assert_eq!(reload.cell().load().generation, Generation(1));
    }

    #[test]
    fn nothing_is_published_while_a_successor_takes_over() {
        let reload = started();
        let (last, digests) = reload.close();
        assert_eq!(last, Generation(1));
        assert_eq!(&digests, &reload.cell().load().digests);
        assert_eq!(reload.offer(list("1"), Terms::default()), Err(Refused::HandingOver));
        assert_eq!(reload.cell().history().len(), 1, "nobody has looked at it");
        assert!(!*reload.openings().borrow());
        reload.reopen();
        assert!(reload.offer(list("1"), Terms::default()).is_ok());
    }

    #[test]
    fn a_successor_goes_on_with_the_count() {
        let reload = started();
        reload.follow(Generation(41), Vec::new()).unwrap();
        assert_eq!(reload.cell().load().generation, Generation(42));
        reload.follow(Generation(41), Vec::new()).unwrap();
        assert_eq!(reload.cell().load().generation, Generation(42), "it is ahead already");
    }
}
