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

use super::{AbsentPairs, Adversarial, Loss, Objective, Reduction, Term, symmetry_penalty};
use crate::Seed;
use crate::data::Batch;
use crate::models::{Classifier, Victim};

/// The symmetry term of Sy-FAR.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SymmetryTerm {
    /// Weight `w_sym`, not negative.
    pub weight: f64,
    /// The eps of the gate `s / (s + eps)`, positive.
    pub epsilon: f64,
    /// Pairs with one class absent from the batch.
    pub absent_pairs: AbsentPairs,
    /// Sum over pairs, or that divided by the number of classes in the batch.
    pub reduction: Reduction,
}

/// Adversarial training plus the symmetry term.
pub struct SyFar {
    base: Adversarial,
    symmetry: SymmetryTerm,
}

impl SyFar {
    /// Sy-FAR on top of adversarial training.
    pub fn new(base: Adversarial, symmetry: SymmetryTerm) -> Self {
        Self { base, symmetry }
    }
}

impl Objective for SyFar {
    fn name(&self) -> &'static str {
        "sy-far"
    }

    fn loss(&mut self, student: &dyn Classifier, victim: &Victim, batch: &Batch, seed: Seed) -> Loss {
        let (mut loss, logits) = self.base.loss_and_logits(student, victim, batch, seed);
        let SymmetryTerm { weight, epsilon, absent_pairs, reduction } = self.symmetry;
        let penalty = symmetry_penalty(logits, &batch.labels, epsilon, absent_pairs, reduction);
        loss.terms.push(Term::new("symmetry", &penalty));
        loss.total = loss.total + penalty.mul_scalar(weight);
        loss
    }
}
