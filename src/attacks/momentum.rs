//! Projected gradient descent with momentum (Dong et al., "Boosting adversarial attacks with momentum",
//! CVPR 2018: MI-FGSM), in an L-inf or L2 ball.
//!
//! `v <- decay * v + g / |g|_1` and `x <- project(x + step * direction(v))`, where the direction is the sign
//! (L-inf) or the velocity over its Euclidean length (L2). Published code often divides by the mean of
//! `|g|` over the batch, or divides zero by zero; here each image has its own length, and a zero gradient
//! leaves the velocity to decay. The best picture is kept instead of the last (see `ascent`).

use burn::tensor::{Int, Tensor};

use super::ascent::{Ascent, Iterate};
use super::config::{at_least_one, at_most_one, no_l1, positive, within};
use super::loss::Loss;
use super::pgd::InBall;
use super::{Attack, AttackConfigError, Goal, Magnitude, Norm, ThreatModel};
use crate::Seed;
use crate::data::Batch;
use crate::models::Victim;

/// Which ball, and how to search it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MomentumConfig {
    /// How distance is measured: `linf` (default) or `l2`.
    pub norm: Norm,
    /// Radius of the ball in units of pixels in `[0, 1]`; 8/255 by default. At most 1 for L-inf.
    pub epsilon: Magnitude,
    /// Length of a step in the same units and the same norm; by default `epsilon / steps` (Dong et al.).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_size: Option<Magnitude>,
    /// Share of the velocity that a step keeps, in `[0, 2]`; 1 by default.
    pub decay: f32,
    /// What is raised; `ce` by default.
    pub loss: Loss,
    /// Gradient steps, at least 1; 10 by default.
    pub steps: usize,
    /// Whether to start at a random point of the ball instead of the clean picture; off by default.
    pub random_start: bool,
    /// Whether to leave an image alone once its goal is reached; on by default. Off for training.
    pub early_stop: bool,
}

impl Default for MomentumConfig {
    fn default() -> Self {
        Self {
            norm: Norm::Linf,
            epsilon: Magnitude::levels(8),
            step_size: None,
            decay: 1.0,
            loss: Loss::Ce,
            steps: 10,
            random_start: false,
            early_stop: true,
        }
    }
}

impl MomentumConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// Names the first value that cannot be meant, such as an L-inf epsilon of 8.
    pub fn validate(&self) -> Result<(), AttackConfigError> {
        no_l1("momentum-pgd", self.norm)?;
        if self.norm == Norm::Linf {
            at_most_one("epsilon", &self.epsilon)?;
        }
        if let Some(step_size) = &self.step_size {
            positive("step_size", step_size)?;
            if self.norm == Norm::Linf {
                at_most_one("step_size", step_size)?;
            }
        }
        within("decay", self.decay, 0.0..=2.0)?;
        at_least_one("steps", self.steps)
    }

    /// The attack.
    ///
    /// # Errors
    /// The same as [`MomentumConfig::validate`].
    pub fn build(&self) -> Result<Momentum, AttackConfigError> {
        self.validate()?;
        let epsilon = self.epsilon.value();
        let step_size = match &self.step_size {
            Some(step_size) => step_size.value(),
            None => epsilon / self.steps as f32,
        };
        Ok(Momentum {
            config: self.clone(),
            threat: ThreatModel::Ball { norm: self.norm, epsilon },
            step_size,
        })
    }
}

/// Projected gradient descent with momentum, made by [`MomentumConfig::build`].
#[derive(Clone, Debug)]
pub struct Momentum {
    config: MomentumConfig,
    threat: ThreatModel,
    step_size: f32,
}

impl Attack for Momentum {
    fn name(&self) -> &'static str {
        "momentum-pgd"
    }

    fn perturb(&self, victim: &Victim, batch: &Batch, goal: &Goal, seed: Seed) -> Tensor<4> {
        let seed = seed.purpose("momentum-pgd");
        Ascent::run(victim, batch, goal, self.config.early_stop, |ascent| {
            let seed = self.config.random_start.then_some(seed);
            let velocity = ascent.batch.images.zeros_like();
            let place = InBall::start(&self.threat, self.step_size, &ascent.batch, seed);
            let iterate = Moving { place, velocity, decay: self.config.decay };
            ascent.climb_on(self.config.loss, iterate, self.config.steps);
        })
    }

    fn scales_radius(&self) -> bool {
        true
    }

    fn admits(&self, clean: Tensor<4>, adversarial: Tensor<4>) -> Vec<bool> {
        self.threat.contains(clean, adversarial)
    }
}

struct Moving {
    place: InBall,
    velocity: Tensor<4>,
    decay: f32,
}

impl Iterate for Moving {
    fn pictures(&self) -> Tensor<4> {
        self.place.pictures()
    }

    fn step(self, gradient: Tensor<4>) -> Self {
        // The largest entry is 1 (or all are 0), so the sum cannot underflow.
        let length = gradient.clone().abs().sum_dims(&[1, 2, 3]).clamp_min(f32::MIN_POSITIVE);
        let velocity = self.velocity.mul_scalar(self.decay) + gradient / length;
        Self { place: self.place.moved(velocity.clone()), velocity, ..self }
    }

    fn select(self, rows: Tensor<1, Int>) -> Self {
        Self { place: self.place.select(rows.clone()), velocity: self.velocity.select(0, rows), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::values;
    use super::*;
    use crate::data::ImageId;
    use burn::tensor::Device;

    #[test]
    fn the_velocity_by_hand() {
        let tensor = |values: [f32; 2]| Tensor::<4>::from_data([[[values]]], &Device::default());
        let threat = ThreatModel::Ball { norm: Norm::Linf, epsilon: 0.3 };
        let clean = tensor([0.5, 0.5]);
        let batch = Batch { images: clean, labels: vec![0], ids: vec![ImageId(0)], radius_scale: None };
        let place = InBall::start(&threat, 0.1, &batch, None);
        let start = Moving { place, velocity: tensor([0.0, 0.0]), decay: 0.5 };
        // g / |g|_1 is (0.8, 0.2) and then (-0.25, -0.75): the first value still moves up.
        let after = start.step(tensor([1.0, 0.25])).step(tensor([-1.0 / 3.0, -1.0]));
        let velocity = values(after.velocity.clone());
        assert!((velocity[0] - 0.15).abs() < 1e-6 && (velocity[1] + 0.65).abs() < 1e-6, "{velocity:?}");
        let found = values(after.pictures());
        assert!((found[0] - 0.7).abs() < 1e-6 && (found[1] - 0.5).abs() < 1e-6, "{found:?}");
    }
}
