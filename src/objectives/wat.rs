//! WAT: worst-class adversarial training by the Hedge algorithm.
//!
//! Li and Liu, "WAT: improve the worst-class robustness in adversarial training" (AAAI 2023). Each class is
//! an expert, and the mean over all pictures is one more. After each epoch the cost of an expert is its
//! validation loss `CE + beta KL(clean || attacked)`, and with costs summed over epochs
//!
//! ```text
//! w = K softmax(eta * costs),    L = mean_i (w_{y_i} + w_mean) l_i
//! ```
//!
//! The clean part of a loss and the part under attack weigh alike. All weights are `K / (K + 1)` before there
//! is a validation; a class without a validation picture takes the mean cost.

use super::class_figures::restored;
use super::config::positive;
use super::{
    ClassFigures, Losses, Objective, ObjectiveConfig, ObjectiveConfigError, Pictures, Term, TradesConfig,
};
use crate::data::Batch;
use crate::models::Classifier;

/// Constants of WAT.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WatConfig {
    /// Learning rate of the experts, above 0; 0.1 by default, as published.
    pub eta: f64,
    /// Weight of the divergence in the cost, above 0; 6 by default, as published.
    pub beta: f64,
    /// What is weighed; TRADES by default.
    pub base: Box<ObjectiveConfig>,
}

impl Default for WatConfig {
    fn default() -> Self {
        let base = Box::new(ObjectiveConfig::Trades(TradesConfig::default()));
        Self { eta: 0.1, beta: 6.0, base }
    }
}

impl WatConfig {
    /// The objective for pictures `[C, H, W]` of `classes` classes.
    ///
    /// # Errors
    /// Names the first key whose value cannot be meant.
    pub fn build(&self, input_shape: [usize; 3], classes: usize) -> Result<Wat, ObjectiveConfigError> {
        Ok(Wat {
            eta: positive("eta", self.eta)?,
            beta: positive("beta", self.beta)?,
            classes,
            base: self.base.build(input_shape, classes)?,
            state: State { costs: vec![0.0; classes], mean_cost: 0.0 },
        })
    }
}

/// Costs, summed over the epochs.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct State {
    costs: Vec<f64>,
    mean_cost: f64,
}

impl AsRef<[f64]> for State {
    fn as_ref(&self) -> &[f64] {
        &self.costs
    }
}

/// An objective whose classes weigh by their validation losses.
pub struct Wat {
    eta: f64,
    beta: f64,
    classes: usize,
    base: Box<dyn Objective>,
    state: State,
}

impl Wat {
    /// The weight of each class, that of the mean included in each.
    fn weights(&self) -> Vec<f64> {
        let State { costs, mean_cost } = &self.state;
        let largest = costs.iter().copied().fold(*mean_cost, f64::max);
        let raw = |cost: &f64| (self.eta * (cost - largest)).exp();
        let total = costs.iter().map(raw).sum::<f64>() + raw(mean_cost);
        costs.iter().map(|cost| self.classes as f64 * (raw(cost) + raw(mean_cost)) / total).collect()
    }
}

impl Objective for Wat {
    fn name(&self) -> &'static str {
        "wat"
    }

    fn base(&self) -> Option<&dyn Objective> {
        Some(self.base.as_ref())
    }

    fn base_mut(&mut self) -> Option<&mut dyn Objective> {
        Some(self.base.as_mut())
    }

    fn losses(&mut self, student: &dyn Classifier, batch: &Batch, pictures: Pictures) -> Losses {
        let mut losses = self.base.losses(student, batch, pictures);
        let weights = self.weights();
        let weights: Vec<f64> = batch.labels.iter().map(|label| weights[*label]).collect();
        losses.weigh(&weights);
        let largest = weights.iter().copied().fold(0.0, f64::max);
        losses.terms.push(Term { name: "largest_weight", value: largest });
        losses
    }

    fn end_epoch(&mut self, validation: Option<&ClassFigures>) {
        let cost = |figure: &super::ClassFigure| figure.clean_loss + self.beta * figure.divergence;
        if let Some(figures) = validation
            && let Some(mean) = figures.mean(cost)
            && mean.is_finite()
        {
            for (sum, figure) in self.state.costs.iter_mut().zip(&figures.0) {
                *sum += figure.as_ref().map_or(mean, cost);
            }
            self.state.mean_cost += mean;
        }
        self.base.end_epoch(validation);
    }

    fn state(&self) -> serde_json::Value {
        serde_json::json!({"wat": self.state, "base": self.base.state()})
    }

    fn restore(&mut self, state: &serde_json::Value) -> Result<(), String> {
        self.state = restored(&state["wat"], "wat", self.classes)?;
        self.base.restore(&state["base"])
    }
}

#[cfg(test)]
mod tests {
    use super::super::ClassFigure;
    use super::*;
    use crate::objectives::StandardConfig;

    /// ```python
    /// costs = torch.tensor([1.0 + 6 * 0.5, 2.0, 2.5]); w = 2 * (0.1 * costs).softmax(0)
    /// w[:2] + w[2]  # 1.388879, 1.253575
    /// ```
    /// Classes of 10 and of 30 pictures: the mean is (10 * 4 + 30 * 2) / 40 = 2.5.
    #[test]
    fn weights_are_those_of_hedge() {
        let base = Box::new(ObjectiveConfig::Standard(StandardConfig {}));
        let config = WatConfig { base, ..WatConfig::default() };
        let mut wat = config.build([3, 16, 16], 2).expect("valid");
        assert!(wat.weights().iter().all(|weight| (weight - 4.0 / 3.0).abs() < 1e-12));
        let figure = |images, clean_loss, divergence| {
            Some(ClassFigure { images, clean_error: 0.0, robust_error: 0.0, clean_loss, divergence })
        };
        wat.end_epoch(Some(&ClassFigures(vec![figure(10, 1.0, 0.5), figure(30, 2.0, 0.0)])));
        for (found, expected) in wat.weights().iter().zip(GOLDEN) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        let mut again = config.build([3, 16, 16], 2).expect("valid");
        again.restore(&wat.state()).expect("its own state");
        assert_eq!(again.state, wat.state);
        wat.end_epoch(Some(&ClassFigures(vec![figure(10, 1.0, 0.0), None])));
        assert_eq!(wat.state.costs, [5.0, 3.0], "a class without a picture takes the mean cost");
        assert!(config.build([3, 16, 16], 3).expect("valid").restore(&wat.state()).is_err());
    }
    const GOLDEN: [f64; 2] = [1.388_879, 1.253_575];
}
