//! What a run's folder amounts to: its observations read back, analysed, judged and put into a report.
//!
//! A run ends here and a replay begins here, so both say the same of the same folder, to the byte. Nothing
//! is written, and no clock or environment is read: the folder alone decides.

use crate::{
    analyze::{Analysis, analyze},
    compare::Sample,
    observe::{Error, Observations, RunDir},
    report::{self, Report},
    verdict::{Verdict, judge},
};

/// Name of the report in a run's folder.
pub const REPORT_FILE: &str = "report.json";

/// Everything that follows from a run's folder.
#[derive(Debug)]
pub struct Conclusion {
    pub observations: Observations,
    pub analysis: Analysis,
    pub verdict: Verdict,
    pub report: Report,
}

/// Reads, analyses, judges and reports.
///
/// # Errors
/// When the folder cannot be read: see [`RunDir::load`].
pub fn conclude(folder: &RunDir) -> Result<Conclusion, Error> {
    let observations = folder.load()?;
    let analysis = analyze(&observations);
    let verdict = judge(&observations.plan, &analysis);
    let report = report::build(&observations, &analysis, &verdict);
    Ok(Conclusion { observations, analysis, verdict, report })
}

impl Conclusion {
    /// What the run gives to a comparison, under the name of its folder.
    #[must_use]
    pub fn sample(&self, name: String) -> Sample {
        Sample::new(name, &self.observations, &self.analysis, &self.verdict)
    }
}
