//! Numbers that carry what stands behind them: how many images, and how far chance may move them.

use serde::{Deserialize, Serialize};

use super::noise::NoiseFloor;

/// The 0.975 quantile of the standard normal distribution: intervals hold 95 %.
pub(super) const Z: f64 = 1.959_963_984_540_054;

/// A share of counted things, with its 95 % Wilson interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// `successes / n`, in `[0, 1]`.
    pub value: f64,
    /// How many counted.
    pub successes: u64,
    /// Of how many, at least 1.
    pub n: u64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Rate {
    /// The share `successes / n`; `None` where there is nothing to count.
    ///
    /// The interval is Wilson's (Journal of the American Statistical Association 22, 1927): the values of
    /// the true share that a score test at 5 % would not reject. It stays inside `[0, 1]` and has a width
    /// at 0 and 1 too, which matters with twenty images in a class.
    pub fn of(successes: u64, n: u64) -> Option<Self> {
        (n > 0).then(|| {
            let value = successes as f64 / n as f64;
            let (low, high) = wilson(value, n as f64);
            // Rounding would otherwise leave 1e-17 where the end is exactly the share.
            let low = if successes == 0 { 0.0 } else { low };
            let high = if successes == n { 1.0 } else { high };
            Self { value, successes, n, low, high }
        })
    }
}

/// Wilson's interval of a share of `size` trials, which need not be a whole number.
pub(super) fn wilson(value: f64, size: f64) -> (f64, f64) {
    let denominator = 1.0 + Z * Z / size;
    let centre = (value + Z * Z / (2.0 * size)) / denominator;
    let half = Z * (value * (1.0 - value) / size + Z * Z / (4.0 * size * size)).sqrt() / denominator;
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

/// The mean of independent shares and its 95 % interval; `None` without a share.
///
/// The interval is recovered from Wilson's intervals of the shares (MOVER: Zou and Donner, "Construction of
/// confidence limits about effect measures", Statistics in Medicine 27, 2008), so shares of 0 and 1 do not
/// count as certain.
pub(super) fn mean_of_rates(rates: &[Rate]) -> Option<(f64, f64, f64)> {
    let size = rates.len() as f64;
    let mean = rates.iter().map(|rate| rate.value).sum::<f64>() / size;
    let side = |distance: fn(&Rate) -> f64| {
        rates.iter().map(|rate| distance(rate).powi(2)).sum::<f64>().sqrt() / size
    };
    (!rates.is_empty()).then(|| {
        let (below, above) = (side(|rate| rate.value - rate.low), side(|rate| rate.high - rate.value));
        (mean, (mean - below).max(0.0), (mean + above).min(1.0))
    })
}

/// A number computed from counts that is not itself a share of them: a mean of rates, a gap, a sum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The number.
    pub value: f64,
    /// Number of images or attacks that it was computed from.
    pub n: u64,
    /// Lower end of a 95 % interval, where one was computed.
    pub low: Option<f64>,
    /// Upper end of a 95 % interval, where one was computed.
    pub high: Option<f64>,
    /// What chance alone would show, where that was computed.
    pub noise: Option<NoiseFloor>,
}

impl Figure {
    /// A number without interval or noise floor.
    pub fn new(value: f64, n: u64) -> Self {
        Self { value, n, low: None, high: None, noise: None }
    }

    /// The mean of independent shares, see [`mean_of_rates`].
    pub(super) fn mean_of(rates: &[Rate], n: u64) -> Option<Self> {
        let (value, low, high) = mean_of_rates(rates)?;
        Some(Self { value, n, low: Some(low), high: Some(high), noise: None })
    }

    /// Sets the 95 % interval of the true figure. It need not hold the value of a figure that chance only
    /// makes larger: a noisy value can lie above every plausible truth.
    pub(super) fn set_interval(&mut self, low: f64, high: f64) {
        (self.low, self.high) = (Some(low), Some(high));
    }
}

/// The share of one class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassRate {
    /// Index into the report's classes.
    pub class: usize,
    /// Its share.
    pub rate: Rate,
}

/// The number of one class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassFigure {
    /// Index into the report's classes.
    pub class: usize,
    /// Its number.
    pub figure: Figure,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // import numpy as np
    // z = 1.959963984540054
    // for k, n in [(300, 1000), (12, 40), (6, 20), (0, 20), (20, 20)]:
    //     p = k / n; d = 1 + z*z/n; c = (p + z*z/(2*n)) / d
    //     h = z * np.sqrt(p*(1-p)/n + z*z/(4*n*n)) / d
    //     print(round(c - h, 6), round(c + h, 6))
    #[test]
    fn the_interval_is_wilsons() {
        let golden = [
            (300, 1000, 0.272_407, 0.329_124),
            (12, 40, 0.180_748, 0.454_300),
            (6, 20, 0.145_477, 0.518_973),
            (0, 20, 0.0, 0.161_125),
            (20, 20, 0.838_875, 1.0),
        ];
        for (successes, n, low, high) in golden {
            let rate = Rate::of(successes, n).unwrap();
            assert!((rate.low - low).abs() < 1e-6, "{successes}/{n}: {}", rate.low);
            assert!((rate.high - high).abs() < 1e-6, "{successes}/{n}: {}", rate.high);
        }
    }

    #[test]
    fn nothing_counted_is_no_rate() {
        assert_eq!(Rate::of(0, 0), None);
    }

    // z = 1.959963984540054
    // r, n = np.array([.3, .3, 1.]), np.array([40, 20, 20]); d = 1 + z*z/n; c = (r + z*z/(2*n)) / d
    // h = z * np.sqrt(r*(1-r)/n + z*z/(4*n*n)) / d; low, high = c - h, np.minimum(c + h, 1); m = r.mean()
    // print(m, m - np.sqrt(((r - low)**2).sum()) / 3, m + np.sqrt(((high - r)**2).sum()) / 3)
    #[test]
    fn the_interval_of_a_mean_comes_from_its_parts() {
        let rates = [(12, 40), (6, 20), (20, 20)].map(|(successes, n)| Rate::of(successes, n).unwrap());
        let found = mean_of_rates(&rates).unwrap();
        let golden = [0.533_333_333_333_333_3, 0.448_966_719_319_980_7, 0.622_625_390_495_656_2];
        for (found, golden) in [found.0, found.1, found.2].into_iter().zip(golden) {
            assert!((found - golden).abs() < 1e-12, "{found} is not {golden}");
        }
        assert_eq!(mean_of_rates(&[]), None);
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_share_and_stays_in_range(n in 1_u64..2000, part in 0.0..=1.0_f64) {
            let rate = Rate::of((part * n as f64) as u64, n).unwrap();
            prop_assert!(0.0 <= rate.low && rate.low <= rate.value);
            prop_assert!(rate.value <= rate.high && rate.high <= 1.0);
        }
    }
}
