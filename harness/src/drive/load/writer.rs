//! The logs of the load, written while it runs.
//!
//! The sending thread gathers records into batches and hands them to one writing thread through a bounded
//! channel. It never waits for the disk: when the channel is full the batch is lost, counted, and named as
//! a gap, which forbids a pass. Memory is bounded by the channel, however long the run.

use std::{
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread::{Builder, JoinHandle},
};

use super::Error;
use crate::observe::{self, Attempt, Buy, Connection, JsonLinesWriter, RunDir, record};

/// Records that fill a batch.
const BATCH_RECORDS: usize = 2048;
/// A batch goes out after this long even when it is not full.
const BATCH_AGE_NS: u64 = 50_000_000;
/// Batches on their way to the disk: about 20 MB, and 6 s of a disk that stands still at 10,000 attempts
/// per second.
const BATCHES_WAITING_MAX: usize = 128;

/// The end of a thread that sends.
#[derive(Debug)]
pub(super) struct Recorder {
    channel: SyncSender<Batch>,
    batch: Batch,
    lost: u64,
    flush_at_ns: u64,
    /// Number of the first stream that is the control's.
    control_from: u16,
}

#[derive(Debug, Default)]
struct Batch {
    attempts: Vec<Attempt>,
    control: Vec<Attempt>,
    connections: Vec<Connection>,
    buys: Vec<Buy>,
}

impl Batch {
    fn len(&self) -> usize {
        self.attempts.len() + self.control.len() + self.connections.len() + self.buys.len()
    }
}

/// The writing thread.
#[derive(Debug)]
pub(super) struct Writer(JoinHandle<Result<(), observe::Error>>);

/// Makes the files and starts the writing thread; the streams from `control_from` on are the control's.
///
/// # Errors
/// When a file or the thread cannot be made.
pub(super) fn start(run_dir: &RunDir, control_from: u16) -> Result<(Recorder, Writer), Error> {
    let mut files = Files {
        attempts: record::Writer::create(&run_dir.attempts()).map_err(Error::Log)?,
        control: record::Writer::create(&run_dir.control()).map_err(Error::Log)?,
        connections: record::Writer::create(&run_dir.connections()).map_err(Error::Log)?,
        buys: JsonLinesWriter::create(&run_dir.buys()).map_err(Error::Log)?,
    };
    let (channel, batches) = sync_channel(BATCHES_WAITING_MAX);
    let thread = Builder::new()
        .name("load-writer".to_owned())
        .spawn(move || {
            files.write_all(&batches)?;
            files.finish()
        })
        .map_err(Error::Thread)?;
    Ok((Recorder::new(channel, control_from), Writer(thread)))
}

impl Recorder {
    fn new(channel: SyncSender<Batch>, control_from: u16) -> Self {
        Self { channel, batch: Batch::default(), lost: 0, flush_at_ns: BATCH_AGE_NS, control_from }
    }

    /// One for another thread that writes into the same logs.
    pub(super) fn another(&self) -> Self {
        Self::new(self.channel.clone(), self.control_from)
    }

    /// Those at the control target go to a log of their own, their streams numbered from 0.
    pub(super) fn attempt(&mut self, attempt: Attempt) {
        match attempt.stream.checked_sub(self.control_from) {
            Some(stream) => self.batch.control.push(Attempt { stream, ..attempt }),
            None => self.batch.attempts.push(attempt),
        }
    }

    /// Those to the control target are nobody's business.
    pub(super) fn connection(&mut self, connection: Connection) {
        if connection.stream < self.control_from {
            self.batch.connections.push(connection);
        }
    }

    pub(super) fn buy(&mut self, buy: Buy) {
        self.batch.buys.push(buy);
    }

    /// When [`Recorder::tick`] wants to be called at the latest.
    pub(super) fn flush_at_ns(&self) -> u64 {
        self.flush_at_ns
    }

    /// Hands the batch over when it is full or old.
    pub(super) fn tick(&mut self, now_ns: u64) {
        if now_ns < self.flush_at_ns && self.batch.len() < BATCH_RECORDS {
            return;
        }
        self.flush_at_ns = now_ns + BATCH_AGE_NS;
        if self.batch.len() == 0 {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        if let Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) =
            self.channel.try_send(batch)
        {
            self.lost += batch.len() as u64;
        }
    }

    /// Hands the batch over when it is full, and waits for room: only for when nothing is to be sent.
    pub(super) fn tick_patiently(&mut self) {
        if self.batch.len() >= BATCH_RECORDS {
            self.hand_over();
        }
    }

    /// Hands the rest over; how many records were lost in the run.
    pub(super) fn finish(mut self) -> u64 {
        self.hand_over();
        self.lost
    }

    fn hand_over(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let records = batch.len() as u64;
        if self.channel.send(batch).is_err() {
            self.lost += records;
        }
    }
}

impl Writer {
    pub(super) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits until everything is written; the outer error is the thread's panic.
    pub(super) fn join(self) -> std::thread::Result<Result<(), observe::Error>> {
        self.0.join()
    }
}

#[derive(Debug)]
struct Files {
    attempts: record::Writer<Attempt>,
    control: record::Writer<Attempt>,
    connections: record::Writer<Connection>,
    buys: JsonLinesWriter,
}

impl Files {
    fn write_all(&mut self, batches: &Receiver<Batch>) -> Result<(), observe::Error> {
        for batch in batches {
            for attempt in &batch.attempts {
                self.attempts.push(attempt)?;
            }
            for attempt in &batch.control {
                self.control.push(attempt)?;
            }
            for connection in &batch.connections {
                self.connections.push(connection)?;
            }
            for buy in &batch.buys {
                self.buys.push(buy)?;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<(), observe::Error> {
        self.attempts.finish()?;
        self.control.finish()?;
        self.connections.finish()?;
        self.buys.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{BATCH_AGE_NS, BATCHES_WAITING_MAX, Recorder};
    use crate::observe::{ClosedBy, Connection};

    const CONNECTION: Connection =
        Connection { id: 1, stream: 0, opened_ns: 0, closed_ns: 0, requests: 0, closed_by: ClosedBy::Client };

    /// A disk that stands still costs records, which are counted, and never time.
    #[test]
    fn a_full_channel_loses_and_counts() {
        let (channel, batches) = std::sync::mpsc::sync_channel(BATCHES_WAITING_MAX);
        let mut recorder = Recorder::new(channel, 1);
        for round in 1..=BATCHES_WAITING_MAX as u64 + 3 {
            recorder.connection(CONNECTION);
            recorder.connection(CONNECTION);
            recorder.tick(round * BATCH_AGE_NS);
        }
        drop(batches);
        assert_eq!(recorder.finish(), 6);
    }

    #[test]
    fn a_young_batch_waits_for_company() {
        let (channel, batches) = std::sync::mpsc::sync_channel(1);
        let mut recorder = Recorder::new(channel, 1);
        recorder.connection(CONNECTION);
        recorder.tick(BATCH_AGE_NS - 1);
        assert!(batches.try_recv().is_err());
        recorder.tick(BATCH_AGE_NS);
        assert_eq!(batches.try_recv().expect("the batch must be there").len(), 1);
    }
}
