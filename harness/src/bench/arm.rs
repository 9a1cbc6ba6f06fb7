//! One of the ways that a bench sets side by side.

use crate::scenario::Override;

/// A name, and what is different about the scenario; everything else is the same for all arms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arm {
    /// Names the arm's folder and its column.
    pub name: String,
    pub settings: Vec<Override>,
}

impl Arm {
    /// The arm that swaps the binary with this strategy. Whether there is such a one, the scenario knows.
    #[must_use]
    pub fn of_strategy(strategy: &str) -> Self {
        let setting = Override {
            path: "target.strategy".to_owned(),
            value: strategy.to_owned(),
            is_text: true,
            blame: format!("--strategies {strategy}"),
        };
        Self { name: strategy.to_owned(), settings: vec![setting] }
    }
}
