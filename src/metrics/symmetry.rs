//! Whether `i` is taken for `j` as often as `j` for `i`.
//!
//! Symmetry (Najjar, Ronen and Sharif, "Sy-FAR", arXiv 2509.12939) asks of a matrix of rates `C` that
//! `C_ij = C_ji`. Two cautions belong to every figure here. A classifier that guesses is perfectly
//! symmetric, so asymmetry says something only next to accuracy. And with few images per class chance
//! alone makes rates differ (0.18 for the largest gap with ten classes of 20 images, half of them wrong),
//! so the figures carry the value that chance would give.

use serde::{Deserialize, Serialize};

use super::noise::{Chance, Floors};
use super::rates::Pair;
use super::{ConfusionMatrix, Figure, RateMatrix, SuccessMatrix};
use crate::Seed;

/// The constant in the Sy-FAR penalty with which the method trains.
const TRAINING_EPSILON: f64 = 0.1;

/// Figures of pairwise symmetry, over all pairs of classes with both directions known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SymmetryFigures {
    /// Number of unordered pairs compared.
    pub pairs: usize,
    /// `A1`, the sum over pairs of `|C_ij - C_ji|`, from 0 to the sum of all error rates. It grows with
    /// the number of classes and falls with the number of errors.
    pub a1: Figure,
    /// `A1` divided by the sum over pairs of `C_ij + C_ji`, in `[0, 1]`: the part of all errors that has
    /// no counterpart. `None` without any error.
    pub a1_normalised: Option<Figure>,
    /// The pair with the largest difference.
    pub largest_gap: PairGap,
    /// The penalty of Sy-FAR with the constant of its training, 0.1.
    pub penalty_training: f64,
    /// The penalty of Sy-FAR with the constant of its published evaluation, `1 / K`.
    pub penalty_evaluation: f64,
}

/// Two classes whose rates differ, in the order in which the rate is higher.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairGap {
    /// Index of the class that is more often taken for `to` than the other way round.
    pub from: usize,
    /// Index of the other class.
    pub to: usize,
    /// Rate from `from` to `to`.
    pub forward: f64,
    /// Rate from `to` to `from`.
    pub backward: f64,
    /// `forward - backward`, in `[0, 1]`.
    pub gap: Figure,
}

impl SymmetryFigures {
    /// Of errors. `None` when no two classes have images. Noise floors come from `draws` redrawn
    /// matrices; with 0 there are none.
    pub fn of_confusion(counts: &ConfusionMatrix, seed: Seed, draws: u32) -> Option<Self> {
        let rates = RateMatrix::of_confusion(counts);
        let found = Asymmetry::of(&rates)?;
        let floors = Floors::of(&found, &Chance::of_confusion(counts), seed, draws);
        Some(Self::assemble(&rates, &found, &floors, counts.total()))
    }

    /// Of targeted attacks. `None` when no pair was attacked in both directions.
    pub fn of_success(counts: &SuccessMatrix, seed: Seed, draws: u32) -> Option<Self> {
        let rates = RateMatrix::of_success(counts);
        let found = Asymmetry::of(&rates)?;
        let floors = Floors::of(&found, &Chance::of_success(counts), seed, draws);
        let attempts =
            |pair: Pair| counts.attempts(pair.low, pair.high) + counts.attempts(pair.high, pair.low);
        let compared = rates.pairs().map(attempts).sum();
        Some(Self::assemble(&rates, &found, &floors, compared))
    }

    fn assemble(rates: &RateMatrix, found: &Asymmetry, floors: &Floors, n: u64) -> Self {
        let Pair { low, high, up, down } = found.largest;
        let (from, to, forward, backward) =
            if up >= down { (low, high, up, down) } else { (high, low, down, up) };
        Self {
            pairs: found.pairs,
            a1: Figure { noise: floors.a1, ..Figure::new(found.a1, n) },
            a1_normalised: found
                .normalised()
                .map(|value| Figure { noise: floors.a1_normalised, ..Figure::new(value, n) }),
            largest_gap: PairGap {
                from,
                to,
                forward,
                backward,
                gap: Figure { noise: floors.largest_gap, ..Figure::new(forward - backward, n) },
            },
            penalty_training: penalty(rates, TRAINING_EPSILON),
            penalty_evaluation: penalty(rates, 1.0 / rates.classes() as f64),
        }
    }
}

/// What is asymmetric in one matrix of rates.
pub(super) struct Asymmetry {
    pairs: usize,
    /// Sum over pairs of `|a - b|`.
    pub a1: f64,
    /// Sum over pairs of `a + b`.
    mass: f64,
    largest: Pair,
}

impl Asymmetry {
    /// `None` when there is no pair.
    pub fn of(rates: &RateMatrix) -> Option<Self> {
        let mut pairs = rates.pairs();
        let start = |pair: Pair| Self { pairs: 1, a1: pair.gap(), mass: pair.up + pair.down, largest: pair };
        let first = start(pairs.next()?);
        Some(pairs.fold(first, |sum, pair| Self {
            pairs: sum.pairs + 1,
            a1: sum.a1 + pair.gap(),
            mass: sum.mass + pair.up + pair.down,
            largest: if pair.gap() > sum.largest.gap() { pair } else { sum.largest },
        }))
    }

    /// `A1` over the mass, at most 1; `None` without mass.
    pub fn normalised(&self) -> Option<f64> {
        (self.mass > 0.0).then(|| (self.a1 / self.mass).min(1.0))
    }

    /// The largest difference of a pair.
    pub fn largest_gap(&self) -> f64 {
        self.largest.gap()
    }
}

/// The penalty of Sy-FAR, the sum over pairs of `|a - b| / (a + b + epsilon) * (a + b)` with `a = C_ij`
/// and `b = C_ji`. Pairs whose rates are both far below `epsilon` hardly count.
pub fn penalty(rates: &RateMatrix, epsilon: f64) -> f64 {
    rates
        .pairs()
        .map(|pair| {
            let mass = pair.up + pair.down;
            pair.gap() / (mass + epsilon) * mass
        })
        .sum()
}

#[cfg(test)]
mod tests;
