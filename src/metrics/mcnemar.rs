//! Two shares of the same images.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, Discrete, DiscreteCDF};

use super::Figure;
use super::interval::wilson;

/// The test of `McNemar` (Psychometrika 12, 1947) of whether two runs are right equally often: only the images on
/// which they differ count, and each is as likely to favour the one as the other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct McNemar {
    /// Images that only the base run had right.
    pub only_base: u64,
    /// Images that only the candidate had right.
    pub only_candidate: u64,
    /// Two-sided, from the binomial distribution, mid-p; 1 where the runs never differ.
    pub p_value: f64,
}

impl McNemar {
    /// From the numbers of images on which only one run was right.
    pub fn of(only_base: u64, only_candidate: u64) -> Self {
        let (less, all) = (only_base.min(only_candidate), only_base + only_candidate);
        // 1/2 is always a valid chance.
        let p_value =
            Binomial::new(0.5, all).map_or(1.0, |law| (2.0 * law.cdf(less) - law.pmf(less)).clamp(0.0, 1.0));
        Self { only_base, only_candidate, p_value: if only_base == only_candidate { 1.0 } else { p_value } }
    }
}

/// Images by whether the base run and the candidate were right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    both: u64,
    only_base: u64,
    only_candidate: u64,
    neither: u64,
}

impl Table {
    pub fn add(&mut self, base: bool, candidate: bool, images: u64) {
        *match (base, candidate) {
            (true, true) => &mut self.both,
            (true, false) => &mut self.only_base,
            (false, true) => &mut self.only_candidate,
            (false, false) => &mut self.neither,
        } += images;
    }

    pub fn plus(self, other: Self) -> Self {
        Self {
            both: self.both + other.both,
            only_base: self.only_base + other.only_base,
            only_candidate: self.only_candidate + other.only_candidate,
            neither: self.neither + other.neither,
        }
    }

    pub fn mcnemar(self) -> McNemar {
        McNemar::of(self.only_base, self.only_candidate)
    }

    /// Share of the candidate minus share of the base with the interval of Newcombe (Statistics in Medicine
    /// 17, 1998, "paired data", method 10): Wilson's intervals of both, put together with the correlation
    /// that the table shows.
    pub fn difference(self) -> Figure {
        let [both, only_base, only_candidate, neither] =
            [self.both, self.only_base, self.only_candidate, self.neither].map(|images| images as f64);
        let size = both + only_base + only_candidate + neither;
        let [candidate, base] = [(both + only_candidate) / size, (both + only_base) / size];
        let [[below, above], [base_below, base_above]] = [candidate, base].map(|share| {
            let (low, high) = wilson(share, size);
            [share - low, high - share]
        });
        let product =
            (both + only_base) * (only_candidate + neither) * (both + only_candidate) * (only_base + neither);
        let cross = both * neither - only_base * only_candidate;
        let corrected = if cross > 0.0 { (cross - 0.5 * size).max(0.0) } else { cross };
        let phi = if product > 0.0 { corrected / product.sqrt() } else { 0.0 };
        let end =
            |one: f64, other: f64| (one * one - 2.0 * phi * one * other + other * other).max(0.0).sqrt();
        let mut figure = Figure::new(candidate - base, size as u64);
        figure.set_interval(figure.value - end(below, base_above), figure.value + end(above, base_below));
        figure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // from math import comb
    // n = 10; print(2 * (sum(comb(n, k) for k in range(2)) - comb(n, 1) / 2) / 2**n)
    // 0.01171875
    #[test]
    fn mid_p_by_hand() {
        assert!((McNemar::of(1, 9).p_value - 0.011_718_75).abs() < 1e-12);
        assert!((McNemar::of(9, 1).p_value - 0.011_718_75).abs() < 1e-12);
        assert!((McNemar::of(0, 1).p_value - 0.5).abs() < 1e-12);
        assert!((McNemar::of(4, 4).p_value - 1.0).abs() < 1e-12);
        assert!((McNemar::of(0, 0).p_value - 1.0).abs() < 1e-12);
    }

    // Newcombe 1998, table II, method 10, the second example: a, b, c, d = 36, 12, 2, 0 gives 0.2000 with
    // the interval 0.0569 to 0.3404.
    #[test]
    fn the_interval_is_newcombes() {
        let mut table = Table::default();
        table.add(true, true, 36);
        table.add(false, true, 12);
        table.add(true, false, 2);
        let found = table.difference();
        assert!((found.value - 0.2).abs() < 1e-12);
        assert!((found.low.unwrap() - 0.0569).abs() < 5e-5, "{:?}", found.low);
        assert!((found.high.unwrap() - 0.3404).abs() < 5e-5, "{:?}", found.high);
    }
}
