//! Who can be turned into whom: figures of targeted attacks.
//!
//! They differ from the confusions of an untargeted attack, which stops at the nearest wrong class and so
//! never asks for most pairs.

use serde::{Deserialize, Serialize};

use super::extremes::extremes;
use super::{ClassFigure, Figure, Rate, SuccessMatrix, SymmetryFigures};
use crate::Seed;

/// Figures of targeted attacks. Success is the target as prediction, nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetedFigures {
    /// Number of attacks.
    pub attacks: u64,
    /// Ordered pairs of classes with at least one attack.
    pub pairs_tried: usize,
    /// Ordered pairs of classes that there are, `K (K - 1)`.
    pub pairs_possible: usize,
    /// Share of attacks that succeeded.
    pub micro_success: Option<Rate>,
    /// Mean over the pairs that were tried of the pair's success: every pair weighs the same.
    pub macro_success: Option<Figure>,
    /// For each class as source: mean success over the targets that were tried from it.
    pub from_source: Vec<Option<Figure>>,
    /// The class that is turned into others most easily.
    pub worst_source: Option<ClassFigure>,
    /// Largest mean success as source minus smallest.
    pub source_gap: Option<Figure>,
    /// For each class as target: mean success over the sources from which it was tried.
    pub into_target: Vec<Option<Figure>>,
    /// The class that others are turned into most easily.
    pub worst_target: Option<ClassFigure>,
    /// Largest mean success as target minus smallest.
    pub target_gap: Option<Figure>,
    /// Whether `i` is turned into `j` as easily as `j` into `i`.
    pub symmetry: Option<SymmetryFigures>,
}

impl TargetedFigures {
    /// From counts. Noise floors come from `draws` redrawn matrices; with 0 there are none.
    pub fn of(counts: &SuccessMatrix, seed: Seed, draws: u32) -> Self {
        let classes = 0..counts.classes();
        let from_source: Vec<_> = classes
            .clone()
            .map(|source| mean_success(counts, classes.clone().map(|target| (source, target))))
            .collect();
        let into_target: Vec<_> = classes
            .clone()
            .map(|target| mean_success(counts, classes.clone().map(|source| (source, target))))
            .collect();
        let pairs = || classes.clone().flat_map(|i| classes.clone().map(move |j| (i, j)));
        let attacks = counts.total_attempts();
        let (worst_source, source_gap) = worst(&from_source, attacks);
        let (worst_target, target_gap) = worst(&into_target, attacks);
        Self {
            attacks,
            pairs_tried: pairs().filter(|&(i, j)| counts.attempts(i, j) > 0).count(),
            pairs_possible: counts.classes() * counts.classes().saturating_sub(1),
            micro_success: Rate::of(counts.total_successes(), attacks),
            macro_success: mean_success(counts, pairs()),
            from_source,
            worst_source,
            source_gap,
            into_target,
            worst_target,
            target_gap,
            symmetry: SymmetryFigures::of_success(counts, seed, draws),
        }
    }
}

/// Mean rate of the pairs among these that were tried.
fn mean_success(
    counts: &SuccessMatrix,
    pairs: impl Iterator<Item = (usize, usize)> + Clone,
) -> Option<Figure> {
    let attacks = pairs.clone().map(|(i, j)| counts.attempts(i, j)).sum();
    let tried: Vec<f64> = pairs.filter_map(|(i, j)| counts.rate(i, j)).collect();
    (!tried.is_empty()).then(|| Figure::new(tried.iter().sum::<f64>() / tried.len() as f64, attacks))
}

/// The class with the largest figure, and the spread of the figures.
fn worst(figures: &[Option<Figure>], attacks: u64) -> (Option<ClassFigure>, Option<Figure>) {
    let Some(found) = extremes(figures.iter().map(|figure| Some(figure.as_ref()?.value))) else {
        return (None, None);
    };
    let class = found.highest;
    (figures[class].map(|figure| ClassFigure { class, figure }), Some(Figure::new(found.gap, attacks)))
}

#[cfg(test)]
mod tests {
    use super::*;

    // import numpy as np
    // s = np.array([[0, 3, 1], [6, 0, 2], [5, 4, 0]]); n = np.full((3, 3), 10.); np.fill_diagonal(n, np.nan)
    // r = s / n; print(np.nanmean(r), np.nanmean(r, 1), np.nanmean(r, 0), np.nansum(s) / np.nansum(n))
    // 0.35 [0.2  0.4  0.45] [0.55 0.35 0.15] 0.35
    #[test]
    fn means_over_pairs() {
        let counts = SuccessMatrix::with_attempts(10, [[0, 3, 1], [6, 0, 2], [5, 4, 0]]);
        let found = TargetedFigures::of(&counts, Seed::new(0), 0);
        let values = |figures: &[Option<Figure>]| -> Vec<f64> {
            figures.iter().map(|figure| (figure.unwrap().value * 1e9).round() / 1e9).collect()
        };
        assert_eq!(values(&found.from_source), [0.2, 0.4, 0.45]);
        assert_eq!(values(&found.into_target), [0.55, 0.35, 0.15]);
        assert!((found.micro_success.unwrap().value - 0.35).abs() < 1e-12);
        assert!((found.macro_success.unwrap().value - 0.35).abs() < 1e-12);
        assert_eq!((found.worst_source.unwrap().class, found.worst_target.unwrap().class), (2, 0));
        assert!((found.target_gap.unwrap().value - 0.4).abs() < 1e-12);
        assert_eq!((found.attacks, found.pairs_tried, found.pairs_possible), (60, 6, 6));
        assert!((found.symmetry.unwrap().a1.value - 0.9).abs() < 1e-12);
    }

    #[test]
    fn pairs_weigh_the_same_and_untried_ones_nothing() {
        let mut counts = SuccessMatrix::new(3);
        counts.add(0, 1, true);
        (0..9).for_each(|_| counts.add(0, 2, false));
        let found = TargetedFigures::of(&counts, Seed::new(0), 0);
        assert!((found.micro_success.unwrap().value - 0.1).abs() < 1e-12);
        assert!((found.macro_success.unwrap().value - 0.5).abs() < 1e-12);
        assert_eq!((found.pairs_tried, found.from_source[1], found.symmetry), (2, None, None));
    }

    #[test]
    fn no_attack_is_no_figure() {
        let found = TargetedFigures::of(&SuccessMatrix::new(3), Seed::new(0), 10);
        assert_eq!((found.micro_success, found.macro_success, found.worst_target), (None, None, None));
    }
}
