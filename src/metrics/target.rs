//! Who others are taken for: the spread of errors over predicted classes.
//!
//! The target side of class-wise fairness goes back to the distinction of source- and target-class
//! unfairness in Balance Adversarial Training (AAAI 2023).

use serde::{Deserialize, Serialize};

use super::extremes::extremes;
use super::{ClassFigure, ClassRate, ConfusionMatrix, Figure, Rate, RateMatrix};

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
    /// Largest exposure minus smallest.
    pub exposure_gap: Option<Figure>,
}

impl TargetFigures {
    /// From counts.
    pub fn of(counts: &ConfusionMatrix) -> Self {
        let classes = counts.classes();
        let errors = counts.total() - counts.correct();
        let shares: Vec<Option<Rate>> =
            (0..classes).map(|class| Rate::of(counts.errors_into(class), errors)).collect();
        let exposures = exposures(counts);
        let by_share = extremes(shares.iter().map(|rate| Some(rate.as_ref()?.value)));
        let by_exposure = extremes(exposures.iter().map(|figure| Some(figure.as_ref()?.value)));
        Self {
            errors,
            largest_share: by_share
                .as_ref()
                .and_then(|found| Some(ClassRate { class: found.highest, rate: shares[found.highest]? })),
            share_gap: by_share.map(|found| Figure::new(found.gap, errors)),
            largest_exposure: by_exposure.as_ref().and_then(|found| {
                Some(ClassFigure { class: found.highest, figure: exposures[found.highest]? })
            }),
            exposure_gap: by_exposure.map(|found| Figure::new(found.gap, counts.total())),
            shares,
            exposures,
        }
    }
}

/// Mean over the other classes with images of the rate into each class, `None` where no other class has
/// images.
fn exposures(counts: &ConfusionMatrix) -> Vec<Option<Figure>> {
    let rates = RateMatrix::of_confusion(counts);
    let totals: Vec<u64> = (0..counts.classes()).map(|class| counts.row_total(class)).collect();
    (0..counts.classes())
        .map(|class| {
            let others = (0..counts.classes()).filter(|&other| other != class);
            let into: Vec<f64> = others.filter_map(|other| rates.rate(other, class)).collect();
            let images = counts.total() - totals[class];
            (!into.is_empty()).then(|| Figure::new(into.iter().sum::<f64>() / into.len() as f64, images))
        })
        .collect()
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
        let found = TargetFigures::of(&[[8, 2, 0, 0], [1, 4, 0, 0], [0, 0, 0, 0], [3, 0, 1, 1]].into());
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

    #[test]
    fn without_errors_there_are_no_shares() {
        let found = TargetFigures::of(&[[3, 0], [0, 3]].into());
        assert_eq!((found.errors, found.shares, found.share_gap), (0, vec![None, None], None));
        assert!(found.exposures.iter().all(|figure| figure.unwrap().value == 0.0));
    }

    proptest! {
        #[test]
        fn shares_sum_to_one(rows in prop::array::uniform4(prop::array::uniform4(0_u64..9))) {
            let found = TargetFigures::of(&rows.into());
            let sum: f64 = found.shares.iter().flatten().map(|rate| rate.value).sum();
            prop_assert!(found.errors == 0 || (sum - 1.0).abs() < 1e-12);
        }
    }
}
