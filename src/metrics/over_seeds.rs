//! A figure of two methods over the same seeds: is the difference more than what seeds and test pictures do?
//!
//! Two things move a figure: another seed (weights, order, augmentation) and other test pictures.
//!
//! 1. Over seeds: the differences `d_s` of the runs with the same seed, a paired t test and its 95 % interval
//!    `mean(d) ± t(n - 1, 0.975) sd(d) / sqrt(n)`. It speaks of these test pictures.
//! 2. Two levels: where all seeds are tested on the same pictures, the luck of these pictures is the same in every
//!    seed and does not average out, so its variance is added undivided:
//!    `var(mean(d)) = sd(d)^2 / n + sampling variance`. Where each seed has a split of its own, `sd(d)` holds the
//!    luck of the pictures already and nothing is added.
//!
//! The sampling variance of a difference is the mean over seeds of the sum of both runs' variances, each from the
//! width of the figure's 95 % interval. Both runs see the same pictures, so the sum is too large rather than too small.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::Spread;
use super::interval::Z;

/// One run's figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeedFigure {
    /// The figure.
    pub value: f64,
    /// Variance that other test pictures would give it, where it has an interval.
    pub sampling_variance: Option<f64>,
}

impl SeedFigure {
    /// With the variance that belongs to a 95 % interval.
    pub fn new(value: f64, interval: Option<(f64, f64)>) -> Self {
        let variance = |(low, high): (f64, f64)| ((high - low) / (2.0 * Z)).powi(2);
        Self { value, sampling_variance: interval.map(variance) }
    }
}

/// The difference of a method and the baseline over seeds that both have.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeedDifference {
    /// Number of seeds that both have.
    pub seeds: usize,
    /// Mean of the differences, method minus baseline.
    pub mean: f64,
    /// Their standard deviation; `None` for one seed.
    pub sd: Option<f64>,
    /// Lower end of the 95 % t interval. `None` for one seed, and where the differences do not differ.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// Two-sided, of the paired t test over seeds; 1 where all differences are 0, `None` where they are equal otherwise.
    pub p_seeds: Option<f64>,
    /// Standard deviation of the difference by the sampling of test pictures, where figures have intervals.
    pub sampling_sd: Option<f64>,
    /// As `p_seeds`, with the luck of the test pictures; `None` where that is not known.
    pub p_both: Option<f64>,
}

impl SeedDifference {
    /// Of pairs (method, baseline), one a seed; `None` without a pair. `same_pictures`: whether all seeds are tested
    /// on the same ones.
    pub fn of(pairs: &[(SeedFigure, SeedFigure)], same_pictures: bool) -> Option<Self> {
        let differences: Vec<f64> = pairs.iter().map(|(method, base)| method.value - base.value).collect();
        let Spread { mean, sd, runs: seeds } = Spread::of(&differences)?;
        let n = seeds as f64;
        let variances: Option<Vec<f64>> = pairs
            .iter()
            .map(|(method, base)| Some(method.sampling_variance? + base.sampling_variance?))
            .collect();
        let sampling = variances.map(|each| each.iter().sum::<f64>() / n);
        let law = StudentsT::new(0.0, 1.0, n - 1.0).ok().filter(|_| seeds > 1);
        let test = |variance: f64| match (&law, variance > 0.0) {
            (Some(law), true) => Some((2.0 * law.sf(mean.abs() / variance.sqrt())).min(1.0)),
            (Some(_), false) if mean == 0.0 => Some(1.0),
            _ => None,
        };
        // Differences of rates that are equal but for rounding have no spread to speak of.
        let over_seeds = sd.map(|sd| if sd <= 1e-12 { 0.0 } else { sd * sd / n });
        let half = law
            .as_ref()
            .zip(over_seeds)
            .filter(|(_, variance)| *variance > 0.0)
            .map(|(law, variance)| law.inverse_cdf(0.975) * variance.sqrt());
        let luck = if same_pictures { sampling } else { sampling.map(|_| 0.0) };
        Some(Self {
            seeds,
            mean,
            sd,
            low: half.map(|half| mean - half),
            high: half.map(|half| mean + half),
            p_seeds: over_seeds.and_then(test),
            sampling_sd: sampling.map(f64::sqrt),
            p_both: over_seeds.zip(luck).and_then(|(seeds, luck)| test(seeds + luck)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(method: &[f64], base: &[f64], half: f64) -> Vec<(SeedFigure, SeedFigure)> {
        let figure = |value: &f64| SeedFigure::new(*value, Some((value - half, value + half)));
        method.iter().map(figure).zip(base.iter().map(figure)).collect()
    }

    fn close(found: Option<f64>, expected: f64) {
        assert!(found.is_some_and(|found| (found - expected).abs() < 1e-9), "{found:?} is not {expected}");
    }

    const METHOD: [f64; 5] = [0.81, 0.78, 0.84, 0.80, 0.79];
    const BASE: [f64; 5] = [0.79, 0.77, 0.80, 0.80, 0.76];

    // The differences are .02 .01 .04 0 .03: mean .02, variance 2.5e-4, t = .02 / sqrt(5e-5) = sqrt(8), 4 degrees of freedom.
    // def sf(t): s = 1 + t*t/4; return .5 - 3/8 * t / sqrt(s) * (1 - t*t / (12*s))      # closed form for 4
    // q = 2.7764451051977987                                                            # 2 * sf(q) = .05
    // print(2 * sf(sqrt(8)), .02 - q * sqrt(5e-5), .02 + q * sqrt(5e-5))
    #[test]
    fn the_test_over_seeds_is_the_paired_t_test() {
        let found = SeedDifference::of(&pairs(&METHOD, &BASE, 0.1), true).expect("pairs");
        assert_eq!(found.seeds, 5);
        close(Some(found.mean), 0.02);
        close(found.p_seeds, 0.047_420_655_584);
        close(found.low, 0.000_367_568_385);
        close(found.high, 0.039_632_431_615);
    }

    // v = 2 * (.1 / 1.959963984540054)**2; print(sqrt(v), 2 * sf(.02 / sqrt(5e-5 + v)))
    #[test]
    fn the_luck_of_shared_test_pictures_does_not_average_out() {
        let shared = SeedDifference::of(&pairs(&METHOD, &BASE, 0.1), true).expect("pairs");
        close(shared.sampling_sd, 0.072_155_079_049);
        close(shared.p_both, 0.796_321_378_741);
        let own = SeedDifference::of(&pairs(&METHOD, &BASE, 0.1), false).expect("pairs");
        assert_eq!(own.p_both, own.p_seeds);
    }

    #[test]
    fn what_cannot_be_tested_is_not_tested() {
        assert_eq!(SeedDifference::of(&[], true), None);
        let one = SeedDifference::of(&pairs(&[0.5], &[0.25], 0.1), true).expect("a pair");
        assert_eq!((one.sd, one.low, one.p_seeds, one.p_both), (None, None, None, None));
        let same = SeedDifference::of(&pairs(&[0.5, 0.25], &[0.5, 0.25], 0.1), true).expect("pairs");
        assert_eq!((same.p_seeds, same.low), (Some(1.0), None));
        let shifted = SeedDifference::of(&pairs(&[0.5, 0.75], &[0.25, 0.5], 0.1), true).expect("pairs");
        assert_eq!(shifted.p_seeds, None, "two equal differences are no proof of certainty");
        assert!(shifted.p_both.is_some(), "the pictures have luck all the same");
        let bare = SeedFigure::new(0.5, None);
        let found = SeedDifference::of(&[(bare, bare), (bare, bare)], true).expect("pairs");
        assert_eq!((found.sampling_sd, found.p_both), (None, None));
    }
}
