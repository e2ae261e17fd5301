//! DAFA: distance-aware fair adversarial training.
//!
//! Lee et al., "DAFA: distance-aware fair adversarial training" (ICLR 2024). In the last warm-up epoch the
//! mean adversarial softmax of each class gives similarities `S_ij`. A class that is harder than a similar one
//! takes weight from it:
//!
//! ```text
//! w_i = 1 + lambda (sum over j with S_ii < S_jj of S_ij S_jj - sum over j with S_ii > S_jj of S_ji S_ii)
//! ```
//!
//! so that the weights have a mean of 1. From then on class `i` has the radius `w_i epsilon`, steps scaled
//! alike, and the weight `w_i` on its cross-entropy: the clean one of TRADES, whose divergence is not weighed,
//! or that of the adversarial pictures.
//!
//! The released code for adversarial training without TRADES adds a second step and projects onto the common
//! radius, so that no class ever has more than `epsilon`. And one of its versions subtracts `S_ij S_jj` from
//! the easier class instead of what the harder one was given, so that its weights do not add up to `K`.

use burn::tensor::activation::softmax;

use super::class_figures::restored;
use super::config::{at_least_one, not_negative, scaling};
use super::{
    ClassFigures, Losses, Objective, ObjectiveConfig, ObjectiveConfigError, Pictures, Term, TradesConfig,
    Whole, host,
};
use crate::Seed;
use crate::data::Batch;
use crate::models::{Classifier, Victim};

/// Constants of DAFA.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DafaConfig {
    /// Epochs before there are weights, at least 1; 70 by default (published, of 110).
    pub warmup_epochs: usize,
    /// How far the weights move from 1, 0 or more; 1 by default (published: 1.5 for CIFAR-100 and STL-10).
    pub lambda: f64,
    /// Whether radii follow the weights; on by default.
    pub margins: bool,
    /// What is weighed; TRADES by default.
    pub base: Box<ObjectiveConfig>,
}

impl Default for DafaConfig {
    fn default() -> Self {
        let base = Box::new(ObjectiveConfig::Trades(TradesConfig::default()));
        Self { warmup_epochs: 70, lambda: 1.0, margins: true, base }
    }
}

impl DafaConfig {
    /// The objective for pictures `[C, H, W]` of `classes` classes.
    ///
    /// # Errors
    /// Names the first key whose value cannot be meant.
    pub fn build(&self, input_shape: [usize; 3], classes: usize) -> Result<Dafa, ObjectiveConfigError> {
        at_least_one("warmup_epochs", self.warmup_epochs)?;
        not_negative("lambda", self.lambda)?;
        let base = self.base.build(input_shape, classes)?;
        if self.margins {
            scaling("dafa", base.as_ref(), "set margins = false")?;
        }
        let state = State { epoch: 0, sums: Vec::new(), counts: Vec::new(), weights: vec![1.0; classes] };
        Ok(Dafa { config: self.clone(), classes, base, state })
    }
}

/// What DAFA knows between steps.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct State {
    /// Epochs that are over.
    epoch: usize,
    /// Sums of the softmax of each class, row by row, in the last warm-up epoch; empty in all others.
    sums: Vec<f64>,
    /// Pictures of each class in them.
    counts: Vec<f64>,
    weights: Vec<f64>,
}

impl AsRef<[f64]> for State {
    fn as_ref(&self) -> &[f64] {
        &self.weights
    }
}

/// An objective whose classes weigh by how similar harder classes are to them.
pub struct Dafa {
    config: DafaConfig,
    classes: usize,
    base: Box<dyn Objective>,
    state: State,
}

impl Dafa {
    fn weights(&self, labels: &[usize]) -> Vec<f64> {
        labels.iter().map(|label| self.state.weights[*label]).collect()
    }

    /// Adds the softmax of a batch to the sums.
    fn look(&mut self, probabilities: &[f64], labels: &[usize]) {
        self.state.sums.resize(self.classes * self.classes, 0.0);
        self.state.counts.resize(self.classes, 0.0);
        for (row, &label) in probabilities.chunks(self.classes).zip(labels) {
            let sums = &mut self.state.sums[label * self.classes..][..self.classes];
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            self.state.counts[label] += 1.0;
        }
    }
}

impl Objective for Dafa {
    fn name(&self) -> &'static str {
        "dafa"
    }

    fn attack(&self, victim: &Victim, batch: &Batch, whole: &Whole, seed: Seed) -> Pictures {
        if !self.config.margins || self.state.epoch < self.config.warmup_epochs {
            return self.base.attack(victim, batch, whole, seed);
        }
        let radii: Vec<f32> = self.weights(&batch.labels).iter().map(|weight| *weight as f32).collect();
        self.base.attack(victim, &batch.scale_radii(&radii), whole, seed)
    }

    fn base(&self) -> Option<&dyn Objective> {
        Some(self.base.as_ref())
    }

    fn base_mut(&mut self) -> Option<&mut dyn Objective> {
        Some(self.base.as_mut())
    }

    fn losses(&mut self, student: &dyn Classifier, batch: &Batch, pictures: Pictures) -> Losses {
        let mut losses = self.base.losses(student, batch, pictures);
        if self.state.epoch + 1 == self.config.warmup_epochs && losses.is_finite() {
            let probabilities = softmax(losses.logits.clone().without_autodiff(), 1);
            self.look(&host(&probabilities), &batch.labels);
        }
        let weights = self.weights(&batch.labels);
        match losses.natural {
            Some(_) => losses.weigh_natural(&weights),
            None => losses.weigh_main(&weights),
        }
        let largest = weights.iter().copied().fold(0.0, f64::max);
        losses.terms.push(Term { name: "largest_weight", value: largest });
        losses
    }

    fn end_epoch(&mut self, validation: Option<&ClassFigures>) {
        self.state.epoch += 1;
        if self.state.epoch == self.config.warmup_epochs {
            let (sums, counts) =
                (std::mem::take(&mut self.state.sums), std::mem::take(&mut self.state.counts));
            let mean = |(sums, count): (&[f64], &f64)| {
                (*count > 0.0).then(|| sums.iter().map(|sum| sum / count).collect())
            };
            let rows: Vec<Option<Vec<f64>>> = sums.chunks(self.classes).zip(&counts).map(mean).collect();
            if rows.len() == self.classes {
                self.state.weights = dafa_weights(&rows, self.config.lambda);
            }
        }
        self.base.end_epoch(validation);
    }

    fn state(&self) -> serde_json::Value {
        serde_json::json!({"dafa": self.state, "base": self.base.state()})
    }

    fn restore(&mut self, state: &serde_json::Value) -> Result<(), String> {
        self.state = restored(&state["dafa"], "dafa", self.classes)?;
        self.base.restore(&state["base"])
    }
}

/// The weight of each class, given the mean softmax of each class `K x K`. A class without a picture weighs 1
/// and takes from nobody. What would be negative (a large `lambda`, a class that many are taken for) is 0.
pub fn dafa_weights(rows: &[Option<Vec<f64>>], lambda: f64) -> Vec<f64> {
    let mut weights = vec![1.0; rows.len()];
    for (i, hard) in rows.iter().enumerate() {
        for (j, easy) in rows.iter().enumerate() {
            if let (Some(hard), Some(easy)) = (hard, easy)
                && hard[i] < easy[j]
            {
                let moved = lambda * hard[j] * easy[j];
                weights[i] += moved;
                weights[j] -= moved;
            }
        }
    }
    weights.into_iter().map(|weight| weight.max(0.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objectives::StandardConfig;

    /// Worked by hand: class 1 (0.5) takes 0.3 * 0.8 from class 0, class 2 (0.4) takes 0.1 * 0.8 from class 0
    /// and 0.5 * 0.5 from class 1.
    #[test]
    fn harder_classes_take_from_similar_easier_ones() {
        let rows = [[0.8, 0.1, 0.1], [0.3, 0.5, 0.2], [0.1, 0.5, 0.4]].map(|row| Some(row.to_vec()));
        let near = |found: &[f64], expected: [f64; 3]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        };
        near(&dafa_weights(&rows, 1.0), [1.0 - 0.24 - 0.08, 1.0 + 0.24 - 0.25, 1.0 + 0.08 + 0.25]);
        near(&dafa_weights(&rows, 0.0), [1.0; 3]);
        near(&dafa_weights(&rows, 10.0), [0.0, 0.9, 4.3]);
        near(&dafa_weights(&[rows[0].clone(), None, rows[2].clone()], 1.0), [0.92, 1.0, 1.08]);
    }

    #[test]
    fn the_last_epoch_of_the_warm_up_decides() {
        let base = Box::new(ObjectiveConfig::Standard(StandardConfig {}));
        let config = DafaConfig { warmup_epochs: 2, margins: false, base, ..DafaConfig::default() };
        let mut dafa = config.build([3, 16, 16], 2).expect("valid");
        dafa.end_epoch(None);
        dafa.look(&[0.9, 0.1, 0.5, 0.5, 0.7, 0.3], &[0, 1, 0]);
        let mut again = config.build([3, 16, 16], 2).expect("valid");
        again.restore(&dafa.state()).expect("its own state");
        assert_eq!(again.state, dafa.state);
        again.end_epoch(None);
        // Means (0.8, 0.2) and (0.5, 0.5): class 1 takes 0.5 * 0.8.
        assert!((again.state.weights[0] - 0.6).abs() < 1e-12 && (again.state.weights[1] - 1.4).abs() < 1e-12);
        let fixed = again.state.weights.clone();
        again.end_epoch(None);
        assert_eq!(again.state.weights, fixed);
        let error =
            DafaConfig { margins: true, ..config.clone() }.build([3, 16, 16], 2).err().expect("refused");
        assert!(error.to_string().contains("margins = false"), "{error}");
        assert!(config.build([3, 16, 16], 3).expect("valid").restore(&dafa.state()).is_err());
    }
}
