//! CFA: class-wise calibrated fair adversarial training.
//!
//! Wei et al., "CFA: class-wise calibrated fair adversarial training" (CVPR 2023). With `r_k` the share of the
//! pictures of class `k` that were recognised under the training attack in the epoch before, from epoch
//! `begin` on:
//!
//! ```text
//! epsilon_k = (margin_offset + r_k) epsilon                          margins (CCM)
//! beta_k    = (balance_offset + r_k) beta                            trade-off (CCR), on TRADES
//! L         = 1/(1 + beta_k) CE + beta_k/(1 + beta_k) KL
//! ```
//!
//! Its third part, averaging weights only while the worst class is good enough (FAWA), is
//! `train.averaging` with `every = "epoch"` and `least_worst_class`.
//!
//! The published code divides the recognised pictures of a class by a K-th of all pictures, which is wrong for
//! classes of different sizes. Its steps keep their length when the radius changes; here they follow it.

use super::class_figures::restored;
use super::config::{not_negative, scaling};
use super::{
    ClassFigures, Losses, Objective, ObjectiveConfig, ObjectiveConfigError, Pictures, TradesConfig, Whole,
    argmax,
};
use crate::Seed;
use crate::data::Batch;
use crate::models::{Classifier, Victim};

/// Constants of CFA.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CfaConfig {
    /// Epochs before classes differ; 10 by default.
    pub begin: usize,
    /// Whether radii are calibrated; on by default.
    pub margins: bool,
    /// What is added to the accuracy for the radius, 0 or more; 0.5 by default.
    pub margin_offset: f64,
    /// Whether the trade-off of a base such as TRADES is calibrated; on by default. A base without one is
    /// left alone.
    pub balance: bool,
    /// What is added to the accuracy for the trade-off, 0 or more; 0.5 by default.
    pub balance_offset: f64,
    /// What is calibrated; TRADES by default.
    pub base: Box<ObjectiveConfig>,
}

impl Default for CfaConfig {
    fn default() -> Self {
        let base = Box::new(ObjectiveConfig::Trades(TradesConfig::default()));
        Self { begin: 10, margins: true, margin_offset: 0.5, balance: true, balance_offset: 0.5, base }
    }
}

impl CfaConfig {
    /// The objective for pictures `[C, H, W]` of `classes` classes.
    ///
    /// # Errors
    /// Names the first key whose value cannot be meant.
    pub fn build(&self, input_shape: [usize; 3], classes: usize) -> Result<Cfa, ObjectiveConfigError> {
        not_negative("margin_offset", self.margin_offset)?;
        not_negative("balance_offset", self.balance_offset)?;
        let base = self.base.build(input_shape, classes)?;
        if self.margins {
            scaling("cfa", base.as_ref(), "set margins = false")?;
        }
        Ok(Cfa { config: self.clone(), classes, base, state: State::new(classes) })
    }
}

/// What CFA knows between steps.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct State {
    /// Epochs that are over.
    epoch: usize,
    /// Pictures of each class in this epoch so far, and those of them that were recognised.
    seen: Vec<f64>,
    recognised: Vec<f64>,
    /// The share of the epoch before; none for a class without a picture.
    accuracy: Vec<Option<f64>>,
}

impl State {
    fn new(classes: usize) -> Self {
        let zeros = || vec![0.0; classes];
        Self { epoch: 0, seen: zeros(), recognised: zeros(), accuracy: vec![None; classes] }
    }
}

impl AsRef<[f64]> for State {
    fn as_ref(&self) -> &[f64] {
        &self.seen
    }
}

/// An objective with radii and trade-offs of each class.
pub struct Cfa {
    config: CfaConfig,
    classes: usize,
    base: Box<dyn Objective>,
    state: State,
}

impl Cfa {
    /// `offset + r_k` for each image; 1 before `begin`, and for a class that was not seen.
    fn factors(&self, offset: f64, labels: &[usize]) -> Vec<f64> {
        let known = |label: &usize| self.state.accuracy[*label].map_or(1.0, |accuracy| offset + accuracy);
        let begun = self.state.epoch >= self.config.begin;
        labels.iter().map(|label| if begun { known(label) } else { 1.0 }).collect()
    }
}

impl Objective for Cfa {
    fn name(&self) -> &'static str {
        "cfa"
    }

    fn attack(&self, victim: &Victim, batch: &Batch, whole: &Whole, seed: Seed) -> Pictures {
        if !self.config.margins {
            return self.base.attack(victim, batch, whole, seed);
        }
        let radii = self.factors(self.config.margin_offset, &batch.labels);
        let radii: Vec<f32> = radii.iter().map(|factor| *factor as f32).collect();
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
        for (prediction, &label) in argmax(losses.logits.clone()).into_iter().zip(&batch.labels) {
            self.state.seen[label] += 1.0;
            self.state.recognised[label] += f64::from(u8::from(prediction == label));
        }
        if self.config.balance && losses.natural.is_some() {
            let factors = self.factors(self.config.balance_offset, &batch.labels);
            let (natural, main): (Vec<f64>, Vec<f64>) =
                factors.iter().map(|factor| shares(*factor, losses.balance)).unzip();
            losses.weigh_natural(&natural);
            losses.weigh_main(&main);
        }
        losses
    }

    fn end_epoch(&mut self, validation: Option<&ClassFigures>) {
        let seen = std::mem::replace(&mut self.state.seen, vec![0.0; self.classes]);
        let recognised = std::mem::replace(&mut self.state.recognised, vec![0.0; self.classes]);
        let share = |(right, all): (&f64, &f64)| (*all > 0.0).then(|| right / all);
        self.state.accuracy = recognised.iter().zip(&seen).map(share).collect();
        self.state.epoch += 1;
        self.base.end_epoch(validation);
    }

    fn state(&self) -> serde_json::Value {
        serde_json::json!({"cfa": self.state, "base": self.base.state()})
    }

    fn restore(&mut self, state: &serde_json::Value) -> Result<(), String> {
        self.state = restored(&state["cfa"], "cfa", self.classes)?;
        self.base.restore(&state["base"])
    }
}

/// What the clean loss and the loss under attack, which holds `beta` already, are multiplied by for a
/// trade-off of `factor * beta`: together they weigh 1.
fn shares(factor: f64, beta: f64) -> (f64, f64) {
    let total = 1.0 + factor * beta;
    (1.0 / total, factor / total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objectives::StandardConfig;

    #[test]
    fn radii_and_trade_offs_by_hand() {
        let mut cfa = CfaConfig { begin: 1, ..CfaConfig::default() }.build([3, 16, 16], 3).expect("valid");
        cfa.state.seen = vec![4.0, 2.0, 0.0];
        cfa.state.recognised = vec![1.0, 2.0, 0.0];
        assert_eq!(cfa.factors(0.5, &[0, 1, 2]), [1.0; 3], "not before the first epoch is over");
        let mut again = CfaConfig { begin: 1, ..CfaConfig::default() }.build([3, 16, 16], 3).expect("valid");
        again.restore(&cfa.state()).expect("its own state");
        assert_eq!(again.state, cfa.state);
        cfa.end_epoch(None);
        assert_eq!(cfa.factors(0.5, &[0, 1, 2, 0]), [0.75, 1.5, 1.0, 0.75]);
        // beta_0 = 0.75 * 6 = 4.5: 1/5.5 of the cross-entropy, and of 6 KL 0.75/5.5, which is 4.5/5.5 KL.
        let (natural, main) = shares(0.75, 6.0);
        assert!((natural - 1.0 / 5.5).abs() < 1e-12 && (main * 6.0 - 4.5 / 5.5).abs() < 1e-12);
        assert_eq!(cfa.state.seen, [0.0; 3]);
    }

    #[test]
    fn radii_need_a_base_that_has_one() {
        let base = Box::new(ObjectiveConfig::Standard(StandardConfig {}));
        let config = CfaConfig { base, ..CfaConfig::default() };
        let error = config.build([3, 16, 16], 3).err().expect("refused").to_string();
        assert!(error.contains("margins = false"), "{error}");
        let mut without = CfaConfig { margins: false, ..config }.build([3, 16, 16], 3).expect("valid");
        assert!(without.restore(&serde_json::json!({"cfa": null})).is_err());
    }
}
