//! Two shares of the same images.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};
use statrs::function::factorial::ln_factorial;

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
        let p_value = if only_base == only_candidate { 1.0 } else { two_sided_mid_p(less, all) };
        Self { only_base, only_candidate, p_value }
    }
}

/// Fair throws above which Gauss' law is as good as the digits of a sum: its error is about one in as many.
const MANY: u64 = 1 << 40;

/// Twice the chance of fewer than `less` heads among `all` fair throws, and the chance of exactly `less`; `less` is below
/// `all / 2`.
///
/// A sum downwards from `less`, whose terms are known relative to the first. (The distribution functions of statrs 0.19 stop
/// after 140 terms of a continued fraction, which leaves 2.6e-5 for 1,100,000 trials of chance 0.1 at the 45 % quantile.)
fn two_sided_mid_p(less: u64, all: u64) -> f64 {
    let [k, n] = [less, all].map(|count| count as f64);
    if all > MANY {
        return 2.0 * Normal::standard().cdf((2.0 * k - n) / n.sqrt());
    }
    let (mut term, mut sum) = (1.0, 0.5);
    for below in (0..less).rev() {
        term *= (below + 1) as f64 / (all - below) as f64;
        sum += term;
        if term < 1e-18 * sum {
            break;
        }
    }
    (2.0 * sum * chance_of_heads(k, n)).min(1.0)
}

/// Chance of `k` heads among `n` fair throws, by Stirling's series about the mean (Loader, "Fast and accurate computation of
/// binomial probabilities", 2000), which keeps its digits where factorials have lost them.
fn chance_of_heads(k: f64, n: f64) -> f64 {
    if k == 0.0 {
        return 0.5_f64.powf(n);
    }
    let far = 1.0 - 2.0 * k / n;
    let deviance = 0.5 * n * ((1.0 - far) * (-far).ln_1p() + (1.0 + far) * far.ln_1p());
    let root = (n / (2.0 * PI * k * (n - k))).sqrt();
    root * (stirling_error(n) - stirling_error(k) - stirling_error(n - k) - deviance).exp()
}

/// What Stirling's formula lacks of `ln n!`.
fn stirling_error(n: f64) -> f64 {
    if n < 16.0 {
        return ln_factorial(n as u64) - (n + 0.5) * n.ln() + n - 0.5 * (2.0 * PI).ln();
    }
    let square = n * n;
    let series = 1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / 1188.0 / square) / square;
    (1.0 / 12.0 - (1.0 / 360.0 - series / square) / square) / n
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

    // from mpmath import mp, mpf, binomial
    // mp.dps = 60
    // def p(a, b):
    //     x = binomial(a + b, a); s = x / 2
    //     for j in range(a - 1, -1, -1):
    //         x = x * (j + 1) / (a + b - j); s += x
    //         if x < s * mpf(10)**-30: break
    //     return 2 * s / mpf(2)**(a + b)
    #[test]
    fn mid_p_of_few_and_of_very_many_images() {
        for (only_base, only_candidate, expected) in [
            (2, 60, 4.373_671_563_806_525e-16),
            (20, 35, 0.044_046_546_102_150_78),
            (480, 520, 0.206_107_310_832_953_22),
            (45_000, 46_000, 0.000_916_497_371_486_296_1),
            (499_000, 501_000, 0.045_500_317_887_363_17),
            (999_999, 1_000_001, 0.998_871_621_538_140_8),
            (49_985_000, 50_015_000, 0.002_699_796_018_941_703),
            (1_000_000_000, 1_000_100_000, 0.025_350_980_026_842_36),
        ] {
            let found = McNemar::of(only_base, only_candidate).p_value;
            assert!(
                (found / expected - 1.0).abs() < 1e-10,
                "{only_base} {only_candidate}: {found} {expected}"
            );
        }
        // On both sides of where Gauss' law takes over.
        let half = MANY / 2;
        let (sum, gauss) =
            (two_sided_mid_p(half - 1_000_000, MANY), two_sided_mid_p(half - 999_999, MANY + 2));
        assert!((sum / gauss - 1.0).abs() < 1e-5, "{sum} {gauss}");
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
