//! A whole matrix of rates, for what goes over all of its pairs and keeps none of them.
//!
//! A list of the pairs of a thousand classes takes longer to write than their sums take to compute. So the
//! rates stay where they are, and the pairs are gone through square by square: of two squares that mirror
//! each other both fit into the fast memory, which a column does not.

use rayon::prelude::*;

use super::rates::Pair;
use super::symmetry::Asymmetry;
use super::{ConfusionMatrix, spectral};

/// Side of a square of cells: two of them take 16 kB.
const SIDE: usize = 32;

/// The rates of a confusion matrix off the diagonal, row by row.
pub(super) struct DenseRates {
    classes: usize,
    /// 0 on the diagonal, and from and into classes without images, which can't be compared.
    rates: Vec<f64>,
    /// The classes with images.
    present: Vec<usize>,
}

impl DenseRates {
    /// Errors over the images of the true class.
    pub fn of(counts: &ConfusionMatrix) -> Self {
        let classes = counts.classes();
        let totals = counts.row_totals();
        let mut rates = vec![0.0; classes * classes];
        rates.par_chunks_mut(classes.max(1)).enumerate().with_min_len(SIDE).for_each(|(label, rates)| {
            let images = totals[label] as f64;
            if totals[label] > 0 {
                let cells = rates.iter_mut().zip(counts.row(label));
                cells.for_each(|(rate, &errors)| *rate = errors as f64 / images);
                rates[label] = 0.0;
            }
        });
        let (present, absent): (Vec<usize>, Vec<usize>) = (0..classes).partition(|&class| totals[class] > 0);
        for row in rates.chunks_mut(classes.max(1)).filter(|_| !absent.is_empty()) {
            for &class in &absent {
                row[class] = 0.0;
            }
        }
        Self { classes, rates, present }
    }

    /// Number of pairs of classes with images.
    pub fn pairs(&self) -> usize {
        self.present.len() * self.present.len().saturating_sub(1) / 2
    }

    /// The largest singular value.
    pub fn spectral_norm(&self) -> f64 {
        spectral::of_rows(self.classes, &self.rates)
    }

    /// Over all pairs; `None` when there is none. Always in the same parts, so threads do not change a
    /// digit.
    pub fn asymmetry(&self) -> Option<Asymmetry> {
        let first = self.pair(*self.present.first()?, *self.present.get(1)?);
        let band = |band: usize| {
            let mut sum = Asymmetry::none(self.classes, first);
            for columns in (band * SIDE..self.classes).step_by(SIDE) {
                let columns = columns..(columns + SIDE).min(self.classes);
                for low in band * SIDE..((band + 1) * SIDE).min(columns.end) {
                    for high in columns.start.max(low + 1)..columns.end {
                        sum.add(self.pair(low, high));
                    }
                }
            }
            sum
        };
        let bands: Vec<Asymmetry> = (0..self.classes.div_ceil(SIDE)).into_par_iter().map(band).collect();
        bands.into_iter().reduce(|sum, band| sum.and(&band))
    }

    fn pair(&self, low: usize, high: usize) -> Pair {
        let rate = |from: usize, to: usize| self.rates[from * self.classes + to];
        Pair { low, high, up: rate(low, high), down: rate(high, low) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::RateMatrix;
    use proptest::prelude::*;

    /// More classes than a square has, some of them without images.
    fn counts() -> impl Strategy<Value = ConfusionMatrix> {
        (2_usize..70, 0_usize..6).prop_flat_map(|(classes, absent)| {
            let cells = prop::collection::vec(0_u64..4, classes * classes);
            cells.prop_map(move |mut cells| {
                for class in (0..absent).map(|at| at * 7).filter(|class| *class < classes) {
                    cells[class * classes..][..classes].fill(0);
                }
                ConfusionMatrix::from_counts(classes, cells).expect("a square")
            })
        })
    }

    proptest! {
        #[test]
        fn it_is_what_the_list_of_pairs_gives(counts in counts()) {
            let (dense, rates) = (DenseRates::of(&counts), RateMatrix::of_confusion(&counts));
            prop_assert_eq!(dense.pairs(), rates.pairs().count());
            let (found, listed) = (dense.asymmetry(), Asymmetry::of(counts.classes(), rates.pairs()));
            prop_assert_eq!(found.is_some(), listed.is_some());
            if let (Some(found), Some(listed)) = (found, listed) {
                prop_assert_eq!(found.largest, listed.largest);
                let sums = |of: &Asymmetry| [of.a1, of.penalty_training, of.penalty_evaluation, of.log_penalty];
                for (found, listed) in sums(&found).into_iter().zip(sums(&listed)) {
                    prop_assert!((found - listed).abs() < 1e-12 * listed.max(1.0), "{} {}", found, listed);
                }
                prop_assert_eq!(found.normalised().is_some(), listed.normalised().is_some());
                let norm = spectral::of_pairs(counts.classes(), rates.pairs());
                prop_assert!((dense.spectral_norm() - norm).abs() < 1e-12 * norm.max(1.0));
            }
        }
    }

    #[test]
    fn of_equal_gaps_the_first_pair_counts() {
        // The pairs (0, 40) and (1, 2) have the same gap; the squares are gone through in another order.
        let mut counts = ConfusionMatrix::new(50);
        (0..50).for_each(|class| counts.add_images(class, class, 3));
        counts.add(0, 40);
        counts.add(2, 1);
        let largest = DenseRates::of(&counts).asymmetry().expect("pairs").largest;
        assert_eq!((largest.low, largest.high, largest.up), (0, 40, 0.25));
    }
}
