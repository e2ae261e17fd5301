//! The moving average of a network's weights, which is validated and saved in its place.
//!
//! `average <- decay average + (1 - decay) network`, after each step (with a decay that starts low, so that
//! the first weights are forgotten: `min(decay, (1 + n) / (10 + n))` after `n` updates), or after each epoch.
//! The running statistics of BatchNorm are averaged alike; no pass over the data recomputes them. The network
//! that is trained, and that training attacks, is not the average.
//!
//! With `least_worst_class` the average takes in an epoch only if the network's worst class has that robust
//! accuracy on the validation pictures: FAWA of Wei et al. (CVPR 2023), published with a decay of 0.88 and a
//! threshold of 0.2 to 0.24. That costs a second validation. The published code averages the buffers of the
//! network alike.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use crate::models::Network;

/// When the average moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AverageEvery {
    /// After each step.
    #[default]
    Step,
    /// After each epoch.
    Epoch,
}

/// Constants of the average.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AveragingConfig {
    /// Share of the average that an update leaves, in [0, 1); 0.999 by default.
    pub decay: f64,
    /// `step` (default) or `epoch`.
    pub every: AverageEvery,
    /// Least robust accuracy of the worst class, in [0, 1], for an epoch to be taken in; any where absent.
    /// Only for `every = "epoch"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least_worst_class: Option<f64>,
}

impl Default for AveragingConfig {
    fn default() -> Self {
        Self { decay: 0.999, every: AverageEvery::default(), least_worst_class: None }
    }
}

impl AveragingConfig {
    /// What is wrong with the values.
    pub(super) fn check(&self) -> Result<(), String> {
        if !(0.0..1.0).contains(&self.decay) {
            return Err(format!(
                "train.averaging.decay is {}, expected a number from 0 to below 1, such as 0.999",
                self.decay
            ));
        }
        match self.least_worst_class {
            Some(_) if self.every == AverageEvery::Step => Err(
                "train.averaging.least_worst_class is set, expected it with train.averaging.every = \"epoch\" only"
                    .to_owned(),
            ),
            Some(least) if !(0.0..=1.0).contains(&least) => {
                Err(format!("train.averaging.least_worst_class is {least}, expected a number from 0 to 1"))
            }
            _ => Ok(()),
        }
    }

    /// The decay of the next update, after so many of them.
    pub(super) fn decay_after(&self, updates: u64) -> f64 {
        match self.every {
            AverageEvery::Step => self.decay.min((1.0 + updates as f64) / (10.0 + updates as f64)),
            AverageEvery::Epoch => self.decay,
        }
    }
}

/// The average of a network and an older average, with buffers of its own; the network alone where there is
/// none yet.
pub(super) fn averaged(average: Option<Network>, network: &Network, decay: f64) -> Network {
    let fresh = network.valid();
    let Some(average) = average else { return fresh };
    let mut values = Values(GradientsParams::new());
    fresh.visit(&mut values);
    average.map(&mut Towards { values: values.0, decay })
}

/// Parameters and buffers by their ids.
struct Values(GradientsParams);

impl ModuleVisitor for Values {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.register(param.id, param.val().without_autodiff());
    }
}

struct Towards {
    values: GradientsParams,
    decay: f64,
}

impl ModuleMapper for Towards {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(new) = self.values.remove::<D>(param.id) else { return param };
        param.map(|old| old.mul_scalar(self.decay) + new.mul_scalar(1.0 - self.decay))
    }
}
