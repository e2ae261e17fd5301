//! What chance alone would show.
//!
//! Figures of asymmetry are sums and maxima of absolute differences, so they are far above 0 even for a
//! classifier whose true rates are exactly symmetric. The noise floor is a parametric bootstrap: the
//! observed matrix is made symmetric, matrices with as many images are drawn from it, and the figure is
//! computed on each. The excess over the mean of these, and the share of them that reach the observed
//! value, say what is left when chance is taken away.
//!
//! The symmetric rate of a pair pools its two directions, `(N_ij + N_ji) / (n_i + n_j)`, which for equal
//! row totals `n` is `(N + N^T) / 2` divided by `n`. Rates that are symmetric with rows that sum to 1 also
//! have columns that sum to 1: no class can receive more than one class's worth. A class that receives
//! more cannot be matched by any symmetric classifier, and its pairs are then lowered as far as it takes,
//! the images so freed being correct.

use rand::{Rng, RngExt};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::symmetry::Asymmetry;
use super::{ConfusionMatrix, RateMatrix, SuccessMatrix};
use crate::Seed;

/// Where a figure would be if the truth were symmetric.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoiseFloor {
    /// Mean of the figure over simulated matrices.
    pub expected: f64,
    /// Observed value minus `expected`.
    pub excess: f64,
    /// `(1 + simulated values that reach the observed one) / (1 + draws)`.
    pub p_value: f64,
    /// Number of simulated matrices.
    pub draws: u32,
}

impl NoiseFloor {
    /// `None` without draws.
    fn of(observed: f64, simulated: &[f64]) -> Option<Self> {
        let draws = simulated.len() as u32;
        (draws > 0).then(|| {
            let expected = simulated.iter().sum::<f64>() / f64::from(draws);
            // Sums of the same fractions in another order differ in their last digits and are equal.
            let reached = simulated.iter().filter(|&&value| value >= observed - 1e-9).count();
            let p_value = (1 + reached) as f64 / (1.0 + f64::from(draws));
            Self { expected, excess: observed - expected, p_value, draws }
        })
    }
}

/// The noise floors of the figures of symmetry.
pub(super) struct Floors {
    pub a1: Option<NoiseFloor>,
    pub a1_normalised: Option<NoiseFloor>,
    pub largest_gap: Option<NoiseFloor>,
}

impl Floors {
    /// Draws matrices and compares. Each draw has its own key, so threads do not change the result. A draw
    /// without errors has no asymmetry and counts as 0.
    pub fn of(observed: &Asymmetry, null: &impl SymmetricNull, seed: Seed, draws: u32) -> Self {
        let simulated: Vec<[f64; 3]> = (0..draws)
            .into_par_iter()
            .map(|draw| {
                let rates = null.draw(&mut seed.at(u64::from(draw)).rng());
                Asymmetry::of(&rates).map_or([0.0; 3], |found| {
                    [found.a1, found.normalised().unwrap_or(0.0), found.largest_gap()]
                })
            })
            .collect();
        let floor = |observed: f64, figure: usize| {
            NoiseFloor::of(observed, &simulated.iter().map(|draw| draw[figure]).collect::<Vec<_>>())
        };
        Self {
            a1: floor(observed.a1, 0),
            a1_normalised: observed.normalised().and_then(|value| floor(value, 1)),
            largest_gap: floor(observed.largest_gap(), 2),
        }
    }
}

/// A symmetric truth from which matrices can be drawn.
pub(super) trait SymmetricNull: Sync {
    /// The rates in one simulated experiment of the observed size.
    fn draw(&self, rng: &mut impl Rng) -> RateMatrix;
}

/// Errors: each row is multinomial with its observed total.
pub(super) struct ConfusionNull {
    totals: Vec<u64>,
    /// Rates off the diagonal, `K * K`, 0 on it. What a row leaves is its accuracy.
    errors: Vec<f64>,
}

impl ConfusionNull {
    /// The symmetrised rates of some counts. A pair with an absent class keeps its one known rate.
    pub fn of(counts: &ConfusionMatrix) -> Self {
        let classes = counts.classes();
        let totals: Vec<u64> = (0..classes).map(|class| counts.row_total(class)).collect();
        let paired = |i: usize, j: usize| i != j && totals[i] > 0 && totals[j] > 0;
        let pooled = |i: usize, j: usize| {
            let errors = counts.count(i, j) + counts.count(j, i);
            errors as f64 / (totals[i] + totals[j]) as f64
        };
        // The factor that brings the paired errors of each row into what its other errors leave.
        let fits: Vec<f64> = (0..classes)
            .map(|i| {
                let mass: f64 = (0..classes).filter(|&j| paired(i, j)).map(|j| pooled(i, j)).sum();
                let alone: u64 = (0..classes).filter(|&j| totals[j] == 0).map(|j| counts.count(i, j)).sum();
                let room = 1.0 - alone as f64 / totals[i].max(1) as f64;
                if mass > room { room / mass } else { 1.0 }
            })
            .collect();
        let error = |i: usize, j: usize| {
            if paired(i, j) {
                pooled(i, j) * fits[i].min(fits[j])
            } else if i != j && totals[i] > 0 {
                counts.count(i, j) as f64 / totals[i] as f64
            } else {
                0.0
            }
        };
        let errors = (0..classes * classes).map(|cell| error(cell / classes, cell % classes)).collect();
        Self { totals, errors }
    }
}

impl SymmetricNull for ConfusionNull {
    fn draw(&self, rng: &mut impl Rng) -> RateMatrix {
        let classes = self.totals.len();
        let mut counts = ConfusionMatrix::new(classes);
        for (label, &total) in self.totals.iter().enumerate() {
            // A multinomial is a chain of binomials: each cell draws from the images still undecided.
            let (mut images, mut rest) = (total, 1.0);
            let row = &self.errors[label * classes..][..classes];
            for (prediction, &rate) in row.iter().enumerate().filter(|(_, rate)| **rate > 0.0) {
                let taken = binomial(images, (rate / rest).min(1.0), rng);
                counts.add_images(label, prediction, taken);
                images -= taken;
                rest = (rest - rate).max(rate * f64::EPSILON);
            }
            counts.add_images(label, label, images);
        }
        RateMatrix::of_confusion(&counts)
    }
}

/// Targeted attacks: each ordered pair is binomial with its observed attempts.
pub(super) struct SuccessNull {
    classes: usize,
    /// Attempts and symmetrised success rate of each ordered pair, where both directions were tried.
    cells: Vec<Option<(u64, f64)>>,
}

impl SuccessNull {
    /// The symmetrised rates of some counts.
    pub fn of(counts: &SuccessMatrix) -> Self {
        let classes = counts.classes();
        let cell = |i: usize, j: usize| {
            let (there, back) = (counts.attempts(i, j), counts.attempts(j, i));
            (i != j && there > 0 && back > 0).then(|| {
                let successes = counts.successes(i, j) + counts.successes(j, i);
                (there, successes as f64 / (there + back) as f64)
            })
        };
        Self { classes, cells: (0..classes * classes).map(|at| cell(at / classes, at % classes)).collect() }
    }
}

impl SymmetricNull for SuccessNull {
    fn draw(&self, rng: &mut impl Rng) -> RateMatrix {
        RateMatrix::from_fn(self.classes, |i, j| {
            let (attempts, rate) = self.cells[i * self.classes + j]?;
            Some(binomial(attempts, rate, rng) as f64 / attempts as f64)
        })
    }
}

/// A binomial draw by inversion, exact. `rate` is in `[0, 1]`.
fn binomial(n: u64, rate: f64, rng: &mut impl Rng) -> u64 {
    /// So many trials at once that the chance of no success, at least `0.5^256`, is a normal number.
    const CHUNK: u64 = 256;
    if rate > 0.5 {
        return n - binomial(n, 1.0 - rate, rng);
    }
    let (mut left, mut successes) = (n, 0);
    while left > 0 {
        let trials = left.min(CHUNK);
        let mut above: f64 = rng.random();
        let mut chance = (1.0 - rate).powi(trials as i32);
        let mut drawn = 0;
        while above >= chance && drawn < trials {
            above -= chance;
            chance *= rate / (1.0 - rate) * (trials - drawn) as f64 / (drawn + 1) as f64;
            drawn += 1;
        }
        successes += drawn;
        left -= trials;
    }
    successes
}

#[cfg(test)]
mod tests;
