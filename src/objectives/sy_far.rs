//! Sy-FAR: adversarial training with a penalty on asymmetric confusion.
//!
//! Najjar, Ronen and Sharif, "Sy-FAR" (arXiv 2509.12939, USENIX Security 2026):
//!
//! ```text
//! L = w_clean CE(x) + w_adv CE(x_adv) + w_sym L_sym(C)
//! ```
//!
//! with `C` the soft confusion matrix of the adversarial pictures of the batch
//! (see [`symmetry_penalty`]). One of the two published versions of the training code builds `C` without
//! a gradient, so that the penalty does nothing; the other clamps pictures to a range that they are not
//! in. Both let gradients of the attack leak into the update. None of that is repeated here.
//!
//! The two cross-entropies are the base, which may be any other objective: TRADES, or FAAL on TRADES.

use super::config::{not_negative, positive};
use super::{
    AbsentPairs, Losses, Objective, ObjectiveConfig, ObjectiveConfigError, Reduction, Term, symmetry_penalty,
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
    /// The eps of the penalty's gate, above 0; 1/K where absent (the published 0.1 for ten classes).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// Pairs with one class absent from the batch: `skip`, or `as-zero` as published.
    pub absent_pairs: AbsentPairs,
    /// `per-class`, which carries over between numbers of classes, or `sum` as published.
    pub reduction: Reduction,
    /// What the penalty is added to; adversarial training by default.
    pub base: Box<ObjectiveConfig>,
}

impl Default for SyFarConfig {
    fn default() -> Self {
        Self {
            symmetry_weight: 1.0,
            epsilon: None,
            absent_pairs: AbsentPairs::default(),
            reduction: Reduction::default(),
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
        Ok(SyFar {
            weight: not_negative("symmetry_weight", self.symmetry_weight)?,
            epsilon: positive("epsilon", self.epsilon.unwrap_or(1.0 / classes as f64))?,
            absent_pairs: self.absent_pairs,
            reduction: self.reduction,
            base: self.base.build(input_shape, classes)?,
        })
    }
}

/// An objective plus the symmetry term.
pub struct SyFar {
    weight: f64,
    epsilon: f64,
    absent_pairs: AbsentPairs,
    reduction: Reduction,
    base: Box<dyn Objective>,
}

impl Objective for SyFar {
    fn name(&self) -> &'static str {
        "sy-far"
    }

    fn losses(&mut self, student: &dyn Classifier, victim: &Victim, batch: &Batch, seed: Seed) -> Losses {
        let mut losses = self.base.losses(student, victim, batch, seed);
        let logits = losses.logits.clone();
        let penalty =
            symmetry_penalty(logits, &batch.labels, self.epsilon, self.absent_pairs, self.reduction);
        losses.terms.push(Term::new("symmetry", &penalty));
        losses.add_penalty(penalty.mul_scalar(self.weight));
        losses
    }

    fn end_epoch(&mut self) {
        self.base.end_epoch();
    }

    fn state(&self) -> serde_json::Value {
        self.base.state()
    }

    fn restore(&mut self, state: &serde_json::Value) -> Result<(), String> {
        self.base.restore(state)
    }
}
