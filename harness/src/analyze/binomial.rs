//! Exact binomial bounds: how bad the true rate can be, given what was counted.
//!
//! Sources: C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated in the
//! case of the binomial", Biometrika 26 (1934) 404-413; the identity between the binomial tail and the
//! regularised incomplete beta function is NIST DLMF 8.17.5 (<https://dlmf.nist.gov/8.17>), its continued
//! fraction 8.17.22, evaluated by Lentz's method (Press et al., "Numerical Recipes", 6.4); the logarithm
//! of the gamma function is C. Lanczos's approximation (SIAM J. Numer. Anal. B 1 (1964) 86-96).

/// Confidence of every bound in a report.
pub const CONFIDENCE: f64 = 0.95;

/// Steps of a continued fraction before it counts as converged. It needs about the square root of the
/// number of trials, so this is enough for ten thousand million of them.
const FRACTION_STEPS_MAX: u32 = 200_000;

/// The highest failure rate under which `failed` or fewer failures in `trials` would still be seen with a
/// chance of 5 %: the one-sided 95 % upper bound of Clopper and Pearson. `None` without a trial.
///
/// With no failure it is `1 - 0.05^(1/trials)`, about `3 / trials`.
#[must_use]
pub fn upper_bound_95(failed: u64, trials: u64) -> Option<f64> {
    if trials == 0 {
        return None;
    }
    if failed >= trials {
        return Some(1.0);
    }
    // The chance of more than `failed` failures rises with the rate: P(X > x) = I_p(x + 1, n - x).
    let (a, b) = (to_f64(failed) + 1.0, to_f64(trials - failed));
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            // The two are neighbours: the upper one is on the safe side.
            return Some(high);
        }
        if incomplete_beta(a, b, middle) < CONFIDENCE {
            low = middle;
        } else {
            high = middle;
        }
    }
}

/// The regularised incomplete beta function I_x(a, b), for 0 < x < 1.
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    let ln_front = ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p();
    // The fraction converges fast only below the mean, so the other side uses the symmetry.
    if x < (a + 1.0) / (a + b + 2.0) {
        ln_front.exp() * beta_fraction(a, b, x) / a
    } else {
        1.0 - ln_front.exp() * beta_fraction(b, a, 1.0 - x) / b
    }
}

/// The continued fraction of the incomplete beta function.
fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let nonzero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / nonzero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for step in 1..=FRACTION_STEPS_MAX {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for numerator in [even, odd] {
            d = 1.0 / nonzero(1.0 + numerator * d);
            c = nonzero(1.0 + numerator / c);
            change = c * d;
            fraction *= change;
        }
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    fraction
}

/// Logarithm of the gamma function for positive arguments.
fn ln_gamma(x: f64) -> f64 {
    const G: f64 = 7.0;
    const FIRST: f64 = 0.999_999_999_999_809_9;
    const SERIES: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let mut sum = FIRST;
    let mut divisor = x;
    for coefficient in SERIES {
        divisor += 1.0;
        sum += coefficient / divisor;
    }
    let t = x + G + 0.5;
    0.5 * std::f64::consts::TAU.ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn to_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, proptest};

    use super::upper_bound_95;

    #[track_caller]
    fn check(failed: u64, trials: u64, expected: f64) {
        let actual = upper_bound_95(failed, trials).expect("there are trials");
        assert!((actual / expected - 1.0).abs() < 1e-3, "{failed}/{trials}: {actual}, not {expected}");
    }

    /// The first column is the closed form 1 - 0.05^(1/n), the others are R's
    /// `binom.test(x, n, alternative = "less")$conf.int`.
    #[test]
    fn known_values() {
        check(0, 1, 0.95);
        check(0, 59, 0.049_507);
        check(0, 60, 0.048_703);
        check(0, 299, 0.009_969);
        check(0, 300, 0.009_936);
        check(0, 60_000, 4.992_8e-5);
        check(0, 10_000_000, 2.995_73e-7);
        check(1, 100, 0.046_560);
        check(5, 10, 0.777_559);
        check(1, 10, 0.394_163);
        check(99, 100, 0.999_487);
        check(60, 60, 1.0);
        assert_eq!(upper_bound_95(0, 0), None);
    }

    /// The one-sided 95 % limits of the published tables for 10 and 20 trials (W. H. Beyer, "CRC Handbook of
    /// Tables for Probability and Statistics", 1968), which give three decimals.
    #[test]
    fn published_tables() {
        const TEN: [f64; 10] = [0.259, 0.394, 0.507, 0.607, 0.696, 0.778, 0.850, 0.913, 0.963, 0.995];
        const TWENTY: [f64; 6] = [0.139, 0.216, 0.283, 0.344, 0.401, 0.456];
        for (trials, table) in [(10, TEN.as_slice()), (20, TWENTY.as_slice())] {
            for (failed, expected) in (0..).zip(table) {
                let actual = upper_bound_95(failed, trials).expect("there are trials");
                assert!((actual - expected).abs() < 5.1e-4, "{failed}/{trials}: {actual}, not {expected}");
            }
        }
    }

    /// With many trials and few failures the limits are those of the Poisson distribution, divided by the
    /// number of trials: 2.996, 4.744, 6.296, 7.754 and 9.154 for 0 to 4.
    #[test]
    fn poisson_limits() {
        for (failed, limit) in (0..).zip([2.996, 4.744, 6.296, 7.754, 9.154]) {
            let scaled = upper_bound_95(failed, 10_000_000).expect("there are trials") * 1e7;
            assert!((scaled - limit).abs() < 6e-4, "{failed}: {scaled}, not {limit}");
        }
    }

    /// Far from zero the bound must agree with the normal approximation.
    #[test]
    fn many_trials_agree_with_the_normal_distribution() {
        let (failed, trials) = (3_000_000_u32, 10_000_000_u32);
        let p = f64::from(failed) / f64::from(trials);
        let normal = p + 1.644_854 * (p * (1.0 - p) / f64::from(trials)).sqrt();
        let exact = upper_bound_95(failed.into(), trials.into()).expect("there are trials");
        assert!((exact - normal).abs() < 1e-6, "{exact} {normal}");
    }

    proptest! {
        /// One more failure never improves the bound, one more success never worsens it.
        #[test]
        fn failures_never_help(failed in 0_u64..2_000, good in 0_u64..200_000) {
            let trials = failed + good;
            let bound = upper_bound_95(failed, trials).unwrap_or(0.0);
            prop_assert!(upper_bound_95(failed + 1, trials + 1).unwrap() >= bound);
            prop_assert!(upper_bound_95(failed, trials + 1).unwrap() <= bound || trials == 0);
        }
    }
}
