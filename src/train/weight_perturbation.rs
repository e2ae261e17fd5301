//! AWP: adversarial weight perturbation.
//!
//! Wu, Xia and Wang, "Adversarial weight perturbation helps robust generalization" (`NeurIPS` 2020). Before each
//! update the weights take one step up the loss on the pictures of the step,
//!
//! ```text
//! v_l = gamma |w_l| g_l / |g_l|        for each layer l, with g_l the gradient of the loss
//! ```
//!
//! the loss and the update are computed at `w + v`, and the same `v` is taken away again. Only weights of
//! layers are moved (parameters called weight with more than one dimension), not biases, nor the scales of
//! BatchNorm. The gradient `g` comes from a copy of the network, so that its pass leaves no trace in the
//! running statistics. The published code makes the step with an optimiser of its own, whose learning rate
//! cancels out of the formula. As in FAAL's code, what is climbed is the loss of the base, without class
//! weights and penalties. It costs one more forward and backward pass, and no attack.

use std::collections::HashSet;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use super::exchange::sum_gradients;
use super::team::{Student, Team};
use crate::data::Batch;
use crate::models::Network;
use crate::objectives::{Objective, Pictures};

/// Constants of the perturbation.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PerturbationConfig {
    /// Length of the step as a share of a layer's weights, above 0; 0.01 by default. Published: 0.01 on
    /// adversarial training, 0.005 on TRADES and FAAL.
    pub gamma: f64,
    /// Epochs without perturbation at the start; 0 by default (published on TRADES: 10).
    pub warmup_epochs: usize,
}

impl Default for PerturbationConfig {
    fn default() -> Self {
        Self { gamma: 0.01, warmup_epochs: 0 }
    }
}

/// The change of each weight, by the id of its parameter.
pub(super) struct Perturbation(GradientsParams);

impl Perturbation {
    /// The step up the loss of an objective's base.
    pub fn find(
        gamma: f64,
        network: &Network,
        team: &dyn Team,
        objective: &mut dyn Objective,
        batch: &Batch,
        pictures: Pictures,
    ) -> Self {
        // `valid` copies the running statistics, `train` makes the copy trainable again.
        let proxy = network.valid().train();
        let loss = objective.plain_loss(&Student { network: &proxy, team }, batch, pictures);
        let mut gradients = GradientsParams::from_grads(loss.backward(), &proxy);
        sum_gradients(team, &mut gradients, &proxy);
        let weights = proxy.parameters_at(|path| path.last().is_some_and(|name| name.contains("weight")));
        let mut steps = Steps { gamma, gradients, weights, found: GradientsParams::new() };
        proxy.visit(&mut steps);
        Self(steps.found)
    }

    /// The network at the perturbed weights, or, with the other sign, back where it was.
    pub fn moved(&self, network: Network, sign: f64) -> Network {
        network.map(&mut Move { steps: &self.0, sign })
    }
}

struct Steps {
    gamma: f64,
    gradients: GradientsParams,
    weights: HashSet<ParamId>,
    found: GradientsParams,
}

impl ModuleVisitor for Steps {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let is_weight = D > 1 && self.weights.contains(&param.id);
        if let Some(gradient) = self.gradients.get::<D>(param.id).filter(|_| is_weight) {
            let factor = self.gamma * length(&param.val().without_autodiff()) / (length(&gradient) + 1e-20);
            self.found.register(param.id, gradient.mul_scalar(factor));
        }
    }
}

fn length<const D: usize>(tensor: &Tensor<D>) -> f64 {
    f64::from(tensor.clone().square().sum().into_scalar::<f32>()).sqrt()
}

struct Move<'a> {
    steps: &'a GradientsParams,
    sign: f64,
}

impl ModuleMapper for Move<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(step) = self.steps.get::<D>(param.id) else { return param };
        param.map(|tensor| {
            let moved = tensor.without_autodiff() + step.mul_scalar(self.sign);
            moved.autodiff().require_grad()
        })
    }
}
