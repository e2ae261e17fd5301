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

use super::class_wise::{ClassMethod, ClassWise};
use super::config::positive;
use super::{ClassFigure, ClassFigures, Losses, ObjectiveConfig, ObjectiveConfigError, TradesConfig};

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
        positive("eta", self.eta)?;
        positive("beta", self.beta)?;
        let base = self.base.build(input_shape, classes)?;
        Ok(ClassWise::new(self.clone(), base, State { costs: vec![0.0; classes], mean_cost: 0.0 }))
    }
}

/// Costs, summed over the epochs.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct State {
    costs: Vec<f64>,
    mean_cost: f64,
}

impl AsRef<[f64]> for State {
    fn as_ref(&self) -> &[f64] {
        &self.costs
    }
}

/// An objective whose classes weigh by their validation losses.
pub type Wat = ClassWise<WatConfig>;

impl WatConfig {
    /// The weight of each class, that of the mean included in each.
    fn weights(&self, State { costs, mean_cost }: &State) -> Vec<f64> {
        let largest = costs.iter().copied().fold(*mean_cost, f64::max);
        let raw = |cost: &f64| (self.eta * (cost - largest)).exp();
        let total = costs.iter().map(raw).sum::<f64>() + raw(mean_cost);
        costs.iter().map(|cost| costs.len() as f64 * (raw(cost) + raw(mean_cost)) / total).collect()
    }
}

impl ClassMethod for WatConfig {
    const NAME: &'static str = "wat";
    type State = State;

    fn weigh(&self, state: &mut State, losses: &mut Losses, labels: &[usize]) {
        let weights = self.weights(state);
        let weights: Vec<f64> = labels.iter().map(|label| weights[*label]).collect();
        losses.weigh(&weights);
        losses.note_largest(&weights);
    }

    fn end_epoch(&self, state: &mut State, validation: Option<&ClassFigures>) {
        let cost = |figure: &ClassFigure| figure.clean_loss + self.beta * figure.divergence;
        if let Some(figures) = validation
            && let Some(mean) = figures.mean(cost)
            && mean.is_finite()
        {
            for (sum, figure) in state.costs.iter_mut().zip(&figures.0) {
                *sum += figure.as_ref().map_or(mean, cost);
            }
            state.mean_cost += mean;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objectives::{Objective, StandardConfig};

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
        assert!(config.weights(&wat.state).iter().all(|weight| (weight - 4.0 / 3.0).abs() < 1e-12));
        let figure = |images, clean_loss, divergence| {
            Some(ClassFigure { images, clean_error: 0.0, robust_error: 0.0, clean_loss, divergence })
        };
        wat.end_epoch(Some(&ClassFigures(vec![figure(10, 1.0, 0.5), figure(30, 2.0, 0.0)])));
        for (found, expected) in config.weights(&wat.state).iter().zip(GOLDEN) {
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
