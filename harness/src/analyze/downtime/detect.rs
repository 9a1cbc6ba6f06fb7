//! How short an outage the load would still have met.

use crate::{analyze::select::Span, plan::Arrival};

/// Chance with which an outage of `min_detectable` is met by at least one attempt.
pub const DETECTION: f64 = 0.95;

/// The shortest outage that the streams together would have met with a chance of [`DETECTION`],
/// nanoseconds, rounded up; the whole measured time when there is nothing shorter. A rate that changes counts
/// with its lowest value.
///
/// An outage of `d` seconds escapes a stream of `r` attempts per second evenly spaced with a chance of
/// `1 - d r` (never, when `d` is one spacing or longer), and a Poisson stream with `exp(-d r)`: there the
/// result is about `3 / r`, which is J. E. Hanley and A. Lippman-Hand's rule of three ("If nothing goes
/// wrong, is everything all right?", JAMA 249 (1983) 1743-1745) on the time axis. Streams are
/// independent, so their chances multiply. Each attempt counts as one instant, which is on the safe side.
///
/// The rates are those of good attempts: a failed one lies in a window, so it tells nothing about the time
/// outside of the windows, and failing must not sharpen the instrument. An unknown arrival counts as
/// Poisson. Closed loops must not be among the streams: whether they send at all in an outage depends on it.
#[must_use]
pub(super) fn min_detectable_ns(streams: &[(f64, Option<Arrival>)], span: Span) -> u64 {
    let fastest = streams.iter().map(|&(rate, _)| rate).fold(0.0_f64, f64::max);
    if fastest <= 0.0 {
        return span.length_ns();
    }
    let escapes = |seconds: f64| -> f64 {
        let escapes_one = |&(rate, arrival): &(f64, Option<Arrival>)| match arrival {
            Some(Arrival::Uniform) => (1.0 - seconds * rate).max(0.0),
            Some(Arrival::Poisson | Arrival::Closed) | None => (-seconds * rate).exp(),
        };
        streams.iter().map(escapes_one).product()
    };
    let (mut low, mut high) = (0.0_f64, 3.0 / fastest);
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            return whole_ns(high).min(span.length_ns());
        }
        if escapes(middle) > 1.0 - DETECTION {
            low = middle;
        } else {
            high = middle;
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and `as` saturates")]
fn whole_ns(seconds: f64) -> u64 {
    // A quotient that is whole but for the last bits of the arithmetic must not gain a nanosecond.
    (seconds * 1e9 - 1e-3).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::min_detectable_ns;
    use crate::{
        analyze::select::Span,
        plan::Arrival::{Poisson, Uniform},
    };

    #[test]
    fn known_rates() {
        let span = Span { from_ns: 0, to_ns: 10_000_000_000, sending_to_ns: 10_000_000_000 };
        for (streams, expected_us) in [
            (vec![(1_000.0, Some(Uniform))], 950),
            (vec![(1_000.0, Some(Poisson))], 2_996),
            (vec![(1_000.0, None)], 2_996),
            (vec![(1.0, Some(Poisson))], 2_995_733),
            (vec![(500.0, Some(Poisson)), (500.0, Some(Poisson))], 2_996),
            (vec![(1_000.0, Some(Uniform)), (1_000.0, Some(Uniform))], 777),
            (vec![(1_000.0, Some(Uniform)), (0.0, Some(Poisson))], 950),
            (vec![(0.0, Some(Uniform))], 10_000_000),
            (vec![], 10_000_000),
            (vec![(0.01, Some(Poisson))], 10_000_000),
        ] {
            let actual_us = min_detectable_ns(&streams, span).div_ceil(1_000);
            assert_eq!(actual_us, expected_us, "{streams:?}");
        }
    }
}
