//! The fast gradient sign method (Goodfellow, Shlens and Szegedy, "Explaining and harnessing adversarial
//! examples", ICLR 2015): one step of the length of the budget.
//!
//! `x <- clip(x + epsilon * sign(g))`, or `x <- clip(x + epsilon * g / |g|)` for L2. From a random start the
//! step is projected back into the ball (Wong, Rice and Kolter, "Fast is better than free", ICLR 2020).
//! Published code often clips to the range of normalised pixels, which gives each channel another budget;
//! here the budget is in units of the picture. The clean picture is kept where the step lowers the loss.

use burn::tensor::Tensor;

use super::ascent::Ascent;
use super::config::{at_most_one, no_l1};
use super::loss::Loss;
use super::pgd::InBall;
use super::{Attack, AttackConfigError, Goal, Magnitude, Norm, ThreatModel};
use crate::Seed;
use crate::data::Batch;
use crate::models::Victim;

/// Which ball, and from where.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FgsmConfig {
    /// How distance is measured: `linf` (default) or `l2`.
    pub norm: Norm,
    /// Radius of the ball in units of pixels in `[0, 1]`; 8/255 by default. At most 1 for L-inf.
    pub epsilon: Magnitude,
    /// What is raised; `ce` by default.
    pub loss: Loss,
    /// Whether to start at a random point of the ball instead of the clean picture; off by default.
    pub random_start: bool,
    /// Whether to leave an image alone once its goal is reached; on by default. Off for training.
    pub early_stop: bool,
}

impl Default for FgsmConfig {
    fn default() -> Self {
        let epsilon = Magnitude::levels(8);
        Self { norm: Norm::Linf, epsilon, loss: Loss::Ce, random_start: false, early_stop: true }
    }
}

impl FgsmConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// Names the first value that cannot be meant, such as an L-inf epsilon of 8.
    pub fn validate(&self) -> Result<(), AttackConfigError> {
        no_l1("fgsm", self.norm)?;
        if self.norm == Norm::Linf { at_most_one("epsilon", &self.epsilon) } else { Ok(()) }
    }

    /// The attack.
    ///
    /// # Errors
    /// The same as [`FgsmConfig::validate`].
    pub fn build(&self) -> Result<Fgsm, AttackConfigError> {
        self.validate()?;
        let threat = ThreatModel::Ball { norm: self.norm, epsilon: self.epsilon.value() };
        Ok(Fgsm { config: self.clone(), threat })
    }
}

/// The fast gradient sign method, made by [`FgsmConfig::build`].
#[derive(Clone, Debug)]
pub struct Fgsm {
    config: FgsmConfig,
    threat: ThreatModel,
}

impl Attack for Fgsm {
    fn name(&self) -> &'static str {
        "fgsm"
    }

    fn perturb(&self, victim: &Victim, batch: &Batch, goal: &Goal, seed: Seed) -> Tensor<4> {
        let seed = seed.purpose("fgsm");
        Ascent::run(victim, batch, goal, self.config.early_stop, |ascent| {
            let seed = self.config.random_start.then_some(seed);
            let place = InBall::start(&self.threat, self.config.epsilon.value(), &ascent.batch, seed);
            ascent.climb_on(self.config.loss, place, 1);
        })
    }

    fn scales_radius(&self) -> bool {
        true
    }

    fn admits(&self, clean: Tensor<4>, adversarial: Tensor<4>) -> Vec<bool> {
        self.threat.contains(clean, adversarial)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{LinearModel, SIZE, batch, values};
    use super::*;

    #[test]
    fn it_is_one_step_along_the_sign() {
        let model = LinearModel::new(2, 1);
        let victim = Victim::new(&model);
        let batch = batch(1, 2, 0.2);
        let attack = FgsmConfig { early_stop: false, ..FgsmConfig::default() }.build().expect("valid");
        let found = values(attack.perturb(&victim, &batch, &Goal::Targeted(vec![1]), Seed::new(0)));
        let (weights, clean) = (model.weights(), values(batch.images));
        for index in 0..SIZE {
            let towards = weights[2 * index + 1] - weights[2 * index];
            let expected = clean[index] + 8.0 / 255.0 * towards.signum();
            assert!((found[index] - expected).abs() < 1e-6);
        }
        assert_eq!(victim.cost().gradients, 1);
    }
}
