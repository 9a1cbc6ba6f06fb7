//! The short form of the calibration: the real pipe against the scripted target.
//!
//! Other tests run beside it, so a trial may be disturbed; none may be wrong, and what does not depend on
//! the moment has to be right.

use harness::calibrate::{Extent, Options, calibrate};

#[test]
fn the_instrument_measures_known_faults_right() {
    let options = Options {
        extent: Extent::Short,
        rounds: 1,
        false_alarms: None,
        json: false,
        out: None,
        command: Vec::new(),
    };
    let calibration = calibrate(&options).expect("the runs must take place");
    assert_eq!(calibration.trials().wrong, 0, "{:#?}", calibration.reasons);
    assert!(calibration.losses.iter().all(|row| row.lost > 0 && row.lost == row.found), "{calibration:#?}");
    assert!(!calibration.stalls.is_empty() && !calibration.outages.is_empty(), "{calibration:#?}");
}
