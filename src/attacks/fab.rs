//! FAB-T, the fast adaptive boundary attack against the nearest classes (Croce and Hein, "Minimally distorted
//! adversarial examples with a fast adaptive boundary attack", ICML 2020; the targeted form is that of
//! `AutoAttack`).
//!
//! It looks for the nearest misclassified picture. At `x` the margin `f = z_t - z_y` is taken for linear;
//! both `x` and the clean picture `x0` are projected on the plane `f = 0` within `[0, 1]` (see `projection`),
//! by `d` and `d0`, and the next point is `(1 - a)(x + 1.05 d) + a (x0 + 1.05 d0)` with
//! `a = min(|d| / (|d| + |d0|), 0.1)`. A misclassified point is pulled towards `x0`, to 0.9 of its change.
//! `nearest` takes the nearest of all planes at each step, at the price of `K - 1` gradients, instead of
//! one class after another: the `FAB` of AutoAttack's `plus`.
//!
//! Success is any prediction but the label. With a target it is the target: `f` is then the target's logit
//! minus the largest other one.
//!
//! Published numbers for FAB alone often count pictures beyond the budget, since it minimises a distance.
//! Here only pictures within it are judged, the start of each step and its end. With `early_stop` it ends at
//! the first success within the budget, so its distances are then no minimal ones. The reference's first
//! run starts at the clean picture, and so does this one; further restarts begin at random within half
//! the smaller of the budget and the best distance.

use burn::tensor::Tensor;
use rayon::iter::{IntoParallelRefMutIterator, ParallelIterator};

use super::apgd::random_start;
use super::apgd_t::other_classes;
use super::ascent::{Ascent, Slope};
use super::config::{at_least_one, at_most_one};
use super::loss::Loss;
use super::projection::{distance, onto_hyperplane};
use super::threat::host;
use super::{Attack, AttackConfigError, Goal, Magnitude, Norm, ThreatModel};
use crate::Seed;
use crate::data::Batch;
use crate::models::Victim;

/// How far beyond the plane a step goes.
const OVERSHOOT: f32 = 1.05;
/// Most weight of the clean picture's projection.
const MOST_BIAS: f32 = 0.1;
/// What is left of the change of a misclassified point.
const BACKWARD: f32 = 0.9;

/// Which ball, and how long to search it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FabConfig {
    /// How distance is measured: `linf` (default), `l2` or `l1`.
    pub norm: Norm,
    /// Radius of the ball in units of pixels in `[0, 1]`; 8/255 by default. At most 1 for L-inf.
    pub epsilon: Magnitude,
    /// Whether to go for the nearest of all classes at each step instead of one class after another; off by
    /// default.
    pub nearest: bool,
    /// Classes to try for each image, at least 1; 9 by default. No more than there are.
    pub targets: usize,
    /// Steps for each class, at least 1; 100 by default.
    pub steps: usize,
    /// Runs for each class, the first from the clean picture, at least 1; 1 by default.
    pub restarts: usize,
    /// Whether to leave an image alone once its goal is reached; on by default.
    pub early_stop: bool,
}

impl Default for FabConfig {
    fn default() -> Self {
        Self {
            norm: Norm::Linf,
            epsilon: Magnitude::levels(8),
            nearest: false,
            targets: 9,
            steps: 100,
            restarts: 1,
            early_stop: true,
        }
    }
}

impl FabConfig {
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
    /// The same as [`FabConfig::validate`].
    pub fn build(&self) -> Result<Fab, AttackConfigError> {
        self.validate()?;
        Ok(Fab { config: self.clone(), epsilon: self.epsilon.value() })
    }
}

/// The fast adaptive boundary attack, made by [`FabConfig::build`].
#[derive(Clone, Debug)]
pub struct Fab {
    config: FabConfig,
    epsilon: f32,
}

/// Which planes a run goes for.
enum Planes<'a> {
    /// That of the goal's target.
    Target,
    /// That of one class for each image of the batch that was attacked.
    Class(&'a dyn Fn(usize) -> usize),
    /// The nearest of all.
    Nearest,
}

impl Attack for Fab {
    fn name(&self) -> &'static str {
        if self.config.nearest { "fab" } else { "fab-t" }
    }

    fn perturb(&self, victim: &Victim, batch: &Batch, goal: &Goal, seed: Seed) -> Tensor<4> {
        let seed = seed.purpose("fab");
        Ascent::run(victim, batch, goal, self.config.early_stop, |ascent| {
            // The smallest distance of a misclassified picture, for each image of the batch.
            let mut nearest = vec![f32::INFINITY; batch.len()];
            let mut run = |ascent: &mut Ascent, planes: &Planes, restart: usize, seed: Seed| {
                if !ascent.is_done() {
                    let seed = (restart > 0).then(|| seed.at(restart as u64));
                    self.run(ascent, planes, seed, &mut nearest);
                }
            };
            if matches!(goal, Goal::Targeted(_)) || self.config.nearest {
                let planes = if self.config.nearest && *goal == Goal::Untargeted {
                    Planes::Nearest
                } else {
                    Planes::Target
                };
                (0..self.config.restarts).for_each(|restart| run(ascent, &planes, restart, seed));
                return;
            }
            let others = other_classes(ascent);
            let ranks = 0..self.config.targets.min(ascent.classes() - 1);
            for rank in ranks {
                let class = |row: usize| others[&row][rank];
                for restart in 0..self.config.restarts {
                    run(ascent, &Planes::Class(&class), restart, seed.at(rank as u64));
                }
            }
        })
    }

    fn admits(&self, clean: Tensor<4>, adversarial: Tensor<4>) -> Vec<bool> {
        ThreatModel::Ball { norm: self.config.norm, epsilon: self.epsilon }.contains(clean, adversarial)
    }
}

/// One image on its way.
struct Point {
    /// Position in the batch that was attacked.
    row: usize,
    clean: Vec<f32>,
    current: Vec<f32>,
    /// The plane at the present point: value and gradient of the margin.
    margin: f32,
    normal: Vec<f32>,
}

impl Fab {
    /// One run from the clean pictures, or from random ones if there is a seed.
    fn run(&self, ascent: &mut Ascent, planes: &Planes, seed: Option<Seed>, nearest: &mut [f32]) {
        let norm = self.config.norm;
        let shape = ascent.batch.shape();
        let size: usize = shape[1..].iter().product();
        let clean = host(ascent.batch.images.clone());
        let images = clean.chunks(size).zip(ascent.rows()).zip(&ascent.batch.ids);
        let mut points: Vec<Point> = images
            .map(|((clean, &row), id)| {
                let current = match seed {
                    None => clean.to_vec(),
                    Some(seed) => {
                        let radius = 0.5 * self.epsilon.min(nearest[row]);
                        random_start(norm, clean, radius, &mut seed.at(id.0).rng())
                    }
                };
                Point { row, clean: clean.to_vec(), current, margin: 0.0, normal: Vec::new() }
            })
            .collect();
        for _ in 0..self.config.steps {
            if points.is_empty() {
                return;
            }
            self.linearise(ascent, planes, &mut points);
            ascent.drop_reached_from(&mut points);
            if points.is_empty() {
                return;
            }
            points.par_iter_mut().for_each(|point| point.step(norm));
            let images = pictures(ascent, &points);
            let logits = ascent.logits(images.clone());
            let reached = ascent.goal.reached_by(logits.clone(), &ascent.batch.labels).to_data();
            ascent.offer_within(images, logits, norm, self.epsilon);
            for (point, reached) in points.iter_mut().zip(reached.iter::<bool>()) {
                if reached {
                    let far = distance(norm, &point.clean, &point.current);
                    nearest[point.row] = nearest[point.row].min(far);
                    let pairs = point.current.iter_mut().zip(&point.clean);
                    pairs.for_each(|(value, clean)| *value = clean + BACKWARD * (*value - clean));
                }
            }
            ascent.drop_reached_from(&mut points);
        }
    }

    /// Finds the plane of each point, and lets the points compete.
    fn linearise(&self, ascent: &mut Ascent, planes: &Planes, points: &mut [Point]) {
        let norm = self.config.norm;
        let images = pictures(ascent, points);
        let (goal, labels) = (ascent.goal.clone(), ascent.batch.labels.clone());
        let against = |classes: &[usize]| {
            ascent.slope(images.clone(), |z| Loss::Margin.against_label(z, &labels, classes))
        };
        let logits = match planes {
            Planes::Target => {
                let raised = |logits| Loss::Margin.of_goal(&goal, logits, &labels);
                let (slope, logits) = ascent.slope(images.clone(), raised);
                keep_planes(points, &slope, norm, |_, _| true);
                logits
            }
            Planes::Class(class) => {
                let classes: Vec<usize> = points.iter().map(|point| class(point.row)).collect();
                let (slope, logits) = against(&classes);
                keep_planes(points, &slope, norm, |_, _| true);
                logits
            }
            Planes::Nearest => {
                let mut last = None;
                for shift in 1..ascent.classes() {
                    let classes: Vec<usize> =
                        labels.iter().map(|label| (label + shift) % ascent.classes()).collect();
                    let (slope, logits) = against(&classes);
                    let nearer = |old: f32, new: f32| shift == 1 || new < old;
                    keep_planes(points, &slope, norm, nearer);
                    last = Some(logits);
                }
                // A classifier of one class has no other; then there is nothing to go for.
                last.unwrap_or_else(|| ascent.logits(images.clone()))
            }
        };
        ascent.offer_within(images, logits, norm, self.epsilon);
    }
}

/// Gives each point the plane that was found for it where `keep` says so, given the distances of the old
/// and the new one.
fn keep_planes(points: &mut [Point], slope: &Slope, norm: Norm, keep: impl Fn(f32, f32) -> bool) {
    let found = slope.losses.iter().zip(slope.gradients.chunks(points[0].clean.len()));
    for (point, (&margin, normal)) in points.iter_mut().zip(found) {
        let far = |margin: f32, normal: &[f32]| margin.abs() / (1e-12 + dual_length(norm, normal));
        if keep(far(point.margin, &point.normal), far(margin, normal)) {
            point.margin = margin;
            point.normal = normal.to_vec();
        }
    }
}

/// The length of a normal by which a margin is divided to give a distance.
fn dual_length(norm: Norm, normal: &[f32]) -> f32 {
    let zeros = vec![0.0; normal.len()];
    match norm {
        Norm::Linf => distance(Norm::L1, &zeros, normal),
        Norm::L2 => distance(Norm::L2, &zeros, normal),
        Norm::L1 => distance(Norm::Linf, &zeros, normal),
    }
}

/// The points as a batch.
fn pictures(ascent: &Ascent, points: &[Point]) -> Tensor<4> {
    ascent.pictures(points.iter().map(|point| point.current.as_slice()))
}

impl Point {
    fn step(&mut self, norm: Norm) {
        if !self.margin.is_finite() {
            return;
        }
        let offset = |picture: &[f32]| -> f64 {
            let moved = self.normal.iter().zip(picture.iter().zip(&self.current));
            let sum: f64 = moved.map(|(w, (to, from))| f64::from(*w) * f64::from(to - from)).sum();
            -f64::from(self.margin) - sum
        };
        let here = onto_hyperplane(norm, &self.current, &self.normal, offset(&self.current));
        let clean = onto_hyperplane(norm, &self.clean, &self.normal, offset(&self.clean));
        let zeros = vec![0.0; here.len()];
        let length = |change: &[f32]| distance(norm, &zeros, change).max(1e-8);
        let (near, far) = (length(&here), length(&clean));
        let bias = (near / (near + far)).clamp(0.0, MOST_BIAS);
        for index in 0..self.current.len() {
            let from_here = self.current[index] + OVERSHOOT * here[index];
            let from_clean = self.clean[index] + OVERSHOOT * clean[index];
            self.current[index] = ((1.0 - bias) * from_here + bias * from_clean).clamp(0.0, 1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{LinearModel, SIZE, batch, values};
    use super::*;

    const STEP_REFERENCE: [(Norm, [f32; 6]); 3] = [
        (Norm::Linf, [0.187_5, 0.812_5, 0.587_5, 0.0, 1.0, 0.3]),
        (Norm::L2, [0.175, 0.787_5, 0.537_5, 0.0, 1.0, 0.3]),
        (Norm::L1, [0.1, 0.725, 0.5, 0.0, 1.0, 0.3]),
    ];

    #[test]
    fn a_step_agrees_with_the_reference_implementation() {
        // pyautoattack 0.2.0, with z = (x.flatten(1) * w).sum(1) - .5:
        //   fab = FABAttack_PT(lambda x: torch.stack([0 * z, z], 1), n_iter=1, norm=norm, eps=9., device="cpu")
        //   fab.attack_single_run(x, torch.tensor([0]), use_rand_start=False, is_targeted=False)
        for (norm, expected) in STEP_REFERENCE {
            let clean = vec![0.1, 0.9, 0.5, 0.0, 0.95, 0.3];
            let normal = vec![0.4, -0.6, 0.2, -0.3, 0.8, 0.0];
            let margin = clean.iter().zip(&normal).map(|(x, w): (&f32, &f32)| x * w).sum::<f32>() - 0.5;
            let mut point = Point { row: 0, current: clean.clone(), clean, margin, normal };
            point.step(norm);
            for (found, expected) in point.current.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-5, "{norm:?}: {:?} {expected:?}", point.current);
            }
        }
    }

    #[test]
    fn it_finds_the_nearest_picture_of_a_linear_classifier() {
        // Within 5 % of |margin| / |w|, the distance to the boundary where nothing is clipped.
        let model = LinearModel::new(2, 1);
        let pictures = batch(6, 2, 0.2);
        let victim = Victim::new(&model);
        let logits = values(victim.logits(pictures.images.clone()));
        let weights: Vec<f32> = model.weights().chunks(2).map(|pair| pair[1] - pair[0]).collect();
        for norm in [Norm::Linf, Norm::L2] {
            let config =
                FabConfig { norm, epsilon: "1".parse().expect("a magnitude"), ..FabConfig::default() };
            let fab = config.build().expect("valid");
            let found = values(fab.perturb(&victim, &pictures, &Goal::Untargeted, Seed::new(0)));
            let clean = values(pictures.images.clone());
            for (image, label) in pictures.labels.iter().enumerate() {
                let margin = logits[2 * image + label] - logits[2 * image + 1 - label];
                let range = image * SIZE..(image + 1) * SIZE;
                let far = distance(norm, &clean[range.clone()], &found[range]);
                let nearest = (margin / dual_length(norm, &weights)).max(0.0);
                assert!((nearest..=1.06 * nearest + 1e-6).contains(&far), "{norm:?}: {far} {nearest}");
            }
        }
    }

    #[test]
    fn the_nearest_plane_is_kept() {
        let mut points = vec![Point {
            row: 0,
            clean: vec![0.5; 2],
            current: vec![0.5; 2],
            margin: 0.0,
            normal: Vec::new(),
        }];
        for (margin, normal, first) in
            [(-1.0, [1.0, 1.0], true), (-0.9, [1.0, 0.0], false), (-3.0, [4.0, 0.0], false)]
        {
            let slope = Slope { losses: vec![margin], gradients: normal.to_vec() };
            keep_planes(&mut points, &slope, Norm::L2, |old, new| first || new < old);
        }
        // Distances 0.707, 0.9 and 0.75.
        assert_eq!((points[0].margin, points[0].normal.as_slice()), (-1.0, &[1.0, 1.0][..]));
    }
}
