//! How the program ends: one number for each kind of end, documented in the README.

use std::process;

/// Exit codes of `harness`. When several hold, the gravest wins: see [`ExitCode::gravest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// Everything that was asked for holds.
    Pass = 0,
    /// A limit of the scenario was exceeded.
    GateFailed = 1,
    /// The command line or a scenario file is wrong.
    Usage = 2,
    /// The target or its services could not be started or reached.
    Environment = 3,
    /// The instrument cannot vouch for the result: it was late, or could not send or record everything.
    Inconclusive = 4,
    /// Oversold, lost or duplicated orders.
    Incorrect = 5,
    /// A fault of ours (`EX_SOFTWARE`).
    Bug = 70,
    /// Ended by Ctrl-C or SIGTERM (128 + SIGINT); everything that was started is stopped.
    Interrupted = 130,
}

/// From the gravest to the lightest. An interrupted or a refused run has no result that could be compared,
/// so these two come right after a bug, which taints everything.
const BY_GRAVITY: [ExitCode; 8] = [
    ExitCode::Bug,
    ExitCode::Interrupted,
    ExitCode::Usage,
    ExitCode::Environment,
    ExitCode::Incorrect,
    ExitCode::Inconclusive,
    ExitCode::GateFailed,
    ExitCode::Pass,
];

impl ExitCode {
    /// The one to end with when several hold; `Pass` when none does.
    #[must_use]
    pub fn gravest(codes: impl IntoIterator<Item = Self>) -> Self {
        codes.into_iter().min_by_key(|code| code.lightness()).unwrap_or(Self::Pass)
    }

    /// The number for the shell.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Place in the order of gravity, 0 for the gravest.
    fn lightness(self) -> usize {
        BY_GRAVITY.iter().position(|code| *code == self).expect("every code must have its place")
    }
}

impl From<ExitCode> for process::ExitCode {
    fn from(code: ExitCode) -> Self {
        code.number().into()
    }
}

#[cfg(test)]
mod tests {
    use super::{BY_GRAVITY, ExitCode};

    #[test]
    fn the_gravest_code_wins() {
        use ExitCode::{Bug, Environment, GateFailed, Inconclusive, Incorrect, Interrupted, Pass};
        for (codes, expected) in [
            (vec![], Pass),
            (vec![Pass, GateFailed], GateFailed),
            (vec![GateFailed, Inconclusive], Inconclusive),
            (vec![Incorrect, Inconclusive, GateFailed], Incorrect),
            (vec![Incorrect, Environment, Pass], Environment),
            (vec![GateFailed, Bug, Environment], Bug),
            (vec![GateFailed, Interrupted], Interrupted),
        ] {
            assert_eq!(ExitCode::gravest(codes.clone()), expected, "{codes:?}");
        }
    }

    #[test]
    fn the_numbers_are_those_of_the_manual() {
        let numbers = BY_GRAVITY.map(ExitCode::number);
        assert_eq!(numbers, [70, 130, 2, 3, 5, 4, 1, 0]);
    }
}
