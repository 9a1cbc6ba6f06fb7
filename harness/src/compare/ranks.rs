//! The Mann-Whitney test, exact with ties where that is affordable.
//!
//! Sources: H. B. Mann and D. R. Whitney, "On a test of whether one of two random variables is
//! stochastically larger than the other", Annals of Mathematical Statistics 18 (1947) 50-60; midranks and
//! the variance with ties: E. L. Lehmann, "Nonparametrics" (1975), chapter 1; the exact distribution given
//! the ties: B. Streitberg and J. Röhmel, "Exact distributions for permutation and rank tests",
//! Statistical Software Newsletter 12 (1986) 10-17. Of values that are only 0 and 1 the exact test is a
//! permutation test of two proportions, on the hypergeometric distribution as Fisher's.

use super::as_f64;

/// Steps that the exact distribution may take; sixty values on each side need 40 million.
const EXACT_STEPS_MAX: u64 = 50_000_000;

/// What the ranks of two samples say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranks {
    /// Mann and Whitney's U of the second sample: pairs in which it has the larger value, ties as a half.
    pub u: f64,
    /// `u` of all pairs: the chance that a value of the second sample is larger than one of the first.
    pub superiority: f64,
    /// Two-sided: how likely a U at least as far from its mean is when both come from the same source.
    pub p: f64,
    /// From the exact distribution; else from the normal one with the corrections for ties and continuity.
    pub exact: bool,
}

/// Compares two samples; `None` when one is empty. Values must be finite.
#[must_use]
pub fn mann_whitney(first: &[f64], second: &[f64]) -> Option<Ranks> {
    if first.is_empty() || second.is_empty() {
        return None;
    }
    let Scores { doubled, tie_sum } = Scores::of(first, second);
    // Doubled midranks are whole numbers.
    let sum: u64 = doubled[first.len()..].iter().sum();
    let (m, n) = (as_f64(first.len()), as_f64(second.len()));
    let u = whole(sum) / 2.0 - n * (n + 1.0) / 2.0;
    let exact = exact_p(&doubled, second.len());
    let p = exact.unwrap_or_else(|| normal_p(u, m, n, tie_sum));
    Some(Ranks { u, superiority: u / (m * n), p, exact: exact.is_some() })
}

/// The smallest two-sided p that samples of these sizes can give, without ties: `2 / (a + b over a)`.
pub(super) fn smallest_p(a: u64, b: u64) -> f64 {
    // Beyond this many of the smaller side the figure is far below any that matters.
    let few = a.min(b).min(40);
    let many = a.max(b);
    let ways: f64 = (1..=few).map(|k| whole(many + k) / whole(k)).product();
    (2.0 / ways).min(1.0)
}

/// The middle value, or the mean of the two in the middle; `None` of nothing.
#[must_use]
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let (middle, is_even) = (values.len() / 2, values.len().is_multiple_of(2));
    let (below, &mut upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let lower = below.iter().copied().filter(|_| is_even).max_by(f64::total_cmp);
    Some(lower.map_or(upper, |lower| f64::midpoint(lower, upper)))
}

/// The ranks of two samples taken together.
struct Scores {
    /// Twice the midrank of each value, in the order of the samples.
    doubled: Vec<u64>,
    /// Sum of `t^3 - t` over the groups of `t` equal values.
    tie_sum: f64,
}

impl Scores {
    fn of(first: &[f64], second: &[f64]) -> Self {
        let values: Vec<f64> = first.iter().chain(second).copied().collect();
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&one, &other| values[one].total_cmp(&values[other]));
        let mut scores = Self { doubled: vec![0; values.len()], tie_sum: 0.0 };
        let mut before = 0;
        #[expect(clippy::float_cmp, reason = "a tie is exact equality")]
        for group in order.chunk_by(|&one, &other| values[one] == values[other]) {
            // The ranks of the group are before + 1 to before + t; twice their mean is this.
            let doubled = (2 * before + group.len() + 1) as u64;
            for &index in group {
                scores.doubled[index] = doubled;
            }
            let t = as_f64(group.len());
            scores.tie_sum += t * t * t - t;
            before += group.len();
        }
        scores
    }
}

/// The chance, over all choices of `chosen` of these scores, of a sum at least as far from its mean as
/// that of the last `chosen`; `None` when that takes too many steps.
fn exact_p(scores: &[u64], chosen: usize) -> Option<f64> {
    // A shift and a common factor change every sum alike; without them the sums are few.
    let least = scores.iter().min().copied()?;
    let factor = scores.iter().fold(0, |factor, score| gcd(factor, score - least));
    if factor == 0 {
        return Some(1.0);
    }
    let scores: Vec<u64> = scores.iter().map(|score| (score - least) / factor).collect();
    let mut largest = scores.clone();
    largest.sort_unstable_by(|one, other| other.cmp(one));
    let sum_max: u64 = largest[..chosen].iter().sum();
    let steps = (scores.len() as u64).saturating_mul(chosen as u64).saturating_mul(sum_max);
    if steps > EXACT_STEPS_MAX {
        return None;
    }
    let width = usize::try_from(sum_max).ok()? + 1;
    let distribution = distribution(&scores, chosen, width);
    // Distances from the mean `chosen * total / all`, in whole numbers.
    let (all, total) = (scores.len() as i128, i128::from(scores.iter().sum::<u64>()));
    let distance = |sum: i128| (sum * all - chosen as i128 * total).abs();
    let observed = distance(i128::from(scores[scores.len() - chosen..].iter().sum::<u64>()));
    let chances = (0_i128..).zip(&distribution);
    Some(chances.filter(|(sum, _)| distance(*sum) >= observed).map(|(_, p)| p).sum::<f64>().min(1.0))
}

/// The chance of each sum of `chosen` scores, all choices being equally likely.
///
/// The scores are looked at one after the other; one is taken with the chance (still to choose) / (still
/// to look at), so that every number on the way is a chance and nothing overflows.
fn distribution(scores: &[u64], chosen: usize, width: usize) -> Vec<f64> {
    // For each number of scores taken so far: the chance of each sum.
    let mut taken = vec![vec![0.0; width]; chosen + 1];
    taken[0][0] = 1.0;
    for (seen, &score) in scores.iter().enumerate() {
        let left = as_f64(scores.len() - seen);
        let score = usize::try_from(score).expect("a score must be one of few ranks");
        for count in (0..=chosen.min(seen)).rev() {
            let take = as_f64(chosen - count) / left;
            let (fewer, more) = taken.split_at_mut(count + 1);
            let (here, next) = (&mut fewer[count], more.first_mut());
            if let Some(next) = next {
                for (to, &chance) in next.iter_mut().skip(score).zip(here.iter()) {
                    *to += chance * take;
                }
            }
            for chance in here {
                *chance *= 1.0 - take;
            }
        }
    }
    taken.pop().unwrap_or_default()
}

fn normal_p(u: f64, m: f64, n: f64, tie_sum: f64) -> f64 {
    let all = m + n;
    let variance = m * n / 12.0 * (all + 1.0 - tie_sum / (all * (all - 1.0)));
    if variance <= 0.0 {
        return 1.0;
    }
    let distance = ((u - m * n / 2.0).abs() - 0.5).max(0.0);
    libm::erfc(distance / variance.sqrt() / std::f64::consts::SQRT_2)
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[expect(clippy::cast_precision_loss, reason = "ranks stay below 2^53")]
fn whole(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
