//! What a run's folder amounts to: its observations read back, analysed, judged and put into a report.
//!
//! A run ends here and a replay begins here, so both say the same of the same folder, to the byte. Nothing
//! is written, and no clock or environment is read: the folder alone decides.

use crate::{
    analyze::{Analysis, analyze_log},
    compare::Sample,
    observe::{Background, Error, RunDir},
    report::{self, Report},
    verdict::{Verdict, judge},
};

/// Name of the report in a run's folder.
pub const REPORT_FILE: &str = "report.json";

/// Everything that follows from a run's folder.
#[derive(Debug)]
pub struct Conclusion {
    pub background: Background,
    pub analysis: Analysis,
    pub verdict: Verdict,
    pub report: Report,
}

/// Reads, analyses, judges and reports. The attempts are read one by one and never held together.
///
/// # Errors
/// When the folder cannot be read: see [`RunDir::load`].
pub fn conclude(folder: &RunDir) -> Result<Conclusion, Error> {
    let background = folder.load_background()?;
    let analysis = analyze_log(&background, folder.read_attempts()?)?;
    let verdict = judge(&background.plan, &analysis);
    let report = report::build(&background, &analysis, &verdict);
    Ok(Conclusion { background, analysis, verdict, report })
}

impl Conclusion {
    /// What the run gives to a comparison, under a name. The attempts are read once more, one by one, because
    /// what belongs to an event is known only now.
    ///
    /// # Errors
    /// When the folder cannot be read: see [`RunDir::load`].
    pub fn sample(&self, name: String, folder: &RunDir) -> Result<Sample, Error> {
        Sample::new(name, &self.background, folder.read_attempts()?, &self.analysis, &self.verdict)
    }
}
