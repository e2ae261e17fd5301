//! Adversarial training: minimise the loss on the pictures that an attack makes.
//!
//! Madry et al. (ICLR 2018) with any attack; with the rectangular occlusion attack it is DOA of Wu, Tong
//! and Vorobeychik (ICLR 2020), the baseline and the base of Sy-FAR. Published code lets the gradients
//! of all attack steps add up in the update; here the attack sees a frozen victim and only its pixels
//! come back.

use super::config::{not_negative, positive};
use super::{Losses, Objective, ObjectiveConfigError, Pictures, Term, Whole};
use crate::Seed;
use crate::attacks::{Attack, AttackConfig, Goal, RoaConfig, cross_entropy};
use crate::data::Batch;
use crate::models::{Classifier, Victim};

/// Constants of adversarial training.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdversarialConfig {
    /// Weight of the cross-entropy of the clean pictures, 0 or more.
    pub clean_weight: f64,
    /// Weight of the cross-entropy of the adversarial pictures, above 0.
    pub adversarial_weight: f64,
    /// The attack to train against; every step is made on every image, whatever `early_stop` says.
    pub attack: AttackConfig,
}

impl Default for AdversarialConfig {
    /// The weights of the later published Sy-FAR code: 0.1 clean, 1 adversarial; the rectangular
    /// occlusion attack.
    fn default() -> Self {
        Self { clean_weight: 0.1, adversarial_weight: 1.0, attack: AttackConfig::Roa(RoaConfig::default()) }
    }
}

impl AdversarialConfig {
    /// The objective for pictures `[C, H, W]`.
    ///
    /// # Errors
    /// Names the first key whose value cannot be meant.
    pub fn build(&self, input_shape: [usize; 3]) -> Result<Adversarial, ObjectiveConfigError> {
        Ok(Adversarial {
            clean: not_negative("clean_weight", self.clean_weight)?,
            robust: positive("adversarial_weight", self.adversarial_weight)?,
            attack: self.attack.for_training().build(input_shape)?,
        })
    }
}

/// Adversarial training with an attack: `clean_weight * CE(x) + adversarial_weight * CE(x_adv)`.
pub struct Adversarial {
    attack: Box<dyn Attack>,
    clean: f64,
    robust: f64,
}

impl Objective for Adversarial {
    fn name(&self) -> &'static str {
        "adversarial"
    }

    fn attack(&self, victim: &Victim, batch: &Batch, _whole: &Whole, seed: Seed) -> Pictures {
        let adversarial = self.attack.perturb(victim, batch, &Goal::Untargeted, seed);
        Pictures { adversarial: Some(adversarial), ..Pictures::default() }
    }

    fn scales_radius(&self) -> bool {
        self.attack.scales_radius()
    }

    fn losses(&mut self, student: &dyn Classifier, batch: &Batch, pictures: Pictures) -> Losses {
        let mut terms = Vec::new();
        let mut clean = None;
        if self.clean > 0.0 {
            let loss = cross_entropy(student.forward(batch.images.clone()), &batch.labels);
            terms.push(Term::new("clean", &loss.clone().mean()));
            clean = Some(loss.mul_scalar(self.clean));
        }
        let logits = student.forward(pictures.adversarial(batch));
        let robust = cross_entropy(logits.clone(), &batch.labels);
        terms.push(Term::new("adversarial", &robust.clone().mean()));
        Losses { clean, ..Losses::new(robust.mul_scalar(self.robust), terms, logits) }
    }
}
