//! Binomial random numbers without rejection, exact but where no one could tell.

use rand::{Rng, RngExt};
use statrs::distribution::{ContinuousCDF, Normal};
use statrs::function::factorial::ln_binomial;

/// Above this mean the walk starts at the mode and not at 0.
const WALK_FROM_ZERO: f64 = 30.0;

/// Above this variance nobody walks, as the walk has about as many steps as the standard deviation is large: Gauss' law with
/// its skewness mended (the first term of Cornish and Fisher 1938) gives every outcome's chance of at most itself to 1e-6.
const WIDE: f64 = 1e5;

/// How many of `trials` succeed, each with `chance`, which is clamped to `[0, 1]`.
///
/// By inversion: one uniform number, and a walk over the outcomes that takes off their probabilities. From
/// the mode outwards the walk has about as many steps as the standard deviation is large.
pub(super) fn binomial(rng: &mut impl Rng, trials: u64, chance: f64) -> u64 {
    if trials == 0 || chance <= 0.0 || chance.is_nan() {
        return 0;
    }
    if chance >= 1.0 {
        return trials;
    }
    if chance > 0.5 {
        return trials - binomial(rng, trials, 1.0 - chance);
    }
    let uniform: f64 = rng.random();
    if trials as f64 * chance * (1.0 - chance) > WIDE {
        return from_gauss(uniform, trials, chance);
    }
    if trials as f64 * chance < WALK_FROM_ZERO {
        from_zero(uniform, trials, chance)
    } else {
        from_mode(uniform, trials, chance)
    }
}

fn from_gauss(uniform: f64, trials: u64, chance: f64) -> u64 {
    let (trials, variance) = (trials as f64, trials as f64 * chance * (1.0 - chance));
    let gauss = Normal::standard().inverse_cdf(uniform);
    let skew = (gauss * gauss - 1.0) * (1.0 - 2.0 * chance) / 6.0;
    // The uniform number may be 0, and what it stands for endless.
    (trials * chance + variance.sqrt() * gauss + skew).round().clamp(0.0, trials) as u64
}

fn from_zero(mut uniform: f64, trials: u64, chance: f64) -> u64 {
    let odds = chance / (1.0 - chance);
    let mut probability = (trials as f64 * (-chance).ln_1p()).exp();
    for successes in 0..trials {
        uniform -= probability;
        if uniform < 0.0 {
            return successes;
        }
        probability *= odds * (trials - successes) as f64 / (successes + 1) as f64;
        // Rounding may leave something of the uniform number where nothing can come any more.
        if probability < 1e-300 {
            return successes;
        }
    }
    trials
}

fn from_mode(mut uniform: f64, trials: u64, chance: f64) -> u64 {
    let odds = chance / (1.0 - chance);
    let mode = ((trials + 1) as f64 * chance) as u64;
    let at_mode =
        (ln_binomial(trials, mode) + mode as f64 * chance.ln() + (trials - mode) as f64 * (-chance).ln_1p())
            .exp();
    uniform -= at_mode;
    let (mut low, mut high) = (mode, mode);
    let (mut below, mut above) = (at_mode, at_mode);
    while uniform >= 0.0 {
        if below + above < 1e-300 {
            return mode;
        }
        if high < trials {
            above *= odds * (trials - high) as f64 / (high + 1) as f64;
            high += 1;
            uniform -= above;
            if uniform < 0.0 {
                return high;
            }
        } else {
            above = 0.0;
        }
        if low > 0 {
            below *= low as f64 / (odds * (trials - low + 1) as f64);
            low -= 1;
            uniform -= below;
            if uniform < 0.0 {
                return low;
            }
        } else {
            below = 0.0;
        }
    }
    mode
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;
    use statrs::distribution::{Binomial, Discrete};

    /// Every outcome is as frequent as it is probable: the counts are within five standard deviations.
    #[test]
    fn outcomes_have_their_probabilities() {
        for (trials, chance) in [(1, 0.3), (20, 0.05), (20, 0.5), (20, 0.95), (300, 0.4), (1000, 0.87)] {
            let mut rng = Seed::new(trials).rng();
            let draws = 40_000;
            let mut counts = vec![0_u32; trials as usize + 1];
            (0..draws).for_each(|_| counts[binomial(&mut rng, trials, chance) as usize] += 1);
            let law = Binomial::new(chance, trials).unwrap();
            for (outcome, &count) in counts.iter().enumerate() {
                let expected = law.pmf(outcome as u64) * f64::from(draws);
                let tolerance = 5.0 * expected.sqrt() + 1.0;
                assert!((f64::from(count) - expected).abs() <= tolerance, "{trials} {chance} {outcome}");
            }
        }
    }

    #[test]
    fn certain_outcomes() {
        let mut rng = Seed::new(0).rng();
        assert_eq!(binomial(&mut rng, 7, 0.0), 0);
        assert_eq!(binomial(&mut rng, 7, 1.0), 7);
        assert_eq!(binomial(&mut rng, 0, 0.5), 0);
        assert!(binomial(&mut rng, 1_000_000_000, 0.5).abs_diff(500_000_000) < 200_000);
    }

    // from scipy.stats import binom
    // [int(binom.ppf(u, 1_100_000, 0.1)) for u in (1e-5, 0.01, 0.2, 0.5, 0.9, 1 - 1e-5)]
    /// Without the skewness the outer ones are off by 1 to 3.
    #[test]
    fn wide_laws_are_inverted() {
        let uniform = [1e-5, 0.01, 0.2, 0.5, 0.9, 1.0 - 1e-5];
        for (trials, chance, outcomes) in [
            (1_100_000, 0.1, [108_660, 109_269, 109_735, 110_000, 110_403, 111_344]),
            (10_000_000, 0.0103, [101_641, 102_258, 102_731, 103_000, 103_409, 104_364]),
            (480_000, 0.3, [142_647, 143_262, 143_733, 144_000, 144_407, 145_355]),
        ] {
            assert_eq!(uniform.map(|uniform| from_gauss(uniform, trials, chance)), outcomes, "{trials}");
        }
    }

    #[test]
    fn the_mean_and_variance_of_very_many_trials() {
        let (trials, chance, draws) = (1_u64 << 53, 0.3, 20_000);
        let mut rng = Seed::new(1).rng();
        let deviation = (trials as f64 * chance * (1.0 - chance)).sqrt();
        let standard: Vec<f64> = (0..draws)
            .map(|_| (binomial(&mut rng, trials, chance) as f64 - trials as f64 * chance) / deviation)
            .collect();
        let mean = standard.iter().sum::<f64>() / f64::from(draws);
        let variance = standard.iter().map(|x| x * x).sum::<f64>() / f64::from(draws);
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }
}
