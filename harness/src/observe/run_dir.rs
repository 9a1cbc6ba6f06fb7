//! The folder of one run: which files it holds, in one place, and all of them read back.
//!
//! Each file is written by one owner (the load, the timeline, the environment) and never changed after.
//! Deliberately absent: reports. They are made from what is here and can always be made again.

use std::{
    fs,
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    Attempt, Buy, Connection, EnvironmentRecord, Error, EventRecord, Instrument, MachineSample, StoredOrder,
    StoredQueue, StoredStock,
    json::{self, JsonLines},
    record,
};
use crate::plan::{PLAN_SCHEMA_VERSION, Plan};

/// The folder of one run, for example `reports/runs/20260801-1200-upgrade`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir(PathBuf);

/// Everything that was seen in a run: the attempts, and their background, which an `Observations` gives
/// access to as if its fields were its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Observations {
    /// In the order in which they ended.
    pub attempts: Vec<Attempt>,
    pub background: Background,
}

/// Everything but the attempts, of which there may be too many to hold: the plan that was followed, and
/// what else was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Background {
    pub plan: Plan,
    pub environment: EnvironmentRecord,
    pub instrument: Instrument,
    /// Attempts at the control target, in the order in which they ended; their streams are those of
    /// [`LoadPlan::control_streams`](crate::plan::LoadPlan::control_streams).
    pub control: Vec<Attempt>,
    /// In the order in which they were taken.
    pub machine: Vec<MachineSample>,
    /// In the order in which they ended.
    pub connections: Vec<Connection>,
    /// In the order in which they ended.
    pub buys: Vec<Buy>,
    pub events: Vec<EventRecord>,
    /// Empty when the store was not read ([`EnvironmentRecord::store_read`]).
    pub orders: Vec<StoredOrder>,
    /// Empty when the store was not read.
    pub stock: Vec<StoredStock>,
    /// Of a server that buys through Redis and MySQL, when they were read.
    pub queue: Option<StoredQueue>,
}

impl Deref for Observations {
    type Target = Background;

    fn deref(&self) -> &Background {
        &self.background
    }
}

impl DerefMut for Observations {
    fn deref_mut(&mut self) -> &mut Background {
        &mut self.background
    }
}

impl Background {
    /// That of a run in which nothing happened.
    #[must_use]
    pub fn new(plan: Plan, environment: EnvironmentRecord, instrument: Instrument) -> Self {
        Self {
            plan,
            environment,
            instrument,
            control: Vec::new(),
            machine: Vec::new(),
            connections: Vec::new(),
            buys: Vec::new(),
            events: Vec::new(),
            orders: Vec::new(),
            stock: Vec::new(),
            queue: None,
        }
    }
}

impl RunDir {
    /// Names a folder, which need not exist.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Makes the folder and those above it.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn create(&self) -> Result<(), Error> {
        fs::create_dir_all(&self.0).map_err(|source| Error::Create { path: self.0.clone(), source })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    #[must_use]
    pub fn plan(&self) -> PathBuf {
        self.0.join("plan.json")
    }

    #[must_use]
    pub fn environment(&self) -> PathBuf {
        self.0.join("environment.json")
    }

    #[must_use]
    pub fn instrument(&self) -> PathBuf {
        self.0.join("instrument.json")
    }

    #[must_use]
    pub fn attempts(&self) -> PathBuf {
        self.0.join("attempts.bin")
    }

    #[must_use]
    pub fn control(&self) -> PathBuf {
        self.0.join("control.bin")
    }

    #[must_use]
    pub fn machine(&self) -> PathBuf {
        self.0.join("machine.jsonl")
    }

    #[must_use]
    pub fn connections(&self) -> PathBuf {
        self.0.join("connections.bin")
    }

    #[must_use]
    pub fn buys(&self) -> PathBuf {
        self.0.join("buys.jsonl")
    }

    #[must_use]
    pub fn events(&self) -> PathBuf {
        self.0.join("events.jsonl")
    }

    #[must_use]
    pub fn stored_orders(&self) -> PathBuf {
        self.0.join("stored_orders.jsonl")
    }

    #[must_use]
    pub fn stored_stock(&self) -> PathBuf {
        self.0.join("stored_stock.jsonl")
    }

    #[must_use]
    pub fn stored_queue(&self) -> PathBuf {
        self.0.join("stored_queue.json")
    }

    /// # Errors
    /// When the file cannot be written.
    pub fn write_plan(&self, plan: &Plan) -> Result<(), Error> {
        json::write(&self.plan(), plan)
    }

    /// # Errors
    /// When the file cannot be written.
    pub fn write_environment(&self, environment: &EnvironmentRecord) -> Result<(), Error> {
        json::write(&self.environment(), environment)
    }

    /// # Errors
    /// When the file cannot be written.
    pub fn write_instrument(&self, instrument: &Instrument) -> Result<(), Error> {
        json::write(&self.instrument(), instrument)
    }

    /// # Errors
    /// When the file cannot be written.
    pub fn write_events(&self, events: &[EventRecord]) -> Result<(), Error> {
        write_lines(&self.events(), events)
    }

    /// Writes what the target's store holds after the run.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write_store(
        &self,
        orders: &[StoredOrder],
        stock: &[StoredStock],
        queue: Option<&StoredQueue>,
    ) -> Result<(), Error> {
        write_lines(&self.stored_orders(), orders)?;
        write_lines(&self.stored_stock(), stock)?;
        queue.map_or(Ok(()), |queue| json::write(&self.stored_queue(), queue))
    }

    /// Reads everything back.
    ///
    /// # Errors
    /// When a file is missing, damaged, cut short, or of another version. Only the files of the store
    /// may be missing, and only when the environment says that the store was not read.
    pub fn load(&self) -> Result<Observations, Error> {
        let background = self.load_background()?;
        Ok(Observations { attempts: all(self.read_attempts()?)?, background })
    }

    /// Reads the attempts back one by one.
    ///
    /// # Errors
    /// When the log cannot be opened, or is none of ours; each attempt when it cannot be read.
    pub fn read_attempts(&self) -> Result<record::Reader<Attempt>, Error> {
        record::Reader::open(&self.attempts())
    }

    /// Reads everything back but the attempts.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_background(&self) -> Result<Background, Error> {
        // First, because a plan of another version may lack fields and have others.
        let Versioned { schema_version } = json::read(&self.plan())?;
        if schema_version != PLAN_SCHEMA_VERSION {
            let (expected, found) = (PLAN_SCHEMA_VERSION, schema_version);
            return Err(Error::Version { path: self.plan(), expected, found });
        }
        let plan: Plan = json::read(&self.plan())?;
        let environment: EnvironmentRecord = json::read(&self.environment())?;
        let (orders, stock) = if environment.store_read {
            (read_lines(&self.stored_orders())?, read_lines(&self.stored_stock())?)
        } else {
            (Vec::new(), Vec::new())
        };
        let has_queue = environment.store_read && plan.target.has_store();
        let queue = has_queue.then(|| json::read(&self.stored_queue())).transpose()?;
        Ok(Background {
            instrument: json::read(&self.instrument())?,
            control: all(record::Reader::open(&self.control())?)?,
            machine: read_lines(&self.machine())?,
            connections: all(record::Reader::open(&self.connections())?)?,
            buys: read_lines(&self.buys())?,
            events: read_lines(&self.events())?,
            plan,
            environment,
            orders,
            stock,
            queue,
        })
    }
}

/// The one field that a file of every version has.
#[derive(Debug, Deserialize)]
struct Versioned {
    schema_version: u32,
}

/// A whole log; collecting into a `Result` would not make room for it at once.
fn all<R: record::Record>(log: record::Reader<R>) -> Result<Vec<R>, Error> {
    let mut records = Vec::with_capacity(log.size_hint().0);
    for record in log {
        records.push(record?);
    }
    Ok(records)
}

fn write_lines<T: Serialize>(path: &Path, values: &[T]) -> Result<(), Error> {
    let mut lines = json::JsonLinesWriter::create(path)?;
    for value in values {
        lines.push(value)?;
    }
    lines.finish()
}

fn read_lines<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Vec<T>, Error> {
    JsonLines::open(path)?.collect()
}
