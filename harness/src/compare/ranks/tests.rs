//! Against published values, and against every choice counted by hand.

use proptest::prelude::{Strategy, prop, prop_assert, prop_assert_eq, proptest};

use super::{mann_whitney, median, smallest_p};

#[track_caller]
fn check(first: &[f64], second: &[f64], u: f64, p: f64, exact: bool) {
    let ranks = mann_whitney(first, second).unwrap();
    let is_near = (ranks.u - u).abs() < 1e-9 && (ranks.p - p).abs() < 1e-9;
    assert!(is_near && ranks.exact == exact, "{ranks:?} instead of u {u}, p {p}");
}

fn numbers(count: u32, value: impl Fn(f64) -> f64) -> Vec<f64> {
    (0..count).map(f64::from).map(value).collect()
}

/// M. Hollander and D. A. Wolfe, "Nonparametric statistical methods" (1973), page 69: the permeability of
/// the placenta, the example of R's `wilcox.test`, which gives 0.1272 for one side.
#[test]
fn the_example_of_hollander_and_wolfe() {
    let at_term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
    let earlier = [1.15, 0.88, 0.90, 0.74, 1.21];
    check(&at_term, &earlier, 15.0, 0.254_412_254_412_254_4, true);
}

/// R. A. Fisher, "The design of experiments" (1935): the lady tasting tea, 3 of 4 right; two-sided 17/35.
#[test]
fn proportions_are_tested_as_fisher_did() {
    check(&[1.0, 1.0, 1.0, 0.0], &[1.0, 0.0, 0.0, 0.0], 4.0, 17.0 / 35.0, true);
    // 0 of 300 against 5 of 300, where the normal distribution is far off: 2 C(300, 5) / C(600, 5).
    let some = numbers(300, |index| f64::from(u8::from(index < 5.0)));
    let ways = |n: f64| (0..5).map(|k| n - f64::from(k)).product::<f64>();
    check(&[0.0; 300], &some, 45_750.0, 2.0 * ways(300.0) / ways(600.0), true);
}

/// All choices counted (SciPy 1.17 for the statistic, every combination for p).
#[test]
fn ties_are_exact_too() {
    check(
        &[0.0, 0.0, 0.0, 1.0, 0.0, 2.0],
        &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0],
        30.0,
        0.069_264_069_264_069_26,
        true,
    );
    check(&[0.0; 5], &[0.0, 0.0, 1.0, 2.0, 3.0], 20.0, 1.0 / 6.0, true);
    check(&[1.0, 1.0, 2.0, 2.0, 3.0], &[2.0, 3.0, 3.0, 4.0, 4.0, 4.0], 27.0, 0.028_138_528_138_528_13, true);
    check(&[7.0; 9], &[7.0; 4], 18.0, 1.0, true);
}

/// SciPy 1.17, `mannwhitneyu`.
#[test]
fn many_values() {
    check(&numbers(30, |x| x + 4.5), &numbers(30, |x| x), 325.0, 0.065_399_114_713_278_9, true);
    check(
        &numbers(150, |x| x * 0.5),
        &numbers(150, |x| x * 0.5 + 5.25),
        12_770.0,
        0.043_111_128_071_855_67,
        false,
    );
    let (first, second) = (numbers(200, |x| x % 7.0), numbers(190, |x| x * 3.0 % 8.0));
    check(&first, &second, 21_513.5, 0.022_728_058_467_172_907, false);
}

#[test]
fn the_smallest_p_is_that_of_full_separation() {
    for (size, expected) in [(1_u32, 1.0), (3, 0.1), (4, 2.0 / 70.0), (5, 2.0 / 252.0), (6, 2.0 / 924.0)] {
        let p = smallest_p(size.into(), size.into());
        assert!((p - expected).abs() < 1e-12, "{size}: {p}");
        if size > 1 {
            check(&numbers(size, |x| x), &numbers(size, |x| x + 100.0), f64::from(size * size), p, true);
        }
    }
    assert!(smallest_p(0, 9) >= 1.0 && smallest_p(1_000_000, 1_000_000) < 1e-9);
}

#[test]
fn medians() {
    assert_eq!(median(vec![]), None);
    for (values, expected) in [(vec![3.0], 3.0), (vec![4.0, 1.0], 2.5), (vec![5.0, 1.0, 2.0], 2.0)] {
        assert!((median(values).unwrap() - expected).abs() < 1e-12);
    }
}

/// Every choice of `chosen` of `ranks`, looked at one by one.
fn brute_force(first: &[f64], second: &[f64]) -> f64 {
    let all: Vec<f64> = first.iter().chain(second).copied().collect();
    let rank = |value: f64| {
        let below = all.iter().filter(|&&other| other < value).count();
        #[expect(clippy::float_cmp, reason = "a tie is exact equality")]
        let equal = all.iter().filter(|&&other| other == value).count();
        i64::try_from(2 * below + equal + 1).unwrap()
    };
    let ranks: Vec<i64> = all.iter().map(|&value| rank(value)).collect();
    let (count, chosen) = (i64::try_from(all.len()).unwrap(), i64::try_from(second.len()).unwrap());
    let total: i64 = ranks.iter().sum();
    let distance = |sum: i64| (sum * count - chosen * total).abs();
    let observed = distance(ranks[first.len()..].iter().sum());
    let (mut as_far, mut choices) = (0, 0);
    for choice in 0_u32..1 << all.len() {
        if choice.count_ones() as usize == second.len() {
            let sum =
                ranks.iter().enumerate().filter(|(index, _)| choice >> index & 1 == 1).map(|(_, rank)| rank);
            choices += 1;
            as_far += i32::from(distance(sum.sum()) >= observed);
        }
    }
    f64::from(as_far) / f64::from(choices)
}

fn few() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec((0_u8..5).prop_map(f64::from), 1..6)
}

proptest! {
    #[test]
    fn the_exact_distribution_is_that_of_all_choices(first in few(), second in few()) {
        let ranks = mann_whitney(&first, &second).unwrap();
        prop_assert!((ranks.p - brute_force(&first, &second)).abs() < 1e-9, "{:?}", ranks);
    }

    #[test]
    fn the_other_way_round_is_the_mirror_image(first in few(), second in few()) {
        let [one, other] = [mann_whitney(&first, &second).unwrap(), mann_whitney(&second, &first).unwrap()];
        prop_assert!((one.superiority + other.superiority - 1.0).abs() < 1e-9);
        prop_assert!((one.p - other.p).abs() < 1e-9);
    }

    #[test]
    fn the_order_plays_no_part(first in few(), second in few()) {
        let reversed = |values: &[f64]| values.iter().rev().copied().collect::<Vec<_>>();
        let [one, other] = [mann_whitney(&first, &second), mann_whitney(&reversed(&first), &reversed(&second))];
        let [one, other] = [one.unwrap(), other.unwrap()];
        prop_assert_eq!(one.u.to_bits(), other.u.to_bits());
        prop_assert!((one.p - other.p).abs() < 1e-9);
    }
}
