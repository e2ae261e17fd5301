//! Standard training: cross-entropy of the clean pictures.

use super::{Loss, Objective, Term, argmax};
use crate::Seed;
use crate::attacks::cross_entropy;
use crate::data::Batch;
use crate::models::{Classifier, Victim};

/// Cross-entropy, no attack.
pub struct Standard;

impl Objective for Standard {
    fn name(&self) -> &'static str {
        "standard"
    }

    fn loss(&mut self, student: &dyn Classifier, _victim: &Victim, batch: &Batch, _seed: Seed) -> Loss {
        let logits = student.forward(batch.images.clone());
        let total = cross_entropy(logits.clone(), &batch.labels).mean();
        Loss { terms: vec![Term::new("clean", &total)], total, predictions: argmax(logits) }
    }
}
