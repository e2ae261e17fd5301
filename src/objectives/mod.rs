//! Objectives: training methods as losses.
//!
//! An objective owns its inner attack. It has no optimiser and switches no modes: the attack sees the
//! victim, the update sees the student, and nothing passes between them but pixels.

mod adversarial;
mod config;
mod soft_confusion;
mod standard;
mod sy_far;
#[cfg(test)]
mod tests;

pub use adversarial::Adversarial;
pub use config::{AdversarialConfig, ObjectiveConfig, ObjectiveConfigError, StandardConfig, SyFarConfig};
pub use soft_confusion::{AbsentPairs, Reduction, symmetry_penalty};
pub use standard::Standard;
pub use sy_far::{SyFar, SymmetryTerm};

use burn::tensor::Tensor;

use crate::Seed;
use crate::data::Batch;
use crate::metrics::ConfusionMatrix;
use crate::models::{Classifier, Victim};

/// One named part of a loss.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// Such as `clean`, `adversarial`, `symmetry`.
    pub name: &'static str,
    /// Value before weighting.
    pub value: f64,
}

impl Term {
    fn new(name: &'static str, value: &Tensor<1>) -> Self {
        let value = value.clone().without_autodiff().into_scalar::<f32>();
        Self { name, value: f64::from(value) }
    }
}

/// The loss of one batch.
pub struct Loss {
    /// What is minimised, `[1]`, tracked.
    pub total: Tensor<1>,
    /// Its parts, for the log.
    pub terms: Vec<Term>,
    /// Predictions of the student on the pictures that it was trained on (adversarial ones where the
    /// method makes them), for class-wise methods and the progress line.
    pub predictions: Vec<usize>,
}

/// A training method.
pub trait Objective: Send {
    /// Short name for files and tables, such as `sy-far`.
    fn name(&self) -> &'static str;

    /// The loss of a batch. `victim` is a frozen snapshot of the student at this step.
    fn loss(&mut self, student: &dyn Classifier, victim: &Victim, batch: &Batch, seed: Seed) -> Loss;

    /// Told the confusion matrix of an epoch's training predictions, for methods that adapt per class.
    fn end_epoch(&mut self, _confusion: &ConfusionMatrix) {}
}

/// The class with the largest logit of each row: `[N, K]` to `N`.
fn argmax(logits: Tensor<2>) -> Vec<usize> {
    logits.without_autodiff().argmax(1).into_data().iter::<i64>().map(|class| class as usize).collect()
}
