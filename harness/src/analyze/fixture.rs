//! Logs written by hand for the tests, in milliseconds.

use std::collections::BTreeMap;

use crate::{
    observe::{
        Attempt, Background, Buy, BuyOutcome, Cause, ClosedBy, Connection, EnvironmentRecord, EventOutcome,
        EventRecord, Instrument, Observations, Phase, StoredOrder, StoredStock,
    },
    plan::{
        Action, Arrival, Client, ConnectionMode, EventPlan, LoadPlan, Op, PLAN_SCHEMA_VERSION, Pace, Plan,
        ReferencePlan, RequestPlan, StreamPlan, TargetPlan,
    },
};

/// One millisecond in nanoseconds.
pub(crate) const MS: u64 = 1_000_000;

/// Index of the stream of new connections.
pub(crate) const NEW: u16 = 0;
/// Index of the stream of reused connections.
pub(crate) const REUSED: u16 = 1;
/// Indices of a stream's requests.
pub(crate) const LIST: u16 = 0;
pub(crate) const BUY: u16 = 1;

/// A log that grows by one line of test code per attempt: ten seconds of load without a warm-up, one
/// stream of new connections (1,000 a second) and one of reused ones (1,000 a second).
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) observations: Observations,
    next_id: u64,
}

impl Log {
    pub(crate) fn new() -> Self {
        let stock = vec![StoredStock { event: 1, goods: 1, initial: 10, left: 10 }];
        let background =
            Background { stock, ..Background::new(plan(), environment(), Instrument::default()) };
        Self { observations: Observations { attempts: Vec::new(), background }, next_id: 0 }
    }

    /// A good attempt of the stream of new connections.
    pub(crate) fn good(&mut self, sent_ms: u64, ended_ms: u64) -> &mut Self {
        self.push(NEW, sent_ms, ended_ms, Cause::None)
    }

    /// A failed attempt of the stream of new connections.
    pub(crate) fn bad(&mut self, sent_ms: u64, ended_ms: u64, cause: Cause) -> &mut Self {
        self.push(NEW, sent_ms, ended_ms, cause)
    }

    pub(crate) fn push(&mut self, stream: u16, sent_ms: u64, ended_ms: u64, cause: Cause) -> &mut Self {
        let id = self.next_id;
        self.next_id += 1;
        let (sent_ns, ended_ns) = (sent_ms * MS, ended_ms * MS);
        let served = cause == Cause::None;
        self.observations.attempts.push(Attempt {
            id,
            stream,
            request: LIST,
            intended_ns: sent_ns,
            sent_ns,
            first_byte_ns: if served { ended_ns } else { 0 },
            ended_ns,
            connection: u32::try_from(id).expect("few attempts") + 1,
            connection_requests: u32::from(stream == REUSED),
            idle_us: 0,
            status: if served { 200 } else { 0 },
            phase: if served { Phase::Done } else { phase(cause) },
            cause,
            process: if served { self.serving_at(sent_ns) } else { 0 },
            config: 0,
        });
        self
    }

    /// Good attempts of one millisecond, one after the other, in a stream.
    pub(crate) fn steady(&mut self, stream: u16, from_ms: u64, to_ms: u64) -> &mut Self {
        for sent_ms in from_ms..to_ms {
            self.push(stream, sent_ms, sent_ms + 1, Cause::None);
        }
        self
    }

    /// Failed attempts that end at once, one a millisecond, in a stream.
    pub(crate) fn outage(&mut self, stream: u16, from_ms: u64, to_ms: u64) -> &mut Self {
        for sent_ms in from_ms..to_ms {
            self.push(stream, sent_ms, sent_ms, Cause::Refused);
        }
        self
    }

    pub(crate) fn last(&mut self) -> &mut Attempt {
        self.observations.attempts.last_mut().expect("there is an attempt")
    }

    /// The last attempt was sent so much later than intended; its end moves too.
    pub(crate) fn late_by(&mut self, ms: u64) -> &mut Self {
        let attempt = self.last();
        attempt.sent_ns += ms * MS;
        attempt.ended_ns += ms * MS;
        self
    }

    /// The process that the upgrades so far have brought up by a time.
    fn serving_at(&self, at_ns: u64) -> u32 {
        let before = self.observations.events.iter().filter(|event| event.acked_ns < at_ns);
        let process = |event: &EventRecord| event.detail.pointer("/new/process")?.as_u64();
        let highest = before.filter_map(process).max().unwrap_or(1);
        u32::try_from(highest).expect("few processes")
    }

    /// An event; attempts that were sent after it name the process that it brought up.
    pub(crate) fn event(&mut self, event: EventRecord) -> &mut Self {
        self.observations.plan.events.push(EventPlan {
            id: event.id.clone(),
            at_ns: event.at_ns,
            action: Action::Upgrade { binary: None, expect_ok: true },
        });
        self.observations.events.push(event);
        for index in 0..self.observations.attempts.len() {
            let attempt = self.observations.attempts[index];
            if attempt.process > 0 {
                self.observations.attempts[index].process =
                    attempt.process.max(self.serving_at(attempt.sent_ns));
            }
        }
        self
    }

    /// A buying attempt of user 1 for the only good.
    pub(crate) fn buy(&mut self, key: &str, outcome: BuyOutcome) -> &mut Self {
        let attempt = self.next_id;
        self.observations.buys.push(Buy {
            attempt,
            user: 1,
            event: 1,
            goods: 1,
            key: key.to_owned(),
            invoked_ns: 0,
            ended_ns: MS,
            outcome,
            process: 1,
        });
        self
    }

    /// An order of user 1 in the store, taken from the stock.
    pub(crate) fn store(&mut self, id: &str, key: &str) -> &mut Self {
        self.observations.stock[0].left -= 1;
        let (id, key) = (id.into(), key.to_owned());
        self.observations.orders.push(StoredOrder { id, user: 1, event: 1, goods: 1, key, process: 1 });
        self
    }

    /// An acknowledged buying attempt with its stored order.
    pub(crate) fn bought(&mut self, id: &str, key: &str) -> &mut Self {
        self.buy(key, BuyOutcome::Acknowledged { order: id.into() }).store(id, key)
    }

    pub(crate) fn connection(&mut self, id: u32, opened_ms: u64, closed_by: ClosedBy) -> &mut Self {
        self.observations.connections.push(Connection {
            id,
            stream: REUSED,
            opened_ns: opened_ms * MS,
            closed_ns: 0,
            requests: 1,
            closed_by,
        });
        self
    }

    /// The observations, with an instrument that vouches for them.
    pub(crate) fn finish(&self) -> Observations {
        let mut observations = self.observations.clone();
        let attempts = observations.attempts.len() as u64;
        let sent = observations.attempts.iter().filter(|attempt| super::select::was_sent(attempt)).count();
        observations.instrument.planned = attempts;
        observations.instrument.sent = sent as u64;
        observations.instrument.in_flight_max = 1;
        observations
    }
}

fn phase(cause: Cause) -> Phase {
    match cause {
        Cause::None => Phase::Done,
        Cause::Unresolved => Phase::Resolve,
        Cause::Refused => Phase::Connect,
        Cause::Tls => Phase::Tls,
        Cause::Reset
        | Cause::Eof
        | Cause::Timeout
        | Cause::Network
        | Cause::Goaway
        | Cause::RefusedStream
        | Cause::StreamReset => Phase::Wait,
        Cause::ShortBody | Cause::Parse => Phase::Body,
        Cause::BadStatus | Cause::WrongDigest | Cause::Surplus => Phase::Validate,
        Cause::NoPorts | Cause::NoDescriptors | Cause::InFlightMax | Cause::Late => Phase::Send,
    }
}

/// Upgrade number `number` with its times, to process `number + 1`.
pub(crate) fn upgrade(number: u64, started_ms: u64, ended_ms: u64) -> EventRecord {
    EventRecord {
        id: format!("upgrade-{number}"),
        kind: "upgrade".to_owned(),
        at_ns: started_ms * MS,
        started_ns: started_ms * MS,
        acked_ns: ended_ms * MS,
        ended_ns: ended_ms * MS,
        outcome: EventOutcome::Ok,
        as_expected: true,
        detail: serde_json::json!({
            "outcome": "ok",
            "new": { "pid": 100 + number, "version": "2", "process": number + 1 },
            "phases_ms": { "start": 12.5, "transfer": 2.0, "total": 66.0 },
        }),
    }
}

fn plan() -> Plan {
    let stream = |name: &str, connection| StreamPlan {
        name: name.to_owned(),
        client: Client::Http1,
        pace: Pace::default(),
        connection,
        rate: 1_000.0,
        arrival: Arrival::Uniform,
        requests: vec![
            RequestPlan { name: "list".to_owned(), weight: 9, op: Op::List },
            RequestPlan { name: "buy".to_owned(), weight: 1, op: Op::Buy },
        ],
    };
    Plan {
        schema_version: PLAN_SCHEMA_VERSION,
        scenario: "upgrade".to_owned(),
        description: "Swaps the binary under load.".to_owned(),
        seed: 1,
        target: TargetPlan::Reference(ReferencePlan::example()),
        load: LoadPlan {
            duration_ns: 10_000 * MS,
            warmup_ns: 0,
            timeout_ns: 5_000 * MS,
            slow_ns: 100 * MS,
            in_flight_max: 1_000,
            coalesce_ns: 0,
            stages: Vec::new(),
            control_rate: 0.0,
            streams: vec![
                stream("new", ConnectionMode::New),
                stream("reused", ConnectionMode::Reused { connections: 20 }),
            ],
        },
        events: Vec::new(),
        gates: Vec::new(),
    }
}

pub(crate) fn environment() -> EnvironmentRecord {
    EnvironmentRecord {
        run_id: "upgrade-1".to_owned(),
        started_at: "2026-01-02T03:04:05Z".to_owned(),
        command: ["harness", "scenario", "upgrade"].map(str::to_owned).into(),
        kernel: "6.1.0".to_owned(),
        cpus: 2,
        sysctls: BTreeMap::from([("net.ipv4.tcp_migrate_req".to_owned(), "0".to_owned())]),
        services: BTreeMap::from([("store".to_owned(), "embedded".to_owned())]),
        target: "reference".to_owned(),
        strategy: Some("handoff-live".to_owned()),
        old: Some("seckill".to_owned()),
        new: Some("seckill".to_owned()),
        store_read: true,
        held: None,
    }
}
