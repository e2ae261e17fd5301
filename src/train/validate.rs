//! How good the model is on held-out pictures, clean and under attack. Checkpoints are chosen by this.

use burn::tensor::{Device, Tensor};

use super::team::Team;
use crate::Seed;
use crate::attacks::{Attack, Goal, cross_entropy};
use crate::data::{Batch, DataError, Split};
use crate::metrics::ConfusionMatrix;
use crate::models::Victim;
use crate::objectives::{ClassFigure, ClassFigures, divergence};

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

/// What a validation found.
pub(super) struct Found {
    pub all: Validation,
    pub classes: ClassFigures,
    /// Predictions under attack; a picture that is misclassified unchanged is in the cell of its clean prediction, as
    /// in an audit.
    pub confusion: ConfusionMatrix,
}

/// How a split is validated.
pub(super) struct Manner<'a> {
    pub attack: &'a dyn Attack,
    pub batch_size: usize,
    pub device: &'a Device,
    pub seed: Seed,
    /// Each rank attacks its share of the split; all find the same.
    pub team: &'a dyn Team,
}

/// Attacks a split, untargeted, and looks at the predictions: of all pictures and of each class. `each` hears after
/// each batch about how many pictures are done.
///
/// # Errors
/// [`DataError`] where a picture cannot be read, and what `each` says.
pub(super) fn validate<E: From<DataError>>(
    victim: &Victim,
    split: &Split,
    how: &Manner,
    each: &mut dyn FnMut(usize) -> Result<(), E>,
) -> Result<Found, E> {
    let rows: Vec<usize> = how.team.share(split.len()).collect();
    let mut judged = Vec::with_capacity(rows.len() * Judged::NUMBERS);
    let mut done = 0;
    for rows in rows.chunks(how.batch_size) {
        let batch = split.batch(rows, how.device)?;
        judged.extend(judge(victim, &batch, how).iter().flat_map(Judged::numbers));
        done += rows.len();
        each((done * how.team.size()).min(split.len()))?;
    }
    let judged = how.team.gather_numbers(&judged);
    let mut classes = vec![Sums::default(); victim.classes()];
    let mut confusion = ConfusionMatrix::new(victim.classes());
    for (numbers, &label) in judged.chunks_exact(Judged::NUMBERS).zip(split.labels()) {
        let picture = Judged::from_numbers(numbers);
        classes[label].add(&picture);
        confusion.add(label, picture.prediction);
    }
    let sums = classes.iter().fold(Sums::default(), Sums::plus);
    let share = |sum: f64| sum / sums.images as f64;
    let all = Validation {
        images: sums.images,
        clean_accuracy: share(sums.clean_right as f64),
        robust_accuracy: share(sums.robust_right as f64),
        clean_loss: share(sums.clean_loss),
        robust_loss: share(sums.robust_loss),
    };
    Ok(Found { all, classes: ClassFigures(classes.iter().map(Sums::figure).collect()), confusion })
}

/// What was found of one picture.
struct Judged {
    clean_right: bool,
    robust_right: bool,
    /// Under attack; of the clean picture, where that is misclassified.
    prediction: usize,
    clean_loss: f64,
    robust_loss: f64,
    divergence: f64,
}

impl Judged {
    const NUMBERS: usize = 6;

    /// As other ranks are told.
    fn numbers(&self) -> [f64; Self::NUMBERS] {
        let flag = |flag: bool| f64::from(u8::from(flag));
        let prediction = self.prediction as f64;
        let losses = [self.clean_loss, self.robust_loss, self.divergence];
        [flag(self.clean_right), flag(self.robust_right), prediction, losses[0], losses[1], losses[2]]
    }

    fn from_numbers(numbers: &[f64]) -> Self {
        Self {
            clean_right: numbers[0] > 0.5,
            robust_right: numbers[1] > 0.5,
            prediction: numbers[2] as usize,
            clean_loss: numbers[3],
            robust_loss: numbers[4],
            divergence: numbers[5],
        }
    }
}

fn judge(victim: &Victim, batch: &Batch, how: &Manner) -> Vec<Judged> {
    let adversarial = how.attack.perturb(victim, batch, &Goal::Untargeted, how.seed);
    let (clean, attacked) = (victim.logits(batch.images.clone()), victim.logits(adversarial));
    let apart = values(divergence(clean.clone(), attacked.clone()));
    let (clean, attacked) = (Judgement::new(clean, &batch.labels), Judgement::new(attacked, &batch.labels));
    let one = |image: usize| Judged {
        clean_right: clean.right[image],
        robust_right: clean.right[image] && attacked.right[image],
        prediction: if clean.right[image] { &attacked } else { &clean }.predictions[image],
        clean_loss: clean.losses[image],
        robust_loss: attacked.losses[image],
        divergence: apart[image],
    };
    (0..batch.len()).map(one).collect()
}

/// Sums over the pictures of a class.
#[derive(Clone, Copy, Default)]
struct Sums {
    images: usize,
    clean_right: usize,
    robust_right: usize,
    clean_loss: f64,
    robust_loss: f64,
    divergence: f64,
}

impl Sums {
    fn add(&mut self, picture: &Judged) {
        self.images += 1;
        self.clean_right += usize::from(picture.clean_right);
        self.robust_right += usize::from(picture.robust_right);
        self.clean_loss += picture.clean_loss;
        self.robust_loss += picture.robust_loss;
        self.divergence += picture.divergence;
    }

    fn plus(self, other: &Self) -> Self {
        Self {
            images: self.images + other.images,
            clean_right: self.clean_right + other.clean_right,
            robust_right: self.robust_right + other.robust_right,
            clean_loss: self.clean_loss + other.clean_loss,
            robust_loss: self.robust_loss + other.robust_loss,
            divergence: self.divergence + other.divergence,
        }
    }

    fn figure(&self) -> Option<ClassFigure> {
        let share = |sum: f64| sum / self.images as f64;
        (self.images > 0).then(|| ClassFigure {
            images: self.images,
            clean_error: 1.0 - share(self.clean_right as f64),
            robust_error: 1.0 - share(self.robust_right as f64),
            clean_loss: share(self.clean_loss),
            divergence: share(self.divergence),
        })
    }
}

struct Judgement {
    predictions: Vec<usize>,
    right: Vec<bool>,
    losses: Vec<f64>,
}

impl Judgement {
    fn new(logits: Tensor<2>, labels: &[usize]) -> Self {
        let losses = values(cross_entropy(logits.clone(), labels));
        let predictions: Vec<usize> =
            logits.argmax(1).into_data().iter::<i64>().map(|class| class as usize).collect();
        let right = predictions.iter().zip(labels).map(|(found, label)| found == label).collect();
        Self { predictions, right, losses }
    }
}

fn values(tensor: Tensor<1>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
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
