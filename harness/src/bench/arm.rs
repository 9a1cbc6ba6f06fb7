//! One of the ways that a bench sets side by side.

use crate::{plan::By, scenario::Override};

/// A name, and what is different about the scenario; everything else is the same for all arms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arm {
    /// Names the arm's folder and its column.
    pub name: String,
    pub settings: Vec<Override>,
}

impl Arm {
    /// The arm to which a kind of data comes by this mechanism. A timer looks so often.
    #[must_use]
    pub fn of_mechanism(mechanism: &str, data: &str, timer_every_ms: u64) -> Self {
        let setting = |key: &str, value: String, is_text, blame| Override {
            path: format!("target.reload.{data}.{key}"),
            value,
            is_text,
            blame,
        };
        let mut settings =
            vec![setting("by", mechanism.to_owned(), true, format!("--mechanisms {mechanism}"))];
        if mechanism == By::Timer.word() {
            let blame = format!("--timer-every-ms {timer_every_ms}");
            settings.push(setting("every_ms", timer_every_ms.to_string(), false, blame));
        }
        Self { name: mechanism.to_owned(), settings }
    }

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
