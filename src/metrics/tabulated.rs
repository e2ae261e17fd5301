//! A law of whole numbers as a table, for drawing from it many times.

use rand::{Rng, RngExt};

/// The outcomes `first`, `first + 1`, .. with the chance of at most each of them.
pub(super) struct Tabulated {
    first: u64,
    cumulative: Vec<f64>,
}

/// Half the width of a table of a binomial law, in standard deviations: what is beyond has a chance below
/// 1e-18.
const WIDTH: f64 = 9.0;

impl Tabulated {
    /// From how much more likely `x + 1` is than `x`, for the outcomes `first..=last`. Starts at the `mode`,
    /// where nothing underflows but what is 0 anyway.
    pub fn of(first: u64, last: u64, mode: u64, ratio: impl Fn(u64) -> f64) -> Self {
        let mut weights = vec![1.0; (last - first + 1) as usize];
        for x in mode..last {
            weights[(x + 1 - first) as usize] = weights[(x - first) as usize] * ratio(x);
        }
        for x in (first..mode).rev() {
            weights[(x - first) as usize] = weights[(x + 1 - first) as usize] / ratio(x);
        }
        let total: f64 = weights.iter().sum();
        let mut below = 0.0;
        for weight in &mut weights {
            below += *weight / total;
            *weight = below;
        }
        Self { first, cumulative: weights }
    }

    /// Successes among `trials`, each with a chance in `[0, 1]`.
    pub fn binomial(trials: u64, chance: f64) -> Self {
        if chance <= 0.0 || chance >= 1.0 {
            let only = if chance <= 0.0 { 0 } else { trials };
            return Self::of(only, only, only, |_| 1.0);
        }
        let (odds, mode) = (chance / (1.0 - chance), ((trials + 1) as f64 * chance) as u64);
        let reach = (WIDTH * (trials as f64 * chance * (1.0 - chance)).sqrt() + 2.0 * WIDTH).ceil() as u64;
        let (first, last) = (mode.saturating_sub(reach), (mode + reach).min(trials));
        Self::of(first, last, mode.min(trials), |x| odds * (trials - x) as f64 / (x + 1) as f64)
    }

    /// The chance of one outcome of the table.
    pub fn chance(&self, outcome: u64) -> f64 {
        let at = (outcome - self.first) as usize;
        self.cumulative[at] - at.checked_sub(1).map_or(0.0, |before| self.cumulative[before])
    }

    /// The outcomes, which are never none.
    pub fn outcomes(&self) -> impl Iterator<Item = u64> {
        self.first..self.first + self.cumulative.len() as u64
    }

    /// One outcome, from one random number.
    pub fn draw(&self, rng: &mut impl Rng) -> u64 {
        let uniform: f64 = rng.random();
        let at = self.cumulative.partition_point(|&below| below <= uniform);
        self.first + at.min(self.cumulative.len() - 1) as u64
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
}
