//! Adversarial pictures of a few rows, made again.

use burn::tensor::Tensor;

use super::AuditError;
use super::make::attack_seed;
use super::measure::{flaw, score, values};
use super::pictures::Load;
use crate::Seed;
use crate::attacks::{Attack, Goal};
use crate::models::Victim;

/// A row whose picture is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picked {
    /// Position of the picture.
    pub image: usize,
    /// Its target, if it had one.
    pub target: Option<usize>,
    /// What the row says that it was taken for.
    pub prediction: usize,
}

/// A picture that came out as its row says.
#[derive(Clone, Debug, PartialEq)]
pub struct Remade {
    /// Its row.
    pub picked: Picked,
    /// The unchanged picture `[C, H, W]`, in `[0, 1]`.
    pub clean: Vec<f32>,
    /// The same under the attack.
    pub attacked: Vec<f32>,
}

/// Attacks some pictures as the audit of this seed did. Draws have keys, so the pictures are the same but for rounding;
/// one that the attack does not admit, or that is taken for another class than its row says, is left out. All have a
/// target or none has, and no picture is there twice.
///
/// # Errors
/// When a picture cannot be loaded or the device fails.
pub fn remake(
    victim: &Victim,
    load: &Load,
    attack: &dyn Attack,
    run: Seed,
    picked: &[Picked],
) -> Result<Vec<Remade>, AuditError> {
    if picked.is_empty() {
        return Ok(Vec::new());
    }
    let images: Vec<usize> = picked.iter().map(|one| one.image).collect();
    let batch = load(&images).map_err(AuditError::Pictures)?;
    let targets: Option<Vec<usize>> = picked.iter().map(|one| one.target).collect();
    let goal = targets.map_or(Goal::Untargeted, Goal::Targeted);
    let adversarial: Tensor<4> =
        attack.perturb(victim, &batch, &goal, attack_seed(run, attack)).without_autodiff();
    let admitted = attack.admits(batch.images.clone(), adversarial.clone());
    let (clean, attacked) = (values(&batch.images)?, values(&adversarial)?);
    let logits = victim.logits(adversarial);
    let classes = logits.dims()[1];
    let logits = values(&logits)?;
    let size = clean.len() / picked.len();
    let made = picked.iter().zip(clean.chunks(size)).zip(attacked.chunks(size)).zip(logits.chunks(classes));
    Ok(made
        .zip(admitted)
        .filter(|((((picked, _), attacked), logits), admitted)| {
            let prediction = score(logits, 0).map(|score| score.prediction);
            *admitted && flaw(attacked).is_none() && prediction == Some(picked.prediction)
        })
        .map(|((((picked, clean), attacked), _), _)| Remade {
            picked: *picked,
            clean: clean.to_vec(),
            attacked: attacked.to_vec(),
        })
        .collect())
}
