//! What chance alone would show.
//!
//! Figures of asymmetry are sums and maxima of absolute differences, so they are far above 0 even for a
//! classifier whose true rates are exactly symmetric. The noise floor is what they would be then. The
//! excess over it, and how often chance reaches the observed value, say what is left without chance.
//!
//! A pair of classes has `n_ij` images (or attacks) in one direction and `n_ji` in the other; together `s`
//! of them ended in the other class. If the true rates are equal, each of these `s` is as likely to be any
//! of the `n_ij + n_ji`, so the number of them in the first direction is hypergeometric (Fisher's
//! conditional argument; the two directions are independent because they start from different images). The
//! floor redraws every pair that way. It redraws pairs one by one and so neglects that different pairs
//! share images. The mean of `A1` is right all the same, since it is a sum over pairs. Attacks that repeat
//! the same image and target are not independent, and the floor is too low where they are counted apart.
//!
//! The obvious alternative, a parametric bootstrap that draws whole matrices from the symmetrised one,
//! `(N + N^T) / 2`, needs many images in each cell: it draws the sums of pairs anew from rates that are
//! rougher than the truth, so errors crowd into fewer pairs and cancel more, and the floor is too low. With
//! ten classes of ten images, half of them wrong at random, its p-value for `A1` was below 0.05 in 28 % of
//! 200 trials (here: 3 % of 400).

use rand::Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::pairs::PairCounts;
use super::tabulated::{MOST_ENTRIES, Tabulated};
use crate::Seed;

/// Entries of the tables of all pairs together: half a gigabyte.
const ALL_ENTRIES: u64 = 1 << 26;

/// Where a figure would be if the truth were symmetric.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoiseFloor {
    /// Mean of the figure over redrawn matrices.
    pub expected: f64,
    /// Observed value minus `expected`.
    pub excess: f64,
    /// `(1 + redrawn values that reach the observed one) / (1 + draws)`.
    pub p_value: f64,
    /// Number of redrawn matrices.
    pub draws: u32,
}

impl NoiseFloor {
    /// `None` without draws.
    fn of(observed: f64, redrawn: &[f64]) -> Option<Self> {
        let draws = redrawn.len() as u32;
        (draws > 0).then(|| {
            let expected = redrawn.iter().sum::<f64>() / f64::from(draws);
            // Sums of the same fractions in another order differ in their last digits and are equal.
            let reached = redrawn.iter().filter(|&&value| value >= observed - 1e-9).count();
            let p_value = (1 + reached) as f64 / (1.0 + f64::from(draws));
            Self { expected, excess: observed - expected, p_value, draws }
        })
    }
}

/// The noise floors of `A1`, of its scale-free form and of the largest gap.
pub(super) struct Floors;

impl Floors {
    /// Redraws and compares. Each draw has its own key, so threads do not change the result.
    pub fn of(observed: [f64; 3], chance: &Chance, seed: Seed, draws: u32) -> [Option<NoiseFloor>; 3] {
        let redrawn: Vec<[f64; 3]> =
            (0..draws).into_par_iter().map(|draw| chance.draw(&mut seed.at(u64::from(draw)).rng())).collect();
        [0, 1, 2].map(|figure| {
            let values: Vec<f64> = redrawn.iter().map(|draw| draw[figure]).collect();
            NoiseFloor::of(observed[figure], &values)
        })
    }
}

/// How the events of each pair of classes fall in the two directions if the truth is symmetric.
pub(super) struct Chance {
    /// The pairs with any event. The others are always symmetric.
    pairs: Vec<PairChance>,
}

/// How the events of one pair fall in its two directions by chance.
pub(super) struct PairChance {
    trials: [f64; 2],
    events: f64,
    /// Of the number of events in the first direction.
    first: Tabulated,
}

impl Chance {
    /// From the counts of pairs.
    pub fn of(pairs: &[PairCounts]) -> Self {
        Self { pairs: PairChance::of_pairs(pairs) }
    }

    /// `A1`, normalised `A1` and largest gap of one redrawn matrix.
    fn draw(&self, rng: &mut impl Rng) -> [f64; 3] {
        let (mut a1, mut mass, mut largest) = (0.0, 0.0, 0.0_f64);
        for pair in &self.pairs {
            let (there, back) = pair.draw(rng);
            let gap = (there - back).abs();
            a1 += gap;
            mass += there + back;
            largest = largest.max(gap);
        }
        [a1, if mass > 0.0 { (a1 / mass).min(1.0) } else { 0.0 }, largest]
    }
}

impl PairChance {
    /// One for each pair with an event, in order. Many tables of wide laws are coarser, so that all of them fit into memory:
    /// with 200 classes of very many images a step is a 187th of a standard deviation, with 1000 classes a 14th.
    pub fn of_pairs(pairs: &[PairCounts]) -> Vec<Self> {
        let most = (ALL_ENTRIES / (pairs.len() as u64).max(1)).clamp(1 << 8, MOST_ENTRIES);
        let of = |pair: &PairCounts| {
            Self::tabulated(pair.trials[0], pair.trials[1], pair.events.iter().sum(), most)
        };
        pairs.par_iter().filter(|pair| pair.has_events()).map(of).collect()
    }

    /// The hypergeometric distribution of `events` among `n + m` trials, by its recurrence.
    pub fn of(n: u64, m: u64, events: u64) -> Self {
        Self::tabulated(n, m, events, MOST_ENTRIES)
    }

    fn tabulated(n: u64, m: u64, events: u64, most: u64) -> Self {
        let (first, last) = (events.saturating_sub(m), events.min(n));
        let mode = u128::from(events + 1) * u128::from(n + 1) / u128::from(n + m + 2);
        let mode = u64::try_from(mode).unwrap_or(last).clamp(first, last);
        let [n, m, of] = [n, m, events].map(|count| count as f64);
        let all = n + m;
        let variance = of * (n / all) * (m / all) * ((all - of) / (all - 1.0).max(1.0));
        // Weight of one more event in the first direction, relative to `x` of them.
        let ratio = |x: f64| ((of - x) * (n - x)) / ((x + 1.0) * (m + x + 1.0 - of));
        Self { trials: [n, m], events: of, first: Tabulated::of(first..=last, mode, variance, most, ratio) }
    }

    /// The rates of the two directions in one redrawn matrix.
    pub fn draw(&self, rng: &mut impl Rng) -> (f64, f64) {
        let there = self.draw_events(rng) as f64;
        (there / self.trials[0], (self.events - there) / self.trials[1])
    }

    /// The number of events in the first direction in one redrawn matrix.
    pub fn draw_events(&self, rng: &mut impl Rng) -> u64 {
        self.first.draw(rng)
    }

    /// Chance of a division that is less likely than `there` events in the first direction, and half the
    /// chance of one that is exactly as likely: Fisher's two-sided test with Lancaster's mid-p, which does
    /// not reject too rarely with small counts.
    pub fn two_sided_mid_p(&self, there: u64) -> f64 {
        let observed = self.first.chance(there);
        let part = |chance: f64| {
            if (chance - observed).abs() <= 1e-7 * observed {
                0.5 * chance
            } else if chance < observed {
                chance
            } else {
                0.0
            }
        };
        self.first.outcomes().map(|outcome| part(self.first.chance(outcome))).sum::<f64>().clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests;
