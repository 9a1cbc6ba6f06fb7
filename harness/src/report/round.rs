//! Exact figures turned into the decimals of a report.

use crate::analyze::availability::Fraction;

/// Decimals of an availability, as a factor: enough to tell one failure in a thousand million.
const AVAILABILITY_DECIMALS: u32 = 1_000_000_000;

/// Decimals of a probability bound, as a factor.
const PROBABILITY_DECIMALS: f64 = 1e12;

/// Nanoseconds as milliseconds with three decimals, the nearest.
pub(crate) fn ms(ns: u64) -> f64 {
    thousandths(ns.saturating_add(500) / 1_000)
}

/// The same, never more than was measured.
pub(super) fn ms_down(ns: u64) -> f64 {
    thousandths(ns / 1_000)
}

/// The same, never less than was measured.
pub(super) fn ms_up(ns: u64) -> f64 {
    thousandths(ns.div_ceil(1_000))
}

/// Nanoseconds as microseconds with three decimals.
pub(super) fn us(ns: u64) -> f64 {
    thousandths(ns)
}

/// A count as it is.
#[expect(clippy::cast_precision_loss, reason = "counts stay below 2^53")]
pub(crate) fn whole(count: u64) -> f64 {
    count as f64
}

/// A fraction with nine decimals, rounded down: what is not whole never becomes 1.
pub(super) fn availability(fraction: Fraction) -> Option<f64> {
    let Fraction { part, whole } = fraction;
    let scaled = (u128::from(part) * u128::from(AVAILABILITY_DECIMALS)).checked_div(whole.into())?;
    Some(f64::from(u32::try_from(scaled).ok()?) / f64::from(AVAILABILITY_DECIMALS))
}

/// A computed availability with nine decimals, rounded down.
pub(crate) fn availability_down(value: f64) -> f64 {
    (value * f64::from(AVAILABILITY_DECIMALS)).floor() / f64::from(AVAILABILITY_DECIMALS)
}

/// A probability with twelve decimals, rounded up.
pub(super) fn probability_up(value: f64) -> f64 {
    ((value * PROBABILITY_DECIMALS).ceil() / PROBABILITY_DECIMALS).min(1.0)
}

/// A share of a budget, which may be more than the whole of it, with nine decimals, rounded up.
pub(super) fn share_up(value: f64) -> f64 {
    (value * f64::from(AVAILABILITY_DECIMALS)).ceil() / f64::from(AVAILABILITY_DECIMALS)
}

#[expect(clippy::cast_precision_loss, reason = "times stay below 2^53 nanoseconds")]
fn thousandths(count: u64) -> f64 {
    count as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::{availability, availability_down, ms, ms_down, ms_up, probability_up, share_up, us};
    use crate::analyze::availability::Fraction;

    #[test]
    fn rounding_promises_less() {
        let check = |actual: f64, expected: &str| assert_eq!(actual.to_string(), expected);
        check(ms(1_234_500), "1.235");
        check(ms_down(1_234_999), "1.234");
        check(ms_up(1_234_001), "1.235");
        check(us(1_234), "1.234");
        check(availability_down(0.999_999_999_9), "0.999999999");
        check(probability_up(1e-13), "0.000000000001");
        check(probability_up(1.0), "1");
        check(share_up(1.234_567_890_1), "1.234567891");
        let of = |part, whole| availability(Fraction { part, whole });
        assert_eq!([of(1, 1), of(2, 3), of(0, 0)], [Some(1.0), Some(0.666_666_666), None]);
        assert_eq!(of(9_999_999_999, 10_000_000_000), Some(0.999_999_999));
    }
}
