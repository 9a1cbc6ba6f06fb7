//! Faults on purpose, so that whoever measures this server can prove that he would see them.
//!
//! Only a build with debug assertions has this room: nothing of it, not even the name of the variable, is in
//! a release (held by `ci/release`). [`arm`] reads `SECKILL_FAULTS` once at the start, such as
//! `drop:100,oversell`; a process that is started by an upgrade inherits it. Whoever could do wrong asks
//! [`strikes`] where he would. The admin side is spared, so that a broken server can still be managed.
//! A fault happens to every N-th, not by chance: whoever counts has a truth to compare with.

mod leaks;
mod wire;

use std::{
    env,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

pub(crate) use self::{
    leaks::{leak, shut_down},
    wire::{Answering, write},
};
use crate::seckill::{IdempotencyKey, OrderId, Purchase};

/// Faults by word, separated by commas, each with its number after a colon where it takes one.
const VARIABLE: &str = "SECKILL_FAULTS";

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection ends without an answer.
    Drop,
    /// Connections are reset when an upgrade or a drain begins.
    ResetOnDrain,
    /// The same answer comes twice.
    AnswerTwice,
    /// The answer is a byte shorter than announced, and the connection ends.
    TruncateBody,
    /// The last byte of the answer is another one.
    WrongBody,
    /// More is sold than there is.
    Oversell,
    /// An order is acknowledged and not stored.
    LoseOrder,
    /// An order is stored a second time, under a key that nobody sent.
    StoreTwice,
    /// Answers name the generation before for some milliseconds after a change.
    StaleConfig,
    /// An answer names the generation before.
    GenerationBack,
    /// The kernel has no events of files to give.
    NoEvents,
    /// An order is acknowledged before Redis was asked.
    AnswerFirst,
    /// Every other process forgets how many of some goods one user may have.
    ForgetLimit,
    /// An order of the stream is written as if nobody knew what is written.
    WriteTwice,
    /// Each process opens a descriptor that all after it inherit.
    LeakDescriptor,
    /// Each process keeps so many kilobytes for itself and for each one before it.
    LeakMemory,
    /// Each process leaves a child behind that outlives it.
    LeaveProcess,
    /// An old process shuts the public listeners down instead of closing them: for everybody who shares them.
    ShutDownListener,
    /// A new process does not greet the old one.
    HangStart,
    /// A new process does not get ready.
    HangLoad,
    /// A new process does not take the connection of the probe.
    HangProbe,
    /// A new process does not go on from what the old one has in memory.
    HangState,
    /// A new process that is to serve does not; one that should signal the old one does not.
    HangCommit,
    /// A new process takes no connection.
    HangTransfer,
    /// An old process that was told who serves says nothing more.
    HangStopped,
    /// What is in memory is taken for another version of it.
    StateVersion,
    /// A byte of what is handed on from memory changes.
    CorruptState,
}

/// What the number after a word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    /// It happens whenever it can.
    None,
    /// It happens to one in so many.
    OneIn,
    /// So long, in milliseconds.
    Ms,
    /// It happens the first so many times.
    First,
    /// So much, in kilobytes.
    Kb,
    /// What is said instead of the truth.
    Said,
}

const WORDS: [(&str, Fault, Number); 27] = [
    ("drop", Fault::Drop, Number::OneIn),
    ("reset-on-drain", Fault::ResetOnDrain, Number::None),
    ("answer-twice", Fault::AnswerTwice, Number::OneIn),
    ("truncate-body", Fault::TruncateBody, Number::OneIn),
    ("wrong-body", Fault::WrongBody, Number::OneIn),
    ("oversell", Fault::Oversell, Number::None),
    ("lose-order", Fault::LoseOrder, Number::OneIn),
    ("store-twice", Fault::StoreTwice, Number::OneIn),
    ("stale-config", Fault::StaleConfig, Number::Ms),
    ("generation-back", Fault::GenerationBack, Number::OneIn),
    ("no-events", Fault::NoEvents, Number::First),
    ("answer-first", Fault::AnswerFirst, Number::OneIn),
    ("forget-limit", Fault::ForgetLimit, Number::None),
    ("write-twice", Fault::WriteTwice, Number::OneIn),
    ("leak-descriptor", Fault::LeakDescriptor, Number::None),
    ("leak-memory", Fault::LeakMemory, Number::Kb),
    ("leave-process", Fault::LeaveProcess, Number::None),
    ("shut-down-listener", Fault::ShutDownListener, Number::None),
    ("hang-start", Fault::HangStart, Number::None),
    ("hang-load", Fault::HangLoad, Number::None),
    ("hang-probe", Fault::HangProbe, Number::None),
    ("hang-state", Fault::HangState, Number::None),
    ("hang-commit", Fault::HangCommit, Number::None),
    ("hang-transfer", Fault::HangTransfer, Number::None),
    ("hang-stopped", Fault::HangStopped, Number::None),
    ("state-version", Fault::StateVersion, Number::Said),
    ("corrupt-state", Fault::CorruptState, Number::None),
];

/// Largest number after a word.
const NUMBER_MAX: u64 = 1_000_000;

/// A fault of this process.
#[derive(Debug)]
struct Armed {
    word: &'static str,
    fault: Fault,
    number: u64,
    /// Chances that it had.
    chances: AtomicU64,
}

/// Those of this process; nothing is passed around for them, so that no release build pays.
static ARMED: OnceLock<Vec<Armed>> = OnceLock::new();

/// The generation that answers name late, and the one that they will.
static STALE: Mutex<Option<Stale>> = Mutex::new(None);

#[derive(Debug, Clone, Copy)]
struct Stale {
    shown: u64,
    latest: u64,
    since: Instant,
}

/// Why the variable's text is refused.
#[derive(Debug, thiserror::Error)]
#[error("use the fault {text:?} of {VARIABLE}; known are {}", known())]
pub(crate) struct Error {
    text: String,
}

/// Reads the variable and warns of what it says. To be called once, before anything is served.
///
/// # Errors
/// The first fault that is not known, or whose number is missing, too much, or 0.
pub(crate) fn arm() -> Result<(), Error> {
    let Some(text) = env::var_os(VARIABLE) else { return Ok(()) };
    let armed = parse(&text.to_string_lossy())?;
    for Armed { word, number, .. } in &armed {
        tracing::warn!(word, number, "BROKEN ON PURPOSE: {VARIABLE} is set, do not sell anything here");
    }
    ARMED.get_or_init(|| armed);
    Ok(())
}

/// The faults of this process as the variable has them.
pub(crate) fn words() -> Vec<String> {
    armed().iter().map(|armed| spelled(armed.word, armed.number)).collect()
}

/// Whether `fault` happens this time.
pub(crate) fn strikes(fault: Fault) -> bool {
    find(fault).is_some_and(|armed| {
        let chance = armed.chances.fetch_add(1, Ordering::Relaxed) + 1;
        chance.is_multiple_of(armed.number.max(1))
    })
}

/// Whether `fault`, which happens the first so many times, happens this time.
pub(crate) fn strikes_first(fault: Fault) -> bool {
    find(fault).is_some_and(|armed| armed.chances.fetch_add(1, Ordering::Relaxed) < armed.number)
}

/// The number of `fault`, if this process has it.
pub(crate) fn number(fault: Fault) -> Option<u64> {
    find(fault).map(|armed| armed.number)
}

/// Does not go on if it has `fault`.
pub(crate) async fn hang(fault: Fault) {
    if strikes(fault) {
        std::future::pending::<()>().await;
    }
}

/// The generation that an answer names, given the one that it comes from.
pub(crate) fn shown_generation(generation: u64) -> u64 {
    let shown = match find(Fault::StaleConfig) {
        Some(stale) => late(generation, Duration::from_millis(stale.number), Instant::now()),
        None => generation,
    };
    if strikes(Fault::GenerationBack) { shown.saturating_sub(1).max(1) } else { shown }
}

/// The same wish once more, under another name and a key that nobody sent.
pub(crate) fn again(purchase: &Purchase) -> Purchase {
    let (id, key) = another();
    Purchase { id, key, ..purchase.clone() }
}

/// Another name, and a key that nobody sent.
pub(crate) fn another() -> (OrderId, IdempotencyKey) {
    let id = OrderId::new();
    let key = IdempotencyKey::parse(format!("again-{id}").as_bytes());
    (id, key.expect("a UUID must be fit for a key"))
}

/// The wish as process number `process` understands it.
pub(crate) fn understood(purchase: Purchase, process: u32) -> Purchase {
    let forgets = process.is_multiple_of(2) && strikes(Fault::ForgetLimit);
    let limit_per_user = if forgets { 0 } else { purchase.limit_per_user };
    Purchase { limit_per_user, ..purchase }
}

fn late(generation: u64, lag: Duration, now: Instant) -> u64 {
    let mut state = STALE.lock().unwrap_or_else(PoisonError::into_inner);
    let stale = state.get_or_insert(Stale { shown: generation, latest: generation, since: now });
    if stale.latest != generation {
        (stale.latest, stale.since) = (generation, now);
    }
    if now.saturating_duration_since(stale.since) >= lag {
        stale.shown = stale.latest;
    }
    stale.shown
}

fn armed() -> &'static [Armed] {
    ARMED.get().map_or(&[], Vec::as_slice)
}

fn find(fault: Fault) -> Option<&'static Armed> {
    armed().iter().find(|armed| armed.fault == fault)
}

fn parse(text: &str) -> Result<Vec<Armed>, Error> {
    text.split(',').filter(|text| !text.is_empty()).map(parse_one).collect()
}

fn parse_one(text: &str) -> Result<Armed, Error> {
    let unknown = || Error { text: text.to_owned() };
    let (word, number) = text.split_once(':').map_or((text, None), |(word, number)| (word, Some(number)));
    let &(word, fault, kind) = WORDS.iter().find(|(known, ..)| *known == word).ok_or_else(unknown)?;
    let number = match (kind, number) {
        (Number::None, None) => 0,
        (Number::OneIn | Number::Ms | Number::First | Number::Kb | Number::Said, Some(number)) => {
            number.parse().ok().filter(|number| (1..=NUMBER_MAX).contains(number)).ok_or_else(unknown)?
        }
        (Number::None, Some(_)) | (_, None) => return Err(unknown()),
    };
    Ok(Armed { word, fault, number, chances: AtomicU64::new(0) })
}

fn spelled(word: &str, number: u64) -> String {
    if number == 0 { word.to_owned() } else { format!("{word}:{number}") }
}

fn known() -> String {
    let shown = |(word, _, number): &(&str, Fault, Number)| match number {
        Number::None => (*word).to_owned(),
        Number::OneIn | Number::First | Number::Said => format!("{word}:N"),
        Number::Ms => format!("{word}:MS"),
        Number::Kb => format!("{word}:KB"),
    };
    WORDS.iter().map(shown).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_or_refused_with_all_that_are_known() {
        let check = |text: &str, expected: Result<&[&str], &str>| {
            let parsed = parse(text);
            let words = parsed
                .as_ref()
                .map(|armed| armed.iter().map(|armed| spelled(armed.word, armed.number)).collect::<Vec<_>>());
            match expected {
                Ok(expected) => assert_eq!(words.unwrap(), expected),
                Err(refused) => assert_eq!(words.unwrap_err().text, refused),
            }
        };
        check("", Ok(&[]));
        check("oversell", Ok(&["oversell"]));
        check("drop:1000,truncate-body:500", Ok(&["drop:1000", "truncate-body:500"]));
        check("drop:1000,droop:1", Err("droop:1"));
        for text in ["drop", "drop:0", "drop:x", "drop:-1", "drop:1000001", "oversell:2", "Drop:1"] {
            check(text, Err(text));
        }
        let told = parse("x").unwrap_err().to_string();
        assert!(told.starts_with("use the fault \"x\" of SECKILL_FAULTS; known are drop:N, "), "{told}");
        assert!(WORDS.iter().all(|(word, ..)| told.contains(word)), "{told}");
    }

    #[test]
    fn without_the_variable_nothing_happens() {
        assert!(WORDS.iter().all(|(_, fault, _)| !strikes(*fault)));
        assert_eq!((shown_generation(7), words().len()), (7, 0));
    }

    #[test]
    fn a_stale_generation_is_shown_until_its_time_is_over() {
        let (lag, now) = (Duration::from_millis(100), Instant::now());
        let at = |ms| now + Duration::from_millis(ms);
        let shown = [(1, 0), (2, 200), (2, 299), (2, 300), (3, 310), (4, 320), (4, 419), (4, 420)];
        let shown = shown.map(|(generation, ms)| late(generation, lag, at(ms)));
        assert_eq!(shown, [1, 1, 1, 2, 2, 2, 2, 4]);
    }
}
