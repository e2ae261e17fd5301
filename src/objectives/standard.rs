//! Standard training: cross-entropy of the clean pictures.

use super::{Losses, Objective, Pictures, Term};
use crate::attacks::cross_entropy;
use crate::data::Batch;
use crate::models::Classifier;

/// Standard training has nothing to set.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandardConfig {}

/// Cross-entropy, no attack.
pub struct Standard;

impl Objective for Standard {
    fn name(&self) -> &'static str {
        "standard"
    }

    fn losses(&mut self, student: &dyn Classifier, batch: &Batch, _pictures: Pictures) -> Losses {
        let logits = student.forward(batch.images.clone());
        let main = cross_entropy(logits.clone(), &batch.labels);
        let terms = vec![Term::new("clean", &main.clone().mean())];
        Losses::new(main, terms, logits)
    }
}
