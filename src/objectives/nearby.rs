//! The search of TRADES and MART: steps of sign ascent in an L-inf ball from a start very near the
//! picture.
//!
//! It differs from PGD in two ways. The start is not spread over the ball: the published code adds 0.001
//! times a standard normal number to each pixel, because the divergence that TRADES climbs has no gradient
//! at the picture itself; here the small start is uniform with the same standard deviation. And the last
//! iterate is taken, as published: there is no success to keep the best of.

use burn::tensor::{Tensor, TensorData};

use super::config::{at_least_one, positive};
use super::{ObjectiveConfigError, Pictures};
use crate::Seed;
use crate::attacks::{Attack, AttackConfig, Goal, Magnitude, Norm, ThreatModel};
use crate::data::Batch;
use crate::models::Victim;

/// Half the width of the start: a uniform number in it has a standard deviation of 0.001.
const START: f32 = 0.001 * 1.732_050_8;

/// The ball and how to search it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NearbyConfig {
    /// Radius of the L-inf ball, pixels in `[0, 1]`; 8/255 by default.
    pub epsilon: Magnitude,
    /// Length of a step in the same units; 2/255 by default (the published 0.007 rounded).
    pub step_size: Magnitude,
    /// Gradient steps, at least 1; 10 by default.
    pub steps: usize,
}

impl Default for NearbyConfig {
    fn default() -> Self {
        Self { epsilon: Magnitude::levels(8), step_size: Magnitude::levels(2), steps: 10 }
    }
}

impl NearbyConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// Names the first key whose value cannot be meant.
    pub fn validate(&self) -> Result<(), ObjectiveConfigError> {
        for (key, value) in [("search.epsilon", &self.epsilon), ("search.step_size", &self.step_size)] {
            let value = positive(key, f64::from(value.value()))?;
            if value > 1.0 {
                return Err(ObjectiveConfigError::Value {
                    key,
                    found: value,
                    expected: "at most 1, because pixels are in [0, 1]; write \"8/255\" for grey levels",
                });
            }
        }
        at_least_one("search.steps", self.steps)
    }

    /// Pictures `[N, C, H, W]` on which a loss (logits `[N, K]` to `[N]`) is large.
    pub(super) fn climb(
        &self,
        victim: &Victim,
        batch: &Batch,
        seed: Seed,
        loss: impl Fn(Tensor<2>) -> Tensor<1>,
    ) -> Tensor<4> {
        self.path(victim, batch, seed, loss, |_, _| ())
    }

    /// The same; every picture on the way is shown with the victim's logits, the last one without.
    pub(super) fn path(
        &self,
        victim: &Victim,
        batch: &Batch,
        seed: Seed,
        loss: impl Fn(Tensor<2>) -> Tensor<1>,
        mut show: impl FnMut(&Tensor<4>, Tensor<2>),
    ) -> Tensor<4> {
        let (clean, step_size) = (&batch.images, self.step_size.value());
        let ball = |epsilon| ThreatModel::Ball { norm: Norm::Linf, epsilon }.for_batch(batch);
        let (start, ball) = (ball(START), ball(self.epsilon.value()));
        let steps = batch.radius_scale.as_ref().map(|scales| {
            let steps: Vec<f32> = scales.iter().map(|scale| scale * step_size).collect();
            let data = TensorData::new(steps, [batch.len(), 1, 1, 1]);
            Tensor::<4>::from_data(data, &clean.device())
        });
        let mut images = start.random_start(clean.clone(), &batch.ids, seed.purpose("nearby"));
        for _ in 0..self.steps {
            let found = victim.input_gradient(images.clone(), &loss);
            show(&images, found.logits);
            let direction = found.gradient.sign();
            let step = match &steps {
                Some(steps) => direction * steps.clone(),
                None => direction.mul_scalar(step_size),
            };
            images = ball.project(clean.clone(), images + step);
        }
        images
    }
}

/// What makes the pictures of TRADES and MART: the search, or an attack in its place.
pub(super) struct Maker {
    search: NearbyConfig,
    attack: Option<Box<dyn Attack>>,
}

impl Maker {
    /// For pictures `[C, H, W]`.
    pub fn new(
        search: &NearbyConfig,
        attack: Option<&AttackConfig>,
        input_shape: [usize; 3],
    ) -> Result<Self, ObjectiveConfigError> {
        search.validate()?;
        let attack = attack.map(|attack| attack.for_training().build(input_shape)).transpose()?;
        Ok(Self { search: search.clone(), attack })
    }

    /// The pictures of a step; `climb` says what the search climbs.
    pub fn pictures(
        &self,
        victim: &Victim,
        batch: &Batch,
        seed: Seed,
        climb: impl FnOnce(&NearbyConfig) -> Tensor<4>,
    ) -> Pictures {
        let adversarial = match &self.attack {
            Some(attack) => attack.perturb(victim, batch, &Goal::Untargeted, seed),
            None => climb(&self.search),
        };
        Pictures { adversarial: Some(adversarial), ..Pictures::default() }
    }

    /// Whether it follows the radius of each picture.
    pub fn scales_radius(&self) -> bool {
        self.attack.as_ref().is_none_or(|attack| attack.scales_radius())
    }
}
