//! What a calibration found out: the rows of its table, and of `calibration.json`.

use serde::{Serialize, Serializer};

use super::{
    cases::Case,
    compare::{Finding, Judged, LossTrial, OutageTrial, STALL_SPACINGS, StallTrial, word},
    pipe::spacing_ns,
};
use crate::{
    exit::ExitCode,
    report::{OutcomeWord, round::ms},
};

/// Version of `calibration.json`. It rises when a field goes or changes its meaning.
const SCHEMA_VERSION: u32 = 1;
/// Reasons that are told; more say nothing new.
const REASONS_MAX: usize = 20;

/// The result of `harness calibrate`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    pub schema_version: u32,
    pub command: Vec<String>,
    /// RFC 3339.
    pub started_at: String,
    pub duration_s: f64,
    pub kernel: String,
    pub cpus: usize,
    /// `pass`: every measurement is right. `fail`: at least one is wrong although nothing disturbed it.
    /// `inconclusive`: the machine disturbed too many.
    pub outcome: OutcomeWord,
    #[serde(serialize_with = "as_number")]
    pub exit_code: ExitCode,
    /// What was wrong, or could not be told.
    pub reasons: Vec<String>,
    pub stalls: Vec<StallRow>,
    pub losses: Vec<LossRow>,
    pub outages: Vec<OutageRow>,
    pub quiet: Vec<QuietRow>,
}

/// Trials of one case. A disturbed one was off while the machine or the generator was late, proves nothing,
/// and was repeated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Trials {
    pub wanted: u64,
    pub right: u64,
    pub wrong: u64,
    pub disturbed: u64,
}

/// Stalls of one length under one rate, milliseconds and microseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StallRow {
    pub rate_hz: f64,
    pub stall_ms: u64,
    pub trials: Trials,
    /// By the target's clock, median of the trials that are not disturbed.
    pub true_ms: Option<f64>,
    /// The longest wait of the report's window, median of the same.
    pub measured_ms: Option<f64>,
    /// Measured less true, the lowest of the same.
    pub error_us_min: Option<f64>,
    pub error_us_max: Option<f64>,
    /// How far off it may be: the time between two attempts, twice.
    pub allowed_us: f64,
}

/// Requests lost in one way on one kind of connection, all runs together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LossRow {
    pub loss: String,
    pub connection: String,
    pub phase: String,
    pub cause: String,
    pub trials: Trials,
    /// Lost by the target's count.
    pub lost: u64,
    /// Reported with this phase, this cause, on this kind of connection.
    pub found: u64,
}

/// Outages of one length as one stream saw them, milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutageRow {
    pub away_ms: u64,
    pub stream: String,
    pub trials: Trials,
    /// The trial with the widest bounds.
    pub widest: Option<Bracket>,
    /// How far the bounds may be apart: the time between two attempts, four times.
    pub allowed_ms: f64,
}

/// What is true between what is certain and what is possible, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bracket {
    pub lower_ms: f64,
    pub true_ms: f64,
    pub upper_ms: f64,
}

/// Runs to which nothing happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QuietRow {
    pub trials: Trials,
    pub requests: u64,
    pub failed: u64,
    pub hard_windows: u64,
}

/// A case with all its trials so far.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) case: Case,
    pub(super) wanted: u64,
    pub(super) judged: Vec<Judged>,
}

impl Ledger {
    /// So many trials were wanted of a case that takes part in so many rounds.
    pub(super) fn new(case: Case, rounds: u64) -> Self {
        Self { case, wanted: case.trials() * rounds, judged: Vec::new() }
    }

    /// Trials that prove something, by whoever is asked about.
    fn trials(&self, which: impl Fn(&Judged) -> bool) -> Trials {
        let mut trials = Trials { wanted: self.wanted, ..Trials::default() };
        for judged in self.judged.iter().filter(|judged| which(judged)) {
            match judged.finding() {
                Finding::Right => trials.right += 1,
                Finding::Wrong(_) => trials.wrong += 1,
                Finding::Disturbed => trials.disturbed += 1,
            }
        }
        trials
    }

    /// Enough is known of it.
    pub(super) fn is_settled(&self) -> bool {
        match self.case {
            Case::Outage { .. } => {
                self.streams().iter().all(|stream| self.trials_of(stream).is_settled())
                    && !self.judged.is_empty()
            }
            Case::Stalls { .. } | Case::Losses { .. } | Case::Quiet => self.trials(|_| true).is_settled(),
        }
    }

    fn trials_of(&self, stream: &str) -> Trials {
        self.trials(|judged| matches!(judged, Judged::Outage(trial) if trial.stream == stream))
    }

    fn streams(&self) -> Vec<String> {
        let mut names: Vec<String> = self.outages().map(|trial| trial.stream.clone()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn stalls(&self) -> impl Iterator<Item = &StallTrial> {
        self.judged
            .iter()
            .filter_map(|judged| if let Judged::Stall(trial) = judged { Some(trial) } else { None })
    }

    fn losses(&self) -> impl Iterator<Item = &LossTrial> {
        self.judged
            .iter()
            .filter_map(|judged| if let Judged::Loss(trial) = judged { Some(trial) } else { None })
    }

    fn outages(&self) -> impl Iterator<Item = &OutageTrial> {
        self.judged
            .iter()
            .filter_map(|judged| if let Judged::Outage(trial) = judged { Some(trial) } else { None })
    }

    fn reasons(&self) -> impl Iterator<Item = String> {
        self.judged.iter().filter_map(|judged| match judged.finding() {
            Finding::Wrong(text) => Some(format!("Wrong: {text}.")),
            Finding::Right | Finding::Disturbed => None,
        })
    }
}

impl Trials {
    fn is_settled(&self) -> bool {
        self.right + self.wrong >= self.wanted
    }
}

impl Calibration {
    /// An empty one, whose outcome is that of nothing measured.
    pub(super) fn new(command: Vec<String>, started_at: String, kernel: String, cpus: usize) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            command,
            started_at,
            duration_s: 0.0,
            kernel,
            cpus,
            outcome: OutcomeWord::Inconclusive,
            exit_code: ExitCode::Inconclusive,
            reasons: Vec::new(),
            stalls: Vec::new(),
            losses: Vec::new(),
            outages: Vec::new(),
            quiet: Vec::new(),
        }
    }

    /// Takes every case in, and says what they prove together. A wrong measurement outweighs what could not
    /// be told: no quieter machine would make it right.
    pub(super) fn conclude(mut self, ledgers: &[Ledger]) -> Self {
        for ledger in ledgers {
            self.take(ledger);
        }
        let mut reasons: Vec<String> = ledgers.iter().flat_map(Ledger::reasons).collect();
        // The same mistake in every round is told once.
        reasons.dedup();
        let (code, outcome) = if !reasons.is_empty() {
            (ExitCode::GateFailed, OutcomeWord::Fail)
        } else if ledgers.is_empty() || ledgers.iter().any(|ledger| !ledger.is_settled()) {
            reasons.push(
                "The machine disturbed too many trials of a case; repeat this when less else is going on."
                    .to_owned(),
            );
            (ExitCode::Inconclusive, OutcomeWord::Inconclusive)
        } else {
            (ExitCode::Pass, OutcomeWord::Pass)
        };
        let more = reasons.len().saturating_sub(REASONS_MAX);
        reasons.truncate(REASONS_MAX);
        if more > 0 {
            reasons.push(format!("And {more} more."));
        }
        Self { outcome, exit_code: code, reasons, ..self }
    }

    /// All trials of all cases.
    #[must_use]
    pub fn trials(&self) -> Trials {
        let stalls = self.stalls.iter().map(|row| row.trials);
        let losses = self.losses.iter().map(|row| row.trials);
        let outages = self.outages.iter().map(|row| row.trials);
        let quiet = self.quiet.iter().map(|row| row.trials);
        stalls.chain(losses).chain(outages).chain(quiet).fold(Trials::default(), |sum, trials| Trials {
            wanted: sum.wanted + trials.wanted,
            right: sum.right + trials.right,
            wrong: sum.wrong + trials.wrong,
            disturbed: sum.disturbed + trials.disturbed,
        })
    }

    fn take(&mut self, ledger: &Ledger) {
        match ledger.case {
            Case::Stalls { rate_hz, stall_ms } => self.stalls.push(stall_row(ledger, rate_hz, stall_ms)),
            Case::Losses { loss, reused } => self.losses.push(LossRow {
                loss: loss.name.to_owned(),
                connection: if reused { "reused" } else { "new" }.to_owned(),
                phase: word(loss.phase),
                cause: word(loss.cause),
                trials: ledger.trials(|_| true),
                lost: undisturbed(ledger.losses(), |trial| &trial.finding).map(|trial| trial.lost).sum(),
                found: undisturbed(ledger.losses(), |trial| &trial.finding).map(|trial| trial.found).sum(),
            }),
            Case::Outage { away_ms } => {
                self.outages
                    .extend(ledger.streams().into_iter().map(|stream| outage_row(ledger, away_ms, stream)));
            }
            Case::Quiet => {
                let trials = || {
                    ledger.judged.iter().filter_map(|judged| {
                        if let Judged::Quiet(trial) = judged { Some(trial) } else { None }
                    })
                };
                self.quiet.push(QuietRow {
                    trials: ledger.trials(|_| true),
                    requests: trials().map(|trial| trial.requests).sum(),
                    failed: trials().map(|trial| trial.failed).sum(),
                    hard_windows: trials().map(|trial| trial.hard_windows).sum(),
                });
            }
        }
    }
}

fn stall_row(ledger: &Ledger, rate_hz: f64, stall_ms: u64) -> StallRow {
    let counted = || undisturbed(ledger.stalls(), |trial| &trial.finding);
    let errors: Vec<f64> = counted()
        .filter_map(|trial| trial.measured_ns.map(|measured_ns| (ms(measured_ns) - ms(trial.true_ns)) * 1e3))
        .map(f64::round)
        .collect();
    StallRow {
        rate_hz,
        stall_ms,
        trials: ledger.trials(|_| true),
        true_ms: median(counted().map(|trial| ms(trial.true_ns)).collect()),
        measured_ms: median(counted().filter_map(|trial| trial.measured_ns.map(ms)).collect()),
        error_us_min: errors.iter().copied().reduce(f64::min),
        error_us_max: errors.iter().copied().reduce(f64::max),
        allowed_us: ms(STALL_SPACINGS * spacing_ns(rate_hz)) * 1e3,
    }
}

fn outage_row(ledger: &Ledger, away_ms: u64, stream: String) -> OutageRow {
    let counted =
        || undisturbed(ledger.outages(), |trial| &trial.finding).filter(|trial| trial.stream == stream);
    let width = |trial: &&OutageTrial| trial.upper_ms - trial.lower_ms;
    let widest = counted().max_by(|one, other| width(one).total_cmp(&width(other)));
    OutageRow {
        away_ms,
        trials: ledger.trials_of(&stream),
        widest: widest.map(|trial| Bracket {
            lower_ms: trial.lower_ms,
            true_ms: trial.true_ms,
            upper_ms: trial.upper_ms,
        }),
        allowed_ms: counted().map(|trial| trial.allowed_ms).fold(0.0, f64::max),
        stream,
    }
}

/// The trials that prove something.
fn undisturbed<'t, T: 't>(
    trials: impl Iterator<Item = &'t T>,
    finding: impl Fn(&T) -> &Finding,
) -> impl Iterator<Item = &'t T> {
    trials.filter(move |trial| *finding(trial) != Finding::Disturbed)
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// An exit code as the number that the shell sees.
pub(super) fn as_number<S: Serializer>(code: &ExitCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(code.number())
}
