//! FAAL: the classes that are worst off in a batch weigh more, found by distributionally robust
//! optimisation.
//!
//! Zhang et al., "Towards fairness-aware adversarial learning" (CVPR 2024). With the margin
//! `m_i = max over k != y of p_k - p_y` of each adversarial softmax and its mean `m_c` in each class,
//!
//! ```text
//! p = argmax over p of sum_c n_c p_c m_c    such that p is a distribution and KL(uniform || p) <= r
//! L = K/B sum_i p_{y_i} l_i
//! ```
//!
//! Two forms are known under the name. The original counts each class by its images `n_c` in the batch,
//! takes -1 for a class without one, and has r = 0.5. The form that Sy-FAR was compared with takes the
//! class means of the cross-entropy, 0 for an absent class, r = 0.1, and weighs class means of the loss.
//!
//! The published code calls a conic solver in every step. None is needed: the optimum is
//! `p_c = l q_c / (nu - a_c)` with `q` uniform, `a_c` the gain of class `c` and `l` a normaliser, and the
//! divergence falls steadily in `nu`, so that bisection finds it (own derivation from the stationarity of
//! the Lagrangian; the tests compare with a solver).

use burn::tensor::activation::softmax;

use super::config::not_negative;
use super::{Losses, Objective, ObjectiveConfig, ObjectiveConfigError, Pictures, TradesConfig, host};
use crate::attacks::cross_entropy;
use crate::data::Batch;
use crate::models::Classifier;

/// Which FAAL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaalVariant {
    /// Of the paper: softmax margins, counted by image.
    #[default]
    Original,
    /// That Sy-FAR was compared with: mean cross-entropy of each class.
    ClassLoss,
}

/// Constants of FAAL.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaalConfig {
    /// `original` or `class-loss`.
    pub variant: FaalVariant,
    /// Radius `r` of the divergence, 0 or more (0: all classes weigh the same). 0.5 for `original` and 0.1
    /// for `class-loss` where absent, as published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub radius: Option<f64>,
    /// What is weighed; TRADES by default.
    pub base: Box<ObjectiveConfig>,
}

impl Default for FaalConfig {
    fn default() -> Self {
        let base = Box::new(ObjectiveConfig::Trades(TradesConfig::default()));
        Self { variant: FaalVariant::default(), radius: None, base }
    }
}

impl FaalConfig {
    /// The objective for pictures `[C, H, W]` of `classes` classes.
    ///
    /// # Errors
    /// Names the first key whose value cannot be meant.
    pub fn build(&self, input_shape: [usize; 3], classes: usize) -> Result<Faal, ObjectiveConfigError> {
        let published = match self.variant {
            FaalVariant::Original => 0.5,
            FaalVariant::ClassLoss => 0.1,
        };
        Ok(Faal {
            variant: self.variant,
            radius: not_negative("radius", self.radius.unwrap_or(published))?,
            base: self.base.build(input_shape, classes)?,
        })
    }
}

/// An objective whose images are weighed by class.
pub struct Faal {
    variant: FaalVariant,
    radius: f64,
    base: Box<dyn Objective>,
}

impl Faal {
    /// The weight of each image; their mean is not 1 in general.
    fn weights(&self, losses: &Losses, labels: &[usize]) -> Vec<f64> {
        let classes = losses.logits.dims()[1];
        let logits = losses.logits.clone().without_autodiff();
        let mut counts = vec![0.0; classes];
        for &label in labels {
            counts[label] += 1.0;
        }
        match self.variant {
            FaalVariant::Original => {
                let margins = margins(&host(&softmax(logits, 1)), labels, classes);
                // `n_c` times the mean margin is the sum of the margins. The -1 of an absent class counts
                // zero times.
                let weights = faal_weights(&sums(&margins, labels, classes), self.radius);
                labels.iter().map(|&label| classes as f64 * weights[label]).collect()
            }
            FaalVariant::ClassLoss => {
                let losses = host(&cross_entropy(logits, labels));
                let means: Vec<f64> = sums(&losses, labels, classes)
                    .iter()
                    .zip(&counts)
                    .map(|(sum, count)| sum / f64::max(*count, 1.0))
                    .collect();
                let weights = faal_weights(&means, self.radius);
                // A mean over images of this is the weighted sum of the class means.
                labels.iter().map(|&label| labels.len() as f64 * weights[label] / counts[label]).collect()
            }
        }
    }
}

impl Objective for Faal {
    fn name(&self) -> &'static str {
        "faal"
    }

    fn base(&self) -> Option<&dyn Objective> {
        Some(self.base.as_ref())
    }

    fn base_mut(&mut self) -> Option<&mut dyn Objective> {
        Some(self.base.as_mut())
    }

    fn losses(&mut self, student: &dyn Classifier, batch: &Batch, pictures: Pictures) -> Losses {
        let mut losses = self.base.losses(student, batch, pictures);
        if losses.is_finite() {
            let weights = self.weights(&losses, &batch.labels);
            losses.weigh(&weights);
            losses.note_largest(&weights);
        }
        losses
    }
}

/// The largest probability of another class minus that of the label, in [-1, 1], from rows of `classes`
/// probabilities.
fn margins(probabilities: &[f64], labels: &[usize], classes: usize) -> Vec<f64> {
    let margin = |(row, &label): (&[f64], &usize)| {
        let others = row.iter().enumerate().filter(|(class, _)| *class != label);
        others.map(|(_, value)| *value).fold(0.0, f64::max) - row[label]
    };
    probabilities.chunks(classes).zip(labels).map(margin).collect()
}

/// Sum of the values of each class.
fn sums(values: &[f64], labels: &[usize], classes: usize) -> Vec<f64> {
    let mut sums = vec![0.0; classes];
    for (value, &label) in values.iter().zip(labels) {
        sums[label] += value;
    }
    sums
}

/// How exactly the logarithm of the multiplier is found: far above the distance of numbers near 600, far
/// below what weights show.
const STEP: f64 = 1e-12;

/// The distribution `p` over classes that maximises `sum_c p_c gain_c` such that `KL(uniform || p)` is at
/// most `radius`, which is 0 or more. `gains` are finite.
pub fn faal_weights(gains: &[f64], radius: f64) -> Vec<f64> {
    let uniform = 1.0 / gains.len() as f64;
    let largest = gains.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let lag: Vec<f64> = gains.iter().map(|gain| largest - gain).collect();
    let spread = lag.iter().copied().fold(0.0, f64::max);
    if radius <= 0.0 || spread <= 0.0 {
        return vec![uniform; gains.len()];
    }
    // With nu = largest + spread * exp(s): KL as a function of s falls from infinity to 0.
    let divergence = |s: f64| {
        let nu = spread * s.exp();
        let log: f64 = lag.iter().map(|lag| uniform * (nu + lag).ln()).sum();
        let inverse: f64 = lag.iter().map(|lag| uniform / (nu + lag)).sum();
        log + inverse.ln()
    };
    // Beyond these the sums would lose the smaller term; the weights there are those of the ends.
    let (mut low, mut high) = (-600.0, 30.0);
    while high - low > STEP {
        let middle = f64::midpoint(low, high);
        if divergence(middle) > radius {
            low = middle;
        } else {
            high = middle;
        }
    }
    let nu = spread * high.exp();
    let raw: Vec<f64> = lag.iter().map(|lag| 1.0 / (nu + lag)).collect();
    let total: f64 = raw.iter().sum();
    raw.iter().map(|weight| weight / total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn divergence_from_uniform(weights: &[f64]) -> f64 {
        let uniform = 1.0 / weights.len() as f64;
        weights.iter().map(|weight| uniform * (uniform / weight).ln()).sum()
    }

    /// ```python
    /// def solve(a, r):
    ///     a = np.array(a); q = np.full(len(a), 1 / len(a)); p = cp.Variable(len(a), nonneg=True)
    ///     constraints = [cp.sum(p) == 1, cp.sum(cp.kl_div(q, p)) <= r]
    ///     cp.Problem(cp.Maximize(p @ a), constraints).solve(solver=cp.CLARABEL, tol_gap_abs=1e-12,
    ///                                                       tol_gap_rel=1e-12, tol_feas=1e-12)
    ///     return p.value
    /// ```
    #[test]
    fn weights_are_those_of_a_conic_solver() {
        let cases: [(&[f64], f64, &[f64]); 3] = [
            (&[0.3, -0.2, 0.9, 0.1], 0.5, &[0.116_681_1, 0.068_679_162, 0.723_452_143, 0.091_187_595]),
            (&[-1.0, -0.5, -0.8], 0.1, &[0.192_778_579, 0.547_047_138, 0.260_174_283]),
            (
                &[2.0, 2.0, -3.0, 0.0, 1.5],
                0.5,
                &[0.388_594_119, 0.388_594_119, 0.022_585_898, 0.051_936_737, 0.148_289_127],
            ),
        ];
        for (gains, radius, expected) in cases {
            for (found, expected) in faal_weights(gains, radius).iter().zip(expected) {
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            }
        }
    }

    #[test]
    fn equal_gains_and_radius_zero_are_uniform() {
        assert_eq!(faal_weights(&[0.7; 4], 0.5), [0.25; 4]);
        assert_eq!(faal_weights(&[0.7, 0.1], 0.0), [0.5; 2]);
        assert_eq!(faal_weights(&[0.7], 0.5), [1.0]);
    }

    #[test]
    fn margins_by_hand() {
        let probabilities = [0.7, 0.2, 0.1, 0.3, 0.3, 0.4];
        let found = margins(&probabilities, &[0, 1], 3);
        assert!((found[0] + 0.5).abs() < 1e-12 && (found[1] - 0.1).abs() < 1e-12);
        assert_eq!(sums(&[1.0, 2.0, 4.0], &[2, 0, 2], 3), [2.0, 0.0, 5.0]);
    }

    proptest! {
        #[test]
        fn weights_are_a_distribution_on_the_border_that_favours_the_larger_gain(
            gains in prop::collection::vec(-5.0..5.0_f64, 2..40), radius in 0.01..3.0_f64,
        ) {
            let weights = faal_weights(&gains, radius);
            prop_assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            prop_assert!(weights.iter().all(|weight| *weight > 0.0));
            prop_assert!((divergence_from_uniform(&weights) - radius).abs() < 1e-6);
            for (a, b) in gains.iter().zip(&weights).zip(gains.iter().zip(&weights).skip(1)) {
                prop_assert!((a.0 - b.0) * (a.1 - b.1) >= 0.0);
            }
        }
    }
}
