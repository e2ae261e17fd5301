//! A law of whole numbers as a table, for drawing from it many times.

use std::ops::RangeInclusive;

use rand::{Rng, RngExt};

/// The outcomes `first`, `first + step`, .. with the chance of at most each of them. The step is 1 but where a law is
/// so wide that its table would not fit; each entry then stands for the `step` outcomes around it.
pub(super) struct Tabulated {
    first: u64,
    step: u64,
    cumulative: Vec<f64>,
}

/// Half the width of a table of a binomial law, in standard deviations: what is beyond has a chance below
/// 1e-18.
const WIDTH: f64 = 9.0;

/// Entries of a table beyond which it leaves out what is [`WIDTH`] standard deviations from the mode, and then takes steps.
/// At 18 standard deviations in as many entries, a step is a 3640th of one.
pub(super) const MOST_ENTRIES: u64 = 1 << 16;

impl Tabulated {
    /// From how much more likely `x + 1` is than `x`, for the outcomes `first..=last` of a law with this `variance`, or one
    /// that is not much larger. Starts at the `mode`, where nothing underflows but what is 0 anyway. Takes steps rather
    /// than more than `most` entries, give or take one.
    pub fn of(
        range: RangeInclusive<u64>,
        mode: u64,
        variance: f64,
        most: u64,
        ratio: impl Fn(f64) -> f64,
    ) -> Self {
        let (mut first, mut last) = range.into_inner();
        if last - first >= most {
            let reach = (WIDTH * variance.sqrt() + 2.0 * WIDTH).ceil() as u64;
            (first, last) = (first.max(mode.saturating_sub(reach)), last.min(mode + reach));
        }
        let step = (last - first) / most + 1;
        // The mode is an entry, and the others are whole steps from it.
        let (below, above) = ((mode - first) / step, (last - mode) / step);
        let mut weights = vec![1.0; (below + above + 1) as usize];
        let mode_at = below as usize;
        // A step multiplies by the ratios of the outcomes on the way: that in their middle, as often as there are.
        let middle = 0.5 * (step - 1) as f64;
        let over = |from: u64| ratio(from as f64 + middle).powi(step as i32);
        for taken in 0..above {
            let at = mode_at + taken as usize;
            weights[at + 1] = weights[at] * over(mode + taken * step);
        }
        for taken in 1..=below {
            let at = mode_at - taken as usize;
            weights[at] = weights[at + 1] / over(mode - taken * step);
        }
        let total: f64 = weights.iter().sum();
        let mut sum = 0.0;
        for weight in &mut weights {
            sum += *weight / total;
            *weight = sum;
        }
        Self { first: mode - below * step, step, cumulative: weights }
    }

    /// Successes among `trials`, each with a chance in `[0, 1]`.
    pub fn binomial(trials: u64, chance: f64) -> Self {
        if chance <= 0.0 || chance >= 1.0 {
            let only = if chance <= 0.0 { 0 } else { trials };
            return Self::of(only..=only, only, 0.0, MOST_ENTRIES, |_| 1.0);
        }
        let (odds, mode) = (chance / (1.0 - chance), (((trials + 1) as f64 * chance) as u64).min(trials));
        let trials = trials as f64;
        let variance = trials * chance * (1.0 - chance);
        let reach = (WIDTH * variance.sqrt() + 2.0 * WIDTH).ceil() as u64;
        let range = mode.saturating_sub(reach)..=(mode + reach).min(trials as u64);
        Self::of(range, mode, variance, MOST_ENTRIES, |x| odds * (trials - x) / (x + 1.0))
    }

    /// The chance of one outcome, or of the entry that stands for it. It is 0 beyond the table.
    pub fn chance(&self, outcome: u64) -> f64 {
        let Some(at) =
            (outcome + self.step / 2).checked_sub(self.first).map(|far| (far / self.step) as usize)
        else {
            return 0.0;
        };
        let of_most = |at: usize| self.cumulative.get(at).copied().unwrap_or(1.0);
        of_most(at) - at.checked_sub(1).map_or(0.0, of_most)
    }

    /// The outcomes of the entries, of which there is at least one.
    pub fn outcomes(&self) -> impl Iterator<Item = u64> {
        (0..self.cumulative.len() as u64).map(|at| self.first + at * self.step)
    }

    /// One outcome, from one random number.
    pub fn draw(&self, rng: &mut impl Rng) -> u64 {
        let uniform: f64 = rng.random();
        let at = self.cumulative.partition_point(|&below| below <= uniform);
        self.first + at.min(self.cumulative.len() - 1) as u64 * self.step
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use statrs::distribution::{Binomial, Discrete};

    #[test]
    fn binomial_tables_are_the_law() {
        for (trials, chance) in [(0, 0.3), (1, 0.3), (20, 0.05), (20, 0.95), (1000, 0.87), (100_000, 1e-4)] {
            let (table, law) = (Tabulated::binomial(trials, chance), Binomial::new(chance, trials).unwrap());
            for outcome in table.outcomes() {
                let (found, expected) = (table.chance(outcome), law.pmf(outcome));
                assert!((found - expected).abs() < 1e-9, "{trials} {chance} {outcome}: {found} {expected}");
            }
        }
    }

    #[test]
    fn certain_outcomes_have_tables_of_one() {
        for (chance, only) in [(0.0, 0), (1.0, 7)] {
            assert_eq!(Tabulated::binomial(7, chance).outcomes().collect::<Vec<_>>(), [only]);
        }
    }

    /// Against the law of Gauss, which is within 1e-6 of so wide a binomial law in its middle.
    #[test]
    fn laws_too_wide_for_a_table_are_tabulated_in_steps() {
        use statrs::distribution::{ContinuousCDF, Normal};
        for (trials, chance) in [(1_u64 << 53, 0.5), (1_u64 << 50, 0.25), (1_u64 << 40, 0.9)] {
            let table = Tabulated::binomial(trials, chance);
            assert!(table.step > 1 && table.cumulative.len() <= MOST_ENTRIES as usize + 1, "{}", table.step);
            let deviation = (trials as f64 * chance * (1.0 - chance)).sqrt();
            let law = Normal::new(trials as f64 * chance, deviation).unwrap();
            for (outcome, &below) in table.outcomes().zip(&table.cumulative).step_by(97) {
                let expected = law.cdf(outcome as f64 + 0.5 * table.step as f64);
                assert!((below - expected).abs() < 1e-6, "{trials} {chance} {outcome}: {below} {expected}");
            }
            assert_eq!(table.chance(0).to_bits(), 0.0_f64.to_bits());
            assert_eq!(table.chance(trials).to_bits(), 0.0_f64.to_bits());
        }
    }
}
