//! Tests of symmetry: of the whole matrix, of its margins, and of each pair of classes.
//!
//! Bowker's test (Journal of the American Statistical Association 43, 1948) compares counts, so it speaks
//! of rates only where all classes have as many images; there it is given in its classical form. Its
//! chi-squared approximation wants some five events in each pair, and it treats labels as random although
//! a test set has a fixed number of images per class. The test to rely on is `rates`: the same sum for
//! rates, with a p-value from redrawn pairs (see [`super::noise`]) that needs no large counts.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ChiSquared, ContinuousCDF};

use super::ConfusionMatrix;
use super::marginal;
use super::multiplicity::benjamini_hochberg;
use super::noise::PairChance;
use super::pairs::{Compared, PairCounts};
use super::rates::Pair;
use crate::Seed;

/// Pairs of at most this `q_value` are listed.
const LISTED: f64 = 0.05;

/// Tests of the hypothesis that `C_ij = C_ji` for all pairs, or of a part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SymmetryTests {
    /// Bowker's test. `None` where classes have different numbers of images, or without errors.
    pub bowker: Option<ChiSquare>,
    /// The sum over pairs of `(C_ij - C_ji)^2` over its variance under symmetry. Works for any numbers of
    /// images. `None` without errors.
    pub rates: Option<ChiSquare>,
    /// Stuart and Maxwell's test that as many errors end in each class as it makes, which symmetry implies.
    /// `None` where classes have different numbers of images, or without errors.
    pub stuart_maxwell: Option<ChiSquare>,
    /// The same hypothesis of rates, `sum_i C_ij = 1`, for a fixed number of images of each class, which is
    /// what a test set has: for these Stuart and Maxwell's test rejects too rarely. `None` without errors.
    pub marginal: Option<ChiSquare>,
    /// Number of pairs with an event, each of which was tested.
    pub pairs_tested: usize,
    /// The pairs with a `q_value` of at most 0.05, the clearest first.
    pub significant_pairs: Vec<PairTest>,
}

/// A statistic that is compared with a chi-squared distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChiSquare {
    /// The statistic, at least 0.
    pub statistic: f64,
    /// Degrees of freedom.
    pub df: usize,
    /// Chance of a statistic as large, by the chi-squared distribution.
    pub p_value: f64,
    /// The same from redrawn data, `(1 + reached) / (1 + draws)`; it needs no large counts. `None` without
    /// draws, for Stuart and Maxwell's test, and for `marginal` above 100 classes.
    pub p_simulated: Option<f64>,
}

/// Test of one pair of classes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairTest {
    /// Index of the class that is more often taken for `to` than the other way round.
    pub from: usize,
    /// Index of the other class.
    pub to: usize,
    /// Rate from `from` to `to`.
    pub forward: f64,
    /// Rate from `to` to `from`.
    pub backward: f64,
    /// Fisher's exact test, two-sided, mid-p.
    pub p_value: f64,
    /// Adjusted for all pairs tested by Benjamini and Hochberg.
    pub q_value: f64,
}

impl ChiSquare {
    /// `None` without degrees of freedom.
    pub(super) fn of(statistic: f64, df: usize) -> Option<Self> {
        let law = ChiSquared::new(df as f64).ok()?;
        Some(Self { statistic, df, p_value: law.sf(statistic), p_simulated: None })
    }
}

impl SymmetryTests {
    /// From counts. `None` when no two classes have images. Simulated p-values come from `draws` redrawn
    /// matrices; with 0 there are none.
    pub fn of(counts: &ConfusionMatrix, seed: Seed, draws: u32) -> Option<Self> {
        let compared = Compared::of_confusion(counts);
        if compared.number == 0 {
            return None;
        }
        let pairs: Vec<PairCounts> = compared.pairs.into_iter().filter(|pair| pair.has_events()).collect();
        let chances = PairChance::of_pairs(&pairs);
        let balanced = pairs.iter().flat_map(|pair| pair.trials).all(|n| n == pairs[0].trials[0]);
        let simulated = |statistic: fn(PairCounts) -> f64, seed: Seed| {
            let observed: f64 = pairs.iter().map(|&pair| statistic(pair)).sum();
            let mut found = ChiSquare::of(observed, pairs.len())?;
            found.p_simulated = p_simulated(&pairs, &chances, statistic, observed, seed, draws);
            Some(found)
        };
        let mut tests = pair_tests(&pairs, &chances);
        tests.retain(|test| test.q_value <= LISTED);
        tests.sort_by(|a, b| a.p_value.total_cmp(&b.p_value));
        Some(Self {
            bowker: simulated(bowker_term, seed.purpose("bowker")).filter(|_| balanced),
            rates: simulated(rate_term, seed.purpose("rates")),
            stuart_maxwell: marginal::stuart_maxwell(counts).filter(|_| balanced),
            marginal: marginal::fixed_rows(counts, seed.purpose("marginal"), draws),
            pairs_tested: pairs.len(),
            significant_pairs: tests,
        })
    }
}

/// `(n_ij - n_ji)^2 / (n_ij + n_ji)`.
fn bowker_term(pair: PairCounts) -> f64 {
    let [there, back] = pair.events.map(|events| events as f64);
    (there - back).powi(2) / (there + back)
}

/// `(C_ij - C_ji)^2` over its conditional variance: with `s` events in `n + m` trials the number in the
/// first `n` is hypergeometric.
fn rate_term(pair: PairCounts) -> f64 {
    let [n, m] = pair.trials.map(|trials| trials as f64);
    let (all, events) = (n + m, pair.events.iter().sum::<u64>() as f64);
    let share = events / all;
    // The variance of x / n - (s - x) / m, with Var(x) = s (n / N) (m / N) (N - s) / (N - 1).
    let variance = share * (1.0 - share) * all / (all - 1.0) * (1.0 / n + 1.0 / m);
    let rates = pair.rates();
    // All trials are events: the rates are both 1, and there is nothing to vary.
    if variance > 0.0 { (rates.up - rates.down).powi(2) / variance } else { 0.0 }
}

fn p_simulated(
    pairs: &[PairCounts],
    chances: &[PairChance],
    statistic: fn(PairCounts) -> f64,
    observed: f64,
    seed: Seed,
    draws: u32,
) -> Option<f64> {
    let reaches = |draw: u32| {
        let mut rng = seed.at(u64::from(draw)).rng();
        let redrawn = pairs.iter().zip(chances).map(|(pair, chance)| {
            let there = chance.draw_events(&mut rng);
            let back = pair.events.iter().sum::<u64>() - there;
            statistic(PairCounts { events: [there, back], ..*pair })
        });
        redrawn.sum::<f64>() >= observed - 1e-9
    };
    let reached = (0..draws).into_par_iter().filter(|&draw| reaches(draw)).count();
    (draws > 0).then(|| (1 + reached) as f64 / (1.0 + f64::from(draws)))
}

/// A test of every pair, in order.
fn pair_tests(pairs: &[PairCounts], chances: &[PairChance]) -> Vec<PairTest> {
    let p_values: Vec<f64> =
        pairs.iter().zip(chances).map(|(pair, chance)| chance.two_sided_mid_p(pair.events[0])).collect();
    let adjusted = benjamini_hochberg(&p_values);
    pairs
        .iter()
        .zip(p_values.iter().zip(&adjusted))
        .map(|(pair, (&p_value, &q_value))| {
            let Pair { low, high, up, down } = pair.rates();
            let (from, to, forward, backward) =
                if up >= down { (low, high, up, down) } else { (high, low, down, up) };
            PairTest { from, to, forward, backward, p_value, q_value }
        })
        .collect()
}

#[cfg(test)]
mod tests;
