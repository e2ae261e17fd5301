//! `SpecNorm`: confusional spectral regularisation.
//!
//! Jin et al., "Enhancing robust fairness via confusional spectral regularization" (ICLR 2025, arXiv
//! 2501.13273): the robust error of the worst class is bounded by the spectral norm of the robust
//! confusion matrix plus a term of capacity, so that norm is to fall. Two forms are known under the name:
//!
//! - **original**: errors of an epoch are counted in `N[prediction, label]`, after the label's logit was
//!   lowered by a tenth of its size; with the first singular pair `u, v` of `N` each adversarial picture's
//!   cross-entropy weighs `G[prediction, label]`, where `G = u v^T` brought to [0.01, 2.01]. The published
//!   code counts in a pass of its own over the training pictures before each epoch; here the pictures of
//!   the epoch before are counted as they are trained on, so the first epoch has no such term.
//! - **batch**, that Sy-FAR was compared with: the spectral norm of `L[j, y] += CE_i / B` for each picture
//!   `i` of class `y` and each class `j` with `p_y <= gamma + p_j`. Its gradient is that of `u^T L v` with
//!   the singular pair held constant, which is exact where the first singular value is simple.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use burn::tensor::activation::softmax;

use super::config::not_negative;
use super::{
    AdversarialConfig, ClassFigures, Losses, Objective, ObjectiveConfig, ObjectiveConfigError, Pictures,
    Term, TradesConfig, host,
};
use crate::attacks::cross_entropy;
use crate::data::Batch;
use crate::models::Classifier;

/// Which `SpecNorm`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpecNormVariant {
    /// Of the paper: confusion of an epoch, first singular pair as weights.
    #[default]
    Original,
    /// That Sy-FAR was compared with: spectral norm of the losses of a batch.
    Batch,
}

/// Constants of `SpecNorm`.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpecNormConfig {
    /// `original` or `batch`.
    pub variant: SpecNormVariant,
    /// Weight of the term, 0 or more; 0.3 for `original` and 10 for `batch` where absent, as published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Margin `gamma` in probability within which a class counts as confused, for `batch`; 0 or more.
    pub gamma: f64,
    /// What the term is added to; TRADES with a clean weight of 0.7 by default, as in the paper. The other
    /// form was published on adversarial training.
    pub base: Box<ObjectiveConfig>,
}

impl Default for SpecNormConfig {
    fn default() -> Self {
        let base = TradesConfig { clean_weight: 0.7, ..TradesConfig::default() };
        let base = Box::new(ObjectiveConfig::Trades(base));
        Self { variant: SpecNormVariant::default(), weight: None, gamma: 0.0, base }
    }
}

impl SpecNormConfig {
    /// The form that Sy-FAR was compared with, on adversarial training.
    pub fn batch(base: AdversarialConfig) -> Self {
        let base = Box::new(ObjectiveConfig::Adversarial(base));
        Self { variant: SpecNormVariant::Batch, base, ..Self::default() }
    }

    /// The objective for pictures `[C, H, W]` of `classes` classes.
    ///
    /// # Errors
    /// Names the first key whose value cannot be meant.
    pub fn build(&self, input_shape: [usize; 3], classes: usize) -> Result<SpecNorm, ObjectiveConfigError> {
        let published = match self.variant {
            SpecNormVariant::Original => 0.3,
            SpecNormVariant::Batch => 10.0,
        };
        Ok(SpecNorm {
            variant: self.variant,
            weight: not_negative("weight", self.weight.unwrap_or(published))?,
            gamma: not_negative("gamma", self.gamma)?,
            base: self.base.build(input_shape, classes)?,
            classes,
            state: State::default(),
        })
    }
}

/// What `original` knows between steps.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
struct State {
    /// Errors of the epoch so far: prediction, label, count.
    errors: Vec<(usize, usize, f64)>,
    /// First singular pair of the epoch before, by prediction and by label; empty before there is one.
    pair: (Vec<f64>, Vec<f64>),
}

impl State {
    /// Whether it is of so many classes.
    fn fits(&self, classes: usize) -> bool {
        let (u, v) = &self.pair;
        self.errors.iter().all(|&(prediction, label, _)| prediction.max(label) < classes)
            && (u.is_empty() && v.is_empty() || u.len() == classes && v.len() == classes)
    }
}

/// An objective with the spectral term.
pub struct SpecNorm {
    variant: SpecNormVariant,
    weight: f64,
    gamma: f64,
    base: Box<dyn Objective>,
    classes: usize,
    state: State,
}

impl SpecNorm {
    /// Weight of each image's cross-entropy in the term, `N`, for rows of logits.
    fn original(&mut self, logits: &[f64], labels: &[usize]) -> Vec<f64> {
        let mut weights = Vec::with_capacity(labels.len());
        for (row, &label) in logits.chunks(self.classes).zip(labels) {
            let shrunk = largest(row, |class, value| value - if class == label { 0.1 * value } else { 0.0 });
            if shrunk != label {
                self.state.errors.push((shrunk, label, 1.0));
            }
            let prediction = largest(row, |_, value| value);
            weights.push(rescaled(&self.state.pair, prediction, label));
        }
        self.state.errors = collect(std::mem::take(&mut self.state.errors));
        weights
    }

    /// The same for the other form: `sum_i weight_i CE_i / B` is the spectral norm.
    fn batch(&self, logits: &Tensor<2>, labels: &[usize]) -> Vec<f64> {
        let classes = self.classes;
        let losses = host(&cross_entropy(logits.clone(), labels));
        let probabilities = host(&softmax(logits.clone(), 1));
        let confused: Vec<Vec<usize>> = probabilities
            .chunks(classes)
            .zip(labels)
            .map(|(row, &label)| {
                let near = |class: &usize| *class != label && row[label] <= self.gamma + row[*class];
                (0..classes).filter(near).collect()
            })
            .collect();
        let entries = (0..labels.len())
            .flat_map(|image| confused[image].iter().map(move |&class| (image, class)))
            .map(|(image, class)| (class, labels[image], losses[image]))
            .collect();
        let (u, v) = first_singular_pair(&collect(entries), classes);
        let weight = |(confused, &label): (&Vec<usize>, &usize)| {
            v[label] * confused.iter().map(|&class| u[class]).sum::<f64>()
        };
        confused.iter().zip(labels).map(weight).collect()
    }
}

impl Objective for SpecNorm {
    fn name(&self) -> &'static str {
        "spec-norm"
    }

    fn base(&self) -> Option<&dyn Objective> {
        Some(self.base.as_ref())
    }

    fn base_mut(&mut self) -> Option<&mut dyn Objective> {
        Some(self.base.as_mut())
    }

    fn losses(&mut self, student: &dyn Classifier, batch: &Batch, pictures: Pictures) -> Losses {
        let mut losses = self.base.losses(student, batch, pictures);
        let plain = losses.logits.clone().without_autodiff();
        let weights = match self.variant {
            SpecNormVariant::Original => self.original(&host(&plain), &batch.labels),
            SpecNormVariant::Batch => self.batch(&plain, &batch.labels),
        };
        let weights: Vec<f32> = weights.iter().map(|weight| *weight as f32).collect();
        let weights = Tensor::<1>::from_data(weights.as_slice(), &plain.device());
        let term = (cross_entropy(losses.logits.clone(), &batch.labels) * weights).mean();
        losses.terms.push(Term::new("spectral", &term));
        losses.add_penalty(term.mul_scalar(self.weight));
        losses
    }

    fn end_epoch(&mut self, validation: Option<&ClassFigures>) {
        let errors = std::mem::take(&mut self.state.errors);
        let none = (Vec::new(), Vec::new());
        self.state.pair = if errors.is_empty() { none } else { first_singular_pair(&errors, self.classes) };
        self.base.end_epoch(validation);
    }

    fn state(&self) -> serde_json::Value {
        serde_json::json!({"spec_norm": self.state, "base": self.base.state()})
    }

    fn restore(&mut self, state: &serde_json::Value) -> Result<(), String> {
        let found: State = serde_json::from_value(state["spec_norm"].clone())
            .map_err(|error| format!("the state of spec-norm cannot be used ({error})"))?;
        if !found.fits(self.classes) {
            return Err(format!("the state of spec-norm is not of {} classes", self.classes));
        }
        self.state = found;
        self.base.restore(&state["base"])
    }
}

/// The index with the largest value of `f`; the first among equals.
fn largest(row: &[f64], f: impl Fn(usize, f64) -> f64) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (index, &value) in row.iter().enumerate() {
        let value = f(index, value);
        if value > best.1 {
            best = (index, value);
        }
    }
    best.0
}

/// Adds up entries of the same place.
fn collect(entries: Vec<(usize, usize, f64)>) -> Vec<(usize, usize, f64)> {
    let mut places = BTreeMap::new();
    for (row, column, value) in entries {
        *places.entry((row, column)).or_insert(0.0) += value;
    }
    places.into_iter().map(|((row, column), value)| (row, column, value)).collect()
}

/// `u[prediction] v[label]` brought to [0.01, 2.01] over all places of the matrix; 0 without a pair.
fn rescaled((u, v): &(Vec<f64>, Vec<f64>), prediction: usize, label: usize) -> f64 {
    let ends = |vector: &[f64]| {
        vector.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(*x), high.max(*x)))
    };
    let ((u_low, u_high), (v_low, v_high)) = (ends(u), ends(v));
    // Entries of a matrix of counts and so of its first singular pair are not negative.
    let (low, high) = (u_low * v_low, u_high * v_high);
    if u.is_empty() || high <= low {
        return 0.0;
    }
    2.0 * (u[prediction] * v[label] - low) / (high - low) + 0.01
}

/// First left and right singular vectors, of length 1 and without negative entries, of a square matrix of
/// positive entries given by row, column and value; zero vectors for a matrix without entries.
///
/// Power iteration on `M^T M` from a vector of ones: the matrix has no negative entry, so that its first
/// singular vector has none either and cannot be orthogonal to the start.
fn first_singular_pair(entries: &[(usize, usize, f64)], size: usize) -> (Vec<f64>, Vec<f64>) {
    let mut v = vec![1.0; size];
    let mut u = vec![0.0; size];
    for _ in 0..500 {
        u.fill(0.0);
        for &(row, column, value) in entries {
            u[row] += value * v[column];
        }
        normalise(&mut u);
        let mut next = vec![0.0; size];
        for &(row, column, value) in entries {
            next[column] += value * u[row];
        }
        normalise(&mut next);
        let moved = next.iter().zip(&v).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        v = next;
        if moved < 1e-13 {
            break;
        }
    }
    (u, v)
}

fn normalise(vector: &mut [f64]) {
    let length = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
    if length > 0.0 {
        for value in vector {
            *value /= length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objectives::StandardConfig;
    use burn::tensor::{Device, TensorData};

    /// ```python
    /// m = np.array([[0, 3, 1], [2, 0, 0], [0, 1, 0]])
    /// u, s, v = np.linalg.svd(m); print(abs(u[:, 0]), s[0], abs(v[0]))
    /// ```
    #[test]
    fn the_first_singular_pair_is_that_of_numpy() {
        let entries = [(0, 1, 3.0), (0, 2, 1.0), (1, 0, 2.0), (2, 1, 1.0)];
        let (u, v) = first_singular_pair(&entries, 3);
        for (found, expected) in u.iter().chain(&v).zip(GOLDEN) {
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
        assert_eq!(first_singular_pair(&[], 2), (vec![0.0; 2], vec![0.0; 2]));
    }
    const GOLDEN: [f64; 6] =
        [0.957_092_026_489, 0.0, 0.289_784_148_688, 0.0, 0.957_092_026_489, 0.289_784_148_688];

    fn objective(config: &SpecNormConfig) -> SpecNorm {
        let base = Box::new(ObjectiveConfig::Standard(StandardConfig {}));
        SpecNormConfig { base, ..config.clone() }.build([3, 16, 16], 3).expect("valid")
    }

    fn tensor(values: &[f32]) -> Tensor<2> {
        let count = values.len() / 3;
        Tensor::from_data(TensorData::new(values.to_vec(), [count, 3]), &Device::default())
    }

    #[test]
    fn the_weights_of_a_batch_give_the_spectral_norm_and_its_gradient() {
        let config = SpecNormConfig { variant: SpecNormVariant::Batch, ..SpecNormConfig::default() };
        let objective = objective(&config);
        let labels = [0, 0, 1, 2];
        let values = [0.1, 0.9, 0.3, 0.2, 1.0, 0.8, 1.5, 0.1, -0.4, 0.6, 0.2, 0.1_f32];
        // The norm of the matrix of losses, formed and measured by itself.
        let norm = |values: &[f32]| {
            let logits = tensor(values);
            let losses = host(&cross_entropy(logits.clone(), &labels));
            let mut entries = Vec::new();
            for (image, row) in values.chunks(3).enumerate() {
                for class in 0..3 {
                    if class != labels[image] && row[labels[image]] <= row[class] {
                        entries.push((class, labels[image], losses[image] / 4.0));
                    }
                }
            }
            let (u, v) = first_singular_pair(&collect(entries.clone()), 3);
            entries.iter().map(|(row, column, value)| u[*row] * value * v[*column]).sum::<f64>()
        };
        let weights = objective.batch(&tensor(&values), &labels);
        let losses = host(&cross_entropy(tensor(&values), &labels));
        let term: f64 = weights.iter().zip(&losses).map(|(weight, loss)| weight * loss / 4.0).sum();
        assert!((term - norm(&values)).abs() < 1e-6, "{term}");
        // The gradient with the pair held constant against finite differences of the norm itself.
        let leaf = tensor(&values).autodiff().require_grad();
        let constant: Vec<f32> = weights.iter().map(|weight| *weight as f32).collect();
        let constant = Tensor::<1>::from_data(constant.as_slice(), &Device::default());
        let gradient = leaf.grad(&(cross_entropy(leaf.clone(), &labels) * constant).mean().backward());
        for (index, found) in host(&gradient.expect("depends on the logits")).into_iter().enumerate() {
            let moved = |delta: f32| {
                let mut moved = values;
                moved[index] += delta;
                norm(&moved)
            };
            let expected = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!((found - expected).abs() < 2e-3, "{index}: {found} {expected}");
        }
    }

    #[test]
    fn an_epoch_of_errors_decides_the_weights_of_the_next() {
        let mut objective = objective(&SpecNormConfig::default());
        // Class 0 is taken for 1 twice; class 1 only once its logit has lost a tenth; class 2 is right.
        let logits = [0.0, 1.0, 0.5, 0.0, 2.0, 0.5, 0.95, 1.0, 0.0, 0.0, 0.0, 1.0];
        let labels = [0, 0, 1, 2];
        assert_eq!(objective.original(&logits, &labels), [0.0; 4]);
        assert_eq!(objective.state.errors, [(0, 1, 1.0), (1, 0, 2.0)]);
        let state = objective.state();
        objective.end_epoch(None);
        let weights = objective.original(&logits, &labels);
        assert!((weights[0] - 2.01).abs() < 1e-9, "the pair that is confused most: {weights:?}");
        assert!((weights[3] - 0.01).abs() < 1e-9, "a pair that is not: {weights:?}");
        let weights_of_three = objective.state();
        objective.restore(&state).expect("its own state");
        assert_eq!(objective.state(), state);
        assert!(objective.restore(&serde_json::json!({"spec_norm": 3})).is_err());
        let of_two = SpecNormConfig::default().build([3, 16, 16], 2).expect("valid");
        for mut other in [of_two, SpecNormConfig::default().build([3, 16, 16], 4).expect("valid")] {
            let error = other.restore(&weights_of_three).expect_err("of three classes");
            assert!(error.contains("is not of"), "{error}");
        }
    }
}
