//! Whose turn it is.

/// One run of a bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// From 1.
    pub round: u32,
    /// Index of the arm.
    pub arm: usize,
}

/// Every arm once in each round, backwards in every other one (A B B A): a drift that is even over time
/// adds the same to every arm in each pair of rounds.
pub fn order(arms: usize, rounds: u32) -> impl Iterator<Item = Turn> {
    (1..=rounds).flat_map(move |round| {
        let backwards = round.is_multiple_of(2);
        (0..arms).map(move |place| Turn { round, arm: if backwards { arms - 1 - place } else { place } })
    })
}

#[cfg(test)]
mod tests {
    use super::order;

    #[test]
    fn every_other_round_goes_backwards() {
        let arms: Vec<usize> = order(3, 3).map(|turn| turn.arm).collect();
        assert_eq!(arms, [0, 1, 2, 2, 1, 0, 0, 1, 2]);
        let rounds: Vec<u32> = order(2, 2).map(|turn| turn.round).collect();
        assert_eq!(rounds, [1, 1, 2, 2]);
        assert_eq!(order(4, 0).count(), 0);
    }

    /// The mean place of each arm is the same, so an even drift is no arm's disadvantage.
    #[test]
    fn an_even_drift_cancels_out() {
        let places = |wanted: usize| -> usize {
            let turns = order(4, 6).enumerate().filter(|(_, turn)| turn.arm == wanted);
            turns.map(|(place, _)| place).sum()
        };
        assert!((1..4).all(|arm| places(arm) == places(0)));
    }
}
