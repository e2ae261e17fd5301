//! How good the model is on held-out pictures, clean and under attack. Checkpoints are chosen by this.

use crate::Seed;
use crate::attacks::{Attack, Goal, cross_entropy};
use crate::data::{DataError, Split};
use crate::models::Victim;

/// Figures of one validation.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Validation {
    /// Images.
    pub images: usize,
    /// Share of clean pictures that are recognised.
    pub clean_accuracy: f64,
    /// Share of pictures that are recognised clean and under attack.
    pub robust_accuracy: f64,
    /// Mean cross-entropy of the clean pictures.
    pub clean_loss: f64,
    /// Mean cross-entropy of the attacked pictures.
    pub robust_loss: f64,
}

impl Validation {
    /// The rule by which the checkpoint is chosen: the mean of clean and robust accuracy, and among equals
    /// the smaller mean of the two losses. The same for every method; without the clean part, the method
    /// that is not robust at all would be judged by noise.
    pub fn beats(&self, other: &Self) -> bool {
        let score = |v: &Self| v.clean_accuracy + v.robust_accuracy;
        let loss = |v: &Self| v.clean_loss + v.robust_loss;
        score(self) > score(other) || (score(self) >= score(other) && loss(self) < loss(other))
    }
}

/// Attacks a split, untargeted, and looks at the predictions.
///
/// # Errors
/// [`DataError`] where a picture cannot be read.
pub(super) fn validate(
    victim: &Victim,
    split: &Split,
    attack: &dyn Attack,
    batch_size: usize,
    device: &burn::tensor::Device,
    seed: Seed,
) -> Result<Validation, DataError> {
    let rows: Vec<usize> = (0..split.len()).collect();
    let (mut clean_right, mut robust_right) = (0, 0);
    let (mut clean_loss, mut robust_loss) = (0.0, 0.0);
    for rows in rows.chunks(batch_size) {
        let batch = split.batch(rows, device)?;
        let adversarial = attack.perturb(victim, &batch, &Goal::Untargeted, seed);
        let clean = judge(victim, batch.images.clone(), &batch.labels);
        let robust = judge(victim, adversarial, &batch.labels);
        clean_right += clean.right.iter().filter(|right| **right).count();
        robust_right +=
            clean.right.iter().zip(&robust.right).filter(|(clean, robust)| **clean && **robust).count();
        clean_loss += clean.loss;
        robust_loss += robust.loss;
    }
    let images = split.len();
    let share = |count: usize| count as f64 / images as f64;
    Ok(Validation {
        images,
        clean_accuracy: share(clean_right),
        robust_accuracy: share(robust_right),
        clean_loss: clean_loss / images as f64,
        robust_loss: robust_loss / images as f64,
    })
}

struct Judgement {
    right: Vec<bool>,
    loss: f64,
}

fn judge(victim: &Victim, images: burn::tensor::Tensor<4>, labels: &[usize]) -> Judgement {
    let logits = victim.logits(images);
    let predictions = logits.clone().argmax(1).into_data();
    let right = predictions.iter::<i64>().zip(labels).map(|(found, label)| found == *label as i64).collect();
    Judgement { right, loss: f64::from(cross_entropy(logits, labels).sum().into_scalar::<f32>()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validation(clean_accuracy: f64, robust_accuracy: f64, robust_loss: f64) -> Validation {
        Validation { images: 10, clean_accuracy, robust_accuracy, clean_loss: 0.0, robust_loss }
    }

    #[test]
    fn accuracy_decides_and_the_loss_breaks_ties() {
        assert!(validation(0.9, 0.5, 9.0).beats(&validation(0.9, 0.4, 1.0)));
        assert!(validation(0.9, 0.4, 1.0).beats(&validation(0.8, 0.5, 2.0)));
        assert!(!validation(0.9, 0.4, 1.0).beats(&validation(0.9, 0.4, 1.0)));
    }
}
