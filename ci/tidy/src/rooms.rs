//! Who may use whom: the table that [`crate::imports`] and [`crate::purity`] hold the code to.
//!
//! A room is a module of the crate's root: `foo.rs` with everything under `foo/`. A row is changed together
//! with ARCHITECTURE.md, and only when the new direction is meant: an import that has to be smuggled in is a
//! sign that something stands in the wrong room.

/// A crate with rooms.
#[derive(Debug)]
pub(crate) struct House {
    /// Its folder at the root of the repository.
    pub(crate) folder: &'static str,
    pub(crate) rooms: &'static [Room],
}

#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) name: &'static str,
    pub(crate) uses: Uses,
    /// Without clock, input, output and tokio.
    pub(crate) pure: bool,
}

#[derive(Debug)]
pub(crate) enum Uses {
    Everything,
    /// Whole rooms (`plan`) or single items of them (`lifecycle::Phase`).
    Only(&'static [&'static str]),
}

const fn room(name: &'static str, uses: &'static [&'static str]) -> Room {
    Room { name, uses: Uses::Only(uses), pure: false }
}

const fn pure(name: &'static str, uses: &'static [&'static str]) -> Room {
    Room { name, uses: Uses::Only(uses), pure: true }
}

const fn top(name: &'static str) -> Room {
    Room { name, uses: Uses::Everything, pure: false }
}

/// `main.rs` and `lib.rs` may use everything and have no row. `tomlcheck` and `tidy` are a room each.
pub(crate) const HOUSES: &[House] = &[HARNESS, SERVER];

const HARNESS: House = House {
    folder: "harness",
    rooms: &[
        pure("plan", &[]),
        room("exit", &[]),
        room("clock", &[]),
        pure("scenario", &["plan"]),
        room("observe", &["plan", "clock"]),
        room("tls", &["plan"]),
        room("environment", &["plan", "observe", "clock", "tls"]),
        room("drive", &["plan", "environment", "observe", "clock", "tls"]),
        pure("analyze", &["plan", "observe"]),
        pure("verdict", &["plan", "observe", "analyze", "exit"]),
        pure("report", &["plan", "observe", "analyze", "verdict", "exit"]),
        pure("compare", &["plan", "observe", "analyze", "verdict", "report", "exit"]),
        pure("bench", &["plan", "scenario", "observe", "analyze", "report", "compare", "exit"]),
        room("conclude", &["observe", "analyze", "verdict", "report", "compare"]),
        top("run"),
        top("calibrate"),
        top("cli"),
    ],
};

const SERVER: House = House {
    folder: "server",
    rooms: &[
        room("clock", &[]),
        room("tasks", &[]),
        room("background", &[]),
        pure("datum", &[]),
        pure("hex", &[]),
        room("config", &["datum", "hex"]),
        pure("seckill", &["lifecycle::ProcessGeneration"]),
        pure("carried", &["seckill"]),
        // Only in builds with debug assertions.
        room("faults", &["seckill"]),
        pure("state", &["config::LogLevel", "datum", "seckill"]),
        room("secrets", &["config", "seckill"]),
        // The only room that publishes a snapshot. Of http only the admin side may reach it.
        room("reload", &["background", "clock", "config", "hex", "state"]),
        room("etcd", &["config", "hex"]),
        room(
            "nodes",
            &["clock", "config", "etcd", "reload", "state", "telemetry::chain", "lifecycle::ProcessIdentity"],
        ),
        room(
            "sources",
            &[
                "background",
                "clock",
                "config",
                "etcd",
                "faults",
                "nodes",
                "reload",
                "state",
                "stores::ActivityTable",
                "tasks",
                "telemetry::chain",
            ],
        ),
        room(
            "stores",
            &[
                "carried::Away",
                "config",
                "faults",
                "hex",
                "seckill",
                "state",
                "tasks",
                "telemetry::chain",
                "lifecycle::ProcessGeneration",
            ],
        ),
        room("identity", &["lifecycle::ProcessGeneration", "lifecycle::ProcessIdentity"]),
        room("telemetry", &["config", "lifecycle::UpgradeOutcome"]),
        room("exchange", &[]),
        room("publish", &["exchange", "secrets", "state", "tasks", "telemetry"]),
        // What the cluster configuration does outside of requests.
        room("effective", &["config", "reload", "state", "stores", "telemetry"]),
        room(
            "http",
            &[
                "carried",
                "clock",
                "config",
                "effective",
                "faults",
                "hex",
                "seckill",
                "state",
                "reload",
                "sources",
                "stores",
                "secrets",
                "lifecycle",
                "publish",
                "telemetry",
            ],
        ),
        // Starts everything in order, and so knows everybody.
        room(
            "lifecycle",
            &[
                "carried",
                "config",
                "effective",
                "exchange",
                "faults",
                "tasks",
                "secrets",
                "state",
                "sources",
                "nodes",
                "reload",
                "stores",
                "identity",
                "telemetry",
                "http",
            ],
        ),
        top("cli"),
    ],
};

/// What a pure room must not name: what waits, reads a clock, or touches the world outside.
pub(crate) const IMPURE: &[&str] = &[
    "tokio",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// A place in a pure room where one of [`IMPURE`] is in order.
#[derive(Debug)]
pub(crate) struct Exception {
    /// A file, or a room's folder and door (`harness/src/scenario`).
    pub(crate) place: &'static str,
    pub(crate) path: &'static str,
    pub(crate) reason: &'static str,
}

pub(crate) const EXCEPTIONS: &[Exception] = &[
    Exception {
        place: "harness/src/scenario/catalog.rs",
        path: "std::fs",
        reason: "lists and reads the scenario files; checking them gets the text",
    },
    Exception {
        place: "harness/src/scenario/target.rs",
        path: "std::net::IpAddr",
        reason: "an address is a value; nothing is opened",
    },
];

impl House {
    /// The room of a file of this house, and the modules down to it; none for the root.
    pub(crate) fn place<'f>(&self, file: &'f str) -> Option<Vec<&'f str>> {
        let module = file.strip_prefix(self.folder)?.strip_prefix("/src/")?.strip_suffix(".rs")?;
        (!matches!(module, "lib" | "main")).then(|| module.split('/').collect())
    }

    pub(crate) fn room(&self, name: &str) -> Option<&Room> {
        self.rooms.iter().find(|room| room.name == name)
    }
}
