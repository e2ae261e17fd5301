//! Counts of pairs of classes: all that symmetry needs of a matrix, dense or sparse.

use rayon::prelude::*;

use super::rates::Pair;
use super::{ConfusionMatrix, SuccessMatrix};

/// An unordered pair of classes, `low < high`, with what was counted in both directions. At index 0 from
/// `low` to `high`, at index 1 from `high` to `low`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairCounts {
    /// The class with the smaller index.
    pub low: usize,
    /// The class with the larger index.
    pub high: usize,
    /// Images of the true class, or targeted attacks made. At least 1 each.
    pub trials: [u64; 2],
    /// How many of them ended in the other class.
    pub events: [u64; 2],
}

impl PairCounts {
    /// The two rates.
    pub(super) fn rates(self) -> Pair {
        let [up, down] = [0, 1].map(|side| self.events[side] as f64 / self.trials[side] as f64);
        Pair { low: self.low, high: self.high, up, down }
    }

    /// Whether something was counted in either direction.
    pub(super) fn has_events(self) -> bool {
        self.events != [0, 0]
    }
}

/// The pairs that can be compared, each with its trials in both directions.
pub(super) struct Compared {
    /// Number of pairs with trials in both directions.
    pub number: usize,
    /// Those with an event; if there is none, the first.
    pub pairs: Vec<PairCounts>,
    /// Those without an event that are not in `pairs`, or nothing where there are too many.
    empty: Vec<PairCounts>,
}

/// So many pairs without an event are kept one by one at most; that is all of them for a hundred classes.
const MOST_EMPTY: usize = 5_000;

/// Rows of a matrix whose pairs are gathered together.
const ROWS_AT_ONCE: usize = 16;

impl Compared {
    /// Of errors: the trials of a direction are the images of its true class.
    pub fn of_confusion(counts: &ConfusionMatrix) -> Self {
        let totals = counts.row_totals();
        Self::of(counts.classes(), |i, j| (totals[i], counts.count(i, j)))
    }

    /// Of targeted attacks.
    pub fn of_success(counts: &SuccessMatrix) -> Self {
        Self::of(counts.classes(), |i, j| (counts.attempts(i, j), counts.successes(i, j)))
    }

    /// The pairs that chance may touch: all, or, where more than 5,000 are without an event, those with one.
    pub fn for_redrawing(&self) -> Vec<PairCounts> {
        [self.pairs.as_slice(), &self.empty].concat()
    }

    /// Of trials and events from one class to another.
    fn of(classes: usize, cell: impl Fn(usize, usize) -> (u64, u64) + Sync) -> Self {
        let counted = |low: usize, high: usize| {
            let ((n, there), (m, back)) = (cell(low, high), cell(high, low));
            PairCounts { low, high, trials: [n, m], events: [there, back] }
        };
        let pair = |low: usize, high: usize| {
            Some(counted(low, high)).filter(|pair| pair.trials[0] > 0 && pair.trials[1] > 0)
        };
        // A column of the matrix is far apart in memory, so some rows go over the same columns together.
        let of_rows = |first: usize| {
            let rows = first..(first + ROWS_AT_ONCE).min(classes);
            let (mut number, mut found) = (0, vec![Vec::new(); rows.len()]);
            for high in first + 1..classes {
                for pair in rows.clone().take_while(|&low| low < high).filter_map(|low| pair(low, high)) {
                    number += 1;
                    if pair.has_events() {
                        found[pair.low - first].push((pair.low as u32, high as u32));
                    }
                }
            }
            (number, found.concat())
        };
        let starts = (0..classes.div_ceil(ROWS_AT_ONCE)).into_par_iter().map(|at| at * ROWS_AT_ONCE);
        let (numbers, found): (Vec<usize>, Vec<Vec<(u32, u32)>>) = starts.map(of_rows).unzip();
        let number = numbers.into_iter().sum::<usize>();
        // The counts themselves are written once, to their place.
        let mut pairs: Vec<PairCounts> =
            found.concat().par_iter().map(|&(low, high)| counted(low as usize, high as usize)).collect();
        let ordered = (0..classes).flat_map(|low| (low + 1..classes).map(move |high| (low, high)));
        let mut without = ordered.filter_map(|(low, high)| pair(low, high)).filter(|pair| !pair.has_events());
        let all_without = number - pairs.len();
        if pairs.is_empty() {
            pairs.extend(without.next());
        }
        let empty = if (1..=MOST_EMPTY).contains(&all_without) { without.collect() } else { Vec::new() };
        Self { number, pairs, empty }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_without_trials_are_not_compared_and_those_without_events_not_kept() {
        let found = Compared::of_confusion(&[[1, 0, 3, 0], [0, 4, 0, 0], [0, 0, 2, 0], [0; 4]].into());
        let only = PairCounts { low: 0, high: 2, trials: [4, 2], events: [3, 0] };
        assert_eq!((found.number, found.pairs), (3, vec![only]));
        let found = Compared::of_confusion(&[[1, 0], [0, 2]].into());
        assert_eq!((found.number, found.pairs.len(), found.pairs[0].events), (1, 1, [0, 0]));
        assert!(Compared::of_confusion(&ConfusionMatrix::new(3)).pairs.is_empty());
    }
}
