//! Rates between classes, from whichever counts they come.

use super::{ConfusionMatrix, SuccessMatrix};

/// How often class `i` ends in class `j`: a `K x K` matrix of rates in `[0, 1]`, with gaps where nothing
/// was counted. Symmetry and flow are computed on it, whether errors or targeted attacks were counted.
#[derive(Clone, Debug, PartialEq)]
pub struct RateMatrix {
    classes: usize,
    rates: Vec<Option<f64>>,
}

/// An unordered pair of classes, `low < high`, whose rates are known in both directions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pair {
    pub low: usize,
    pub high: usize,
    /// Rate from `low` to `high`.
    pub up: f64,
    /// Rate from `high` to `low`.
    pub down: f64,
}

impl Pair {
    /// How much the two rates differ.
    pub fn gap(self) -> f64 {
        (self.up - self.down).abs()
    }
}

impl RateMatrix {
    /// A matrix from its cells.
    fn from_fn(classes: usize, rate: impl Fn(usize, usize) -> Option<f64>) -> Self {
        let cells = (0..classes).flat_map(|i| (0..classes).map(move |j| (i, j)));
        Self { classes, rates: cells.map(|(i, j)| rate(i, j)).collect() }
    }

    /// From rates without counts, row by row; `None` unless there are `K * K` of them, each in `[0, 1]`.
    pub fn from_rates(classes: usize, rates: Vec<Option<f64>>) -> Option<Self> {
        let valid = rates.iter().flatten().all(|rate| (0.0..=1.0).contains(rate));
        (valid && classes.checked_mul(classes) == Some(rates.len())).then_some(Self { classes, rates })
    }

    /// Each row of the counts divided by its total. The row of a class without images is absent.
    pub fn of_confusion(counts: &ConfusionMatrix) -> Self {
        let totals: Vec<u64> = (0..counts.classes()).map(|class| counts.row_total(class)).collect();
        Self::from_fn(counts.classes(), |label, prediction| {
            (totals[label] > 0).then(|| counts.count(label, prediction) as f64 / totals[label] as f64)
        })
    }

    /// Success rate of each ordered pair that was attacked.
    pub fn of_success(counts: &SuccessMatrix) -> Self {
        Self::from_fn(counts.classes(), |source, target| counts.rate(source, target))
    }

    /// Number of classes `K`.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The rate from one class to another, where it is known.
    pub fn rate(&self, from: usize, to: usize) -> Option<f64> {
        self.rates[from * self.classes + to]
    }

    /// The pairs with both directions known, in order. A pair with an absent class says nothing about
    /// symmetry, so it is left out and not taken as 0.
    pub(super) fn pairs(&self) -> impl Iterator<Item = Pair> + Clone + '_ {
        (0..self.classes).flat_map(move |low| {
            (low + 1..self.classes).filter_map(move |high| {
                Some(Pair { low, high, up: self.rate(low, high)?, down: self.rate(high, low)? })
            })
        })
    }

    /// Mean over the classes of `from` of the summed rates into the *other* classes of `to`: what a class of
    /// `from` loses to `to`. `None` when no class of `from` has a known rate into one of `to`.
    ///
    /// Symmetry between classes carries over to this normalisation only for sets of equal size: a small set
    /// gets more from a large one than it gives, per class.
    pub fn flow_per_source(&self, from: &[usize], to: &[usize]) -> Option<f64> {
        let lost: Vec<f64> = from
            .iter()
            .filter_map(|&i| {
                let rates = to.iter().filter(|&&j| j != i).filter_map(|&j| self.rate(i, j));
                rates.fold(None, |sum, rate| Some(sum.unwrap_or(0.0) + rate))
            })
            .collect();
        (!lost.is_empty()).then(|| lost.iter().sum::<f64>() / lost.len() as f64)
    }

    /// Mean rate over the ordered pairs of two different classes, the first in `from`, the second in `to`;
    /// `None` without such a pair. Sets may overlap.
    ///
    /// Only pairs with both directions known count. The mean is over pairs and not per source class:
    /// under this normalisation, and in general not under the other, symmetry between classes carries over
    /// to any two sets. If `|C_ij - C_ji| <= e` for all pairs, the flows of two sets in the two directions
    /// differ by at most `e`, because their difference is the mean of `C_ij - C_ji` over the same pairs.
    pub fn flow(&self, from: &[usize], to: &[usize]) -> Option<f64> {
        let (mut sum, mut pairs) = (0.0, 0_u32);
        for (i, j) in from.iter().flat_map(|&i| to.iter().map(move |&j| (i, j))).filter(|(i, j)| i != j) {
            if let (Some(rate), Some(_)) = (self.rate(i, j), self.rate(j, i)) {
                sum += rate;
                pairs += 1;
            }
        }
        (pairs > 0).then(|| sum / f64::from(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_of_an_absent_class_is_absent() {
        let rates = RateMatrix::of_confusion(&[[3, 1, 0], [0, 0, 0], [1, 1, 2]].into());
        assert_eq!(rates.rate(0, 1), Some(0.25));
        assert_eq!(rates.rate(1, 0), None);
        let pairs: Vec<Pair> = rates.pairs().collect();
        assert_eq!(pairs, [Pair { low: 0, high: 2, up: 0.0, down: 0.25 }]);
    }

    #[test]
    fn rates_from_elsewhere_are_checked() {
        assert!(RateMatrix::from_rates(2, vec![Some(1.0), Some(0.0), None, None]).is_some());
        assert_eq!(RateMatrix::from_rates(2, vec![None; 3]), None);
        for wrong in [f64::NAN, -0.1, 1.1, f64::INFINITY] {
            assert_eq!(RateMatrix::from_rates(1, vec![Some(wrong)]), None);
        }
    }

    #[test]
    fn flow_leaves_out_pairs_with_an_unknown_direction() {
        let rates = RateMatrix::of_confusion(&[[3, 1, 0], [0, 0, 0], [1, 1, 2]].into());
        assert_eq!(rates.flow(&[0], &[1, 2]), Some(0.0));
        assert_eq!(rates.flow(&[2], &[0, 1]), Some(0.25));
        assert_eq!(rates.flow(&[0], &[1]), None);
        assert_eq!(rates.flow(&[0], &[0]), None);
    }
}
