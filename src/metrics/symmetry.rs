//! Whether `i` is taken for `j` as often as `j` for `i`.
//!
//! Symmetry (Najjar, Ronen and Sharif, "Sy-FAR", arXiv 2509.12939) asks of a matrix of rates `C` that
//! `C_ij = C_ji`. Two cautions belong to every figure here. A classifier that guesses is perfectly
//! symmetric, so asymmetry says something only next to accuracy. And with few images per class chance
//! alone makes rates differ (0.18 for the largest gap with ten classes of 20 images, half of them wrong),
//! so the figures carry the value that chance would give.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::dense::DenseRates;
use super::noise::{Chance, Floors};
use super::pair_bootstrap::PairBootstrap;
use super::pairs::{Compared, PairCounts};
use super::rates::Pair;
use super::{ConfusionMatrix, Figure, RateMatrix, SuccessMatrix, spectral};
use crate::Seed;

/// Pairs that are added up by one thread.
const PAIRS_AT_ONCE: usize = 8192;

/// The constant in the Sy-FAR penalty with which the method trains.
const TRAINING_EPSILON: f64 = 0.1;

/// Pairs with less mass than this have no part in the log-space variant of the penalty.
const LOG_MASS: f64 = 0.05;

/// Offset inside the logarithms of that variant.
const LOG_OFFSET: f64 = 1e-6;

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
    /// The penalty of Sy-FAR with the constant of its training, 0.1. In `[0, A1]`.
    pub penalty_training: Figure,
    /// The penalty of Sy-FAR with the constant of its published evaluation, `1 / K`. In `[0, A1]`.
    pub penalty_evaluation: Figure,
    /// The "improved" penalty of the published evaluation, see [`log_penalty`].
    pub log_penalty: Figure,
    /// `||C - C^T|| / ||C + C^T||` in the Frobenius norm without the diagonal, in `[0, 1]`. Large
    /// confusions weigh more than in `A1`. `None` without any error.
    pub frobenius_ratio: Option<Figure>,
    /// Largest singular value of the off-diagonal part, in `[0, K - 1]`: how large and how concentrated
    /// errors are. It is no measure of symmetry, and 0 only without errors.
    pub spectral_norm: Figure,
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
    /// Of errors. `None` when no two classes have images. Noise floors and intervals come from `draws`
    /// redrawn matrices each; with 0 there are none.
    pub fn of_confusion(counts: &ConfusionMatrix, seed: Seed, draws: u32) -> Option<Self> {
        let rates = DenseRates::of(counts);
        let found = rates.asymmetry()?;
        let mut found = Self::of_asymmetry(&found, rates.spectral_norm(), rates.pairs(), counts.total());
        if draws > 0 {
            let compared = Compared::of_confusion(counts);
            found.add_floors(&compared.pairs, seed, draws);
            found.add_intervals(counts.classes(), &compared.for_redrawing(), seed, draws);
        }
        Some(found)
    }

    /// Of targeted attacks. `None` when no pair was attacked in both directions. Noise floors only: for
    /// intervals one has to know which attacks were made on the same image, see
    /// [`super::TargetedFigures::of_images`].
    pub fn of_success(counts: &SuccessMatrix, seed: Seed, draws: u32) -> Option<Self> {
        let compared = Compared::of_success(counts);
        let attempts =
            |pair: &(usize, usize)| counts.attempts(pair.0, pair.1) + counts.attempts(pair.1, pair.0);
        let ordered = (0..counts.classes()).flat_map(|i| (i + 1..counts.classes()).map(move |j| (i, j)));
        let both = |&(i, j): &(usize, usize)| counts.attempts(i, j) > 0 && counts.attempts(j, i) > 0;
        let attacks = ordered.filter(both).map(|pair| attempts(&pair)).sum();
        let mut found = Self::point(counts.classes(), compared.number, &compared.pairs, attacks)?;
        if draws > 0 {
            found.add_floors(&compared.pairs, seed, draws);
        }
        Some(found)
    }

    /// Of errors, from the pairs that have any, in any order: what a sparse matrix can give. `compared` is
    /// the number of pairs with images of both classes and `n` the number of images. `None` without a
    /// pair; where no pair has an event, one without stands for all.
    pub fn of_pairs(
        classes: usize,
        compared: usize,
        pairs: &[PairCounts],
        n: u64,
        seed: Seed,
        draws: u32,
    ) -> Option<Self> {
        let mut found = Self::point(classes, compared, pairs, n)?;
        if draws > 0 {
            found.add_floors(pairs, seed, draws);
            found.add_intervals(classes, pairs, seed, draws);
        }
        Some(found)
    }

    fn add_intervals(&mut self, classes: usize, pairs: &[PairCounts], seed: Seed, draws: u32) {
        PairBootstrap::of(classes, pairs, self.pairs).fill(self, seed.purpose("interval"), draws);
    }

    /// The figures alone, from the pairs that have events.
    pub(super) fn point(classes: usize, compared: usize, pairs: &[PairCounts], n: u64) -> Option<Self> {
        let rates: Vec<Pair> = pairs.par_iter().map(|pair| pair.rates()).collect();
        let found = Asymmetry::of_many(classes, &rates)?;
        let spectral_norm = spectral::of_pairs(classes, rates.iter().copied());
        Some(Self::of_asymmetry(&found, spectral_norm, compared, n))
    }

    fn of_asymmetry(found: &Asymmetry, spectral_norm: f64, pairs: usize, n: u64) -> Self {
        let Pair { low, high, up, down } = found.largest;
        let (from, to, forward, backward) =
            if up >= down { (low, high, up, down) } else { (high, low, down, up) };
        let figure = |value: f64| Figure::new(value, n);
        Self {
            pairs,
            a1: figure(found.a1),
            a1_normalised: found.normalised().map(figure),
            largest_gap: PairGap { from, to, forward, backward, gap: figure(forward - backward) },
            penalty_training: figure(found.penalty_training),
            penalty_evaluation: figure(found.penalty_evaluation),
            log_penalty: figure(found.log_penalty),
            frobenius_ratio: found.frobenius_ratio().map(figure),
            spectral_norm: figure(spectral_norm),
        }
    }

    pub(super) fn add_floors(&mut self, pairs: &[PairCounts], seed: Seed, draws: u32) {
        let observed = [
            self.a1.value,
            self.a1_normalised.map_or(0.0, |figure| figure.value),
            self.largest_gap.gap.value,
        ];
        let [a1, normalised, gap] = Floors::of(observed, &Chance::of(pairs), seed, draws);
        self.a1.noise = a1;
        self.a1_normalised.iter_mut().for_each(|figure| figure.noise = normalised);
        self.largest_gap.gap.noise = gap;
    }
}

/// What is asymmetric in one matrix of rates.
pub(super) struct Asymmetry {
    /// Sum over pairs of `|a - b|`.
    pub a1: f64,
    /// Sum over pairs of `a + b`.
    mass: f64,
    /// Of equal gaps that of the first pair.
    pub largest: Pair,
    /// The constant of the published evaluation, `1 / K`.
    evaluation_epsilon: f64,
    pub penalty_training: f64,
    pub penalty_evaluation: f64,
    pub log_penalty: f64,
    /// Sums over pairs of `(a - b)^2` and `(a + b)^2`.
    squares: [f64; 2],
}

impl Asymmetry {
    /// Of many pairs. Always in the same parts, so threads do not change a digit.
    fn of_many(classes: usize, pairs: &[Pair]) -> Option<Self> {
        let part = |part: &[Pair]| Self::of(classes, part.iter().copied());
        let parts: Vec<Option<Self>> = pairs.par_chunks(PAIRS_AT_ONCE).map(part).collect();
        parts.into_iter().flatten().reduce(|sum, part| sum.and(&part))
    }

    /// Of two sets of pairs.
    pub fn and(self, other: &Self) -> Self {
        Self {
            a1: self.a1 + other.a1,
            mass: self.mass + other.mass,
            largest: larger(self.largest, other.largest),
            evaluation_epsilon: self.evaluation_epsilon,
            penalty_training: self.penalty_training + other.penalty_training,
            penalty_evaluation: self.penalty_evaluation + other.penalty_evaluation,
            log_penalty: self.log_penalty + other.log_penalty,
            squares: [0, 1].map(|at| self.squares[at] + other.squares[at]),
        }
    }

    /// `None` when there is no pair.
    pub fn of(classes: usize, pairs: impl Iterator<Item = Pair> + Clone) -> Option<Self> {
        let mut sum = Self::none(classes, pairs.clone().next()?);
        pairs.for_each(|pair| sum.add(pair));
        Some(sum)
    }

    /// No pair yet; the `first` one stands for all if none has an event, and is not added.
    pub fn none(classes: usize, first: Pair) -> Self {
        Self {
            a1: 0.0,
            mass: 0.0,
            largest: first,
            evaluation_epsilon: 1.0 / classes as f64,
            penalty_training: 0.0,
            penalty_evaluation: 0.0,
            log_penalty: 0.0,
            squares: [0.0; 2],
        }
    }

    /// One more pair.
    pub fn add(&mut self, pair: Pair) {
        let (gap, mass) = (pair.gap(), pair.up + pair.down);
        // Most pairs of most matrices have no event.
        if mass <= 0.0 {
            return;
        }
        self.a1 += gap;
        self.mass += mass;
        self.penalty_training += pair_penalty(pair, TRAINING_EPSILON);
        self.penalty_evaluation += pair_penalty(pair, self.evaluation_epsilon);
        self.log_penalty += pair_log_penalty(pair);
        self.squares[0] += gap * gap;
        self.squares[1] += mass * mass;
        self.largest = larger(self.largest, pair);
    }

    /// `A1` over the mass, at most 1; `None` without mass.
    pub fn normalised(&self) -> Option<f64> {
        (self.mass > 0.0).then(|| (self.a1 / self.mass).min(1.0))
    }

    /// `None` without mass.
    pub fn frobenius_ratio(&self) -> Option<f64> {
        (self.mass > 0.0).then(|| (self.squares[0] / self.squares[1]).sqrt().min(1.0))
    }

    /// The largest difference of a pair.
    pub fn largest_gap(&self) -> f64 {
        self.largest.gap()
    }
}

/// The pair with the larger gap; of equal gaps the first pair, in whichever order they come.
fn larger(one: Pair, other: Pair) -> Pair {
    let key = |pair: Pair| (pair.low, pair.high);
    let (gap, than) = (other.gap(), one.gap());
    if gap > than || (gap >= than && key(other) < key(one)) { other } else { one }
}

/// The penalty of Sy-FAR, the sum over pairs of `|a - b| / (a + b + epsilon) * (a + b)` with `a = C_ij`
/// and `b = C_ji`. Pairs whose rates are both far below `epsilon` hardly count.
pub fn penalty(rates: &RateMatrix, epsilon: f64) -> f64 {
    rates.pairs().map(|pair| pair_penalty(pair, epsilon)).sum()
}

fn pair_penalty(pair: Pair, epsilon: f64) -> f64 {
    let mass = pair.up + pair.down;
    pair.gap() / (mass + epsilon) * mass
}

/// The "improved" penalty of the published evaluation of Sy-FAR: the sum over the pairs with
/// `a + b > 0.05` of `(ln(1 + a + 1e-6) - ln(1 + b + 1e-6))^2 (a + b)`. At least 0. It is quadratic, so
/// many small differences hardly count, and it jumps where a pair passes 0.05.
pub fn log_penalty(rates: &RateMatrix) -> f64 {
    rates.pairs().map(pair_log_penalty).sum()
}

fn pair_log_penalty(pair: Pair) -> f64 {
    let mass = pair.up + pair.down;
    if mass <= LOG_MASS {
        return 0.0;
    }
    let difference = (pair.up + LOG_OFFSET).ln_1p() - (pair.down + LOG_OFFSET).ln_1p();
    difference * difference * mass
}

/// The largest singular value of the off-diagonal part, in `[0, K - 1]`. Pairs with an unknown direction
/// count as 0.
pub fn spectral_norm(rates: &RateMatrix) -> f64 {
    spectral::of_pairs(rates.classes(), rates.pairs())
}

#[cfg(test)]
mod tests;
