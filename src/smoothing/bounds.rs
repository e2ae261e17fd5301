//! The statistics of smoothing: counts to bounds and radii. Pure.

use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, Normal};
use statrs::function::beta::beta_reg;

/// Halvings of `[0, 1]`: as many as a float has digits.
const HALVINGS: usize = 60;

/// The one-sided lower bound of a share, at confidence `1 - alpha` (Clopper and Pearson, Biometrika 26, 1934): the share
/// `p` with `P(Binomial(n, p) >= successes) = alpha`. 0 without a success or a trial.
///
/// `alpha` is not halved: only one side is asked for. Published code that calls a two-sided interval must pass
/// `2 alpha` to it.
pub fn lower_bound(successes: u64, n: u64, alpha: f64) -> f64 {
    if successes == 0 || n == 0 {
        return 0.0;
    }
    if successes >= n {
        return alpha.powf(1.0 / n as f64);
    }
    let (a, b) = (successes as f64, (n - successes + 1) as f64);
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if beta_reg(a, b, middle) < alpha { low = middle } else { high = middle }
    }
    low
}

/// The certified L2 radius `sigma * quantile(p)` of a class that has at least the share `p` under noise of deviation
/// `sigma`; none where the share may be a half or less.
pub fn radius(sigma: f64, share: f64) -> Option<f64> {
    (share > 0.5 && share < 1.0).then(|| sigma * Normal::standard().inverse_cdf(share))
}

/// Whether the most frequent class cannot be told from the second: the two-sided binomial test of equal chances at
/// level `alpha` (Hung and Fithian, Annals of Statistics 47, 2019), given how often each was seen.
pub fn abstains(first: u64, second: u64, alpha: f64) -> bool {
    let (less, all) = (first.min(second), first + second);
    // 1/2 is always a valid chance.
    let p = Binomial::new(0.5, all).map_or(1.0, |law| (2.0 * law.cdf(less)).min(1.0));
    p > alpha
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_agree_with_the_reference() {
        // mpmath 1.3.0, mp.dps = 30, by bisection of
        //   betainc(s, n - s + 1, 0, p, regularized=True) = alpha
        for (successes, n, alpha, expected) in [
            (99, 100, 0.001, 0.911_373_111_296),
            (60, 100, 0.001, 0.440_984_265_221),
            (9900, 10_000, 0.001, 0.986_531_159_324),
            (99_990, 100_000, 0.001, 0.999_758_677_344),
            (5, 10, 0.05, 0.222_441_101_008),
        ] {
            let found = lower_bound(successes, n, alpha);
            assert!((found - expected).abs() < 1e-10, "{successes} of {n}: {found}");
        }
        // p^n = alpha
        assert!((lower_bound(100, 100, 0.001) - 0.001_f64.powf(0.01)).abs() < 1e-15);
        assert!(lower_bound(0, 100, 0.001) == 0.0 && lower_bound(0, 0, 0.001) == 0.0);
        // The two-sided interval would be wider.
        assert!(lower_bound(99, 100, 0.0005) < lower_bound(99, 100, 0.001));
    }

    #[test]
    fn the_bound_holds_as_often_as_it_says() {
        // Exactly, by summing the law of 20 trials: P(bound > p) <= alpha for every p.
        for share in [0.3, 0.5, 0.77, 0.85] {
            let law = Binomial::new(share, 20).expect("a share");
            let missed: f64 = (0..=20)
                .filter(|&successes| lower_bound(successes, 20, 0.05) > share)
                .map(|successes| statrs::distribution::Discrete::pmf(&law, successes))
                .sum();
            assert!(missed <= 0.05 && missed > 0.0, "{share}: {missed}");
        }
    }

    #[test]
    fn radii_are_quantiles() {
        // mpmath: sqrt(2) * erfinv(2 p - 1)
        for (share, expected) in [
            (0.6, 0.253_347_103_1),
            (0.9, 1.281_551_565_5),
            (0.999, 3.090_232_306_2),
            (0.999_930_92, 3.811_439_271_8),
        ] {
            let found = radius(0.5, share).expect("above a half");
            assert!((found - 0.5 * expected).abs() < 1e-8, "{share}: {found}");
        }
        assert_eq!((radius(1.0, 0.5), radius(1.0, 0.3), radius(1.0, 1.0)), (None, None, None));
        // The most that 100,000 samples can certify at 0.001: 3.8 sigma.
        let most = radius(1.0, lower_bound(100_000, 100_000, 0.001)).expect("nearly 1");
        assert!((most - 3.81).abs() < 0.01, "{most}");
    }

    #[test]
    fn abstention_is_the_exact_test() {
        // mpmath: 2 * sum(binomial(n, k) for k <= min) / 2^n: 60/40 0.05689, 80/20 1.116e-9, 55/45 0.3682
        assert!(abstains(60, 40, 0.05) && !abstains(60, 40, 0.06));
        assert!(!abstains(80, 20, 1.2e-9) && abstains(80, 20, 1.1e-9));
        assert!(abstains(55, 45, 0.36) && !abstains(55, 45, 0.37));
        assert!(abstains(0, 0, 0.5) && abstains(50, 50, 0.9));
    }
}
