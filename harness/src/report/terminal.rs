//! The report for a terminal of 80 columns: the verdict first, then what it rests on.
//!
//! Sections without anything to say are left out; what was not measured is a dash. Only ASCII is printed.
//! Whether there is a terminal, and whether it wants colour, is the caller's business.

mod level;
mod sections;
pub(crate) mod text;

use super::{OutcomeWord, Report};
use text::{WIDTH, wrapped};

/// Whether words of judgement are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    Plain,
    /// With ANSI escape sequences.
    Colour,
}

/// The report as text with a newline at its end. `run_folder` is printed as the place to look further.
#[must_use]
pub fn render(report: &Report, run_folder: &str, paint: Paint) -> String {
    let mut screen = Screen { text: String::new(), paint };
    headline(&mut screen, report);
    sections::gates(&mut screen, report);
    sections::requests(&mut screen, report);
    level::failures(&mut screen, report);
    sections::connections(&mut screen, report);
    sections::events(&mut screen, report);
    sections::propagation(&mut screen, report);
    sections::downtime(&mut screen, report);
    level::availability(&mut screen, report);
    level::service_level(&mut screen, report);
    sections::latency(&mut screen, report);
    sections::instrument(&mut screen, report);
    sections::held(&mut screen, report);
    sections::invariants(&mut screen, report);
    sections::place(&mut screen, report);
    // A path must stay whole, so that it can be copied; it alone may be wider than the screen.
    screen.line(&format!("  {run_folder}"));
    screen.text
}

/// The verdict alone, with its reasons.
#[must_use]
pub fn render_verdict(report: &Report, paint: Paint) -> String {
    let mut screen = Screen { text: String::new(), paint };
    headline(&mut screen, report);
    screen.text
}

/// The verdict, what was run, and why it is no pass.
fn headline(screen: &mut Screen, report: &Report) {
    let verdict = &report.verdict;
    let word = match verdict.outcome {
        OutcomeWord::Pass => "PASS",
        OutcomeWord::Fail => "FAIL",
        OutcomeWord::Inconclusive => "INCONCLUSIVE",
    };
    let rest = format!("(exit code {})  {}", verdict.exit_code, report.run.scenario);
    screen.judged("", verdict.outcome, word, &format!(" {rest}"));
    for line in wrapped("", &sections::summary(report)) {
        screen.line(&line);
    }
    for reason in &verdict.reasons {
        for line in wrapped("  - ", reason) {
            screen.line(&line);
        }
    }
}

/// Lines as they are put together.
struct Screen {
    text: String,
    paint: Paint,
}

impl Screen {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// A section's title with its column heads, after a blank line.
    fn title(&mut self, title: &str, heads: &str) {
        self.title_of(24, title, heads);
    }

    /// The same with another width of the first column.
    fn title_of(&mut self, columns: usize, title: &str, heads: &str) {
        self.line("");
        self.line(&format!("{title:<columns$}{heads}"));
    }

    /// Text in lines that fit, indented under a title.
    fn paragraph(&mut self, text: &str) {
        for line in wrapped("  ", text) {
            self.line(&line);
        }
    }

    /// A line that begins, after a space, with a word of judgement.
    fn judged(&mut self, space: &str, outcome: OutcomeWord, word: &str, rest: &str) {
        let colour = match outcome {
            OutcomeWord::Pass => 32,
            OutcomeWord::Fail => 31,
            OutcomeWord::Inconclusive => 33,
        };
        match self.paint {
            Paint::Plain => self.line(&format!("{space}{word}{rest}")),
            Paint::Colour => self.line(&format!("{space}\u{1b}[1;{colour}m{word}\u{1b}[0m{rest}")),
        }
    }
}

#[cfg(test)]
mod tests;
