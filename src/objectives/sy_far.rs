//! Sy-FAR: adversarial training with a penalty on asymmetric confusion.
//!
//! Najjar, Ronen and Sharif, "Sy-FAR" (arXiv 2509.12939, USENIX Security 2026):
//!
//! ```text
//! L = w_clean CE(x) + w_adv CE(x_adv) + w_sym L_sym(C)
//! ```
//!
//! with `C` the soft confusion matrix of the adversarial pictures of the batch (see [`Symmetry`]). One of
//! the two published versions of the training code builds `C` without a gradient, so that the penalty does
//! nothing; the other clamps pictures to a range that they are not in. Both let gradients of the attack leak
//! into the update. None of that is repeated here.
//!
//! The two cross-entropies are the base, which may be any other objective: TRADES, or FAAL on TRADES.
//!
//! Options that the paper does not have: pairs with an absent class are left out, the sum is divided by the
//! classes present, only the larger rate of a pair is pushed (`sides`), rows are remembered over batches
//! (`running_decay`), the softmax is sharpened (`temperature`), targeted attacks are compared too
//! (`targeted`), and the weight rises over the first epochs (`warmup_epochs`). Batches in which most pairs
//! meet are an option of the trainer (`train.order = "class-balanced"`).

use super::config::{not_negative, positive};
use super::running_confusion::{MOST_CLASSES, RunningConfusion};
use super::targeted_symmetry::TargetedSymmetry;
use super::{
    AbsentPairs, ClassFigures, Losses, Objective, ObjectiveConfig, ObjectiveConfigError, Pictures, Reduction,
    Sides, Symmetry, TargetedSymmetryConfig, Term, Whole,
};
use crate::Seed;
use crate::data::Batch;
use crate::models::{Classifier, Victim};

/// Constants of Sy-FAR.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SyFarConfig {
    /// Weight of the symmetry penalty, 0 or more. The default was chosen from 0, 1 and 3 on the validation
    /// split of ORL (`docs/results.md`). The published 10 belongs to `reduction = "sum"` and about ten
    /// classes.
    pub symmetry_weight: f64,
    /// Epochs over which the weight of the penalties rises from 0, in steps of one epoch; 0 by default.
    pub warmup_epochs: usize,
    /// The eps of the penalty's gate, above 0; 1/K where absent (the published 0.1 for ten classes).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// Pairs with one class absent from the batch: `skip`, or `as-zero` as published.
    pub absent_pairs: AbsentPairs,
    /// `per-class`, which carries over between numbers of classes, or `sum` as published.
    pub reduction: Reduction,
    /// `both` rates of a pair move, as published, or the `larger` alone.
    pub sides: Sides,
    /// What logits are divided by before the softmax of the penalty, above 0; where absent 1, as published.
    /// Below 1 the confusion matrix is nearer to that of the predictions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Share of a remembered row that a new batch leaves, in [0, 1); where absent, as published, batches are
    /// judged by themselves. Up to 1024 classes. Pairs with a class that was seen before then count, whatever
    /// `absent_pairs` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running_decay: Option<f64>,
    /// The same penalty on targeted attacks, with a weight and an attack of its own; absent by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targeted: Option<TargetedSymmetryConfig>,
    /// What the penalty is added to; adversarial training by default.
    pub base: Box<ObjectiveConfig>,
}

impl Default for SyFarConfig {
    fn default() -> Self {
        Self {
            symmetry_weight: 1.0,
            warmup_epochs: 0,
            epsilon: None,
            absent_pairs: AbsentPairs::default(),
            reduction: Reduction::default(),
            sides: Sides::default(),
            temperature: None,
            running_decay: None,
            targeted: None,
            base: Box::new(ObjectiveConfig::Adversarial(super::AdversarialConfig::default())),
        }
    }
}

impl SyFarConfig {
    /// The objective for pictures `[C, H, W]` of `classes` classes.
    ///
    /// # Errors
    /// Names the first key whose value cannot be meant.
    pub fn build(&self, input_shape: [usize; 3], classes: usize) -> Result<SyFar, ObjectiveConfigError> {
        let epsilon = positive("epsilon", self.epsilon.unwrap_or(1.0 / classes as f64))?;
        Ok(SyFar {
            weight: not_negative("symmetry_weight", self.symmetry_weight)?,
            warmup_epochs: self.warmup_epochs,
            symmetry: Symmetry {
                epsilon,
                absent_pairs: self.absent_pairs,
                reduction: self.reduction,
                sides: self.sides,
                temperature: positive("temperature", self.temperature.unwrap_or(1.0))?,
            },
            running: self.running_decay.map(|decay| running(decay, classes)).transpose()?,
            targeted: self.targeted.as_ref().map(|targeted| targeted.build(input_shape)).transpose()?,
            base: self.base.build(input_shape, classes)?,
            epoch: 0,
        })
    }
}

fn running(decay: f64, classes: usize) -> Result<RunningConfusion, ObjectiveConfigError> {
    if !(0.0..1.0).contains(&decay) {
        let expected = "a number from 0 to below 1, such as 0.9";
        return Err(ObjectiveConfigError::Value { key: "running_decay", found: decay, expected });
    }
    if classes > MOST_CLASSES {
        let expected = "no value for more than 1024 classes, because a row of each is kept; leave it out";
        return Err(ObjectiveConfigError::Value { key: "running_decay", found: decay, expected });
    }
    Ok(RunningConfusion::new(classes, decay))
}

/// An objective plus the symmetry term.
pub struct SyFar {
    weight: f64,
    warmup_epochs: usize,
    symmetry: Symmetry,
    running: Option<RunningConfusion>,
    targeted: Option<TargetedSymmetry>,
    base: Box<dyn Objective>,
    /// Epochs that are over.
    epoch: usize,
}

impl SyFar {
    /// The share of the weights that is due in this epoch, in [0, 1].
    fn rise(&self) -> f64 {
        if self.epoch >= self.warmup_epochs { 1.0 } else { self.epoch as f64 / self.warmup_epochs as f64 }
    }
}

impl Objective for SyFar {
    fn name(&self) -> &'static str {
        "sy-far"
    }

    fn attack(&self, victim: &Victim, batch: &Batch, whole: &Whole, seed: Seed) -> Pictures {
        let mut pictures = self.base.attack(victim, batch, whole, seed);
        pictures.targeted.extend(self.targeted.as_ref().map(|term| term.attack(victim, batch, whole, seed)));
        pictures
    }

    fn base(&self) -> Option<&dyn Objective> {
        Some(self.base.as_ref())
    }

    fn base_mut(&mut self) -> Option<&mut dyn Objective> {
        Some(self.base.as_mut())
    }

    fn losses(&mut self, student: &dyn Classifier, batch: &Batch, mut pictures: Pictures) -> Losses {
        let targeted = self.targeted.as_ref().and_then(|_| pictures.targeted.pop());
        let mut losses = self.base.losses(student, batch, pictures);
        let (logits, rise) = (losses.logits.clone(), self.rise());
        let penalty = match &mut self.running {
            Some(running) if losses.is_finite() => running.penalty(&self.symmetry, logits, &batch.labels),
            _ => self.symmetry.penalty(logits, &batch.labels),
        };
        losses.terms.push(Term::new("symmetry", &penalty));
        losses.add_penalty(penalty.mul_scalar(self.weight * rise));
        if let (Some(term), Some(pictures)) = (&self.targeted, targeted) {
            let penalty = pictures.penalty(&self.symmetry, student, batch);
            let value = penalty.as_ref().map_or(0.0, |penalty| Term::new("", penalty).value);
            losses.terms.push(Term { name: "targeted_symmetry", value });
            if let Some(penalty) = penalty {
                losses.add_penalty(penalty.mul_scalar(term.weight * rise));
            }
        }
        losses
    }

    fn end_epoch(&mut self, validation: Option<&ClassFigures>) {
        self.epoch += 1;
        self.base.end_epoch(validation);
    }

    fn state(&self) -> serde_json::Value {
        let running = self.running.as_ref().map(RunningConfusion::state);
        serde_json::json!({"epoch": self.epoch, "running": running, "base": self.base.state()})
    }

    fn restore(&mut self, state: &serde_json::Value) -> Result<(), String> {
        let epoch = state["epoch"].as_u64().ok_or("the state of sy-far has no epoch")?;
        self.epoch = epoch as usize;
        if let Some(running) = &mut self.running {
            running.restore(&state["running"])?;
        }
        self.base.restore(&state["base"])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objectives::StandardConfig;

    fn objective() -> SyFar {
        let base = Box::new(ObjectiveConfig::Standard(StandardConfig {}));
        let config = SyFarConfig { warmup_epochs: 2, base, ..SyFarConfig::default() };
        config.build([3, 16, 16], 3).expect("valid")
    }

    #[test]
    fn the_temperature_reaches_the_penalty_and_must_be_positive() {
        let of = |temperature| {
            let base = Box::new(ObjectiveConfig::Standard(StandardConfig {}));
            let config = SyFarConfig { temperature, base, ..SyFarConfig::default() };
            config.build([3, 16, 16], 3).map(|objective| objective.symmetry.temperature)
        };
        assert_eq!(of(None).ok(), Some(1.0));
        assert_eq!(of(Some(0.2)).ok(), Some(0.2));
        for wrong in [0.0, -1.0, f64::NAN] {
            let error = of(Some(wrong)).expect_err("not a temperature").to_string();
            assert!(error.contains("temperature"), "{error}");
        }
        // Files of programs that did not know the key stay the same.
        let json = serde_json::to_value(SyFarConfig::default()).expect("JSON");
        assert!(json.get("temperature").is_none(), "{json}");
    }

    #[test]
    fn the_weight_rises_over_the_first_epochs_and_a_resumed_training_knows_where_it_was() {
        let mut objective = objective();
        for expected in [0.0, 0.5, 1.0, 1.0] {
            assert!((objective.rise() - expected).abs() < 1e-12, "{}", objective.rise());
            let mut again = self::objective();
            again.restore(&objective.state()).expect("its own state");
            assert!((again.rise() - expected).abs() < 1e-12);
            objective.end_epoch(None);
        }
        assert!(objective.restore(&serde_json::json!({"base": null})).is_err());
    }
}
