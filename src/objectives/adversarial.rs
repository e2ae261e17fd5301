//! Adversarial training: minimise the loss on the pictures that an attack makes.
//!
//! Madry et al. (ICLR 2018) with any attack; with the rectangular occlusion attack it is DOA of Wu, Tong
//! and Vorobeychik (ICLR 2020), the baseline and the base of Sy-FAR. Published code lets the gradients
//! of all attack steps add up in the update; here the attack sees a frozen victim and only its pixels
//! come back.

use burn::tensor::Tensor;

use super::{Loss, Objective, Term, argmax};
use crate::Seed;
use crate::attacks::{Attack, Goal, cross_entropy};
use crate::data::Batch;
use crate::models::{Classifier, Victim};

/// Adversarial training with an attack.
pub struct Adversarial {
    attack: Box<dyn Attack>,
    /// Weight of the clean cross-entropy.
    clean: f64,
    /// Weight of the adversarial cross-entropy.
    robust: f64,
}

impl Adversarial {
    /// `clean_weight * CE(x) + adversarial_weight * CE(x_adv)`; neither weight is negative.
    pub fn new(attack: Box<dyn Attack>, clean_weight: f64, adversarial_weight: f64) -> Self {
        Self { attack, clean: clean_weight, robust: adversarial_weight }
    }

    /// The loss of this objective together with the student's logits on the adversarial pictures, for
    /// the methods that add a term on them.
    pub(super) fn loss_and_logits(
        &self,
        student: &dyn Classifier,
        victim: &Victim,
        batch: &Batch,
        seed: Seed,
    ) -> (Loss, Tensor<2>) {
        let adversarial = self.attack.perturb(victim, batch, &Goal::Untargeted, seed);
        let mut terms = Vec::new();
        let mut total = None;
        if self.clean > 0.0 {
            let clean = cross_entropy(student.forward(batch.images.clone()), &batch.labels).mean();
            terms.push(Term::new("clean", &clean));
            total = Some(clean.mul_scalar(self.clean));
        }
        let logits = student.forward(adversarial);
        let robust = cross_entropy(logits.clone(), &batch.labels).mean();
        terms.push(Term::new("adversarial", &robust));
        let weighted = robust.mul_scalar(self.robust);
        let total = match total {
            Some(clean) => clean + weighted,
            None => weighted,
        };
        (Loss { total, terms, predictions: argmax(logits.clone()) }, logits)
    }
}

impl Objective for Adversarial {
    fn name(&self) -> &'static str {
        "adversarial"
    }

    fn loss(&mut self, student: &dyn Classifier, victim: &Victim, batch: &Batch, seed: Seed) -> Loss {
        self.loss_and_logits(student, victim, batch, seed).0
    }
}
