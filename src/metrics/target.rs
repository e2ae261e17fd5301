//! Who others are taken for: the spread of errors over predicted classes.
//!
//! The target side of class-wise fairness goes back to the distinction of source- and target-class
//! unfairness in Balance Adversarial Training (AAAI 2023).

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::extremes::extremes;
use super::inequality::entropy_term;
use super::interval::wilson;
use super::spread::{Proportion, spread_intervals, trials_with};
use super::{ClassFigure, ClassRate, ConfusionMatrix, Figure, Rate};
use crate::Seed;

/// Columns of a matrix that are added up by one thread, so that it reads a part of each row.
const COLUMNS_AT_ONCE: usize = 128;

/// Figures of classes as the target of errors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetFigures {
    /// Number of errors of all classes.
    pub errors: u64,
    /// Share of all errors that end in each class; they sum to 1. All `None` when there is no error.
    pub shares: Vec<Option<Rate>>,
    /// The class with the largest share. `1 / K` would be everybody's part.
    pub largest_share: Option<ClassRate>,
    /// Largest share minus smallest.
    pub share_gap: Option<Figure>,
    /// Mean over the *other* classes with images of their rate of being taken for this class, in `[0, 1]`.
    /// Unlike the share it does not depend on how many images each class has, nor on the other targets.
    pub exposures: Vec<Option<Figure>>,
    /// The class with the largest exposure.
    pub largest_exposure: Option<ClassFigure>,
    /// The class with the smallest exposure.
    pub smallest_exposure: Option<ClassFigure>,
    /// Largest exposure minus smallest, in `[0, 1]`.
    pub exposure_gap: Option<Figure>,
    /// Entropy of the shares over `ln K`, in `[0, 1]`: 1 where errors are spread evenly over all classes,
    /// 0 where all end in one. `None` without errors or with one class.
    pub share_entropy: Option<Figure>,
}

/// The rates of the other classes into one class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColumnRates {
    /// Sum of the rates `C_ij` over the other classes with images.
    pub sum: f64,
    /// Sum of their variances, `C_ij (1 - C_ij) / n_i`.
    pub variance: f64,
}

impl TargetFigures {
    /// From counts. Intervals of spreads come from `draws` redrawn columns; with 0 there are none.
    pub fn of(counts: &ConfusionMatrix, seed: Seed, draws: u32) -> Self {
        let totals = counts.row_totals();
        let mut columns = vec![ColumnRates { sum: 0.0, variance: 0.0 }; counts.classes()];
        let mut errors_into = vec![0; counts.classes()];
        let strips = columns.par_chunks_mut(COLUMNS_AT_ONCE).zip(errors_into.par_chunks_mut(COLUMNS_AT_ONCE));
        strips.enumerate().for_each(|(strip, (columns, errors_into))| {
            add_columns(counts, strip * COLUMNS_AT_ONCE, columns, errors_into);
        });
        Self::of_columns(&errors_into, totals, &columns, seed, draws)
    }

    /// From the errors that end in each class, the images of each class and the rates into each class:
    /// what a sparse matrix can give. All three have one entry per class.
    pub fn of_columns(
        errors_into: &[u64],
        row_totals: &[u64],
        columns: &[ColumnRates],
        seed: Seed,
        draws: u32,
    ) -> Self {
        let errors = errors_into.iter().sum();
        let images: u64 = row_totals.iter().sum();
        let shares: Vec<Option<Rate>> = errors_into.iter().map(|&count| Rate::of(count, errors)).collect();
        let exposures = exposures(row_totals, columns);
        let by_share = extremes(shares.iter().map(|rate| Some(rate.as_ref()?.value)));
        let by_exposure = extremes(exposures.iter().map(|figure| Some(figure.as_ref()?.value)));
        let exposed = |class: usize| Some(ClassFigure { class, figure: exposures[class]? });
        let evenness = evenness(&shares.iter().flatten().map(|rate| rate.value).collect::<Vec<_>>());
        let mut found = Self {
            errors,
            largest_share: by_share
                .as_ref()
                .and_then(|found| Some(ClassRate { class: found.highest, rate: shares[found.highest]? })),
            share_gap: by_share.map(|found| Figure::new(found.gap, errors)),
            share_entropy: evenness.map(|value| Figure::new(value, errors)),
            largest_exposure: by_exposure.as_ref().and_then(|found| exposed(found.highest)),
            smallest_exposure: by_exposure.as_ref().and_then(|found| exposed(found.lowest)),
            exposure_gap: by_exposure.map(|found| Figure::new(found.gap, images)),
            shares,
            exposures,
        };
        if draws > 0 {
            found.add_share_intervals(errors_into, row_totals, seed.purpose("shares"), draws);
            found.add_exposure_intervals(columns, row_totals, seed.purpose("exposures"), draws);
        }
        found
    }

    fn add_share_intervals(&mut self, errors_into: &[u64], row_totals: &[u64], seed: Seed, draws: u32) {
        let images: u64 = row_totals.iter().sum();
        let proportions: Vec<Proportion> = errors_into
            .iter()
            .zip(row_totals)
            .filter(|(_, own)| images > **own)
            .map(|(&count, own)| {
                let trials = images - own;
                Proportion { share: count as f64 / trials as f64, trials }
            })
            .collect();
        if self.errors == 0 || proportions.len() < errors_into.len() {
            return;
        }
        let values = |rates: &[f64]| {
            let events = rates.iter().zip(&proportions).map(|(rate, of)| rate * of.trials as f64);
            let sum: f64 = events.clone().sum();
            let shares: Vec<f64> = events.map(|events| events / sum.max(f64::MIN_POSITIVE)).collect();
            let gap = extremes(shares.iter().copied().map(Some)).map_or(0.0, |found| found.gap);
            [gap, evenness(&shares).unwrap_or(1.0)]
        };
        let found = spread_intervals(&proportions, values, seed, draws);
        for (figure, (low, high)) in [&mut self.share_gap, &mut self.share_entropy].into_iter().zip(found) {
            if let Some(figure) = figure {
                figure.set_interval(low, high.min(1.0));
            }
        }
    }

    fn add_exposure_intervals(&mut self, columns: &[ColumnRates], totals: &[u64], seed: Seed, draws: u32) {
        let present = Present::of(totals);
        let proportion = |class: usize| {
            let (share, trials) = present.exposure(totals[class], columns[class])?;
            Some(Proportion { share, trials: (trials.round() as u64).max(1) })
        };
        let proportions: Vec<Proportion> = (0..columns.len()).filter_map(proportion).collect();
        if proportions.is_empty() {
            return;
        }
        let values =
            |shares: &[f64]| [extremes(shares.iter().copied().map(Some)).map_or(0.0, |found| found.gap)];
        let [(low, high)] = spread_intervals(&proportions, values, seed, draws);
        self.exposure_gap.iter_mut().for_each(|figure| figure.set_interval(low, high));
    }
}

/// Adds the errors into some neighbouring classes and their rates, row after row.
fn add_columns(counts: &ConfusionMatrix, first: usize, columns: &mut [ColumnRates], errors_into: &mut [u64]) {
    let strip = first..first + columns.len();
    for (label, &images) in counts.row_totals().iter().enumerate().filter(|(_, images)| **images > 0) {
        let (images, one) = (images as f64, 1.0 / images as f64);
        let cells = &counts.row(label)[strip.clone()];
        for (at, &errors) in
            cells.iter().enumerate().filter(|&(at, &errors)| errors > 0 && first + at != label)
        {
            let rate = errors as f64 / images;
            errors_into[at] += errors;
            columns[at].sum += rate;
            columns[at].variance += rate * (1.0 - rate) * one;
        }
    }
}

/// Entropy over its largest possible value; `None` where there are not two shares or nothing to share.
pub(super) fn evenness(shares: &[f64]) -> Option<f64> {
    let some = shares.iter().any(|&share| share > 0.0);
    (some && shares.len() > 1).then(|| {
        let entropy: f64 = shares.iter().map(|&share| -entropy_term(share)).sum();
        (entropy / (shares.len() as f64).ln()).clamp(0.0, 1.0)
    })
}

/// All classes with images.
struct Present {
    classes: usize,
    images: u64,
}

impl Present {
    fn of(totals: &[u64]) -> Self {
        Self { classes: totals.iter().filter(|&&images| images > 0).count(), images: totals.iter().sum() }
    }

    /// The mean rate of the classes other than one with `own` images, and the number of images that one
    /// proportion with the same variance would have; `None` where no other class has images.
    fn exposure(&self, own: u64, column: ColumnRates) -> Option<(f64, f64)> {
        let others = self.classes - usize::from(own > 0);
        let mean = column.sum / others as f64;
        let variance = column.variance / (others * others) as f64;
        let images = (self.images - own) as f64;
        (others > 0).then(|| (mean, trials_with(mean, variance, images)))
    }
}

/// The exposure of each class with its interval.
fn exposures(totals: &[u64], columns: &[ColumnRates]) -> Vec<Option<Figure>> {
    let present = Present::of(totals);
    let figure = |(column, &own): (&ColumnRates, &u64)| {
        let (mean, trials) = present.exposure(own, *column)?;
        let (low, high) = wilson(mean, trials);
        let mut figure = Figure::new(mean, present.images - own);
        figure.set_interval(low.min(mean), high.max(mean));
        Some(figure)
    };
    columns.iter().zip(totals).map(figure).collect()
}

/// Of the errors of each class, the part that ends in each other class: `C_ij / (1 - C_ii)`, row by row.
/// `None` on the diagonal and where a class has no errors. Each known row sums to 1.
pub fn conditional_targets(counts: &ConfusionMatrix) -> Vec<Option<f64>> {
    let row = |label: usize| {
        let errors = counts.row_total(label) - counts.count(label, label);
        counts.row(label).iter().enumerate().map(move |(class, &images)| {
            (errors > 0 && class != label).then(|| images as f64 / errors as f64)
        })
    };
    (0..counts.classes()).flat_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // import numpy as np
    // c = np.array([[8, 2, 0, 0], [1, 4, 0, 0], [0, 0, 0, 0], [3, 0, 1, 1]])
    // e = c - np.diag(c.diagonal()); print(e.sum(0) / e.sum())
    // n = c.sum(1); p = c[n > 0] / n[n > 0, None]; keep = np.flatnonzero(n > 0)
    // print([np.mean([p[r, j] for r in range(len(keep)) if keep[r] != j]) for j in range(4)])
    // [0.57142857 0.28571429 0.14285714 0.        ]  [0.4, 0.1, 0.06666666666666667, 0.0]
    #[test]
    fn shares_and_exposures() {
        let found = TargetFigures::of(
            &[[8, 2, 0, 0], [1, 4, 0, 0], [0, 0, 0, 0], [3, 0, 1, 1]].into(),
            Seed::new(0),
            0,
        );
        let shares = [4.0 / 7.0, 2.0 / 7.0, 1.0 / 7.0, 0.0];
        let exposures = [0.4, 0.1, 0.2 / 3.0, 0.0];
        for class in 0..4 {
            assert!((found.shares[class].unwrap().value - shares[class]).abs() < 1e-12);
            assert!((found.exposures[class].unwrap().value - exposures[class]).abs() < 1e-12);
        }
        assert_eq!((found.errors, found.largest_share.unwrap().class), (7, 0));
        assert!((found.share_gap.unwrap().value - 4.0 / 7.0).abs() < 1e-12);
        assert_eq!((found.largest_exposure.unwrap().class, found.exposures[0].unwrap().n), (0, 10));
        assert!((found.exposure_gap.unwrap().value - 0.4).abs() < 1e-12);
    }

    // e = c - np.diag(c.diagonal()); h = e.sum(0) / e.sum(); h = h[h > 0]
    // print(-(h * np.log(h)).sum() / np.log(4))
    // 0.6893917467430878
    #[test]
    fn entropy_and_conditional_targets() {
        let counts = ConfusionMatrix::from([[8, 2, 0, 0], [1, 4, 0, 0], [0, 0, 0, 0], [3, 0, 1, 1]]);
        let found = TargetFigures::of(&counts, Seed::new(0), 0);
        assert!((found.share_entropy.unwrap().value - 0.689_391_746_743_087_8).abs() < 1e-12);
        assert_eq!(found.smallest_exposure.unwrap().class, 3);
        let targets = conditional_targets(&counts);
        assert_eq!(targets[..4], [None, Some(1.0), Some(0.0), Some(0.0)]);
        assert_eq!(targets[8..12], [None; 4]);
        assert_eq!(targets[12..], [Some(0.75), Some(0.0), Some(0.25), None]);
    }

    #[test]
    fn without_errors_there_are_no_shares() {
        let found = TargetFigures::of(&[[3, 0], [0, 3]].into(), Seed::new(0), 9);
        assert_eq!((found.errors, found.shares, found.share_gap), (0, vec![None, None], None));
        assert!(found.exposures.iter().all(|figure| figure.unwrap().value == 0.0));
    }

    proptest! {
        #[test]
        fn shares_sum_to_one(rows in prop::array::uniform4(prop::array::uniform4(0_u64..9))) {
            let found = TargetFigures::of(&rows.into(), Seed::new(0), 0);
            let sum: f64 = found.shares.iter().flatten().map(|rate| rate.value).sum();
            prop_assert!(found.errors == 0 || (sum - 1.0).abs() < 1e-12);
        }
    }
}
