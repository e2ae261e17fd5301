//! Auto-PGD against the nearest classes: the second part of `AutoAttack` (Croce and Hein, ICML 2020).
//!
//! For each image the classes other than its label are ordered by their logits on the clean picture, the
//! largest first, and Auto-PGD runs once for each of the first of them, raising the ratio of that class
//! against the label. In spite of the name that the literature gives it, success is any prediction but the
//! label: the class is a direction, not a target. An audit with targets asks for the target itself, so then
//! there is one run for the goal's own target, as in `apgd` with `loss = "dlr"`.
//!
//! The reference always takes nine classes and stops with an index out of range when there are fewer than
//! ten; here there are at most `K - 1`. It takes the second to the tenth class of the sorted logits, which
//! leaves the label out only while the image is classified correctly; here the label is left out by name.

use burn::tensor::Tensor;

use super::apgd::Climb;
use super::ascent::Ascent;
use super::config::{at_least_one, at_most_one};
use super::loss::{Loss, ranks};
use super::{Attack, AttackConfigError, Goal, Magnitude, Norm, ThreatModel};
use crate::Seed;
use crate::data::Batch;
use crate::models::Victim;

/// Which ball, and how long to search it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApgdTConfig {
    /// How distance is measured: `linf` (default), `l2` or `l1`.
    pub norm: Norm,
    /// Radius of the ball in units of pixels in `[0, 1]`; 8/255 by default. At most 1 for L-inf.
    pub epsilon: Magnitude,
    /// What is raised; `dlr` by default.
    pub loss: Loss,
    /// Classes to try for each image, at least 1; 9 by default. No more than there are.
    pub targets: usize,
    /// Gradient steps for each class, at least 1; 100 by default.
    pub steps: usize,
    /// Runs from different random starts for each class, at least 1; 1 by default.
    pub restarts: usize,
    /// Whether to leave an image alone once its goal is reached; on by default.
    pub early_stop: bool,
}

impl Default for ApgdTConfig {
    fn default() -> Self {
        Self {
            norm: Norm::Linf,
            epsilon: Magnitude::levels(8),
            loss: Loss::Dlr,
            targets: 9,
            steps: 100,
            restarts: 1,
            early_stop: true,
        }
    }
}

impl ApgdTConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// Names the first value that cannot be meant, such as an L-inf epsilon of 8.
    pub fn validate(&self) -> Result<(), AttackConfigError> {
        if self.norm == Norm::Linf {
            at_most_one("epsilon", &self.epsilon)?;
        }
        at_least_one("targets", self.targets)?;
        at_least_one("steps", self.steps)?;
        at_least_one("restarts", self.restarts)
    }

    /// The attack.
    ///
    /// # Errors
    /// The same as [`ApgdTConfig::validate`].
    pub fn build(&self) -> Result<ApgdT, AttackConfigError> {
        self.validate()?;
        Ok(ApgdT { config: self.clone() })
    }
}

/// Auto-PGD against the nearest classes, made by [`ApgdTConfig::build`].
#[derive(Clone, Debug)]
pub struct ApgdT {
    config: ApgdTConfig,
}

impl Attack for ApgdT {
    fn name(&self) -> &'static str {
        "apgd-t"
    }

    fn perturb(&self, victim: &Victim, batch: &Batch, goal: &Goal, seed: Seed) -> Tensor<4> {
        let seed = seed.purpose("apgd-t");
        let ApgdTConfig { norm, loss, steps, .. } = self.config;
        let climb = Climb { norm, epsilon: self.config.epsilon.value(), loss, steps, eot: 1 };
        Ascent::run(victim, batch, goal, self.config.early_stop, |ascent| {
            let others = match goal {
                Goal::Targeted(_) => None,
                Goal::Untargeted => Some(other_classes(ascent)),
            };
            for restart in 0..self.config.restarts {
                let Some(others) = &others else {
                    if !ascent.is_done() {
                        climb.run(ascent, None, seed.at(restart as u64));
                    }
                    continue;
                };
                let ranks = 0..self.config.targets.min(ascent.classes() - 1);
                for rank in ranks {
                    if ascent.is_done() {
                        return;
                    }
                    let classes: Vec<usize> = ascent.rows().iter().map(|&row| others[&row][rank]).collect();
                    climb.run(ascent, Some(&classes), seed.at(restart as u64).at(rank as u64));
                }
            }
        })
    }

    fn admits(&self, clean: Tensor<4>, adversarial: Tensor<4>) -> Vec<bool> {
        let epsilon = self.config.epsilon.value();
        ThreatModel::Ball { norm: self.config.norm, epsilon }.contains(clean, adversarial)
    }
}

/// For each image that is worked on, by its position in the batch, the classes other than its label from
/// the largest logit of the clean picture to the smallest.
pub(super) fn other_classes(ascent: &Ascent) -> std::collections::HashMap<usize, Vec<usize>> {
    let ranked = ranks(&ascent.logits(ascent.batch.images.clone()));
    let images = ascent.rows().iter().zip(&ascent.batch.labels).zip(ranked);
    images
        .map(|((&row, label), order)| (row, order.into_iter().filter(|class| class != label).collect()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{LinearModel, batch, values};
    use super::*;

    #[test]
    fn the_nearest_class_comes_first_and_the_label_never() {
        let victim = Victim::new(&LinearModel::new(5, 2));
        let batch = batch(4, 5, 0.0);
        let logits = values(victim.logits(batch.images.clone()));
        let mut seen = 0;
        Ascent::run(&victim, &batch, &Goal::Untargeted, false, |ascent| {
            for (row, others) in other_classes(ascent) {
                let of = |class: usize| logits[row * 5 + class];
                assert_eq!(others.len(), 4);
                assert!(!others.contains(&batch.labels[row]));
                assert!(others.windows(2).all(|pair| of(pair[0]) >= of(pair[1])));
                seen += 1;
            }
        });
        assert_eq!(seen, 4);
    }

    #[test]
    fn a_target_costs_one_run_and_a_direction_one_run_each() {
        let pictures = batch(2, 4, 0.0);
        let config = ApgdTConfig { steps: 3, targets: 2, early_stop: false, ..ApgdTConfig::default() };
        let attack = config.build().expect("valid");
        let gradients = |goal: &Goal| {
            let victim = Victim::new(&LinearModel::new(4, 2));
            attack.perturb(&victim, &pictures, goal, Seed::new(0));
            victim.cost().gradients
        };
        assert_eq!(gradients(&Goal::Targeted(vec![1, 2])), 2 * 3);
        assert_eq!(gradients(&Goal::Untargeted), 2 * 2 * 3);
    }
}
