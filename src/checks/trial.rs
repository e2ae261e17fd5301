//! Measuring the attack: pictures that stand, with more and less work.

use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::{Tensor, TensorData};
use rand::RngExt;

use super::probe::{Probe, margin, prediction, rows, values};
use super::search::{Reach, Trace};
use super::{Subject, Tuning};
use crate::Seed;
use crate::attacks::{
    ApgdConfig, Attack, FgsmConfig, Goal, Loss, Magnitude, Norm, SquareConfig, ThreatModel,
};
use crate::data::{Batch, class_tensor};
use crate::models::Victim;

/// Random changes of each picture that the attack must beat.
const DRAWS: u64 = 20;
/// Images whose search is traced.
const TRACED: usize = 8;
/// Most successes of one search whose pictures are kept to be looked at.
const KEPT: usize = 64;
/// Classes that are tried as a target of an image that stands, the nearest ones: as many as `AutoAttack` tries.
const TARGETS: usize = 9;
/// Steps of the two attacks that compare losses.
const COMPARED_STEPS: usize = 30;

/// An attack on trial.
pub(super) struct Trial<'a> {
    pub probe: Probe<'a>,
    pub subject: &'a dyn Subject,
    /// Rows of the images that are classified correctly: the only ones that are attacked.
    pub right: Vec<usize>,
}

/// What an attack made of the images that are classified correctly.
pub(super) struct Outcome {
    /// Rows of the images that still are.
    pub standing: Vec<usize>,
    /// The pictures, as many as there were rows.
    pub images: Tensor<4>,
}

impl<'a> Trial<'a> {
    fn victim(&self) -> &'a Victim {
        self.probe.victim
    }

    /// The attack in another strength on all images that are classified correctly.
    pub fn tuned(&self, tuning: &Tuning) -> Option<Outcome> {
        let attack = self.subject.tuned(tuning)?;
        Some(self.under(attack.as_ref(), &self.right))
    }

    /// How many images stand under the attack in another strength.
    pub fn standing(&self, tuning: &Tuning) -> Option<usize> {
        self.tuned(tuning).map(|outcome| outcome.standing.len())
    }

    fn under(&self, attack: &dyn Attack, rows: &[usize]) -> Outcome {
        let images = self.perturbed(attack, rows, &Goal::Untargeted);
        Outcome { standing: self.stand(&images, rows), images }
    }

    /// What an attack makes of some rows, with a goal for them.
    fn perturbed(&self, attack: &dyn Attack, rows: &[usize], goal: &Goal) -> Tensor<4> {
        let seed = self.probe.seed.purpose(attack.name());
        let places: Vec<usize> = (0..rows.len()).collect();
        let mut images = Vec::new();
        for places in places.chunks(self.probe.batch_size) {
            let rows: Vec<usize> = places.iter().map(|&place| rows[place]).collect();
            let part = self.probe.batch.select(&rows);
            let goal = goal.select(places);
            images.push(attack.perturb(self.victim(), &part, &goal, seed).without_autodiff());
        }
        if images.is_empty() { self.probe.batch.images.clone().slice(0..0) } else { Tensor::cat(images, 0) }
    }

    /// Of some rows those that an attack does not bring to their targets.
    fn unreached(&self, attack: &dyn Attack, rows: &[usize], targets: Vec<usize>) -> Vec<usize> {
        let goal = Goal::Targeted(targets);
        let logits = self.probe.logits(&self.perturbed(attack, rows, &goal));
        let missed = |(place, row): (usize, &usize)| {
            let prediction = prediction(&logits[place]);
            (!goal.reached(place, prediction, self.probe.batch.labels[*row])).then_some(*row)
        };
        rows.iter().enumerate().filter_map(missed).collect()
    }

    /// How many of the images that stand the attack brings to one of their nearest classes, given the logits of the
    /// clean pictures.
    pub fn turned_with_targets(&self, outcome: &Outcome, clean: &[Vec<f32>]) -> Option<usize> {
        let attack = self.subject.tuned(&Tuning::default())?;
        let labels = &self.probe.batch.labels;
        let nearest: Vec<Vec<usize>> =
            clean.iter().zip(labels).map(|(logits, &label)| others(logits, label)).collect();
        let tried = 0..TARGETS.min(self.victim().classes() - 1);
        let left = tried.fold(outcome.standing.clone(), |left, rank| {
            let targets = left.iter().map(|&row| nearest[row][rank]).collect();
            self.unreached(attack.as_ref(), &left, targets)
        });
        Some(outcome.standing.len() - left.len())
    }

    /// How many images fell, and how many of them the attack does not bring to the class that they fell to.
    pub fn missed_with_targets(&self, outcome: &Outcome) -> Option<[usize; 2]> {
        let attack = self.subject.tuned(&Tuning::default())?;
        let predicted = self.probe.logits(&outcome.images).into_iter().map(|logits| prediction(&logits));
        let pairs = self.right.iter().copied().zip(predicted);
        let (rows, classes): (Vec<usize>, Vec<usize>) =
            pairs.filter(|(row, class)| self.probe.batch.labels[*row] != *class).unzip();
        Some([rows.len(), self.unreached(attack.as_ref(), &rows, classes).len()])
    }

    /// Which of some rows are still classified correctly as these pictures.
    fn stand(&self, images: &Tensor<4>, rows: &[usize]) -> Vec<usize> {
        let logits = self.probe.logits(images);
        let labels = &self.probe.batch.labels;
        let pairs = rows.iter().zip(logits);
        pairs.filter(|(row, logits)| prediction(logits) == labels[**row]).map(|(row, _)| *row).collect()
    }

    /// How far the pictures of an outcome are from the clean ones.
    pub fn reach(&self, outcome: &Outcome, norm: Norm, epsilon: f32) -> Reach {
        let clean = self.probe.batch.select(&self.right).images;
        let admitted = match self.subject.tuned(&Tuning::default()) {
            Some(attack) => {
                attack.admits(clean.clone(), outcome.images.clone()).into_iter().all(|admitted| admitted)
            }
            None => false,
        };
        let size = self.probe.batch.shape()[1..].iter().product::<usize>().max(1);
        let changes: Vec<f64> =
            values(&(outcome.images.clone() - clean)).iter().map(|c| f64::from(*c)).collect();
        let length = |change: &[f64]| match norm {
            Norm::Linf => change.iter().fold(0.0, |most: f64, change| most.max(change.abs())),
            Norm::L2 => change.iter().map(|change| change * change).sum::<f64>().sqrt(),
            Norm::L1 => change.iter().map(|change| change.abs()).sum(),
        };
        let farthest = changes.chunks(size).map(length).fold(0.0, f64::max);
        let standing = outcome.standing.len();
        Reach { norm, epsilon: f64::from(epsilon), size, farthest, admitted, standing }
    }

    /// Images that stand under one step of the whole budget; none where there is no such thing.
    pub fn one_step(&self) -> Option<usize> {
        match self.subject.budget() {
            Some((Norm::L1, _)) => None,
            Some((norm, epsilon)) => {
                let config = FgsmConfig { norm, epsilon: Magnitude::of(epsilon)?, ..FgsmConfig::default() };
                Some(self.under(&config.build().ok()?, &self.right).standing.len())
            }
            None => self.standing(&Tuning { steps: Some(1), ..Tuning::default() }),
        }
    }

    /// How many of some images random changes turn; none where the changes that are allowed are not known.
    pub fn turned_by_noise(&self, rows: &[usize]) -> Option<usize> {
        let threat = self.subject.threat_model(&self.probe.batch.images.device())?;
        let mut standing = rows.to_vec();
        for draw in 0..DRAWS {
            let mut kept = Vec::new();
            for rows in standing.chunks(self.probe.batch_size) {
                let part = self.probe.batch.select(rows);
                let seed = self.probe.seed.purpose("chance").at(draw);
                let drawn = match threat {
                    ThreatModel::Ball { norm: Norm::Linf, epsilon } => corner(&part, epsilon, seed),
                    _ => threat.random_start(part.images.clone(), &part.ids, seed),
                };
                kept.extend(self.stand(&drawn, rows));
            }
            standing = kept;
        }
        Some(rows.len() - standing.len())
    }

    /// Images that stand as 8-bit pictures.
    pub fn standing_rounded(&self, outcome: &Outcome) -> usize {
        let rounded = outcome.images.clone().mul_scalar(255.0).round().div_scalar(255.0);
        self.stand(&rounded, &self.right).len()
    }

    /// How many of some images Square turns; none for an attack without a radius.
    pub fn turned_by_square(&self, rows: &[usize], queries: usize) -> Option<usize> {
        let (norm, epsilon) = self.subject.budget()?;
        let epsilon = Magnitude::of(epsilon)?;
        let attack = SquareConfig { norm, epsilon, queries, ..SquareConfig::default() }.build().ok()?;
        Some(rows.len() - self.under(&attack, rows).standing.len())
    }

    /// Images that stand under Auto-PGD with each of two losses.
    pub fn by_loss(&self, losses: [Loss; 2]) -> Option<[usize; 2]> {
        let (norm, epsilon) = self.subject.budget()?;
        let epsilon = Magnitude::of(epsilon)?;
        let config = ApgdConfig { norm, epsilon, steps: COMPARED_STEPS, ..ApgdConfig::default() };
        let attacks = losses.map(|loss| ApgdConfig { loss, ..config.clone() }.build().ok());
        let [Some(first), Some(second)] = attacks else { return None };
        Some([first, second].map(|attack| self.under(&attack, &self.right).standing.len()))
    }

    /// The way of the attack for the first images, one after another.
    pub fn traces(&self) -> Option<Vec<Trace>> {
        let attack = self.subject.tuned(&Tuning::default())?;
        let seed = self.probe.seed.purpose(attack.name());
        let trace = |&row: &usize| {
            let one = self.probe.batch.select(&[row]);
            let label = one.labels[0];
            let kept = AtomicUsize::new(0);
            let keep = move |logits: &Tensor<2>| {
                let success = rows(logits).iter().any(|logits| prediction(logits) != label);
                success && kept.fetch_add(1, Ordering::Relaxed) < KEPT
            };
            let work = || attack.perturb(self.victim(), &one, &Goal::Untargeted, seed);
            let (returned, shown) = self.victim().watch(keep, work);
            let mut trace = Trace::default();
            for shown in shown {
                let logits = rows(&shown.logits);
                trace.losses.extend(logits.iter().map(|logits| margin(logits, label)));
                let Some(images) = shown.images.filter(|_| !trace.found) else { continue };
                let clean =
                    one.images.clone().select(0, class_tensor(&vec![0; logits.len()], &images.device()));
                let admitted = attack.admits(clean, images).into_iter().zip(&logits);
                trace.found = admitted.into_iter().any(|(ok, logits)| ok && prediction(logits) != label);
            }
            trace.returned = self.stand(&returned.without_autodiff(), &[row]).is_empty();
            trace
        };
        Some(self.right.iter().take(TRACED).map(trace).collect())
    }
}

/// The classes but the label, from the largest logit to the smallest.
fn others(logits: &[f32], label: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..logits.len()).filter(|&class| class != label).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    order
}

/// A random corner of the L-inf ball around each picture: the strongest noise that it holds.
fn corner(batch: &Batch, epsilon: f32, seed: Seed) -> Tensor<4> {
    let size = batch.shape()[1..].iter().product::<usize>().max(1);
    let clean = values(&batch.images);
    let mut drawn = Vec::with_capacity(clean.len());
    for (clean, id) in clean.chunks(size).zip(&batch.ids) {
        let mut rng = seed.at(id.0).rng();
        drawn.extend(clean.iter().map(|value| {
            let change = if rng.random::<bool>() { epsilon } else { -epsilon };
            (value + change).clamp(0.0, 1.0)
        }));
    }
    Tensor::from_data(TensorData::new(drawn, batch.shape()), &batch.images.device())
}
