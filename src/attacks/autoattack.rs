//! `AutoAttack` (Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
//! parameter-free attacks", ICML 2020): several attacks in a row, each on the images that still stand.
//!
//! | version | parts |
//! |---|---|
//! | `standard` | APGD with cross-entropy, APGD-T, FAB-T, Square |
//! | `plus` | APGD with cross-entropy and with DLR (5 restarts each), FAB (5 restarts), Square, APGD-T, FAB-T |
//! | `rand` | APGD with cross-entropy and with DLR, 20 evaluations at each step |
//!
//! An image falls if any part succeeds, so the result is the worst case of each image, and every part says
//! how many images it turned. In the L1 ball APGD has 5 restarts and APGD-T 5 classes (Croce and Hein, "Mind
//! the box: l1-APGD for sparse adversarial attacks on image classifiers", ICML 2021).
//!
//! Differences from the reference implementation, on purpose: any number of classes from two up; randomness
//! by key instead of the clock; a picture counts only if it was shown to the victim within the budget. With a
//! target every part is a true targeted attack towards it; the reference has no such mode.

use burn::tensor::Tensor;

use super::apgd::ApgdConfig;
use super::apgd_t::ApgdTConfig;
use super::fab::FabConfig;
use super::loss::Loss;
use super::square::SquareConfig;
use super::{Attack, AttackConfigError, Goal, Magnitude, Norm, ThreatModel};
use crate::Seed;
use crate::data::{Batch, class_tensor};
use crate::models::Victim;

/// Which parts there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// Four parts, for deterministic classifiers.
    #[default]
    Standard,
    /// Six parts with more restarts.
    Plus,
    /// Two parts, for classifiers that are random.
    Rand,
}

/// Which ball, and which parts. There is nothing to tune.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AutoAttackConfig {
    /// `standard` (default), `plus` or `rand`.
    pub version: Version,
    /// How distance is measured: `linf` (default), `l2` or `l1`.
    pub norm: Norm,
    /// Radius of the ball in units of pixels in `[0, 1]`; 8/255 by default. At most 1 for L-inf.
    pub epsilon: Magnitude,
    /// Gradient steps of each run of APGD and FAB, at least 1; 100 by default. Published results use 100.
    pub steps: usize,
    /// Queries of Square, at least 1; 5000 by default. Published results use 5000.
    pub queries: usize,
    /// Whether each part is spared the images that have fallen; on by default.
    pub early_stop: bool,
}

impl Default for AutoAttackConfig {
    fn default() -> Self {
        Self {
            version: Version::Standard,
            norm: Norm::Linf,
            epsilon: Magnitude::levels(8),
            steps: 100,
            queries: 5000,
            early_stop: true,
        }
    }
}

impl AutoAttackConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// Names the first value that cannot be meant, such as an L-inf epsilon of 8.
    pub fn validate(&self) -> Result<(), AttackConfigError> {
        self.build().map(|_| ())
    }

    /// The attack.
    ///
    /// # Errors
    /// The same as [`AutoAttackConfig::validate`].
    pub fn build(&self) -> Result<AutoAttack, AttackConfigError> {
        super::config::at_least_one("queries", self.queries)?;
        let parts = match self.version {
            Version::Standard => {
                let restarts = if self.norm == Norm::L1 { 5 } else { 1 };
                vec![
                    ("apgd-ce", self.apgd(Loss::Ce, restarts, 1)?),
                    ("apgd-t", self.apgd_t(if self.norm == Norm::L1 { 5 } else { 9 })?),
                    ("fab-t", self.fab(false, 1)?),
                    ("square", self.square()?),
                ]
            }
            Version::Plus => {
                vec![
                    ("apgd-ce", self.apgd(Loss::Ce, 5, 1)?),
                    ("apgd-dlr", self.apgd(Loss::Dlr, 5, 1)?),
                    ("fab", self.fab(true, 5)?),
                    ("square", self.square()?),
                    ("apgd-t", self.apgd_t(9)?),
                    ("fab-t", self.fab(false, 1)?),
                ]
            }
            Version::Rand => {
                vec![("apgd-ce", self.apgd(Loss::Ce, 1, 20)?), ("apgd-dlr", self.apgd(Loss::Dlr, 1, 20)?)]
            }
        };
        Ok(AutoAttack { config: self.clone(), parts })
    }

    fn apgd(&self, loss: Loss, restarts: usize, eot: usize) -> Result<Box<dyn Attack>, AttackConfigError> {
        let Self { norm, steps, early_stop, .. } = *self;
        let epsilon = self.epsilon.clone();
        Ok(Box::new(ApgdConfig { norm, epsilon, loss, steps, restarts, eot, early_stop }.build()?))
    }

    fn apgd_t(&self, targets: usize) -> Result<Box<dyn Attack>, AttackConfigError> {
        let Self { norm, steps, early_stop, .. } = *self;
        let epsilon = self.epsilon.clone();
        let config = ApgdTConfig { norm, epsilon, targets, steps, early_stop, ..ApgdTConfig::default() };
        Ok(Box::new(config.build()?))
    }

    fn fab(&self, nearest: bool, restarts: usize) -> Result<Box<dyn Attack>, AttackConfigError> {
        let Self { norm, steps, early_stop, .. } = *self;
        let epsilon = self.epsilon.clone();
        let config = FabConfig { norm, epsilon, nearest, targets: 9, steps, restarts, early_stop };
        Ok(Box::new(config.build()?))
    }

    fn square(&self) -> Result<Box<dyn Attack>, AttackConfigError> {
        let Self { norm, queries, early_stop, .. } = *self;
        let epsilon = self.epsilon.clone();
        let config = SquareConfig { norm, epsilon, queries, early_stop, ..SquareConfig::default() };
        Ok(Box::new(config.build()?))
    }
}

/// An attack with its name in tables.
type Part = (&'static str, Box<dyn Attack>);

/// Several attacks in a row, made by [`AutoAttackConfig::build`].
pub struct AutoAttack {
    config: AutoAttackConfig,
    parts: Vec<Part>,
}

impl Attack for AutoAttack {
    fn name(&self) -> &'static str {
        "autoattack"
    }

    fn perturb(&self, victim: &Victim, batch: &Batch, goal: &Goal, seed: Seed) -> Tensor<4> {
        self.perturb_by_parts(victim, batch, goal, seed).0
    }

    fn admits(&self, clean: Tensor<4>, adversarial: Tensor<4>) -> Vec<bool> {
        let epsilon = self.config.epsilon.value();
        ThreatModel::Ball { norm: self.config.norm, epsilon }.contains(clean, adversarial)
    }

    fn parts(&self) -> Vec<&'static str> {
        self.parts.iter().map(|(name, _)| *name).collect()
    }

    fn perturb_by_parts(
        &self,
        victim: &Victim,
        batch: &Batch,
        goal: &Goal,
        seed: Seed,
    ) -> (Tensor<4>, Vec<Option<usize>>) {
        let mut found = Found::new(victim, batch, goal);
        for (part, (name, attack)) in self.parts.iter().enumerate() {
            let rows: Vec<usize> =
                (0..batch.len()).filter(|&row| !self.config.early_stop || !found.merits[row].0).collect();
            if rows.is_empty() {
                continue;
            }
            let (images, aim) = (batch.select(&rows), goal.select(&rows));
            let perturbed = attack.perturb(victim, &images, &aim, seed.purpose(name));
            found.offer(victim, &rows, perturbed, part);
        }
        (found.images, found.part)
    }
}

/// The best picture of each image so far.
struct Found<'a> {
    goal: &'a Goal,
    labels: &'a [usize],
    images: Tensor<4>,
    /// Whether the goal is reached, and the goal loss.
    merits: Vec<(bool, f32)>,
    /// Which part reached it first.
    part: Vec<Option<usize>>,
}

impl<'a> Found<'a> {
    fn new(victim: &Victim, batch: &'a Batch, goal: &'a Goal) -> Self {
        let (images, labels) = (batch.images.clone(), batch.labels.as_slice());
        let merits = if batch.is_empty() { Vec::new() } else { merits(victim, images.clone(), goal, labels) };
        Self { goal, labels, images, part: vec![None; merits.len()], merits }
    }

    /// Keeps what is better than before.
    fn offer(&mut self, victim: &Victim, rows: &[usize], images: Tensor<4>, part: usize) {
        let labels: Vec<usize> = rows.iter().map(|&row| self.labels[row]).collect();
        let offered = merits(victim, images.clone(), &self.goal.select(rows), &labels);
        // Row `n + i` of both together is the picture offered for the i-th of the rows.
        let mut choice: Vec<usize> = (0..self.merits.len()).collect();
        for (index, (&row, merit)) in rows.iter().zip(offered).enumerate() {
            let (reached, loss) = self.merits[row];
            if merit.0 && !reached {
                self.part[row] = Some(part);
            }
            if (merit.0 && !reached) || (merit.0 == reached && merit.1 > loss) {
                self.merits[row] = merit;
                choice[row] = self.merits.len() + index;
            }
        }
        let device = images.device();
        let both = Tensor::cat(vec![self.images.clone(), images], 0);
        self.images = both.select(0, class_tensor(&choice, &device));
    }
}

/// For each picture whether it reaches the goal, and its goal loss; a loss that is not finite is the lowest.
fn merits(victim: &Victim, images: Tensor<4>, goal: &Goal, labels: &[usize]) -> Vec<(bool, f32)> {
    let logits = victim.logits(images);
    let reached = goal.reached_by(logits.clone(), labels).to_data();
    let losses = goal.loss(logits, labels).to_data();
    let pairs = reached.iter::<bool>().zip(losses.iter::<f32>());
    pairs
        .map(|(reached, loss)| if loss.is_finite() { (reached, loss) } else { (false, f32::NEG_INFINITY) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{LinearModel, SIDE, batch, network, values};
    use super::*;

    fn small(version: Version, norm: Norm, epsilon: &str) -> AutoAttack {
        let epsilon = epsilon.parse().expect("a magnitude");
        let config =
            AutoAttackConfig { version, norm, epsilon, steps: 5, queries: 20, ..AutoAttackConfig::default() };
        config.build().expect("valid")
    }

    #[test]
    fn the_parts_are_those_of_the_versions() {
        let parts = |version, norm| small(version, norm, "0.01").parts();
        assert_eq!(parts(Version::Standard, Norm::Linf), ["apgd-ce", "apgd-t", "fab-t", "square"]);
        assert_eq!(parts(Version::Standard, Norm::L1), parts(Version::Standard, Norm::Linf));
        let plus = ["apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"];
        assert_eq!(parts(Version::Plus, Norm::L2), plus);
        assert_eq!(parts(Version::Rand, Norm::L2), ["apgd-ce", "apgd-dlr"]);
    }

    #[test]
    fn two_and_three_classes_are_enough() {
        for classes in [2, 3] {
            for version in [Version::Standard, Version::Plus, Version::Rand] {
                for (norm, epsilon) in [(Norm::Linf, "0.01"), (Norm::L2, "0.3"), (Norm::L1, "3")] {
                    let victim = Victim::new(&LinearModel::new(classes, 2));
                    let pictures = batch(3, classes, 0.1);
                    let attack = small(version, norm, epsilon);
                    let goals = [
                        Goal::Untargeted,
                        Goal::Targeted(pictures.labels.iter().map(|label| (label + 1) % classes).collect()),
                    ];
                    for goal in goals {
                        let found = attack.perturb(&victim, &pictures, &goal, Seed::new(0));
                        assert_eq!(found.dims(), [3, 3, SIDE, SIDE]);
                        assert_eq!(attack.admits(pictures.images.clone(), found), [true; 3]);
                    }
                }
            }
        }
    }

    #[test]
    fn an_image_falls_to_the_first_part_that_turns_it() {
        let victim = Victim::new(&network(3));
        let pictures = batch(6, 3, 0.0);
        let attack = small(Version::Standard, Norm::Linf, "8/255");
        let (images, part) = attack.perturb_by_parts(&victim, &pictures, &Goal::Untargeted, Seed::new(0));
        let reached = Goal::Untargeted.reached_by(victim.logits(images), &pictures.labels).to_data();
        let clean = Goal::Untargeted.reached_by(victim.logits(pictures.images.clone()), &pictures.labels);
        let clean: Vec<bool> = clean.to_data().iter::<bool>().collect();
        for (row, reached) in reached.iter::<bool>().enumerate() {
            assert_eq!(part[row].is_some(), reached && !clean[row], "an image that is wrong needs no part");
            // The first part alone turns those that are its own, and no others.
            let alone = pictures.select(&[row]);
            let seed = Seed::new(0).purpose("apgd-ce");
            let found = attack.parts[0].1.perturb(&victim, &alone, &Goal::Untargeted, seed);
            let turned = Goal::Untargeted.reached_by(victim.logits(found), &alone.labels).to_data();
            assert_eq!(turned.iter::<bool>().next() == Some(true), clean[row] || part[row] == Some(0));
        }
    }

    #[test]
    fn a_part_is_spared_what_has_fallen() {
        let mut pictures = batch(4, 2, 0.1);
        let model = LinearModel::new(2, 1);
        let ranked = super::super::loss::ranks(&Victim::new(&model).logits(pictures.images.clone()));
        pictures.labels = ranked.iter().map(|order| order[0]).collect();
        let cost = |epsilon: &str| {
            let victim = Victim::new(&model);
            let attack = small(Version::Standard, Norm::Linf, epsilon);
            values(attack.perturb(&victim, &pictures, &Goal::Untargeted, Seed::new(0)));
            victim.cost()
        };
        // With half of the range all images fall to the first part, with nothing to none.
        let (easy, hard) = (cost("0.5"), cost("0"));
        assert!(easy.gradients <= 4 * 5 && easy.forwards < hard.forwards / 4, "{easy:?} {hard:?}");
    }
}
