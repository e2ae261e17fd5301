//! How unequal figures of classes are.
//!
//! Gini as in the normalised robust Gini coefficient of GF-Score, the coefficient of variation as in the
//! normalised standard deviation of ABSLD, Theil's index as in his "Economics and Information Theory"
//! (1967). All but `worst_tenth` and `worst_over_mean` are 0 where every class has the same figure, and
//! none of them sees how high that figure is: a classifier that is wrong everywhere is perfectly equal.

use serde::{Deserialize, Serialize};

use super::Figure;

/// Spread of the accuracies of classes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inequality {
    /// Mean of the lowest tenth of the accuracies, in `[0, 1]`: of `ceil(K / 10)` classes, so with up to
    /// ten classes the lowest alone. Higher is better.
    pub worst_tenth: Figure,
    /// Standard deviation over classes (divided by `K`), in `[0, 0.5]`. Lower is better.
    pub sd: Figure,
    /// Coefficient of variation: `sd` over the mean, in `[0, sqrt(K - 1)]`. `None` where the mean is 0.
    pub cv: Option<Figure>,
    /// Gini coefficient, `sum_ij |r_i - r_j| / (2 K^2 mean)`, in `[0, 1 - 1 / K]`. `None` where the mean
    /// is 0.
    pub gini: Option<Figure>,
    /// Theil's index, the mean of `(r / mean) ln (r / mean)`, in `[0, ln K]`. `None` where the mean is 0.
    pub theil: Option<Figure>,
    /// Lowest accuracy over the mean, in `[0, 1]`; 1 where all are equal. `None` where the mean is 0.
    pub worst_over_mean: Option<Figure>,
}

impl Inequality {
    /// Of the accuracies of the classes that have images, from `n` images. `None` without a class.
    pub fn of(values: &[f64], n: u64) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let lowest = *sorted.first()?;
        let size = sorted.len() as f64;
        let mean = sorted.iter().sum::<f64>() / size;
        let tenth = &sorted[..sorted.len().div_ceil(10)];
        let sd = (sorted.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / size).sqrt();
        // In ascending order the value at 0-based place p is the larger one of p pairs and the smaller one
        // of K - 1 - p, so all differences add up in one pass.
        let differences: f64 =
            sorted.iter().enumerate().map(|(place, value)| (2.0 * place as f64 + 1.0 - size) * value).sum();
        let theil: f64 = sorted.iter().map(|value| entropy_term(value / mean)).sum();
        let relative = |value: f64| (mean > 0.0).then(|| Figure::new(value.max(0.0), n));
        Some(Self {
            worst_tenth: Figure::new(tenth.iter().sum::<f64>() / tenth.len() as f64, n),
            sd: Figure::new(sd, n),
            cv: relative(sd / mean),
            gini: relative(differences / (size * size * mean)),
            theil: relative(theil / size),
            worst_over_mean: relative(lowest / mean),
        })
    }
}

impl Inequality {
    /// Every figure, in the order of the fields.
    pub(super) fn figures_mut(&mut self) -> [Option<&mut Figure>; 6] {
        [
            Some(&mut self.worst_tenth),
            Some(&mut self.sd),
            self.cv.as_mut(),
            self.gini.as_mut(),
            self.theil.as_mut(),
            self.worst_over_mean.as_mut(),
        ]
    }
}

/// `x ln x`, which is 0 at 0.
pub(super) fn entropy_term(x: f64) -> f64 {
    if x > 0.0 { x * x.ln() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(figure: Figure, expected: f64) {
        assert!((figure.value - expected).abs() < 1e-12, "{} is not {expected}", figure.value);
    }

    // import numpy as np
    // r = np.array([.5, .2, .9, .7, 0, .4, .65, .1, .3, .8, .55]); m = r.mean(); K = len(r)
    // print(np.sort(r)[:2].mean(), r.std(), r.std() / m, abs(r[:, None] - r).sum() / (2 * K * K * m))
    // q = r[r > 0] / m; print((q * np.log(q)).sum() / K, r.min() / m)
    // 0.05 0.2780540407668568 0.5997244016540049 0.34402852049910876
    // 0.22781966877596294 0.0
    #[test]
    fn figures_of_eleven_classes() {
        let values = [0.5, 0.2, 0.9, 0.7, 0.0, 0.4, 0.65, 0.1, 0.3, 0.8, 0.55];
        let found = Inequality::of(&values, 110).unwrap();
        close(found.worst_tenth, 0.05);
        close(found.sd, 0.278_054_040_766_856_8);
        close(found.cv.unwrap(), 0.599_724_401_654_004_9);
        close(found.gini.unwrap(), 0.344_028_520_499_108_76);
        close(found.theil.unwrap(), 0.227_819_668_775_962_94);
        close(found.worst_over_mean.unwrap(), 0.0);
    }

    #[test]
    fn equal_classes_have_no_spread() {
        let found = Inequality::of(&[0.25; 4], 8).unwrap();
        for figure in [found.sd, found.cv.unwrap(), found.gini.unwrap(), found.theil.unwrap()] {
            close(figure, 0.0);
        }
        close(found.worst_over_mean.unwrap(), 1.0);
    }

    #[test]
    fn one_class_that_has_everything_is_the_most_unequal() {
        let found = Inequality::of(&[0.0, 0.0, 0.0, 1.0], 4).unwrap();
        close(found.cv.unwrap(), 3.0_f64.sqrt());
        close(found.gini.unwrap(), 0.75);
        close(found.theil.unwrap(), 4.0_f64.ln());
    }

    #[test]
    fn a_mean_of_zero_divides_nothing() {
        let found = Inequality::of(&[0.0, 0.0], 2).unwrap();
        assert_eq!((found.cv, found.gini, found.theil, found.worst_over_mean), (None, None, None, None));
        close(found.sd, 0.0);
        assert_eq!(Inequality::of(&[], 0), None);
    }

    proptest! {
        #[test]
        fn ranges(values in prop::collection::vec(0.0..=1.0_f64, 1..40)) {
            let k = values.len() as f64;
            let found = Inequality::of(&values, 1).unwrap();
            prop_assert!((0.0..=0.5 + 1e-12).contains(&found.sd.value));
            if let (Some(cv), Some(gini), Some(theil)) = (found.cv, found.gini, found.theil) {
                prop_assert!((0.0..=(k - 1.0).sqrt() + 1e-9).contains(&cv.value));
                prop_assert!((0.0..=1.0 - 1.0 / k + 1e-12).contains(&gini.value));
                prop_assert!((0.0..=k.ln() + 1e-12).contains(&theil.value));
            }
        }
    }
}
