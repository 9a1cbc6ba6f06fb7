//! A change of the configuration as an event: made where the server looks for it, and followed until the server
//! serves it, or has refused what was wrong with it.
//!
//! A push is acknowledged by its answer. Of every other mechanism the server's history tells which generation has
//! published the very content; it is asked every few milliseconds, over a connection of its own each time, so
//! that an upgrade in between is no matter.

mod etcd;
mod file;
mod history;
mod push;
mod timer;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rustix::process::Pid;
use serde_json::{Value, json};

use self::history::{History, Wanted};
use super::{
    cpu::cpu_us,
    timeline::{Ending, wait_until},
};
use crate::{
    clock::RunClock,
    environment::{Content, Contents, Control, Environment, Gateway, Pages, Place, client},
    observe::EventOutcome,
    plan::{Bad, By, Datum, ReloadAction},
};

const NS_PER_MS: u64 = 1_000_000;

/// Makes changes, one after the other.
pub(super) struct Desk {
    contents: Arc<Contents>,
    places: BTreeMap<Datum, Place>,
    pages: Option<Pages>,
    gateway: Option<Gateway>,
    control: Control,
    client: reqwest::Client,
    history: History,
    clock: RunClock,
    /// Whose processor time is read around a change with a rest; `None` when another process may come to serve.
    process: Option<Pid>,
    /// What it had used at the end of the last change with a rest.
    reading: Option<Reading>,
    /// Number of the last change, of whatever data.
    number: u64,
    /// Number of the change that is in force, as far as it is known.
    in_force: BTreeMap<Datum, u64>,
    /// There are keys of single values, so that the server puts the document together and says how long that is.
    has_single_keys: bool,
}

/// What the server's process had used by some time.
#[derive(Clone, Copy)]
struct Reading {
    at_ns: u64,
    used_us: u64,
}

impl Reading {
    /// What it used since an earlier one.
    fn since(self, before: Self) -> Value {
        let used_us = self.used_us.saturating_sub(before.used_us);
        json!({ "from_ns": before.at_ns, "to_ns": self.at_ns, "used_us": used_us })
    }
}

/// A change that was made.
struct Made {
    /// The last system call of it, or the answer of whoever was told.
    made_ns: u64,
    bytes: u64,
    /// What a push was answered.
    answer: Option<push::Answer>,
    /// How often it had to be tried.
    tries: u64,
}

impl Desk {
    /// `None` for a target whose configuration is not ours, or when there is no client to be had. `process` is
    /// the one that serves to the end of the run.
    pub(super) fn of(environment: &Environment, clock: RunClock, process: Option<Pid>) -> Option<Self> {
        let Environment::Reference(reference) = environment else { return None };
        let client = client().ok()?;
        let control = reference.control().clone();
        Some(Self {
            contents: Arc::clone(reference.contents()),
            places: reference.places().clone(),
            pages: reference.pages().cloned(),
            gateway: reference.services().gateway().cloned(),
            history: History::new(control.clone(), client.clone()),
            control,
            client,
            clock,
            process,
            reading: None,
            number: 0,
            in_force: BTreeMap::new(),
            has_single_keys: false,
        })
    }

    /// Makes a change, or many in a row, and waits until the last one is served.
    pub(super) async fn run(&mut self, action: &ReloadAction) -> Ending {
        let begun_ns = self.clock.now_ns();
        let deadline_ns = begun_ns + action.timeout_ms * NS_PER_MS;
        let first = self.number + 1;
        let changes = u64::from(action.storm.map_or(1, |storm| storm.changes));
        let gap_ns = action.storm.map_or(0, |storm| storm.within_ms * NS_PER_MS / changes);
        self.number += changes;
        self.has_single_keys |= action.single_key;
        let before = match action.storm {
            Some(_) => self.history.served().await,
            None => None,
        };
        let begun = self.read(action);
        let made_from_ns = self.clock.now_ns();
        let mut made = None;
        for number in first..=self.number {
            wait_until(&self.clock, made_from_ns + (number - first) * gap_ns).await;
            match self.make(action, number, deadline_ns).await {
                Ok(one) => {
                    // The next difference is one to this.
                    if one.answer.as_ref().is_some_and(|answer| (200..300).contains(&answer.status)) {
                        self.in_force.insert(action.datum, number);
                    }
                    made = Some(one);
                }
                Err(why) => {
                    return self.ended(
                        action,
                        first,
                        EventOutcome::Failed,
                        false,
                        json!({ "error": { "detail": why } }),
                    );
                }
            }
        }
        let made = made.expect("there must be a change");
        wait_until(&self.clock, made.made_ns + action.rest_ms * NS_PER_MS).await;
        let rested = self.read(action);
        let ending = match action.bad {
            None => self.served(action, first, begun_ns, deadline_ns, &made).await,
            Some(_) => self.refused(action, first, begun_ns, deadline_ns, &made).await,
        };
        if ending.outcome == EventOutcome::Ok {
            self.in_force.insert(action.datum, self.number);
        }
        let mut ending = ending;
        ending.detail["made_from_ns"] = made_from_ns.into();
        if let (Some(begun), Some(rested)) = (begun, rested) {
            let before = self.reading.map(|last| begun.since(last));
            ending.detail["cpu"] = json!({ "before": before, "after": rested.since(begun) });
        }
        if let (Some(before), Some(after), true) =
            (before, ending.detail["generation"].as_u64(), action.storm.is_some())
        {
            // Each publication is one generation; nothing else changes anything meanwhile.
            let published = after.saturating_sub(before);
            ending.detail["storm"] = json!({ "changes": changes, "published": published });
        }
        // From now on nobody asks it anything until the next change.
        self.reading = self.read(action);
        ending
    }

    /// What the server has used by now, around a change with a rest.
    fn read(&self, action: &ReloadAction) -> Option<Reading> {
        let process = self.process.filter(|_| action.rest_ms > 0)?;
        let used_us = cpu_us(process)?;
        Some(Reading { at_ns: self.clock.now_ns(), used_us })
    }

    /// Makes one change where its data is kept.
    async fn make(&self, action: &ReloadAction, number: u64, deadline_ns: u64) -> Result<Made, String> {
        let ReloadAction { datum, by, how, bad, delta, single_key, .. } = *action;
        let content = match bad {
            Some(bad) => self.contents.bad(datum, number, bad),
            None if delta => {
                let from = self.in_force.get(&datum).copied().unwrap_or(0);
                self.contents.delta(from, number)
            }
            None => self.contents.of(datum, number),
        };
        let bytes = content.bytes();
        let made = |made_ns, tries| Made { made_ns, bytes, answer: None, tries };
        if by == By::Push {
            let push = push::Push { datum, delta, overtaken: bad == Some(Bad::Overtaken) };
            let (answer, made_ns, tries) =
                push::put(&push, &content, &self.control, &self.client, &self.clock, deadline_ns).await?;
            return Ok(Made { made_ns, bytes, answer: Some(answer), tries });
        }
        let place = self.places.get(&datum).ok_or("nobody knows where it is kept")?;
        match place {
            Place::File(path) => {
                file::change(path.clone(), content, how, number, self.clock).await.map(|at| made(at, 1))
            }
            Place::Page(path) => {
                let pages = self.pages.as_ref().ok_or("there are no pages")?;
                Ok(made(timer::publish(pages, path, content, &self.clock), 1))
            }
            Place::Key(key) => {
                let gateway = self.gateway.as_ref().ok_or("there is no etcd")?;
                let (key, content) = match single_key {
                    true => self.single(key, number, bad),
                    false => (key.clone(), content),
                };
                let (at, tries) = etcd::put(gateway, &key, &content, &self.clock, deadline_ns).await?;
                Ok(made(at, tries))
            }
        }
    }

    fn single(&self, key: &str, number: u64, bad: Option<Bad>) -> (String, Content) {
        let (path, content) = self.contents.value(number, bad);
        (format!("{key}/{}", path.join("/")), content)
    }

    /// What the history has to tell of a change.
    fn wanted(&self, action: &ReloadAction, begun_ns: u64, made: &Made) -> Wanted {
        let refused = action.bad.is_some();
        let is_put_together = self.has_single_keys && action.datum == Datum::Cluster;
        Wanted {
            datum: action.datum,
            by: action.by,
            bytes: (!refused && !is_put_together).then_some(made.bytes),
            since: self.clock.wall(begun_ns),
            refused,
        }
    }

    /// Waits until the change is served.
    async fn served(
        &self,
        action: &ReloadAction,
        first: u64,
        begun_ns: u64,
        deadline_ns: u64,
        made: &Made,
    ) -> Ending {
        let base = json!({ "made_ns": made.made_ns, "bytes": made.bytes, "tries": made.tries });
        if let Some(answer) = &made.answer {
            let mut detail = base;
            detail["status"] = answer.status.into();
            let is_ok = (200..300).contains(&answer.status) && answer.generation.is_some();
            match answer.generation {
                Some(generation) => detail["generation"] = generation.into(),
                None => detail["answer"] = answer.text.clone().into(),
            }
            let outcome = if is_ok { EventOutcome::Ok } else { EventOutcome::Refused };
            let mut ending = self.ended(action, first, outcome, is_ok, detail);
            ending.acked_ns = made.made_ns;
            return ending;
        }
        let wanted = self.wanted(action, begun_ns, made);
        match self.history.wait(&wanted, &self.clock, deadline_ns).await {
            Ok(seen) => {
                let mut detail = base;
                detail["generation"] = seen.generation.into();
                detail["history"] = seen.entry;
                self.ended(action, first, EventOutcome::Ok, true, detail)
            }
            Err(why) => {
                let mut detail = base;
                detail["error"] = json!({ "detail": why });
                self.ended(action, first, EventOutcome::Failed, false, detail)
            }
        }
    }

    /// Waits until what is wrong is refused, with a reason in the history, and the old generation served on.
    async fn refused(
        &self,
        action: &ReloadAction,
        first: u64,
        begun_ns: u64,
        deadline_ns: u64,
        made: &Made,
    ) -> Ending {
        let mut detail = json!({ "made_ns": made.made_ns, "bytes": made.bytes });
        let mut trouble = Vec::new();
        if let Some(answer) = &made.answer {
            detail["status"] = answer.status.into();
            detail["answer"] = answer.text.clone().into();
            if !(400..500).contains(&answer.status) {
                trouble.push(format!("it was answered with {}, and should have been refused", answer.status));
            }
        }
        let wanted = self.wanted(action, begun_ns, made);
        match self.history.wait(&wanted, &self.clock, deadline_ns).await {
            Ok(seen) => {
                if seen.entry["reason"].as_str().is_none_or(str::is_empty) {
                    trouble.push("the history has no reason for it".to_owned());
                }
                if seen.published_too {
                    trouble.push("something of it was published all the same".to_owned());
                }
                detail["generation_served"] = seen.generation.into();
                detail["history"] = seen.entry;
            }
            Err(why) => trouble.push(why),
        }
        let as_expected = trouble.is_empty();
        if !as_expected {
            detail["trouble"] = json!(trouble);
        }
        let outcome = if as_expected { EventOutcome::Refused } else { EventOutcome::Failed };
        self.ended(action, first, outcome, as_expected, detail)
    }

    /// The end of an event, with what the analysis has to know of it.
    fn ended(
        &self,
        action: &ReloadAction,
        first: u64,
        outcome: EventOutcome,
        as_expected: bool,
        mut detail: Value,
    ) -> Ending {
        let ReloadAction { datum, by, bad, .. } = action;
        detail["datum"] = json!(datum);
        detail["by"] = json!(by);
        detail["change"] = self.number.into();
        if *datum == Datum::Blacklist && bad.is_none() {
            detail["lists"] = lists(&self.contents, first, self.number);
        }
        Ending { acked_ns: self.clock.now_ns(), outcome, as_expected, detail }
    }
}

/// Whom the changes list: each list once, that of the last change at the end.
fn lists(contents: &Contents, first: u64, last: u64) -> Value {
    let passing: BTreeSet<_> = (first..last).filter_map(|number| contents.listed(number)).collect();
    let all: Vec<[u32; 2]> =
        passing.into_iter().chain(contents.listed(last)).map(|(from, to)| [from, to]).collect();
    json!(all)
}
