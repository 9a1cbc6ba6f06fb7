//! Whether a chain of upgrades leaves the server with what it had.
//!
//! Processes and descriptors are counted at rest, before and after, and compared exactly. Memory is not exact:
//! it is the slope over the whole chain that counts, one value for each process, each taken when it had served
//! until its turn to be replaced was there. The slope and its bound are those of P. K. Sen, "Estimates of the
//! regression coefficient based on Kendall's tau", Journal of the American Statistical Association 63 (1968)
//! 1379-1389: the median of the slopes between any two values, which nearly a third of the values may spoil.

use crate::observe::{EventRecord, Held, Holding, MEMORY_KEY};

/// Values for which the normal approximation of the bound holds.
const VALUES_MIN: usize = 10;

/// One-sided 95 % of the normal distribution.
const Z_95: f64 = 1.645;

/// What the server held.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    pub before: Holding,
    pub after: Holding,
    /// `None`: too few upgrades.
    pub growth: Option<Growth>,
}

/// How the memory of the process that serves grows from one upgrade to the next, kilobytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Growth {
    /// Processes that were looked at.
    pub processes: u64,
    pub median_kb: f64,
    /// It is at most this, with 95 % confidence.
    pub upper_kb: f64,
}

impl Figures {
    /// Processes at rest beyond the one that serves.
    #[must_use]
    pub fn processes_left(&self) -> u64 {
        self.after.processes.saturating_sub(1)
    }

    /// Descriptors at rest beyond those before.
    #[must_use]
    pub fn descriptors_left(&self) -> u64 {
        self.after.descriptors.saturating_sub(self.before.descriptors)
    }
}

/// `None` when nobody looked.
pub(super) fn measure(held: Option<Held>, events: &[EventRecord]) -> Option<Figures> {
    let Held { before, after } = held?;
    let upgrades = events.iter().filter(|event| event.kind == "upgrade");
    let mut told: Vec<(u64, f64)> = upgrades
        .filter_map(|event| Some((event.started_ns, event.detail.get(MEMORY_KEY)?.as_f64()?)))
        .collect();
    told.sort_by_key(|&(at_ns, _)| at_ns);
    let values: Vec<f64> = told.into_iter().map(|(_, memory_kb)| memory_kb).collect();
    Some(Figures { before, after, growth: growth(&values) })
}

fn growth(values: &[f64]) -> Option<Growth> {
    if values.len() < VALUES_MIN {
        return None;
    }
    let mut slopes: Vec<f64> = Vec::with_capacity(values.len() * (values.len() - 1) / 2);
    for (index, early) in values.iter().enumerate() {
        slopes.extend(
            values[index + 1..].iter().zip(1_u32..).map(|(late, apart)| (late - early) / f64::from(apart)),
        );
    }
    slopes.sort_by(f64::total_cmp);
    let n = to_f64(values.len());
    let spread = Z_95 * (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    let upper = place(f64::midpoint(to_f64(slopes.len()), spread), slopes.len());
    Some(Growth {
        processes: values.len() as u64,
        median_kb: slopes[slopes.len() / 2],
        upper_kb: slopes[upper],
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "half of a length and more, and held within it"
)]
fn place(rank: f64, length: usize) -> usize {
    (rank.ceil() as usize).min(length - 1)
}

#[expect(clippy::cast_precision_loss, reason = "lengths stay below 2^53")]
fn to_f64(length: usize) -> f64 {
    length as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_found_whatever_a_few_values_do_and_noise_is_none() {
        let noisy = |rise: f64| -> Vec<f64> {
            let wobble = |index: u32| f64::from(index * 7_919 % 101);
            let value = |index: u32| if index.is_multiple_of(9) { 90_000.0 } else { 5_000.0 + wobble(index) };
            (0..100).map(|index| value(index) + rise * f64::from(index)).collect()
        };
        let still = growth(&noisy(0.0)).unwrap();
        assert!(still.median_kb.abs() < 0.5 && (0.0..2.0).contains(&still.upper_kb), "{still:?}");
        let grown = growth(&noisy(64.0)).unwrap();
        assert!((grown.median_kb - 64.0).abs() < 0.5 && grown.upper_kb >= grown.median_kb, "{grown:?}");
        let shrunk = growth(&noisy(-64.0)).unwrap();
        assert!(shrunk.upper_kb < -60.0, "{shrunk:?}");
        assert_eq!(growth(&[1.0; 9]), None);
        assert_eq!(growth(&[1.0; 10]).map(|growth| (growth.processes, growth.upper_kb)), Some((10, 0.0)));
    }
}
