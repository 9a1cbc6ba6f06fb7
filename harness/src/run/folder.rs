//! Where a run keeps what it saw: `reports/runs/<run-id>/`, or where the user says.

use std::{
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
};

use jiff::Timestamp;

/// Names a run: UTC time, the scenario, and four random digits against runs of the same second.
pub(super) fn run_id(now: Timestamp, scenario: &str) -> String {
    let slug: String = scenario.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let random = RandomState::new().hash_one(scenario) & 0xffff;
    format!("{}-{slug}-{random:04x}", now.strftime("%Y%m%dT%H%M%SZ"))
}

/// The run's folder: `out` when given, else one named by `run_id` under the nearest `reports` folder at or
/// above `here`.
pub(super) fn locate(out: Option<&Path>, here: &Path, run_id: &str) -> PathBuf {
    let root = here.ancestors().find(|folder| folder.join("reports").is_dir()).unwrap_or(here);
    out.map_or_else(|| root.join("reports").join("runs").join(run_id), Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_by_time_scenario_and_chance() {
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        let id = run_id(now, "must-fail/stop-start");
        let (name, random) = id.rsplit_once('-').unwrap();
        assert_eq!(name, "20260102T030405Z-must-fail-stop-start");
        assert!(random.len() == 4 && u16::from_str_radix(random, 16).is_ok(), "{id}");
    }

    #[test]
    fn the_folder_is_found_from_below_or_made_here() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("harness/src");
        assert_eq!(locate(None, &below, "x"), below.join("reports/runs/x"));
        std::fs::create_dir(dir.path().join("reports")).unwrap();
        assert_eq!(locate(None, &below, "x"), dir.path().join("reports/runs/x"));
        assert_eq!(locate(Some(Path::new("elsewhere")), &below, "x"), Path::new("elsewhere"));
    }
}
