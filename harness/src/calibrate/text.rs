//! A calibration for people, within 80 columns.

use std::fmt::Write as _;

use super::{
    alarms::Alarms,
    model::{Calibration, OutageRow, StallRow, Trials},
};
use crate::{exit::ExitCode, report::terminal::text::wrapped};

/// The table of true against measured.
pub(super) fn table(calibration: &Calibration) -> String {
    let mut text = String::new();
    let all = calibration.trials();
    line(&mut text, &format!("{}  calibrate", head(calibration.exit_code)));
    paragraph(
        &mut text,
        &format!(
            "{} of {} trials were measured right, {} wrong. Disturbed, and repeated: {} (off while the machine \
             kept a thread waiting). It took {:.0} s.",
            all.right,
            all.right + all.wrong,
            all.wrong,
            all.disturbed,
            calibration.duration_s
        ),
    );
    for reason in &calibration.reasons {
        paragraph(&mut text, reason);
    }
    stalls(&mut text, &calibration.stalls);
    losses(&mut text, calibration);
    outages(&mut text, &calibration.outages);
    line(&mut text, "");
    line(&mut text, "NOTHING  one second of two healthy streams: nothing may be reported");
    line(&mut text, "                    requests  failed  hard windows    runs  right  disturbed");
    for row in &calibration.quiet {
        let Trials { right, wrong, disturbed, .. } = row.trials;
        let (requests, failed, windows, runs) = (row.requests, row.failed, row.hard_windows, right + wrong);
        line(
            &mut text,
            &format!("{requests:>28}  {failed:>6}  {windows:>12}  {runs:>6}  {right:>5}  {disturbed:>9}"),
        );
    }
    line(&mut text, "");
    paragraph(
        &mut text,
        &format!("Linux {}, {} cpus, {}", calibration.kernel, calibration.cpus, calibration.started_at),
    );
    text
}

fn stalls(text: &mut String, rows: &[StallRow]) {
    line(text, "");
    line(text, "STALLS  true: the target's own clock; measured: the longest wait that the report");
    line(text, "        gives (lower_ms of a brownout window); medians, and the extreme errors");
    line(text, "  rate   stall stalls  right disturbed   true ms  measured    error us  allowed");
    for row in rows {
        let Trials { right, wrong, disturbed, .. } = row.trials;
        let error = match (row.error_us_min, row.error_us_max) {
            (Some(lowest), Some(highest)) => format!("{lowest:+.0} {highest:+.0}"),
            _ => "-".to_owned(),
        };
        line(
            text,
            &format!(
                "{:>4}/s {:>7} {:>6} {right:>6} {disturbed:>9} {:>9} {:>9} {error:>11} {:>8}",
                row.rate_hz,
                format!("{} ms", row.stall_ms),
                right + wrong,
                milliseconds(row.true_ms),
                milliseconds(row.measured_ms),
                format!("+-{:.0}", row.allowed_us),
            ),
        );
    }
}

fn losses(text: &mut String, calibration: &Calibration) {
    line(text, "");
    line(text, "LOSSES  true: what the target did; found: reported with this phase and cause, on");
    line(text, "        this kind of connection, and nothing else beside it");
    line(text, "loss                 connection phase    cause          true  found  disturbed");
    for row in &calibration.losses {
        line(
            text,
            &format!(
                "{:<20} {:<10} {:<8} {:<12} {:>6} {:>6} {:>10}",
                row.loss, row.connection, row.phase, row.cause, row.lost, row.found, row.trials.disturbed
            ),
        );
    }
}

fn outages(text: &mut String, rows: &[OutageRow]) {
    line(text, "");
    line(text, "OUTAGES  the listener closed, every connection reset; the widest bounds, ms");
    line(text, "   away connection outages right disturbed     lower      true     upper  width");
    for row in rows {
        let Trials { right, wrong, disturbed, .. } = row.trials;
        let bracket = row.widest;
        let width = bracket.map(|bracket| bracket.upper_ms - bracket.lower_ms);
        line(
            text,
            &format!(
                "{:>7} {:<10} {:>7} {right:>5} {disturbed:>9} {:>9} {:>9} {:>9} {:>6}",
                format!("{} ms", row.away_ms),
                row.stream,
                right + wrong,
                milliseconds(bracket.map(|bracket| bracket.lower_ms)),
                milliseconds(bracket.map(|bracket| bracket.true_ms)),
                milliseconds(bracket.map(|bracket| bracket.upper_ms)),
                milliseconds(width),
            ),
        );
    }
    line(text, "        allowed between the bounds: the time between two attempts, four times");
}

/// What came of the runs in which nothing happened.
pub(super) fn alarms(alarms: &Alarms) -> String {
    let mut text = String::new();
    line(&mut text, &format!("{}  calibrate --false-alarms", head(alarms.exit_code)));
    paragraph(
        &mut text,
        &format!(
            "{} runs of {} ms against a healthy target on new and reused connections, {} requests in all, in \
             {:.0} s; nothing happened in any of them.",
            alarms.runs, alarms.run_ms, alarms.requests, alarms.duration_s
        ),
    );
    line(&mut text, "");
    for (name, count) in [
        ("pass", alarms.passed),
        ("fail (false alarm)", alarms.failed),
        ("inconclusive", alarms.inconclusive),
    ] {
        line(&mut text, &format!("  {name:<20} {count:>6}  {:>8.3} %", 100.0 * alarms.share(count)));
    }
    line(&mut text, "");
    paragraph(
        &mut text,
        &format!(
            "False alarms: {:.3} % of the runs, at most {:.3} % with 95 % confidence; the limit is {} %.",
            100.0 * alarms.rate,
            100.0 * alarms.rate_upper_bound_95,
            100.0 * super::alarms::RATE_LIMIT
        ),
    );
    for reason in &alarms.reasons {
        paragraph(&mut text, reason);
    }
    text
}

fn head(code: ExitCode) -> String {
    let word = match code {
        ExitCode::Pass => "PASS",
        ExitCode::Inconclusive => "INCONCLUSIVE",
        _ => "FAIL",
    };
    format!("{word} (exit code {})", code.number())
}

fn milliseconds(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("writing to a string must not fail");
}

fn paragraph(text: &mut String, words: &str) {
    for row in wrapped("", words) {
        line(text, &row);
    }
}

#[cfg(test)]
mod tests;
