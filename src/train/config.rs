//! What to train with, apart from the data, the model and the objective.

use super::{AveragingConfig, OptimizerConfig, PerturbationConfig, Schedule, Sgd};
use crate::data::{AugmentConfig, BatchOrder};
use crate::models::{Precision, Trainable};

/// Constants of the training loop.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Passes over the training images, at least 1.
    pub epochs: usize,
    /// Images a step, at least 2 (BatchNorm needs company).
    pub batch_size: usize,
    /// How images are put into batches.
    pub order: BatchOrder,
    /// Which optimiser.
    pub optimizer: OptimizerConfig,
    /// How its learning rate changes.
    pub schedule: Schedule,
    /// Epochs over which the learning rate rises from zero.
    pub warmup_epochs: usize,
    /// Largest joint L2 norm of the gradients; 0 turns clipping off.
    pub clip_norm: f64,
    /// Flips and shifts, before the attack.
    pub augment: AugmentConfig,
    /// How exactly the attacks of the training compute gradients: `full`, or on processors with the instructions `half`
    /// (AVX-512 FP16) or `bfloat16` (AVX-512 BF16; there the way forward of the search too, and so which picture is kept).
    /// Losses of the training are always computed in full precision.
    pub attack_precision: Precision,
    /// What is trained: `all`, or the `head` on a body that stays as it is, running statistics included.
    pub trainable: Trainable,
    /// Adversarial weight perturbation (AWP); off where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_perturbation: Option<PerturbationConfig>,
    /// A moving average of the weights, which is validated and saved as the model; off where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub averaging: Option<AveragingConfig>,
    /// Validate, under attack, after every so many epochs and after the last one. At least 1.
    pub validate_every: usize,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 30,
            batch_size: 60,
            order: BatchOrder::Shuffled,
            optimizer: OptimizerConfig::default(),
            schedule: Schedule::default(),
            warmup_epochs: 0,
            clip_norm: 5.0,
            augment: AugmentConfig::default(),
            attack_precision: Precision::Full,
            trainable: Trainable::default(),
            weight_perturbation: None,
            averaging: None,
            validate_every: 1,
        }
    }
}

impl TrainConfig {
    /// What is wrong with the values, by key: what was found, what was expected.
    ///
    /// # Errors
    /// A sentence that names the key.
    pub fn check(&self) -> Result<(), String> {
        let at_least = |key: &str, value: usize, least: usize| {
            if value < least {
                Err(format!("train.{key} is {value}, expected at least {least}"))
            } else {
                Ok(())
            }
        };
        at_least("epochs", self.epochs, 1)?;
        at_least("batch_size", self.batch_size, 2)?;
        at_least("validate_every", self.validate_every, 1)?;
        self.attack_precision.check().map_err(|error| format!("train.attack_precision: {error}"))?;
        let positive = |key: &str, value: f64| {
            if value.is_finite() && value > 0.0 {
                Ok(())
            } else {
                Err(format!("train.{key} is {value}, expected a positive number"))
            }
        };
        positive("optimizer.learning_rate", self.optimizer.learning_rate())?;
        if !(self.clip_norm.is_finite() && self.clip_norm >= 0.0) {
            return Err(format!("train.clip_norm is {}, expected 0 or more", self.clip_norm));
        }
        if let Schedule::Step { every, gamma } = self.schedule {
            at_least("schedule.every", every, 1)?;
            if !(gamma > 0.0 && gamma <= 1.0) {
                return Err(format!(
                    "train.schedule.gamma is {gamma}, expected a number above 0 and up to 1"
                ));
            }
        }
        if let Some(perturbation) = &self.weight_perturbation {
            positive("weight_perturbation.gamma", perturbation.gamma)?;
        }
        self.averaging.as_ref().map_or(Ok(()), AveragingConfig::check)?;
        let weight_decay = match self.optimizer {
            OptimizerConfig::Sgd(Sgd { momentum, .. }) if !(0.0..1.0).contains(&momentum) => {
                let expected = "expected a number from 0 to below 1";
                return Err(format!("train.optimizer.momentum is {momentum}, {expected}"));
            }
            OptimizerConfig::Sgd(sgd) => sgd.weight_decay,
            OptimizerConfig::AdamW(adam) => adam.weight_decay,
        };
        if weight_decay.is_finite() && weight_decay >= 0.0 {
            return Ok(());
        }
        Err(format!("train.optimizer.weight_decay is {weight_decay}, expected 0 or more"))
    }
}
