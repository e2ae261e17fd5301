//! FRL: fair robust learning, by constraints on the errors of each class.
//!
//! Xu et al., "To be robust or to be fair: towards fairness in adversarial training" (ICML 2021). After each
//! epoch the validation gives each class a natural error `R_nat` and a boundary error `R_bdy` (robust minus
//! natural). With the excess `g = R - mean R - delta` of each class and kind, multipliers
//! `lambda <- max(0, lambda + rate g)`, scaled down to a sum of at most `limit`, give the weights
//!
//! ```text
//! w_k = 1/K + (1 - 1/K) lambda_k - 1/K sum over j != k of lambda_j
//! L   = sum_i w_nat CE_i / sum_i w_nat  +  beta sum_i w_bdy KL_i / sum_i w_bdy
//! ```
//!
//! and, where `margin_rate` is above 0, `mu <- mu + margin_rate g_bdy` gives class `k` the radius
//! `epsilon clip(exp(2 mu_k), 0.98, 3)`.
//!
//! Two versions of the published code normalise differently; this is the one that normalises each part by
//! itself. They validate before an epoch, here the validation after it counts, so the first epoch has equal
//! weights. Their steps keep their length when the radius grows; here they follow it. FRL was published as
//! fine-tuning of a robust model with a learning rate of 1e-3.

use super::class_figures::restored;
use super::config::{at_least_one, not_negative, positive, scaling};
use super::{
    ClassFigures, Losses, Objective, ObjectiveConfig, ObjectiveConfigError, Pictures, Term, TradesConfig,
    Whole,
};
use crate::Seed;
use crate::data::Batch;
use crate::models::{Classifier, Victim};

/// Constants of FRL.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FrlConfig {
    /// How much above the mean an error may be, 0 or more; 0.1 by default (published with margins: 0.07).
    pub delta: f64,
    /// Rate of the natural multipliers, 0 or more; 0.05 by default.
    pub natural_rate: f64,
    /// Rate of the boundary multipliers, 0 or more; 0.1 by default.
    pub boundary_rate: f64,
    /// Epochs after which these two rates halve, at least 1; 40 by default.
    pub halve_every: usize,
    /// Largest sum of the multipliers of a kind, in (0, 1]; 0.5 by default.
    pub limit: f64,
    /// Rate of the margins, 0 or more; 0, which leaves radii alone, by default (published: 0.2).
    pub margin_rate: f64,
    /// What is weighed; TRADES with a beta of 1.5 by default, as published.
    pub base: Box<ObjectiveConfig>,
}

impl Default for FrlConfig {
    fn default() -> Self {
        let base = TradesConfig { beta: 1.5, ..TradesConfig::default() };
        Self {
            delta: 0.1,
            natural_rate: 0.05,
            boundary_rate: 0.1,
            halve_every: 40,
            limit: 0.5,
            margin_rate: 0.0,
            base: Box::new(ObjectiveConfig::Trades(base)),
        }
    }
}

impl FrlConfig {
    /// The objective for pictures `[C, H, W]` of `classes` classes.
    ///
    /// # Errors
    /// Names the first key whose value cannot be meant.
    pub fn build(&self, input_shape: [usize; 3], classes: usize) -> Result<Frl, ObjectiveConfigError> {
        not_negative("delta", self.delta)?;
        not_negative("natural_rate", self.natural_rate)?;
        not_negative("boundary_rate", self.boundary_rate)?;
        at_least_one("halve_every", self.halve_every)?;
        if positive("limit", self.limit)? > 1.0 {
            let expected = "a number above 0 and up to 1";
            return Err(ObjectiveConfigError::Value { key: "limit", found: self.limit, expected });
        }
        let base = self.base.build(input_shape, classes)?;
        if not_negative("margin_rate", self.margin_rate)? > 0.0 {
            scaling("frl", base.as_ref(), "set margin_rate = 0")?;
        }
        Ok(Frl { config: self.clone(), classes, base, state: State::new(classes) })
    }
}

/// What FRL knows between epochs.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct State {
    epoch: usize,
    natural: Vec<f64>,
    boundary: Vec<f64>,
    margins: Vec<f64>,
}

impl State {
    fn new(classes: usize) -> Self {
        let zeros = || vec![0.0; classes];
        Self { epoch: 0, natural: zeros(), boundary: zeros(), margins: zeros() }
    }
}

impl AsRef<[f64]> for State {
    fn as_ref(&self) -> &[f64] {
        &self.natural
    }
}

/// An objective whose classes weigh by their validation errors.
pub struct Frl {
    config: FrlConfig,
    classes: usize,
    base: Box<dyn Objective>,
    state: State,
}

impl Objective for Frl {
    fn name(&self) -> &'static str {
        "frl"
    }

    fn attack(&self, victim: &Victim, batch: &Batch, whole: &Whole, seed: Seed) -> Pictures {
        if self.config.margin_rate <= 0.0 {
            return self.base.attack(victim, batch, whole, seed);
        }
        let radius = |label: &usize| (2.0 * self.state.margins[*label]).exp().clamp(0.98, 3.0) as f32;
        let radii: Vec<f32> = batch.labels.iter().map(radius).collect();
        self.base.attack(victim, &batch.scale_radii(&radii), whole, seed)
    }

    fn base(&self) -> Option<&dyn Objective> {
        Some(self.base.as_ref())
    }

    fn base_mut(&mut self) -> Option<&mut dyn Objective> {
        Some(self.base.as_mut())
    }

    fn losses(&mut self, student: &dyn Classifier, batch: &Batch, pictures: Pictures) -> Losses {
        let mut losses = self.base.losses(student, batch, pictures);
        let natural = image_weights(&class_weights(&self.state.natural), &batch.labels);
        let boundary = image_weights(&class_weights(&self.state.boundary), &batch.labels);
        losses.weigh_natural(&natural);
        losses.weigh_main(&boundary);
        let largest = boundary.iter().copied().fold(0.0, f64::max);
        losses.terms.push(Term { name: "largest_weight", value: largest });
        losses
    }

    fn end_epoch(&mut self, validation: Option<&ClassFigures>) {
        self.state.epoch += 1;
        if let Some(figures) = validation {
            self.adapt(figures);
        }
        self.base.end_epoch(validation);
    }

    fn state(&self) -> serde_json::Value {
        serde_json::json!({"frl": self.state, "base": self.base.state()})
    }

    fn restore(&mut self, state: &serde_json::Value) -> Result<(), String> {
        self.state = restored(&state["frl"], "frl", self.classes)?;
        self.base.restore(&state["base"])
    }
}

impl Frl {
    /// Moves the multipliers and margins by the errors of a validation; those of a class without a picture
    /// stay.
    fn adapt(&mut self, figures: &ClassFigures) {
        let boundary = |figure: &super::ClassFigure| figure.robust_error - figure.clean_error;
        let means = (figures.mean(|figure| figure.clean_error), figures.mean(boundary));
        let (Some(mean_natural), Some(mean_boundary)) = means else { return };
        let FrlConfig { delta, natural_rate, boundary_rate, halve_every, limit, margin_rate, .. } =
            self.config;
        let slower = 0.5_f64.powi((self.state.epoch / halve_every) as i32);
        for (class, figure) in figures.present() {
            let excess = boundary(figure) - mean_boundary - delta;
            self.state.natural[class] += slower * natural_rate * (figure.clean_error - mean_natural - delta);
            self.state.boundary[class] += slower * boundary_rate * excess;
            self.state.margins[class] += margin_rate * excess;
        }
        bound(&mut self.state.natural, limit);
        bound(&mut self.state.boundary, limit);
    }
}

/// Cuts off what is below 0 and scales down to a sum of at most `limit`.
fn bound(multipliers: &mut [f64], limit: f64) {
    let sum: f64 = multipliers.iter().map(|value| value.max(0.0)).sum();
    let factor = if sum > limit { limit / sum } else { 1.0 };
    for value in multipliers {
        *value = value.max(0.0) * factor;
    }
}

/// `w_k` of each class; never negative, because multipliers add up to at most 1.
fn class_weights(multipliers: &[f64]) -> Vec<f64> {
    let rest = 1.0 - multipliers.iter().sum::<f64>();
    multipliers.iter().map(|value| (rest / multipliers.len() as f64 + value).max(0.0)).collect()
}

/// The weight of each image, such that their mean is 1; 1 for all where none weighs anything.
fn image_weights(weights: &[f64], labels: &[usize]) -> Vec<f64> {
    let sum: f64 = labels.iter().map(|label| weights[*label]).sum();
    if sum <= 0.0 {
        return vec![1.0; labels.len()];
    }
    labels.iter().map(|label| weights[*label] * labels.len() as f64 / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::super::ClassFigure;
    use super::*;
    use crate::objectives::StandardConfig;

    /// Figures of classes: pictures, clean error, robust error.
    fn figures<const K: usize>(classes: [(usize, f64, f64); K]) -> ClassFigures {
        let figure = |(images, clean_error, robust_error)| {
            (images > 0).then_some(ClassFigure {
                images,
                clean_error,
                robust_error,
                clean_loss: 0.0,
                divergence: 0.0,
            })
        };
        ClassFigures(classes.map(figure).to_vec())
    }

    fn objective(config: &FrlConfig) -> Frl {
        let base = Box::new(ObjectiveConfig::Standard(StandardConfig {}));
        FrlConfig { base, ..config.clone() }.build([3, 16, 16], 4).expect("valid")
    }

    fn near(found: &[f64], expected: &[f64]) {
        let gap = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(gap < 1e-12 && found.len() == expected.len(), "{found:?} {expected:?}");
    }

    /// Worked by hand. Natural errors 0.5, 0.1, 0 over 10 pictures each and none of class 3: mean 0.2, so
    /// that class 0 exceeds by 0.2 and gets 0.05 * 0.2 = 0.01. Boundary errors 0.1, 0.7, 0.1: mean 0.3;
    /// class 1 exceeds by 0.3 and gets 0.1 * 0.3 = 0.03.
    #[test]
    fn multipliers_and_weights_by_hand() {
        let mut frl = objective(&FrlConfig::default());
        let figures = figures([(10, 0.5, 0.6), (10, 0.1, 0.8), (10, 0.0, 0.1), (0, 0.0, 0.0)]);
        frl.end_epoch(Some(&figures));
        near(&frl.state.natural, &[0.01, 0.0, 0.0, 0.0]);
        near(&frl.state.boundary, &[0.0, 0.03, 0.0, 0.0]);
        // 1/4 + 3/4 * 0.01 for class 0, 1/4 - 1/4 * 0.01 for the others.
        near(&class_weights(&frl.state.natural), &[0.2575, 0.2475, 0.2475, 0.2475]);
        near(&image_weights(&[0.3, 0.1, 0.1], &[0, 1]), &[1.5, 0.5]);
        frl.state.epoch = 79;
        frl.end_epoch(Some(&figures));
        near(&frl.state.natural, &[0.0125, 0.0, 0.0, 0.0]);
        let before = frl.state.natural.clone();
        frl.end_epoch(None);
        assert_eq!(frl.state.natural, before, "nothing is learnt without a validation");
    }

    #[test]
    fn multipliers_are_bounded() {
        let mut multipliers = vec![0.6, -0.2, 0.4];
        bound(&mut multipliers, 0.5);
        near(&multipliers, &[0.3, 0.0, 0.2]);
    }

    #[test]
    fn margins_need_a_base_with_a_radius_and_states_fit_their_classes() {
        let config = FrlConfig { margin_rate: 0.2, ..FrlConfig::default() };
        let base = Box::new(ObjectiveConfig::Standard(StandardConfig {}));
        let error =
            FrlConfig { base, ..config.clone() }.build([3, 16, 16], 4).err().expect("refused").to_string();
        assert!(error.contains("margin_rate = 0") && error.contains("standard"), "{error}");
        let mut frl = config.build([3, 16, 16], 2).expect("TRADES has one");
        frl.end_epoch(Some(&figures([(10, 0.0, 0.0), (10, 0.0, 1.0)])));
        // Mean boundary error 0.5; 0.2 * (0.5 - 0.1) and 0.2 * (-0.5 - 0.1).
        near(&frl.state.margins, &[-0.12, 0.08]);
        let mut again = config.build([3, 16, 16], 2).expect("valid");
        again.restore(&frl.state()).expect("its own state");
        assert_eq!(again.state, frl.state);
        assert!(config.build([3, 16, 16], 3).expect("valid").restore(&frl.state()).is_err());
    }
}
