//! Objectives: training methods as losses.
//!
//! An objective owns its inner attack. It has no optimiser and switches no modes: the attack sees the
//! victim, the update sees the student, and nothing passes between them but pixels.
//!
//! There are base losses (standard, adversarial, TRADES, MART) and methods that change one: Sy-FAR adds a
//! penalty, FAAL and `SpecNorm` weigh images by their class. A method holds its base, which may be another
//! method, so they compose in any order.

mod adversarial;
mod config;
mod faal;
mod mart;
mod nearby;
mod soft_confusion;
mod spec_norm;
mod standard;
mod sy_far;
#[cfg(test)]
mod tests;
mod trades;

pub use adversarial::{Adversarial, AdversarialConfig};
pub use config::{ObjectiveConfig, ObjectiveConfigError};
pub use faal::{Faal, FaalConfig, FaalVariant, faal_weights};
pub use mart::{Mart, MartConfig};
pub use nearby::NearbyConfig;
pub use soft_confusion::{AbsentPairs, Reduction, symmetry_penalty};
pub use spec_norm::{SpecNorm, SpecNormConfig, SpecNormVariant};
pub use standard::{Standard, StandardConfig};
pub use sy_far::{SyFar, SyFarConfig};
pub use trades::{Trades, TradesConfig};

use burn::tensor::Tensor;

use crate::Seed;
use crate::data::Batch;
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

/// What a base loss is made of, before it becomes one number: methods change it on its way there.
pub struct Losses {
    /// The loss of each image, `[N]`, tracked: what class-wise methods weigh.
    pub main: Tensor<1>,
    /// A part that they leave alone, such as a weighted clean cross-entropy, `[N]`.
    pub clean: Option<Tensor<1>>,
    /// Penalties of the batch, `[1]`, already weighted.
    pub penalty: Option<Tensor<1>>,
    /// For the log.
    pub terms: Vec<Term>,
    /// Logits `[N, K]` of the pictures that the student is trained on: adversarial ones where the method
    /// makes them. Tracked.
    pub logits: Tensor<2>,
}

impl Losses {
    /// Adds a penalty `[1]`.
    fn add_penalty(&mut self, penalty: Tensor<1>) {
        self.penalty = Some(match self.penalty.take() {
            Some(other) => other + penalty,
            None => penalty,
        });
    }

    /// Weighs the images, `N` positive numbers that are constants for the gradient.
    fn weigh(&mut self, weights: &[f64]) {
        let weights: Vec<f32> = weights.iter().map(|weight| *weight as f32).collect();
        let device = self.main.device().without_autodiff();
        self.main = self.main.clone() * Tensor::<1>::from_data(weights.as_slice(), &device);
    }

    /// The mean over the images, plus the penalties.
    fn reduce(self) -> Loss {
        let mut total = self.main.mean();
        for part in [self.clean.map(Tensor::mean), self.penalty].into_iter().flatten() {
            total = total + part;
        }
        Loss { total, terms: self.terms, predictions: argmax(self.logits) }
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

    /// The losses of a batch. `victim` is a frozen snapshot of the student at this step.
    fn losses(&mut self, student: &dyn Classifier, victim: &Victim, batch: &Batch, seed: Seed) -> Losses;

    /// The loss of a batch as one number.
    fn loss(&mut self, student: &dyn Classifier, victim: &Victim, batch: &Batch, seed: Seed) -> Loss {
        self.losses(student, victim, batch, seed).reduce()
    }

    /// Told that an epoch is over, for methods that adapt per class.
    fn end_epoch(&mut self) {}

    /// What a resumed training has to know; `null` for a method that adapts nothing.
    fn state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Goes on from a state that [`Objective::state`] gave.
    ///
    /// # Errors
    /// When it is not a state of this method; the message says so.
    fn restore(&mut self, _state: &serde_json::Value) -> Result<(), String> {
        Ok(())
    }
}

/// The class with the largest logit of each row: `[N, K]` to `N`.
fn argmax(logits: Tensor<2>) -> Vec<usize> {
    logits.without_autodiff().argmax(1).into_data().iter::<i64>().map(|class| class as usize).collect()
}

/// The values of a tensor without its graph.
fn host<const D: usize>(tensor: &Tensor<D>) -> Vec<f64> {
    tensor.clone().without_autodiff().into_data().iter::<f64>().collect()
}
