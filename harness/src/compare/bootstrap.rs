//! How far apart two means are, with a bootstrap interval.
//!
//! B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7 (1979) 1-26: both
//! samples are drawn again with replacement, many times, and the middle 95 % of the differences are the
//! interval. Means and not medians, because a day's losses are a sum: the median of counts that are mostly
//! zero is zero however many were lost. The draws come from ChaCha8 with a fixed seed, so the same samples
//! give the same interval.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::{Between, as_f64};

const RESAMPLES: usize = 2_000;
const SEED: u64 = 1;
/// Of the sorted differences, 2.5 % lie below the first of these and as many above the second.
const LOWER: usize = RESAMPLES / 40;
const UPPER: usize = RESAMPLES - 1 - LOWER;

/// The mean of the second sample less that of the first; `None` when one is empty.
pub(super) fn difference_of_means(first: &[f64], second: &[f64]) -> Option<Between> {
    let estimate = mean(second)? - mean(first)?;
    let mut numbers = ChaCha8Rng::seed_from_u64(SEED);
    let mut differences: Vec<f64> = (0..RESAMPLES)
        .map(|_| -resampled_mean(first, &mut numbers) + resampled_mean(second, &mut numbers))
        .collect();
    differences.sort_by(f64::total_cmp);
    Some(Between { estimate, lower: differences[LOWER], upper: differences[UPPER] })
}

/// `None` of nothing.
#[must_use]
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / as_f64(values.len()))
}

fn resampled_mean(values: &[f64], numbers: &mut ChaCha8Rng) -> f64 {
    let sum: f64 = values.iter().map(|_| values[below(values.len(), numbers)]).sum();
    sum / as_f64(values.len())
}

/// An index below `count`, uneven by less than `count` / 2^64.
fn below(count: usize, numbers: &mut ChaCha8Rng) -> usize {
    let drawn = (u128::from(numbers.next_u64()) * count as u128) >> 64;
    usize::try_from(drawn).expect("what is below a usize must be one")
}

#[cfg(test)]
mod tests {
    use super::{difference_of_means, mean};

    #[test]
    fn the_interval_holds_the_difference_and_never_changes() {
        let (first, second) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
        let found = difference_of_means(&first, &second).unwrap();
        assert!((found.estimate - 3.0).abs() < 1e-12);
        // The standard error of the difference is 0.986 (drawn from the samples as they are), so about +-1.93.
        assert!((0.9..1.3).contains(&found.lower) && (4.7..5.1).contains(&found.upper), "{found:?}");
        assert_eq!(Some(found), difference_of_means(&first, &second));
    }

    #[test]
    fn equal_values_differ_by_nothing_and_nothing_has_no_difference() {
        let found = difference_of_means(&[0.0; 7], &[0.0; 9]).unwrap();
        assert_eq!([found.estimate, found.lower, found.upper].map(f64::to_bits), [0.0_f64.to_bits(); 3]);
        assert_eq!((difference_of_means(&[], &[1.0]), mean(&[])), (None, None));
    }
}
