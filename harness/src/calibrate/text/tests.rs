//! The tables as they are printed.

use super::{alarms, table};
use crate::{
    calibrate::{
        alarms::Alarms,
        cases::{Case, LOSSES},
        compare::{Finding, Judged, LossTrial, OutageTrial, QuietTrial, StallTrial},
        model::{Calibration, Ledger},
    },
    exit::ExitCode,
    report::terminal::text::WIDTH,
};

fn stall(true_ns: u64, measured_ns: Option<u64>, finding: Finding) -> Judged {
    Judged::Stall(StallTrial { true_ns, measured_ns, finding })
}

fn outage(stream: &str, upper_ms: f64) -> Judged {
    Judged::Outage(OutageTrial {
        stream: stream.to_owned(),
        true_ms: 3_000.1,
        lower_ms: 2_999.0,
        upper_ms,
        allowed_ms: 4.0,
        finding: Finding::Right,
    })
}

/// A calibration of one case of each kind.
fn calibration(last: Judged) -> Calibration {
    let ledger = |case, judged: Vec<Judged>| Ledger { case, wanted: 2, judged };
    let loss = |finding| Judged::Loss(LossTrial { lost: 7, found: 7, finding });
    let quiet =
        || Judged::Quiet(QuietTrial { requests: 2_000, failed: 0, hard_windows: 0, finding: Finding::Right });
    let ledgers = [
        ledger(
            Case::Stalls { rate_hz: 5_000.0, stall_ms: 1_000 },
            vec![
                stall(1_000_012_000, Some(999_900_000), Finding::Right),
                stall(1_000_000_000, Some(1_009_900_000), Finding::Disturbed),
                last,
            ],
        ),
        ledger(
            Case::Losses { loss: LOSSES[6], reused: true },
            vec![loss(Finding::Right), loss(Finding::Right)],
        ),
        ledger(
            Case::Outage { away_ms: 3_000 },
            [3_001.0, 3_002.5].map(|upper_ms| [outage("new", upper_ms), outage("reused", upper_ms)]).concat(),
        ),
        ledger(Case::Quiet, vec![quiet(), quiet()]),
    ];
    let empty = Calibration::new(Vec::new(), "2026-08-01T00:00:00Z".to_owned(), "6.1".to_owned(), 2);
    Calibration { duration_s: 81.4, ..empty.conclude(&ledgers) }
}

#[test]
fn a_pass() {
    let calibration = calibration(stall(1_000_000_000, Some(1_000_100_000), Finding::Right));
    assert_eq!(calibration.exit_code, ExitCode::Pass);
    let text = table(&calibration);
    assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    insta::assert_snapshot!(text, @"
    PASS (exit code 0)  calibrate
    10 of 10 trials were measured right, 0 wrong. Disturbed, and repeated: 1 (off
    while the machine kept a thread waiting). It took 81 s.

    STALLS  true: the target's own clock; measured: the longest wait that the report
            gives (lower_ms of a brownout window); medians, and the extreme errors
      rate   stall stalls  right disturbed   true ms  measured    error us  allowed
    5000/s 1000 ms      2      2         1  1000.012  1000.100   -112 +100    +-400

    LOSSES  true: what the target did; found: reported with this phase and cause, on
            this kind of connection, and nothing else beside it
    loss                 connection phase    cause          true  found  disturbed
    closed in the chunks reused     body     short-body       14     14          0

    OUTAGES  the listener closed, every connection reset; the widest bounds, ms
       away connection outages right disturbed     lower      true     upper  width
    3000 ms new              2     2         0  2999.000  3000.100  3002.500  3.500
    3000 ms reused           2     2         0  2999.000  3000.100  3002.500  3.500
            allowed between the bounds: the time between two attempts, four times

    NOTHING  one second of two healthy streams: nothing may be reported
                        requests  failed  hard windows    runs  right  disturbed
                            4000       0             0       2      2          0

    Linux 6.1, 2 cpus, 2026-08-01T00:00:00Z
    ");
}

#[test]
fn a_wrong_measurement_fails_and_says_so() {
    let wrong = Finding::Wrong("a stall of 1000.000 ms is reported as 1.000 ms".to_owned());
    let calibration = calibration(stall(1_000_000_000, Some(1_000_000), wrong));
    assert_eq!(calibration.exit_code, ExitCode::GateFailed);
    assert_eq!(calibration.reasons, ["Wrong: a stall of 1000.000 ms is reported as 1.000 ms."]);
    assert!(table(&calibration).starts_with("FAIL (exit code 1)  calibrate\n"));
}

#[test]
fn too_many_disturbed_trials_prove_nothing() {
    let calibration = calibration(stall(1_000_000_000, Some(1_003_000_000), Finding::Disturbed));
    assert_eq!(calibration.exit_code, ExitCode::Inconclusive);
    assert!(table(&calibration).starts_with("INCONCLUSIVE (exit code 4)  calibrate\n"));
}

#[test]
fn what_was_not_measured_is_a_dash() {
    let empty = Calibration::new(Vec::new(), String::new(), String::new(), 2);
    let ledgers =
        [Ledger { case: Case::Stalls { rate_hz: 1_000.0, stall_ms: 1 }, wanted: 1, judged: Vec::new() }];
    let text = table(&empty.conclude(&ledgers));
    let row = text.lines().find(|line| line.starts_with("1000/s")).expect("the row must be there");
    insta::assert_snapshot!(row, @"1000/s    1 ms      0      0         0         -         -           -   +-2000");
}

#[test]
fn false_alarms() {
    let counted = |failed: u64, inconclusive: u64| {
        let mut all = Alarms::none_of(1_000, Vec::new());
        all.requests = 200_000;
        all.duration_s = 251.2;
        (all.passed, all.failed, all.inconclusive) = (1_000 - failed - inconclusive, failed, inconclusive);
        all.conclude([("The reason of a run.".to_owned(), failed)].into())
    };
    let text = alarms(&counted(1, 12));
    assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    insta::assert_snapshot!(text, @"
    PASS (exit code 0)  calibrate --false-alarms
    1000 runs of 200 ms against a healthy target on new and reused connections,
    200000 requests in all, in 251 s; nothing happened in any of them.

      pass                    987    98.700 %
      fail (false alarm)        1     0.100 %
      inconclusive             12     1.200 %

    False alarms: 0.100 % of the runs, at most 0.473 % with 95 % confidence; the
    limit is 1 %.
    In 1 of 1000 runs: The reason of a run.
    ");
    let code = |failed, inconclusive| counted(failed, inconclusive).exit_code;
    assert_eq!([code(0, 0), code(9, 0), code(10, 0)], [ExitCode::Pass, ExitCode::Pass, ExitCode::GateFailed]);
    assert_eq!(code(0, 1_000), ExitCode::Inconclusive);
    let head =
        |failed, inconclusive| alarms(&counted(failed, inconclusive)).lines().next().map(str::to_owned);
    assert_eq!(head(10, 0).as_deref(), Some("FAIL (exit code 1)  calibrate --false-alarms"));
    assert_eq!(head(0, 1_000).as_deref(), Some("INCONCLUSIVE (exit code 4)  calibrate --false-alarms"));
}
