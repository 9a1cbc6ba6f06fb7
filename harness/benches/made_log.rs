//! A run of any number of attempts, made up and written as a real one is: for measuring the analysis.
//!
//! Half of the attempts use a fresh connection, half one of 64 that are kept alive; sixty upgrades happen. A fifth of
//! the attempts buy, and whatever was acknowledged is stored.
//! Failures come at random, so that good and bad attempts alternate, which is the hardest case for the
//! windows. Nothing here depends on a clock: the same arguments make the same log.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use harness::{
    observe::{
        Attempt, Buy, BuyOutcome, Cause, ClosedBy, Connection, EnvironmentRecord, Error, EventOutcome,
        EventRecord, Instrument, OrderId, Phase, RunDir, StoredOrder, StoredStock, record::Writer,
    },
    plan::{
        Action, Arrival, Client, ConnectionMode, EventPlan, ExternalPlan, LoadPlan, Op, PLAN_SCHEMA_VERSION,
        Pace, Plan, RequestPlan, StreamPlan, TargetPlan,
    },
};

const RATE: u64 = 10_000;
const KEPT_ALIVE: u32 = 64;
const UPGRADES: u64 = 60;
/// One attempt of so many buys.
const BUYS: u64 = 5;
const GOODS: u32 = 10;
const USERS: u64 = 500;
const LEFT: u64 = 1_000;
const MS: u64 = 1_000_000;

/// Writes a run of so many attempts, of which so many in a thousand failed, into a folder.
pub(crate) fn write(folder: &Path, attempts: u64, failed_per_mille: u64) -> Result<RunDir, Error> {
    let run = RunDir::new(folder);
    run.create()?;
    let plan = plan(attempts);
    run.write_events(&plan.events.iter().zip(1..).map(event).collect::<Vec<_>>())?;
    run.write_plan(&plan)?;
    run.write_environment(&environment())?;
    run.write_instrument(&Instrument {
        planned: attempts,
        sent: attempts,
        in_flight_max: 100,
        ..Instrument::default()
    })?;
    let nothing = run.machine();
    fs::write(&nothing, "").map_err(|source| Error::Write { path: nothing, source })?;
    Writer::<Attempt>::create(&run.control())?.finish()?;
    write_load(&run, attempts, failed_per_mille)?;
    Ok(run)
}

fn write_load(run: &RunDir, attempts: u64, failed_per_mille: u64) -> Result<(), Error> {
    let upgrade_ns = attempts * 1_000_000_000 / RATE / (UPGRADES + 1);
    let mut log = Writer::create(&run.attempts())?;
    let mut connections = Writer::create(&run.connections())?;
    let mut sales = Sales::new(run)?;
    let mut made = Attempts::new(failed_per_mille);
    for mut attempt in made.by_ref().take(usize::try_from(attempts).expect("attempts must fit into memory")) {
        if attempt.ok() {
            attempt.process =
                u32::try_from(attempt.ended_ns / upgrade_ns.max(1)).expect("upgrades must be few");
        }
        if attempt.stream == 0 {
            connections.push(&connection(&attempt))?;
        }
        if attempt.request == 1 {
            sales.add(&attempt)?;
        }
        log.push(&attempt)?;
    }
    for (id, requests) in (1..=KEPT_ALIVE).zip(made.carried) {
        let closed_by = ClosedBy::Client;
        connections.push(&Connection { id, stream: 1, opened_ns: 0, closed_ns: 0, requests, closed_by })?;
    }
    sales.finish(run)?;
    log.finish()?;
    connections.finish()
}

/// What was bought and what is stored of it, line by line.
struct Sales {
    buys: Lines,
    orders: Lines,
    sold: [u64; GOODS as usize],
}

impl Sales {
    fn new(run: &RunDir) -> Result<Self, Error> {
        let (buys, orders) = (Lines::create(run.buys())?, Lines::create(run.stored_orders())?);
        Ok(Self { buys, orders, sold: [0; GOODS as usize] })
    }

    fn add(&mut self, attempt: &Attempt) -> Result<(), Error> {
        let number = attempt.id & 0xffff_ffff_ffff;
        let small = |count: u64| u32::try_from(count).expect("a remainder must be small");
        let good = small(number / BUYS % u64::from(GOODS));
        // As long as those of a real run.
        let key = format!("made-log-20260102-030405-{}", attempt.id);
        let order = OrderId::from(format!("019b7e5c-0000-7000-8000-{number:012x}"));
        let (user, event, goods) = (small(number % USERS) + 1, good + 1, 1);
        let mut outcome = BuyOutcome::Unknown;
        if attempt.ok() {
            self.sold[good as usize] += 1;
            let (id, key, process) = (order.clone(), key.clone(), attempt.process);
            self.orders.push(&StoredOrder { id, user, event, goods, key, process })?;
            outcome = BuyOutcome::Acknowledged { order };
        }
        self.buys.push(&Buy {
            attempt: attempt.id,
            user,
            event,
            goods,
            key,
            invoked_ns: attempt.sent_ns,
            ended_ns: attempt.ended_ns,
            outcome,
            process: attempt.process,
        })
    }

    fn finish(self, run: &RunDir) -> Result<(), Error> {
        let mut stock = Lines::create(run.stored_stock())?;
        for (event, sold) in (1_u32..).zip(self.sold) {
            let left = i64::try_from(LEFT).expect("what is left must be little");
            stock.push(&StoredStock { event, goods: 1, initial: sold + LEFT, left })?;
        }
        [stock, self.buys, self.orders].into_iter().try_for_each(Lines::finish)
    }
}

/// A file with a value in each line.
struct Lines {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Lines {
    fn create(path: PathBuf) -> Result<Self, Error> {
        match File::create(&path) {
            Ok(file) => Ok(Self { path, file: BufWriter::new(file) }),
            Err(source) => Err(Error::Write { path, source }),
        }
    }

    fn push(&mut self, value: &impl serde::Serialize) -> Result<(), Error> {
        let written = serde_json::to_writer(&mut self.file, value).map_err(io::Error::from);
        let written = written.and_then(|()| self.file.write_all(b"\n"));
        written.map_err(|source| Error::Write { path: self.path.clone(), source })
    }

    fn finish(mut self) -> Result<(), Error> {
        self.file.flush().map_err(|source| Error::Write { path: self.path, source })
    }
}

/// Attempts without end in the order in which they ended, nearly that of their intended times.
#[derive(Debug)]
pub(crate) struct Attempts {
    number: u64,
    failed_per_mille: u64,
    /// Attempts that each of the kept-alive connections carried.
    carried: [u32; KEPT_ALIVE as usize],
    /// Marsaglia's xorshift ("Xorshift RNGs", 2003): numbers that repeat.
    random: u64,
}

impl Attempts {
    pub(crate) fn new(failed_per_mille: u64) -> Self {
        Self { number: 0, failed_per_mille, carried: [0; KEPT_ALIVE as usize], random: 1 }
    }

    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// The connection of the next attempt, and how many it had carried.
    fn connection(&mut self, reused: bool, drawn: u64) -> (u32, u32) {
        if !reused {
            let number = u32::try_from(self.number).expect("attempts must be fewer than 2^32");
            return (KEPT_ALIVE + 1 + number, 0);
        }
        let slot = u32::try_from(drawn % u64::from(KEPT_ALIVE)).expect("a slot must be small");
        let carried = &mut self.carried[slot as usize];
        *carried += 1;
        (slot + 1, *carried - 1)
    }
}

impl Iterator for Attempts {
    type Item = Attempt;

    fn next(&mut self) -> Option<Attempt> {
        let drawn = self.draw();
        let fails = drawn % 1_000 < self.failed_per_mille;
        let stream = u16::from(self.number % 2 == 1);
        let ended_ns = (self.number + 100) * 1_000_000_000 / RATE;
        // From 0.1 to 8 ms, most of them short.
        let took_ns = 100_000 + (drawn >> 10) % (1 << ((drawn >> 40) % 24));
        let sent_ns = ended_ns.saturating_sub(took_ns);
        let (connection, connection_requests) = self.connection(stream == 1, drawn >> 20);
        let (phase, cause) = match (fails, stream) {
            (false, _) => (Phase::Done, Cause::None),
            (true, 0) => (Phase::Connect, Cause::Refused),
            (true, _) => (Phase::Wait, Cause::Reset),
        };
        let buys = self.number.is_multiple_of(BUYS);
        self.number += 1;
        Some(Attempt {
            id: u64::from(stream) << 48 | self.number,
            stream,
            request: u16::from(buys),
            intended_ns: sent_ns.saturating_sub(drawn % 50_000),
            sent_ns,
            first_byte_ns: if fails { 0 } else { ended_ns - 10_000 },
            ended_ns,
            connection,
            connection_requests,
            idle_us: if connection_requests == 0 { 0 } else { 6_000 },
            status: match (fails, buys) {
                (true, _) => 0,
                (false, true) => 201,
                (false, false) => 200,
            },
            phase,
            cause,
            process: 0,
            config: 0,
        })
    }
}

fn connection(attempt: &Attempt) -> Connection {
    Connection {
        id: attempt.connection,
        stream: attempt.stream,
        opened_ns: attempt.sent_ns,
        closed_ns: attempt.ended_ns,
        requests: 1,
        closed_by: if attempt.ok() { ClosedBy::Client } else { ClosedBy::Unopened },
    }
}

/// A plan of two streams at 10,000 attempts a second together.
pub(crate) fn plan(attempts: u64) -> Plan {
    let stream = |name: &str, connection| StreamPlan {
        name: name.to_owned(),
        client: Client::Http1,
        pace: Pace::default(),
        connection,
        rate: 5_000.0,
        arrival: Arrival::Poisson,
        requests: vec![
            RequestPlan { name: "list".to_owned(), weight: 4, op: Op::List },
            RequestPlan { name: "buy".to_owned(), weight: 1, op: Op::Buy },
        ],
    };
    let duration_ns = attempts * 1_000_000_000 / RATE;
    Plan {
        schema_version: PLAN_SCHEMA_VERSION,
        scenario: "made-log".to_owned(),
        description: "A log that was made up.".to_owned(),
        seed: 1,
        target: TargetPlan::External(ExternalPlan {
            url: "http://127.0.0.1:1".to_owned(),
            tls: None,
            process_header: None,
            config_header: None,
        }),
        load: LoadPlan {
            duration_ns,
            warmup_ns: 0,
            timeout_ns: 5_000 * MS,
            slow_ns: 5 * MS,
            in_flight_max: 1_000,
            coalesce_ns: 0,
            stages: Vec::new(),
            control_rate: 0.0,
            streams: vec![
                stream("fresh", ConnectionMode::New),
                stream("kept", ConnectionMode::Reused { connections: KEPT_ALIVE }),
            ],
        },
        events: (1..=UPGRADES)
            .map(|number| EventPlan {
                id: format!("upgrade-{number}"),
                at_ns: number * duration_ns / (UPGRADES + 1),
                action: Action::Upgrade { binary: None, expect_ok: true },
            })
            .collect(),
        gates: Vec::new(),
    }
}

fn event((plan, process): (&EventPlan, u64)) -> EventRecord {
    EventRecord {
        id: plan.id.clone(),
        kind: "upgrade".to_owned(),
        at_ns: plan.at_ns,
        started_ns: plan.at_ns,
        acked_ns: plan.at_ns + 60 * MS,
        ended_ns: plan.at_ns + 60 * MS,
        outcome: EventOutcome::Ok,
        as_expected: true,
        detail: serde_json::json!({ "new": { "process": process } }),
    }
}

fn environment() -> EnvironmentRecord {
    EnvironmentRecord {
        run_id: "made-log".to_owned(),
        started_at: "2026-01-02T03:04:05Z".to_owned(),
        command: Vec::new(),
        kernel: String::new(),
        cpus: 2,
        sysctls: BTreeMap::new(),
        services: BTreeMap::new(),
        target: "external".to_owned(),
        strategy: None,
        old: None,
        new: None,
        store_read: true,
        held: None,
    }
}
