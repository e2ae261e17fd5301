//! Intervals of figures of several proportions: their smallest, their spread, their inequality.
//!
//! The lowest of many observed accuracies is too low and their spread too large, so the intervals come from
//! inverted tests, see [`super::inversion`]. The differences of a family are those from the mean; because
//! the lowest also moves with the mean, families with a shifted mean take part.

use super::interval::Z;
use super::inversion::{SCALES, Shrinkage, THRESHOLDS, Truth, intervals};
use super::tabulated::Tabulated;
use crate::Seed;

/// More trials than any variance that was seen amounts to.
const MOST_TRIALS: f64 = 1e9;

/// One of independent proportions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Proportion {
    /// The observed share.
    pub share: f64,
    /// Of how many, at least 1. For a share that was not counted directly, so many as give its variance.
    pub trials: u64,
}

/// Of how many independent trials a share has a variance; `certain` where it was not seen to vary, but for rounding:
/// means of equal numbers vary a little in floating point, and nothing could hold the outcomes of 10^17 trials.
pub(super) fn trials_with(share: f64, variance: f64, certain: f64) -> f64 {
    let of_one = share * (1.0 - share);
    if variance > of_one / MOST_TRIALS { of_one / variance } else { certain }
}

/// True proportions and what is computed from them.
struct Shares<'a, G> {
    proportions: &'a [Proportion],
    truth: Vec<f64>,
    figures: &'a G,
}

impl<const F: usize, G: Fn(&[f64]) -> [f64; F] + Sync> Truth<F> for Shares<'_, G> {
    /// The number of successes of each proportion.
    type Law = Vec<Tabulated>;

    fn figures(&self) -> [f64; F] {
        (self.figures)(&self.truth)
    }

    fn law(&self) -> Self::Law {
        let law = |(proportion, &share): (&Proportion, &f64)| Tabulated::binomial(proportion.trials, share);
        self.proportions.iter().zip(&self.truth).map(law).collect()
    }

    fn redraw(&self, law: &Self::Law, seed: Seed) -> [f64; F] {
        let mut rng = seed.rng();
        let draw = |(proportion, law): (&Proportion, &Tabulated)| {
            law.draw(&mut rng) as f64 / proportion.trials as f64
        };
        let drawn: Vec<f64> = self.proportions.iter().zip(law).map(draw).collect();
        (self.figures)(&drawn)
    }
}

/// The 95 % intervals of the figures. There is at least one proportion.
pub(super) fn spread_intervals<const F: usize>(
    proportions: &[Proportion],
    figures: impl Fn(&[f64]) -> [f64; F] + Sync,
    seed: Seed,
    draws: u32,
) -> [(f64, f64); F] {
    let count = proportions.len() as f64;
    let mean = proportions.iter().map(|proportion| proportion.share).sum::<f64>() / count;
    let errors: Vec<f64> = proportions.iter().map(|proportion| standard_error(*proportion, mean)).collect();
    let shift = Z * errors.iter().map(|error| error * error).sum::<f64>().sqrt() / count;
    let truth = |shrinkage: Shrinkage, shift: f64| {
        let share = |(proportion, &error): (&Proportion, &f64)| {
            (mean + shift + shrinkage.apply(proportion.share - mean, error, 1.0)).clamp(0.0, 1.0)
        };
        let shares = proportions.iter().zip(&errors).map(share).collect();
        Shares { proportions, truth: shares, figures: &figures }
    };
    let mut families: Vec<Vec<Shares<_>>> = [-shift, 0.0, shift]
        .into_iter()
        .map(|shift| SCALES.into_iter().map(|scale| truth(Shrinkage::Scale(scale), shift)).collect())
        .collect();
    families.push(THRESHOLDS.into_iter().map(|errors| truth(Shrinkage::Threshold(errors), 0.0)).collect());
    let observed: Vec<f64> = proportions.iter().map(|proportion| proportion.share).collect();
    intervals(figures(&observed), &families, seed, draws)
}

/// The standard error of a proportion whose chance lies between what was observed and the mean of all.
fn standard_error(proportion: Proportion, mean: f64) -> f64 {
    let trials = proportion.trials as f64;
    let chance = (proportion.share * trials + mean) / (trials + 1.0);
    (chance * (1.0 - chance) / trials).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lowest(shares: &[f64]) -> [f64; 1] {
        [shares.iter().copied().fold(1.0, f64::min)]
    }

    #[test]
    fn one_that_is_clearly_the_lowest_has_the_interval_of_a_binomial() {
        // 12 of 40; Clopper and Pearson's interval is [0.1656, 0.4653], Wilson's [0.1807, 0.4543].
        let clear = [Proportion { share: 0.3, trials: 40 }, Proportion { share: 0.9, trials: 4000 }];
        let (low, high) = spread_intervals(&clear, lowest, Seed::new(1), 4000)[0];
        assert!((0.13..0.2).contains(&low) && (0.43..0.49).contains(&high), "{low} {high}");
    }

    #[test]
    fn a_variance_of_rounding_is_none() {
        assert!((trials_with(0.3, 0.21 / 40.0, 7.0) - 40.0).abs() < 1e-9);
        for variance in [0.0, 1e-33, 1e-18] {
            assert!((trials_with(1.0 / 3.0, variance, 7.0) - 7.0).abs() < 1e-12, "{variance}");
        }
        assert!((trials_with(1.0, 0.0, 7.0) - 7.0).abs() < 1e-12);
    }

    #[test]
    fn certain_proportions_do_not_break_it() {
        let certain = [Proportion { share: 1.0, trials: 5 }, Proportion { share: 1.0, trials: 5 }];
        let (low, high) = spread_intervals(&certain, lowest, Seed::new(1), 200)[0];
        assert!(low <= 1.0 && (high - 1.0).abs() < 1e-12, "{low} {high}");
    }
}
