//! Where a change of asymmetry came from.

use serde::{Deserialize, Serialize};

use super::RateMatrix;

/// The change of asymmetry from one matrix of rates to another, split by the side of the pair.
///
/// The difference of a pair shrinks when its larger rate falls, or when its smaller rate rises. The second
/// makes somebody worse off for the sake of the figure ("levelling down"), and the penalty of Sy-FAR
/// rewards it too: its derivative by the smaller rate is negative. The change of `A1` is
/// `larger - smaller`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Levelling {
    /// Number of pairs that both matrices know.
    pub pairs: usize,
    /// Sum over pairs of the change of the larger rate; negative is better.
    pub larger: f64,
    /// Sum over pairs of the change of the smaller rate; positive is levelling down.
    pub smaller: f64,
}

impl Levelling {
    /// From `before` to `after`, which have the same classes; `None` without a pair that both know.
    pub fn between(before: &RateMatrix, after: &RateMatrix) -> Option<Self> {
        let changes: Vec<(f64, f64)> = before
            .pairs()
            .filter_map(|old| {
                let (up, down) = (after.rate(old.low, old.high)?, after.rate(old.high, old.low)?);
                Some((up.max(down) - old.up.max(old.down), up.min(down) - old.up.min(old.down)))
            })
            .collect();
        (!changes.is_empty()).then(|| Self {
            pairs: changes.len(),
            larger: changes.iter().map(|change| change.0).sum(),
            smaller: changes.iter().map(|change| change.1).sum(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ConfusionMatrix;
    use crate::metrics::symmetry::Asymmetry;
    use proptest::prelude::*;

    #[test]
    fn falling_and_rising_are_told_apart() {
        let before = RateMatrix::of_confusion(&[[6, 4, 0], [0, 10, 0], [2, 0, 8]].into());
        let after = RateMatrix::of_confusion(&[[8, 1, 1], [0, 10, 0], [2, 0, 8]].into());
        let change = Levelling::between(&before, &after).unwrap();
        assert!((change.larger + 0.3).abs() < 1e-12 && (change.smaller - 0.1).abs() < 1e-12);
    }

    #[test]
    fn classes_absent_on_either_side_are_left_out() {
        let before = RateMatrix::of_confusion(&[[6, 4], [0, 10]].into());
        assert_eq!(Levelling::between(&before, &RateMatrix::of_confusion(&ConfusionMatrix::new(2))), None);
    }

    proptest! {
        #[test]
        fn the_parts_add_up(
            old in prop::array::uniform4(prop::array::uniform4(1_u64..9)),
            new in prop::array::uniform4(prop::array::uniform4(1_u64..9)),
        ) {
            let (old, new) = (RateMatrix::of_confusion(&old.into()), RateMatrix::of_confusion(&new.into()));
            let change = Levelling::between(&old, &new).unwrap();
            let a1 = |rates: &RateMatrix| Asymmetry::of(4, rates.pairs()).unwrap().a1;
            prop_assert!((change.larger - change.smaller - (a1(&new) - a1(&old))).abs() < 1e-12);
        }
    }
}
