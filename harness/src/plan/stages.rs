//! Stages of the load: how the rates of all streams change with time, in closed form.
//!
//! A schedule is drawn as if the rates were constant, and its times are then moved: what would have been due
//! when a constant load had lasted `x` is due when the stages have added up to `x`. For evenly spaced
//! arrivals that inverts the cumulative rate; for Poisson arrivals it is the inversion method, which makes a
//! process with the changing rate out of one with a constant rate: E. Cinlar, "Introduction to Stochastic
//! Processes" (1975), section 4.7; in the other direction known as the time-rescaling theorem (E. N. Brown
//! et al., Neural Computation 14 (2002) 325-346).

use super::Stage;

/// A stage with its place in time and in the sum of the factor.
#[derive(Debug, Clone, Copy)]
struct Part {
    from_ns: f64,
    length_ns: f64,
    from: f64,
    to: f64,
    /// Sum of the factor before it, nanoseconds at factor 1.
    before_ns: f64,
}

/// Moves rising times of a constant load to where the stages have them.
#[derive(Debug, Clone)]
pub(super) struct Stretch {
    parts: Vec<Part>,
    current: usize,
    last_ns: f64,
}

impl Stretch {
    pub(super) fn new(stages: &[Stage]) -> Self {
        let (mut from_ns, mut before_ns) = (0.0, 0.0);
        let parts = stages
            .iter()
            .map(|stage| {
                let part = Part {
                    from_ns,
                    length_ns: as_f64(stage.duration_ns),
                    from: stage.from,
                    to: stage.to,
                    before_ns,
                };
                from_ns += part.length_ns;
                before_ns += part.sum_ns();
                part
            })
            .collect();
        Self { parts, current: 0, last_ns: 0.0 }
    }

    /// When the stages have added up to `constant_ns`, which must not fall from call to call; never, when
    /// they end before.
    pub(super) fn place(&mut self, constant_ns: f64) -> f64 {
        if self.parts.is_empty() {
            return constant_ns;
        }
        while let Some(part) = self.parts.get(self.current) {
            let rest_ns = constant_ns - part.before_ns;
            if rest_ns < part.sum_ns() {
                // Rounding must not turn two times that are nearly equal around.
                self.last_ns = self.last_ns.max(part.from_ns + part.invert(rest_ns.max(0.0)));
                return self.last_ns;
            }
            self.current += 1;
        }
        f64::INFINITY
    }
}

impl Part {
    /// The factor summed over the stage: the area under its line.
    fn sum_ns(&self) -> f64 {
        f64::midpoint(self.from, self.to) * self.length_ns
    }

    /// When within the stage the factor has added up to `rest_ns`, which is less than its sum.
    fn invert(&self, rest_ns: f64) -> f64 {
        // The root of `from x + (to - from) x^2 / (2 length) = rest`, in the form that loses no digits when
        // the ramp is nearly level.
        let slope = (self.to - self.from) / self.length_ns;
        let root = (self.from * self.from + 2.0 * slope * rest_ns).max(0.0).sqrt();
        let denominator = self.from + root;
        if denominator > 0.0 { (2.0 * rest_ns / denominator).min(self.length_ns) } else { 0.0 }
    }
}

/// The lowest factor between two times as a share of the factor's mean between them: 1 without stages, and 0
/// when the load goes down to nothing.
#[must_use]
pub fn lowest_share(stages: &[Stage], from_ns: u64, to_ns: u64) -> f64 {
    let (mut begins_ns, mut sum, mut length) = (0, 0.0, 0.0);
    let mut lowest = f64::INFINITY;
    for stage in stages {
        let ends_ns = begins_ns + stage.duration_ns;
        let (first_ns, last_ns) = (begins_ns.max(from_ns), ends_ns.min(to_ns));
        if first_ns < last_ns {
            let [first, last] = [first_ns, last_ns].map(|at_ns| stage.factor_at(at_ns - begins_ns));
            let counted_ns = as_f64(last_ns - first_ns);
            sum += f64::midpoint(first, last) * counted_ns;
            length += counted_ns;
            lowest = lowest.min(first).min(last);
        }
        begins_ns = ends_ns;
    }
    match () {
        () if length <= 0.0 => 1.0,
        () if sum <= 0.0 => 0.0,
        () => lowest.max(0.0) * length / sum,
    }
}

impl Stage {
    fn factor_at(&self, elapsed_ns: u64) -> f64 {
        self.from + (self.to - self.from) * as_f64(elapsed_ns) / as_f64(self.duration_ns.max(1))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a day in nanoseconds is far below 2^53")]
fn as_f64(ns: u64) -> f64 {
    ns as f64
}

#[cfg(test)]
mod tests {
    use super::{Stretch, lowest_share};
    use crate::plan::Stage;

    fn stages(parts: &[(u64, f64, f64)]) -> Vec<Stage> {
        parts.iter().map(|&(duration_ns, from, to)| Stage { duration_ns, from, to }).collect()
    }

    #[test]
    fn known_places() {
        let check = |parts: &[(u64, f64, f64)], constant_ns: f64, expected_ns: f64| {
            let placed = Stretch::new(&stages(parts)).place(constant_ns);
            assert!(
                (placed - expected_ns).abs() < 1e-6 || (placed.is_infinite() && expected_ns.is_infinite()),
                "{placed} of {parts:?}"
            );
        };
        check(&[], 7.0, 7.0);
        check(&[(100, 1.0, 1.0)], 42.0, 42.0);
        check(&[(100, 0.5, 0.5)], 42.0, 84.0);
        check(&[(100, 2.0, 2.0)], 42.0, 21.0);
        // From 0 to 1 over 100: x^2 / 200.
        check(&[(100, 0.0, 1.0)], 0.0, 0.0);
        check(&[(100, 0.0, 1.0)], 12.5, 50.0);
        check(&[(100, 1.0, 0.0)], 37.5, 50.0);
        // The second stage begins when the first has added up to 50; a pause adds nothing.
        check(&[(100, 0.5, 0.5), (100, 1.0, 1.0)], 60.0, 110.0);
        check(&[(100, 1.0, 1.0), (100, 0.0, 0.0), (100, 1.0, 1.0)], 150.0, 250.0);
        check(&[(100, 1.0, 1.0)], 100.0, f64::INFINITY);
        check(&[(100, 0.0, 0.0)], 0.0, f64::INFINITY);
    }

    #[test]
    fn the_lowest_share_of_the_time_that_counts() {
        let load = stages(&[(100, 0.0, 1.0), (100, 1.0, 1.0), (200, 3.0, 1.0)]);
        for (from_ns, to_ns, expected) in [
            (0, 400, 0.0),
            (100, 400, 1.0 / (500.0 / 300.0)),
            (50, 200, 0.5 / (137.5 / 150.0)),
            (200, 300, 2.0 / 2.5),
            (400, 500, 1.0),
        ] {
            let share = lowest_share(&load, from_ns, to_ns);
            assert!((share - expected).abs() < 1e-12, "{share} from {from_ns} to {to_ns}");
        }
        assert!((lowest_share(&[], 0, 9) - 1.0).abs() < 1e-12);
        assert!(lowest_share(&stages(&[(9, 0.0, 0.0)]), 0, 9) <= 0.0);
    }
}
