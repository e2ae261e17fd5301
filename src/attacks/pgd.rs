//! Projected gradient descent (Madry et al., "Towards deep learning models resistant to adversarial
//! attacks", ICLR 2018), in an L-inf or L2 ball.
//!
//! `x <- project(x + step * direction)`, where the direction is the sign of the gradient of the goal loss
//! (L-inf) or the gradient over its Euclidean length (L2). Published versions return the last iterate;
//! this one returns the best (see `ascent`). A zero gradient moves nothing.

use burn::tensor::{Int, Tensor};

use super::ascent::{Ascent, Iterate};
use super::config::{at_least_one, at_most_one, no_l1, positive};
use super::loss::Loss;
use super::steps::signed_in_ball;
use super::threat::scales;
use super::{Attack, AttackConfigError, Goal, Magnitude, Norm, ThreatModel};
use crate::Seed;
use crate::data::Batch;
use crate::models::Victim;

/// Which ball, and how to search it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PgdConfig {
    /// How distance is measured: `linf` (default) or `l2`.
    pub norm: Norm,
    /// Radius of the ball in units of pixels in `[0, 1]`; 8/255 by default. At most 1 for L-inf.
    pub epsilon: Magnitude,
    /// Length of a step in the same units and the same norm; by default `2.5 * epsilon / steps`, which
    /// reaches the ball's border from anywhere inside (Madry et al.).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_size: Option<Magnitude>,
    /// What is raised; `ce` by default. `dlr` and `margin` see through a saturated softmax.
    pub loss: Loss,
    /// Gradient steps of each restart, at least 1; 10 by default.
    pub steps: usize,
    /// Runs from different random starts, at least 1; 1 by default.
    pub restarts: usize,
    /// Whether to start at a random point of the ball instead of the clean picture; on by default.
    pub random_start: bool,
    /// Whether to leave an image alone once its goal is reached; on by default. Off for training.
    pub early_stop: bool,
}

impl Default for PgdConfig {
    fn default() -> Self {
        Self {
            norm: Norm::Linf,
            epsilon: Magnitude::levels(8),
            step_size: None,
            loss: Loss::Ce,
            steps: 10,
            restarts: 1,
            random_start: true,
            early_stop: true,
        }
    }
}

impl PgdConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// Names the first value that cannot be meant, such as an L-inf epsilon of 8.
    pub fn validate(&self) -> Result<(), AttackConfigError> {
        no_l1("pgd", self.norm)?;
        if self.norm == Norm::Linf {
            at_most_one("epsilon", &self.epsilon)?;
        }
        if let Some(step_size) = &self.step_size {
            positive("step_size", step_size)?;
            if self.norm == Norm::Linf {
                at_most_one("step_size", step_size)?;
            }
        }
        at_least_one("steps", self.steps)?;
        at_least_one("restarts", self.restarts)?;
        if self.restarts > 1 && !self.random_start {
            return Err(AttackConfigError::Value {
                key: "restarts",
                found: self.restarts.to_string(),
                expected: "1, because without random_start every restart is the same".to_owned(),
                advice: "set random_start = true or restarts = 1".to_owned(),
            });
        }
        Ok(())
    }

    /// The attack.
    ///
    /// # Errors
    /// The same as [`PgdConfig::validate`].
    pub fn build(&self) -> Result<Pgd, AttackConfigError> {
        self.validate()?;
        let epsilon = self.epsilon.value();
        let step_size = match &self.step_size {
            Some(step_size) => step_size.value(),
            None => 2.5 * epsilon / self.steps as f32,
        };
        Ok(Pgd { config: self.clone(), threat: ThreatModel::Ball { norm: self.norm, epsilon }, step_size })
    }
}

/// Projected gradient descent, made by [`PgdConfig::build`].
#[derive(Clone, Debug)]
pub struct Pgd {
    config: PgdConfig,
    threat: ThreatModel,
    step_size: f32,
}

impl Attack for Pgd {
    fn name(&self) -> &'static str {
        "pgd"
    }

    fn perturb(&self, victim: &Victim, batch: &Batch, goal: &Goal, seed: Seed) -> Tensor<4> {
        let seed = seed.purpose("pgd");
        Ascent::run(victim, batch, goal, self.config.early_stop, |ascent| {
            for restart in 0..self.config.restarts {
                if ascent.is_done() {
                    return;
                }
                let seed = self.config.random_start.then(|| seed.at(restart as u64));
                let iterate = InBall::start(&self.threat, self.step_size, &ascent.batch, seed);
                ascent.climb_on(self.config.loss, iterate, self.config.steps);
            }
        })
    }

    fn scales_radius(&self) -> bool {
        true
    }

    fn admits(&self, clean: Tensor<4>, adversarial: Tensor<4>) -> Vec<bool> {
        self.threat.contains(clean, adversarial)
    }
}

/// Steps of one length in a ball, along the sign of the gradient (L-inf) or the gradient itself. Where the
/// images have radii of their own, their steps are scaled alike.
pub(super) struct InBall {
    threat: ThreatModel,
    step_size: f32,
    /// `[N, 1, 1, 1]`, where the radii differ.
    scales: Option<Tensor<4>>,
    clean: Tensor<4>,
    images: Tensor<4>,
}

impl InBall {
    /// Starts at the clean pictures, or at random in the ball if there is a seed.
    pub fn start(threat: &ThreatModel, step_size: f32, batch: &Batch, seed: Option<Seed>) -> Self {
        let (threat, clean) = (threat.for_batch(batch), batch.images.clone());
        let images = match seed {
            Some(seed) => threat.random_start(clean.clone(), &batch.ids, seed),
            None => clean.clone(),
        };
        Self { threat, step_size, scales: scales(batch), clean, images }
    }

    /// The pictures one step further in a direction, back in the ball.
    #[must_use]
    pub fn moved(self, direction: Tensor<4>) -> Self {
        if let (ThreatModel::Ball { norm: Norm::Linf, epsilon }, None) = (&self.threat, &self.scales) {
            let images = signed_in_ball(&self.images, &direction, &self.clean, self.step_size, *epsilon);
            return Self { images, ..self };
        }
        let direction = match self.threat {
            ThreatModel::Ball { norm: Norm::L2, .. } | ThreatModel::Balls { norm: Norm::L2, .. } => {
                // The largest entry is 1 (or all are 0), so the length cannot underflow.
                let length = direction.clone().square().sum_dims(&[1, 2, 3]).sqrt();
                direction / length.clamp_min(f32::MIN_POSITIVE)
            }
            _ => direction.sign(),
        };
        let step = direction.mul_scalar(self.step_size);
        let step = match &self.scales {
            Some(scales) => step * scales.clone(),
            None => step,
        };
        let moved = self.images + step;
        Self { images: self.threat.project(self.clean.clone(), moved), ..self }
    }
}

impl Iterate for InBall {
    fn pictures(&self) -> Tensor<4> {
        self.images.clone()
    }

    fn step(self, gradient: Tensor<4>) -> Self {
        self.moved(gradient)
    }

    fn select(self, rows: Tensor<1, Int>) -> Self {
        Self {
            threat: self.threat.select(rows.clone()),
            scales: self.scales.map(|scales| scales.select(0, rows.clone())),
            clean: self.clean.select(0, rows.clone()),
            images: self.images.select(0, rows),
            ..self
        }
    }
}
