//! Objectives: training methods as losses.
//!
//! An objective owns its inner attack. It has no optimiser and switches no modes: the attack sees the
//! victim, the update sees the student, and nothing passes between them but pixels.
//!
//! There are base losses (standard, adversarial, TRADES, MART, BAT) and methods that change one: Sy-FAR and
//! `SpecNorm` add a penalty; FAAL, FRL, CFA, WAT and DAFA weigh images or scale radii by their class. A
//! method holds its base, which may be another method, so they compose in any order.
//!
//! A step has two parts. First the pictures are made, by asking the victim; then the student is asked for
//! losses on them. So a student with other weights can be asked about the same pictures, which weight
//! perturbation needs.

mod adversarial;
mod bat;
mod cfa;
mod class_figures;
mod class_wise;
mod config;
mod dafa;
mod faal;
mod frl;
mod mart;
mod nearby;
mod running_confusion;
mod soft_confusion;
mod spec_norm;
mod standard;
mod sy_far;
mod targeted_symmetry;
#[cfg(test)]
mod tests;
mod trades;
mod wat;

pub use adversarial::{Adversarial, AdversarialConfig};
pub use bat::{Bat, BatConfig};
pub use cfa::{Cfa, CfaConfig};
pub use class_figures::{ClassFigure, ClassFigures};
pub use class_wise::ClassWise;
pub use config::{ObjectiveConfig, ObjectiveConfigError};
pub use dafa::{Dafa, DafaConfig, dafa_weights};
pub use faal::{Faal, FaalConfig, FaalVariant, faal_weights};
pub use frl::{Frl, FrlConfig};
pub use mart::{Mart, MartConfig};
pub use nearby::NearbyConfig;
pub use soft_confusion::{AbsentPairs, Reduction, Sides, Symmetry};
pub use spec_norm::{SpecNorm, SpecNormConfig, SpecNormVariant};
pub use standard::{Standard, StandardConfig};
pub use sy_far::{SyFar, SyFarConfig};
pub use targeted_symmetry::{Targeted, TargetedSymmetryConfig};
pub use trades::{Trades, TradesConfig, divergence};
pub use wat::{Wat, WatConfig};

use std::ops::Range;

use burn::tensor::Tensor;

use crate::Seed;
use crate::data::{Batch, ImageId};
use crate::models::{Classifier, Victim};

/// One named part of a loss.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// Such as `clean`, `adversarial`, `symmetry`.
    pub name: &'static str,
    /// Value before weighting.
    pub value: f64,
}

impl Term {
    fn new(name: &'static str, value: &Tensor<1>) -> Self {
        let value = value.clone().without_autodiff().into_scalar::<f32>();
        Self { name, value: f64::from(value) }
    }
}

/// What is known of all pictures of a step, of which several processes that train together hold a share each.
#[derive(Clone, Copy, Debug)]
pub struct Whole<'a> {
    labels: &'a [usize],
    ids: &'a [ImageId],
    own: usize,
}

impl<'a> Whole<'a> {
    /// Labels and ids of all pictures, of which this process holds those from number `own` on.
    ///
    /// # Panics
    /// When there is not an id for each label.
    pub fn new(labels: &'a [usize], ids: &'a [ImageId], own: usize) -> Self {
        assert_eq!(labels.len(), ids.len(), "a label and an id for each picture");
        Self { labels, ids, own }
    }

    /// One process holds all of them.
    pub fn of(batch: &'a Batch) -> Self {
        Self::new(&batch.labels, &batch.ids, 0)
    }

    /// Which of all pictures are those of a share.
    fn rows_of(&self, share: &Batch) -> Range<usize> {
        self.own..self.own + share.len()
    }
}

/// The pictures of a step that are not in the batch. No tensor is tracked.
#[derive(Clone, Default)]
pub struct Pictures {
    /// Adversarial pictures `[N, C, H, W]`, where the method makes them.
    pub adversarial: Option<Tensor<4>>,
    /// Pictures just before the boundary, `[N, C, H, W]`, for BAT.
    pub inside: Option<Tensor<4>>,
    /// Pictures made towards targets, one entry for each method that asked for them, the outermost last.
    pub targeted: Vec<Targeted>,
}

impl Pictures {
    /// The adversarial pictures, or the clean ones where there are none.
    fn adversarial(&self, batch: &Batch) -> Tensor<4> {
        self.adversarial.clone().unwrap_or_else(|| batch.images.clone())
    }
}

/// What a base loss is made of, before it becomes one number: methods change it on its way there.
pub struct Losses {
    /// The loss of each image under attack, `[N]`, tracked and weighted by `balance`: what class-wise methods
    /// weigh. The clean loss of a method without attack.
    pub main: Tensor<1>,
    /// The loss of each clean image, `[N]`, where the base trades it off against the loss under attack, as
    /// TRADES does: class-wise methods weigh it too.
    pub natural: Option<Tensor<1>>,
    /// The weight that is in `main`: `beta` of TRADES.
    pub balance: f64,
    /// A part that most methods leave alone, such as a small clean cross-entropy, `[N]`.
    pub clean: Option<Tensor<1>>,
    /// Penalties of the batch, `[1]`, already weighted.
    pub penalty: Option<Tensor<1>>,
    /// For the log.
    pub terms: Vec<Term>,
    /// Logits `[N, K]` of the pictures that the student is trained on: adversarial ones where the method
    /// makes them. Tracked.
    pub logits: Tensor<2>,
}

impl Losses {
    /// A loss of one part.
    fn new(main: Tensor<1>, terms: Vec<Term>, logits: Tensor<2>) -> Self {
        Self { main, natural: None, balance: 1.0, clean: None, penalty: None, terms, logits }
    }

    /// Whether what is known of it so far is finite. Where it is not, training stops with the name of the
    /// term, and methods learn nothing from the step.
    fn is_finite(&self) -> bool {
        self.terms.iter().all(|term| term.value.is_finite())
    }

    /// Adds a penalty `[1]`.
    fn add_penalty(&mut self, penalty: Tensor<1>) {
        self.penalty = Some(match self.penalty.take() {
            Some(other) => other + penalty,
            None => penalty,
        });
    }

    /// Weighs the images, `N` numbers of 0 or more that are constants for the gradient.
    fn weigh(&mut self, weights: &[f64]) {
        self.weigh_main(weights);
        self.natural = self.natural.take().map(|natural| weighed(natural, weights));
    }

    /// Weighs the loss under attack alone.
    fn weigh_main(&mut self, weights: &[f64]) {
        self.main = weighed(self.main.clone(), weights);
    }

    /// Weighs the clean loss: the natural part of the base, or its clean part if it has no other.
    fn weigh_natural(&mut self, weights: &[f64]) {
        let part = if self.natural.is_some() { &mut self.natural } else { &mut self.clean };
        *part = part.take().map(|loss| weighed(loss, weights));
    }

    /// Notes the largest of the weights of the images for the log.
    fn note_largest(&mut self, weights: &[f64]) {
        let value = weights.iter().copied().fold(0.0, f64::max);
        self.terms.push(Term { name: "largest_weight", value });
    }

    /// The mean over the images, plus the penalties.
    fn reduce(self) -> Loss {
        let mut total = self.main.mean();
        let others = [self.natural.map(Tensor::mean), self.clean.map(Tensor::mean), self.penalty];
        for part in others.into_iter().flatten() {
            total = total + part;
        }
        Loss { total, terms: self.terms, predictions: argmax(self.logits) }
    }
}

/// The loss of each image times a constant.
fn weighed(losses: Tensor<1>, weights: &[f64]) -> Tensor<1> {
    let weights: Vec<f32> = weights.iter().map(|weight| *weight as f32).collect();
    let device = losses.device().without_autodiff();
    losses * Tensor::<1>::from_data(weights.as_slice(), &device)
}

/// The loss of one batch.
pub struct Loss {
    /// What is minimised, `[1]`, tracked.
    pub total: Tensor<1>,
    /// Its parts, for the log.
    pub terms: Vec<Term>,
    /// Predictions of the student on the pictures that it was trained on (adversarial ones where the
    /// method makes them), for class-wise methods and the progress line.
    pub predictions: Vec<usize>,
}

/// A training method.
pub trait Objective: Send {
    /// Short name for files and tables, such as `sy-far`.
    fn name(&self) -> &'static str;

    /// The objective that this one changes; none for a base. What a method does not say itself is what its
    /// base says.
    fn base(&self) -> Option<&dyn Objective> {
        None
    }

    /// The same, to be changed.
    fn base_mut(&mut self) -> Option<&mut dyn Objective> {
        None
    }

    /// Makes the pictures of a step. `victim` is a frozen snapshot of the student at this step. Where several
    /// processes train together, `batch` is the share of this one; what the method has to know of the other
    /// pictures of the step is in `whole`.
    fn attack(&self, victim: &Victim, batch: &Batch, whole: &Whole, seed: Seed) -> Pictures {
        self.base().map_or_else(Pictures::default, |base| base.attack(victim, batch, whole, seed))
    }

    /// The losses of a batch on the pictures that [`Objective::attack`] made of it. A method that learns
    /// about the classes does it here.
    ///
    /// Pictures are only handed to the student. Where several processes train together they are this one's share
    /// of the batch, while the labels and the logits that the student answers with are those of the whole batch.
    fn losses(&mut self, student: &dyn Classifier, batch: &Batch, pictures: Pictures) -> Losses;

    /// The losses of the base at the bottom, without the weights and penalties of the methods around it and
    /// without a trace in their state: what weight perturbation climbs.
    fn plain_losses(&mut self, student: &dyn Classifier, batch: &Batch, pictures: Pictures) -> Losses {
        if let Some(base) = self.base_mut() {
            return base.plain_losses(student, batch, pictures);
        }
        self.losses(student, batch, pictures)
    }

    /// Both parts of a step: the loss of a batch as one number.
    fn loss(&mut self, student: &dyn Classifier, victim: &Victim, batch: &Batch, seed: Seed) -> Loss {
        let pictures = self.attack(victim, batch, &Whole::of(batch), seed);
        self.loss_on(student, batch, pictures)
    }

    /// The second part of a step: the loss as one number, on pictures that were made before.
    fn loss_on(&mut self, student: &dyn Classifier, batch: &Batch, pictures: Pictures) -> Loss {
        self.losses(student, batch, pictures).reduce()
    }

    /// The loss of [`Objective::plain_losses`] as one number, `[1]`.
    fn plain_loss(&mut self, student: &dyn Classifier, batch: &Batch, pictures: Pictures) -> Tensor<1> {
        self.plain_losses(student, batch, pictures).reduce().total
    }

    /// Whether the attack follows [`Batch::radius_scale`].
    fn scales_radius(&self) -> bool {
        self.base().is_some_and(Objective::scales_radius)
    }

    /// Told that an epoch is over, with what its validation found of each class if it had one.
    fn end_epoch(&mut self, validation: Option<&ClassFigures>) {
        if let Some(base) = self.base_mut() {
            base.end_epoch(validation);
        }
    }

    /// What a resumed training has to know; `null` for a method that adapts nothing.
    fn state(&self) -> serde_json::Value {
        self.base().map_or(serde_json::Value::Null, Objective::state)
    }

    /// Goes on from a state that [`Objective::state`] gave.
    ///
    /// # Errors
    /// When it is not a state of this method; the message says so.
    fn restore(&mut self, state: &serde_json::Value) -> Result<(), String> {
        self.base_mut().map_or(Ok(()), |base| base.restore(state))
    }
}

/// The class with the largest logit of each row: `[N, K]` to `N`.
fn argmax(logits: Tensor<2>) -> Vec<usize> {
    logits.without_autodiff().argmax(1).into_data().iter::<i64>().map(|class| class as usize).collect()
}

/// The values of a tensor without its graph.
fn host<const D: usize>(tensor: &Tensor<D>) -> Vec<f64> {
    tensor.clone().without_autodiff().into_data().iter::<f64>().collect()
}
